//! Putting clusters back.

use stillframe_api::{
    ProblemCode,
    agent::Desired,
    cluster::ClusterPhase,
    restore::{Restore, RestorePhase, RestoreState, StartRestore},
    snapshot::{AbortReason, SnapshotState},
};
use stillframe_protocol::{Epoch, Generation, SnapshotId};

use crate::{
    agent::{Agent, OnPrepare, OnSnapshot},
    harness::{PATIENCE, World, refused},
};

async fn start(world: &World, snapshot: SnapshotId) -> Restore {
    world.client.start_restore(&world.cluster, &StartRestore::to(snapshot)).await.expect("a restore")
}

async fn ended(world: &World, restore: &Restore) -> Restore {
    let ended = world.client.wait_restore(restore.id, PATIENCE).await.expect("the restore");
    assert!(ended.state.has_ended(), "{ended:?}");
    ended
}

#[tokio::test]
async fn a_restore_to_an_older_snapshot_raises_the_generation_and_rollbacks_go_there_from_then_on() {
    let world = World::start().await;
    let mut agents = world.running(2).await;
    let (older, _newer) = (world.committed().await, world.committed().await);
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let open = world.take().await;
    let restore = start(&world, older.id).await;
    assert_eq!((restore.state, restore.generation), (RestoreState::Preparing, Generation(2)));
    let done = ended(&world, &restore).await;
    assert_eq!(done.state, RestoreState::Completed, "{done:?}");
    assert!(done.members.iter().all(|m| m.phase == RestorePhase::Running && m.bytes == 3));
    assert_eq!(world.ended(&open).await.abort.map(|a| a.reason), Some(AbortReason::SupersededByRestore));
    let cluster = world.cluster().await;
    assert_eq!((cluster.generation, cluster.latest_committed), (Generation(2), Some(older.id)));
    // The abandoned branch is not gone back to.
    agents.remove(1).kill().await;
    let _back = Agent::start(&world, "p2").await;
    world.until("generation 3", async || (world.cluster().await.generation == Generation(3)).then_some(())).await;
    assert_eq!(world.count("SELECT count(DISTINCT snapshot) FROM restores").await, 1);
}

#[tokio::test]
async fn a_part_that_can_not_be_loaded_fails_the_restore_and_the_cluster_goes_on_in_the_old_generation() {
    let world = World::start().await;
    let agents = world.running(2).await;
    let snapshot = world.committed().await;
    let detail = format!("clusters/bank/snapshots/{}/parts/p1.1/state is corrupted", snapshot.id);
    agents[0].behave(|b| b.on_prepare = OnPrepare::Fail(detail.clone()));
    let failed = ended(&world, &start(&world, snapshot.id).await).await;
    assert_eq!((failed.state, failed.failure), (RestoreState::Failed, Some(format!("p1: {detail}"))));
    let cluster = world.phase(ClusterPhase::Running).await;
    assert_eq!(cluster.generation, Generation(1));
    world
        .until("both run on", async || {
            agents.iter().all(|a| matches!(a.desired(), Some(Desired::Run { generation: Generation(1), .. }))).then_some(())
        })
        .await;
    world.committed().await;
    // The burned generation is never used again.
    agents[0].behave(|b| b.on_prepare = OnPrepare::Prepared);
    let restore = start(&world, snapshot.id).await;
    assert_eq!(restore.generation, Generation(3));
    assert_eq!(ended(&world, &restore).await.state, RestoreState::Completed);
}

#[tokio::test]
async fn a_rollback_that_can_not_be_done_halts_the_cluster_and_an_older_snapshot_can_be_restored() {
    let world = World::start().await;
    let mut agents = world.running(2).await;
    let older = world.cluster().await.latest_committed.expect("a snapshot");
    let newer = world.committed().await;
    let fail = OnPrepare::Fail("clusters/bank/x/state is missing".to_owned());
    agents[0].behave(|b| b.on_prepare = fail.clone());
    agents.remove(1).kill().await;
    let _back = Agent::start(&world, "p2").await;
    let halted = world.phase(ClusterPhase::Halted).await;
    let reason = halted.phase_reason.expect("a reason");
    assert!(
        reason.contains(&newer.id.to_string()) && reason.contains("state is missing") && reason.contains("older"),
        "{reason}"
    );
    agents[0].behave(|b| b.on_prepare = OnPrepare::Prepared);
    assert_eq!(ended(&world, &start(&world, older).await).await.state, RestoreState::Completed);
    world.committed().await;
}

