//! Restores that are planned, cancelled, tried again, that fall back and rename; rollbacks with a limit.

use stillframe_api::{
    ProblemCode,
    agent::Desired,
    cluster::{ClusterPhase, OnLoss, PageQuery},
    restore::{CancelRestore, Restore, RestoreFailure, RestorePhase, RestoreState, StartRestore},
    restore_plan::PlannedPresence,
    rollback::{ResumeCluster, RollbackSettings},
    snapshot::Trigger,
};
use stillframe_protocol::{Generation, MemberName};

use crate::{
    agent::{Agent, OnPrepare, OnSnapshot},
    harness::{PATIENCE, World, refused},
};

async fn start(world: &World, request: StartRestore) -> Restore {
    world.client.start_restore(&world.cluster, &request).await.expect("a restore")
}

async fn ended(world: &World, restore: &Restore) -> Restore {
    let ended = world.client.wait_restore(restore.id, PATIENCE).await.expect("the restore");
    assert!(ended.state.has_ended(), "{ended:?}");
    ended
}

fn name(text: &str) -> MemberName {
    text.parse().expect("a name")
}

#[tokio::test]
async fn a_plan_says_what_would_be_lost_who_is_away_and_what_is_missing_and_changes_nothing() {
    let world = World::start().await;
    let mut agents = world.running(2).await;
    let (older, newer) = (world.committed().await, world.committed().await);
    let revision = world.cluster().await.revision;
    let plan = async |request: &StartRestore| world.client.plan_restore(&world.cluster, request).await.expect("a plan");

    let found = plan(&StartRestore::to(older.id)).await;
    assert_eq!((found.snapshot, Some(found.epoch), found.ready), (older.id, older.epoch, true), "{found:?}");
    assert_eq!(found.lost.snapshots.iter().map(|s| s.snapshot).collect::<Vec<_>>(), [newer.id]);
    assert_eq!(found.bytes, found.members.iter().map(|m| m.bytes).sum::<u64>());
    assert!(found.members.iter().all(|m| m.presence == PlannedPresence::Live && m.bytes == 3), "{found:?}");
    assert_eq!(plan(&StartRestore::to_latest()).await.snapshot, newer.id);
    let before = StartRestore { before: newer.committing_at, ..StartRestore::default() };
    assert_eq!(plan(&before).await.snapshot, newer.id);
    let earlier = newer.committing_at.map(|at| at - jiff::SignedDuration::from_micros(1));
    assert_eq!(plan(&StartRestore { before: earlier, ..StartRestore::default() }).await.snapshot, older.id);

    // Somebody is away, and somebody has never been there.
    agents.remove(1).kill().await;
    world.until("p2 lost", async || (world.cluster().await.lost_members == 1).then_some(())).await;
    let mapping = [(name("p1"), name("q1"))].into();
    let found = plan(&StartRestore { mapping, ..StartRestore::to(older.id) }).await;
    let places: Vec<_> = found.members.iter().map(|m| (m.member.as_str(), m.part.as_str(), m.presence)).collect();
    assert_eq!(places, [("q1", "p1", PlannedPresence::Missing), ("p2", "p2", PlannedPresence::Away)]);
    assert_eq!((found.leaving, found.ready), (vec![name("p1")], false));

    let cluster = world.cluster().await;
    assert_eq!((cluster.phase, cluster.generation), (ClusterPhase::Running, Generation(1)));
    assert!(cluster.revision > revision, "p2 was lost");
    assert_eq!(world.count("SELECT count(*) FROM restores").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action LIKE 'restore%'").await, 0);
}

#[tokio::test]
async fn a_target_is_named_in_exactly_one_way_and_has_to_be_there() {
    let world = World::start().await;
    world.create_cluster(1).await;
    let refusal = async |request: &StartRestore| {
        let problem = refused(world.client.start_restore(&world.cluster, request).await);
        (problem.code, problem.status, problem.detail)
    };
    assert_eq!(refusal(&StartRestore::default()).await.0, ProblemCode::InvalidRequest);
    let both = StartRestore { before: Some(jiff::Timestamp::UNIX_EPOCH), ..StartRestore::to_latest() };
    assert_eq!(refusal(&both).await.0, ProblemCode::InvalidRequest);
    assert_eq!(refusal(&StartRestore { fallback: 17, ..StartRestore::to_latest() }).await.0, ProblemCode::InvalidRequest);
    assert_eq!(refusal(&StartRestore { retries: Some(101), ..StartRestore::to_latest() }).await.0, ProblemCode::InvalidRequest);
    let (code, status, _) = refusal(&StartRestore::to_latest()).await;
    assert_eq!((code, status), (ProblemCode::NothingToRestore, 409));
    let (code, _, detail) = refusal(&StartRestore { latest: false, ..both }).await;
    assert!(code == ProblemCode::NothingToRestore && detail.contains("1970"), "{detail}");

    let agents = [Agent::start(&world, "p1").await];
    let latest = world.first_committed().await.latest_committed.expect("a snapshot");
    let mapping = [(name("p9"), name("q9"))].into();
    let (code, status, detail) = refusal(&StartRestore { mapping, ..StartRestore::to_latest() }).await;
    assert_eq!((code, status), (ProblemCode::MembersDiffer, 409));
    assert!(detail.contains("p9"), "{detail}");
    assert_eq!(ended(&world, &start(&world, StartRestore::to_latest()).await).await.snapshot, latest);
    drop(agents);
}

#[tokio::test]
async fn a_restore_is_cancelled_before_its_commit_point_and_listed_with_the_others() {
    let world = World::start().await;
    let agents = world.running(2).await;
    let snapshot = world.committed().await;
    agents[0].behave(|b| b.on_prepare = OnPrepare::Load(2));
    let first = start(&world, StartRestore::to(snapshot.id)).await;
    assert_eq!(world.cluster().await.restore, Some(first.id));
    let loading = world
        .until("it says how far it is", async || {
            let restore = world.client.restore(first.id).await.expect("it");
            restore.members.into_iter().find(|m| m.phase == RestorePhase::Loading)
        })
        .await;
    assert_eq!((loading.member.as_str(), loading.loaded_bytes, loading.bytes), ("p1", 2, 3));
    let why = CancelRestore { why: Some("a mistake".to_owned()) };
    let cancelled = world.client.cancel_restore(first.id, &why).await.expect("cancelled");
    assert_eq!((cancelled.state, cancelled.failure_reason), (RestoreState::Failed, Some(RestoreFailure::Cancelled)));
    assert!(cancelled.failure.as_ref().is_some_and(|f| f.contains("a mistake")), "{cancelled:?}");
    assert_eq!(world.client.cancel_restore(first.id, &CancelRestore::default()).await.expect("again"), cancelled);
    let cluster = world.phase(ClusterPhase::Running).await;
    assert_eq!((cluster.generation, cluster.restore), (Generation(1), None));
    world.committed().await;

    agents[0].behave(|b| b.on_prepare = OnPrepare::Prepared);
    let second = ended(&world, &start(&world, StartRestore::to(snapshot.id)).await).await;
    assert_eq!((second.state, second.generation), (RestoreState::Completed, Generation(3)));
    let problem = refused(world.client.cancel_restore(second.id, &CancelRestore::default()).await);
    assert_eq!((problem.code, problem.status), (ProblemCode::RestoreEnded, 409));
    let page = |limit, cursor| PageQuery { limit: Some(limit), cursor };
    let listed = world.client.list_restores(&world.cluster, &page(1, None)).await.expect("a list");
    assert_eq!(listed.items.iter().map(|r| r.id).collect::<Vec<_>>(), [second.id]);
    let listed = world.client.list_restores(&world.cluster, &page(5, listed.next_cursor)).await.expect("a list");
    assert_eq!((listed.items.iter().map(|r| r.id).collect::<Vec<_>>(), listed.next_cursor), (vec![first.id], None));
    let audited = "SELECT count(*) FROM audit WHERE action = 'restore.failed' AND actor = 'request' AND detail ->> 'failure_reason' = 'cancelled'";
    assert_eq!(world.count(audited).await, 1);
}

#[tokio::test]
async fn a_restore_has_a_deadline_of_its_own() {
    let world = World::start().await;
    let agents = world.running(1).await;
    agents[0].behave(|b| b.on_prepare = OnPrepare::Ignore);
    let timeout = Some("300ms".parse().expect("a duration"));
    let failed = ended(&world, &start(&world, StartRestore { timeout, ..StartRestore::to_latest() }).await).await;
    assert_eq!(failed.failure_reason, Some(RestoreFailure::DeadlineExceeded));
    assert_eq!(failed.failure.as_deref(), Some("p1 was not prepared within 300ms"));
}

#[tokio::test]
async fn a_member_that_can_not_reach_the_archive_tries_again_and_no_oftener_than_it_may() {
    let world = World::start().await;
    let agents = world.running(2).await;
    agents[0].behave(|b| b.on_prepare = OnPrepare::FailFor(1));
    let done = ended(&world, &start(&world, StartRestore::to_latest()).await).await;
    assert_eq!((done.state, done.generation), (RestoreState::Completed, Generation(2)), "{done:?}");
    assert_eq!(done.members.iter().map(|m| m.retries).collect::<Vec<_>>(), [1, 0]);

    agents[0].behave(|b| b.on_prepare = OnPrepare::FailFor(2));
    let request = StartRestore { retries: Some(0), ..StartRestore::to_latest() };
    let failed = ended(&world, &start(&world, request).await).await;
    assert_eq!(failed.failure_reason, Some(RestoreFailure::Unavailable));
    assert_eq!(failed.failure.as_deref(), Some("p1: the store doesn't answer"));
    assert_eq!(world.count("SELECT count(*) FROM unreadable_snapshots").await, 0);
    assert_eq!(world.phase(ClusterPhase::Running).await.generation, Generation(2));
}

#[tokio::test]
async fn a_restore_falls_back_to_an_older_snapshot_only_if_it_was_allowed_to_and_says_so() {
    let world = World::start().await;
    let agents = world.running(2).await;
    let (older, newer) = (world.committed().await, world.committed().await);
    agents[0].behave(|b| b.on_prepare = OnPrepare::FailOf(newer.id));
    let failed = ended(&world, &start(&world, StartRestore::to(newer.id)).await).await;
    assert_eq!((failed.state, failed.failure_reason), (RestoreState::Failed, Some(RestoreFailure::Unreadable)));
    assert_eq!(failed.unreadable.iter().map(|u| (u.snapshot, u.member.as_str())).collect::<Vec<_>>(), [(newer.id, "p1")]);
    // A new one is taken at once, and until then the unreadable one isn't gone back to blindly.
    let fresh =
        world.until("an automatic snapshot", async || world.cluster().await.latest_committed.filter(|id| *id != newer.id)).await;

    let request = StartRestore { fallback: 2, ..StartRestore::to(newer.id) };
    let restore = start(&world, request).await;
    let done = ended(&world, &restore).await;
    assert_eq!((done.state, done.snapshot, done.fallback), (RestoreState::Completed, older.id, 1), "{done:?}");
    assert_eq!(done.unreadable.iter().map(|u| u.snapshot).collect::<Vec<_>>(), [newer.id]);
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'restore.fell_back'").await, 1);
    assert_ne!(done.snapshot, fresh);
    // It was mended meanwhile: what can be read is not unreadable any more.
    agents[0].behave(|b| b.on_prepare = OnPrepare::Prepared);
    assert_eq!(ended(&world, &start(&world, StartRestore::to(newer.id)).await).await.state, RestoreState::Completed);
    assert_eq!(world.count("SELECT count(*) FROM unreadable_snapshots").await, 0);
}

#[tokio::test]
async fn a_member_that_is_replaced_while_the_restore_resumes_is_an_ordinary_loss() {
    let world = World::start().await;
    let mut agents = world.running(2).await;
    agents[1].behave(|b| b.runs = false);
    let restore = start(&world, StartRestore::to_latest()).await;
    world
        .until("it resumes", async || {
            (world.client.restore(restore.id).await.expect("it").state == RestoreState::Resuming).then_some(())
        })
        .await;
    // Replaced before anybody noticed that it is gone: the restore ends, and a rollback begins, in one transition.
    let again = Agent::start(&world, "p2").await;
    agents.remove(1).kill().await;
    assert_eq!(ended(&world, &restore).await.state, RestoreState::Completed);
    world.until("generation 3", async || (world.cluster().await.generation == Generation(3)).then_some(())).await;
    assert_eq!(world.count("SELECT count(*) FROM restores WHERE state = 'failed'").await, 0);
    drop(again);
}

#[tokio::test]
async fn under_other_names_every_channel_is_renamed_the_old_members_leave_and_snapshots_go_on() {
    let world = World::start().await;
    let old = world.running(2).await;
    let snapshot = world.committed().await;
    let mapping = [(name("p1"), name("q1")), (name("p2"), name("q2"))].into();
    let restore = start(&world, StartRestore { mapping, ..StartRestore::to(snapshot.id) }).await;
    assert_eq!(restore.state, RestoreState::Planned, "it waits for them: {restore:?}");
    let new = [Agent::start(&world, "q1").await, Agent::start(&world, "q2").await];
    let done = ended(&world, &restore).await;
    assert_eq!(done.state, RestoreState::Completed, "{done:?}");
    let parts: Vec<_> = done.members.iter().map(|m| (m.member.as_str(), m.part.as_str(), m.bytes)).collect();
    assert_eq!(parts, [("q1", "p1", 3), ("q2", "p2", 3)]);
    for agent in &old {
        world.until("it is told to leave", async || agent.seen(|seen| seen.left.clone())).await;
    }
    let after = world.committed().await;
    assert_eq!(after.members.iter().map(|m| m.member.as_str()).collect::<Vec<_>>(), ["q1", "q2"]);
    let archive = world.archive().await;
    archive.verify_snapshot(&world.cluster, after.id).await.expect("it verifies");
    drop(new);
}

#[tokio::test]
async fn a_cluster_that_loses_members_again_and_again_waits_longer_then_halts_and_goes_on_when_told() {
    let world = World::start().await;
    let settings = RollbackSettings { limit: 2, backoff: "50ms".parse().expect("a duration"), ..RollbackSettings::default() };
    let cluster = world.create_cluster_with(2, |c| c.rollback = settings.clone()).await;
    assert_eq!(cluster.rollback, settings);
    let _one = Agent::start(&world, "p1").await;
    let mut two = Agent::start(&world, "p2").await;
    world.first_committed().await;
    for generation in 2..4u64 {
        two.kill().await;
        two = Agent::start(&world, "p2").await;
        world
            .until("it was put back", async || {
                let cluster = world.cluster().await;
                (cluster.phase == ClusterPhase::Running && cluster.generation == Generation(generation)).then_some(())
            })
            .await;
    }
    two.kill().await;
    let two = Agent::start(&world, "p2").await;
    let halted = world.phase(ClusterPhase::Halted).await;
    let reason = halted.phase_reason.expect("a reason");
    assert!(reason.contains("2 times") && reason.contains("cluster resume"), "{reason}");
    assert_eq!(world.count("SELECT count(*) FROM restores").await, 2);
    let resumed = world.client.resume_cluster(&world.cluster, &ResumeCluster::default()).await.expect("resumed");
    assert!(resumed.restore.is_some() || resumed.generation == Generation(4), "{resumed:?}");
    world
        .until("it runs again", async || {
            matches!(two.desired(), Some(Desired::Run { generation: Generation(4), .. })).then_some(())
        })
        .await;
    world.committed().await;
    let newest = world.client.list_restores(&world.cluster, &PageQuery::default()).await.expect("a list").items.remove(0);
    assert_eq!(newest.trigger, Trigger::Request);
    // Running already: nothing to do.
    world.client.resume_cluster(&world.cluster, &ResumeCluster::default()).await.expect("fine");
}

#[tokio::test]
async fn a_cluster_whose_restore_was_cancelled_while_a_member_was_lost_halts_and_goes_on_when_told() {
    let world = World::start().await;
    world.create_cluster_with(2, |c| c.on_loss = OnLoss::Halt).await;
    let refusal = refused(world.client.resume_cluster(&world.cluster, &ResumeCluster::default()).await);
    assert_eq!((refusal.code, refusal.status), (ProblemCode::ClusterNotRunning, 409));
    let one = Agent::start(&world, "p1").await;
    let two = Agent::start(&world, "p2").await;
    world.first_committed().await;
    one.behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    two.kill().await;
    world.phase(ClusterPhase::Halted).await;
    // It waits for p2.
    let restore = start(&world, StartRestore::to_latest()).await;
    world.client.cancel_restore(restore.id, &CancelRestore::default()).await.expect("cancelled");
    let halted = world.phase(ClusterPhase::Halted).await;
    assert!(halted.phase_reason.is_some_and(|reason| reason.contains("cancelled") && reason.contains("resume")));
    let resumed = world.client.resume_cluster(&world.cluster, &ResumeCluster::default()).await.expect("resumed");
    assert_eq!(resumed.phase, ClusterPhase::Restoring);
    let _two = Agent::start(&world, "p2").await;
    assert_eq!(world.phase(ClusterPhase::Running).await.generation, Generation(3));
}