#[tokio::test]
async fn two_restores_can_not_run_at_once() {
    let world = World::start_with(|c| c.restore_timeout = std::time::Duration::from_secs(1)).await;
    let agents = world.running(2).await;
    let snapshot = world.committed().await;
    agents[0].behave(|b| b.on_prepare = OnPrepare::Ignore);
    let first = start(&world, snapshot.id).await;
    let again = world.client.start_restore(&world.cluster, &StartRestore::to(snapshot.id)).await;
    let problem = refused(again);
    assert_eq!((problem.code, problem.status), (ProblemCode::RestoreUnderWay, 409));
    assert!(problem.detail.contains(&first.id.to_string()), "{problem}");
    // Its deadline ends it, with the name of whom it waited for.
    let failed = ended(&world, &first).await;
    assert_eq!(failed.failure.as_deref(), Some("p1 was not prepared within 1s"));
    assert_eq!(world.phase(ClusterPhase::Running).await.generation, Generation(1));
}

#[tokio::test]
async fn a_member_lost_while_preparing_is_waited_for_and_prepares_for_a_fresh_generation() {
    let world = World::start().await;
    let mut agents = world.running(2).await;
    let snapshot = world.committed().await;
    agents[1].behave(|b| b.on_prepare = OnPrepare::Ignore);
    let restore = start(&world, snapshot.id).await;
    agents.remove(1).kill().await;
    world
        .until("it planned again", async || {
            let now = world.client.restore(restore.id).await.expect("it");
            (now.state == RestoreState::Planned && now.generation == Generation(3)).then_some(())
        })
        .await;
    let _back = Agent::start(&world, "p2").await;
    let done = ended(&world, &restore).await;
    assert_eq!((done.state, done.generation), (RestoreState::Completed, Generation(3)));
}

#[tokio::test]
async fn a_member_that_is_not_in_the_snapshot_has_to_leave_and_may_join_again() {
    let world = World::start().await;
    let _agents = world.running(2).await;
    let snapshot = world.committed().await;
    let late = Agent::start(&world, "p3").await;
    world.until("it runs", async || matches!(late.desired(), Some(Desired::Run { .. })).then_some(())).await;
    assert_eq!(ended(&world, &start(&world, snapshot.id).await).await.state, RestoreState::Completed);
    let why = world.until("it told to leave", async || late.seen(|s| s.left.clone())).await;
    assert!(why.contains(&snapshot.id.to_string()), "{why}");
    let again = Agent::start(&world, "p3").await;
    world
        .until("it runs", async || matches!(again.desired(), Some(Desired::Run { generation: Generation(2), .. })).then_some(()))
        .await;
}

#[tokio::test]
async fn only_a_committed_snapshot_of_this_cluster_can_be_restored() {
    let world = World::start().await;
    let agents = world.running(1).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let open = world.take().await;
    let restore = async |snapshot| refused(world.client.start_restore(&world.cluster, &StartRestore::to(snapshot)).await);
    assert_eq!(restore(open.id).await.code, ProblemCode::SnapshotNotCommitted);
    world.client.abort_snapshot(open.id, &Default::default()).await.expect("aborted");
    let problem = restore(open.id).await;
    assert_eq!((problem.code, problem.status), (ProblemCode::SnapshotNotCommitted, 409));
    assert!(problem.detail.contains("aborted"), "{problem}");
    let problem = restore(SnapshotId(uuid::Uuid::now_v7())).await;
    assert_eq!((problem.code, problem.status), (ProblemCode::UnknownSnapshot, 404));
    assert_eq!(world.snapshots().await.iter().filter(|s| s.state == SnapshotState::Committed).count(), 1);
    assert_eq!(world.cluster().await.epoch, Epoch(2));
}
