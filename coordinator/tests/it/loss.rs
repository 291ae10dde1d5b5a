//! Losing members, and what the cluster does about it.

use std::time::{Duration, Instant};

use stillframe_api::{
    ProblemCode,
    agent::{AssignmentQuery, Desired, Register, ReportEvent},
    cluster::{ClusterPhase, MemberState, OnLoss, PageQuery},
    snapshot::{AbortReason, SnapshotState, TakeSnapshot},
};
use stillframe_protocol::{Generation, Incarnation};
use uuid::Uuid;

use crate::{
    agent::{Agent, OnSnapshot},
    harness::{World, refused},
};

async fn lost(world: &World, member: &str) {
    world
        .until("the member lost", async || {
            let members = world.client.list_members(&world.cluster, &PageQuery::default()).await.expect("members");
            members.items.into_iter().find(|m| m.name.as_str() == member && m.state == MemberState::Lost)
        })
        .await;
}

#[tokio::test]
async fn a_killed_member_is_noticed_in_well_under_a_second_and_the_cluster_rolls_back_when_it_is_back() {
    let world = World::start().await;
    let mut agents = world.running(3).await;
    agents[1].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let before = world.cluster().await.latest_committed;
    let taken = world.take().await;
    let killed = Instant::now();
    agents.remove(1).kill().await;
    let aborted = world.ended(&taken).await;
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    let abort = aborted.abort.expect("an abort");
    assert_eq!((abort.reason, abort.member.map(|m| m.to_string())), (AbortReason::MemberLost, Some("p2".to_owned())));
    let problem = refused(world.client.take_snapshot(&world.cluster, &TakeSnapshot::default()).await);
    assert_eq!(problem.code, ProblemCode::MemberLost);

    let back = Agent::start(&world, "p2").await;
    assert_eq!(back.incarnation, Incarnation(2));
    let cluster = world
        .until("generation 2 running", async || {
            let cluster = world.cluster().await;
            (cluster.phase == ClusterPhase::Running && cluster.generation == Generation(2)).then_some(cluster)
        })
        .await;
    assert!(cluster.phase_reason.is_none(), "{cluster:?}");
    // And a new snapshot follows by itself.
    world.until("a newer snapshot", async || (world.cluster().await.latest_committed != before).then_some(())).await;
    assert!(agents.iter().chain([&back]).all(|a| a.seen(|s| s.prepared.contains(&2))));
}

#[tokio::test]
async fn a_member_whose_part_is_there_may_die_without_harming_the_snapshot() {
    let world = World::start().await;
    let mut agents = world.running(2).await;
    agents[1].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let taken = world.take().await;
    world.until("the first part", async || agents[0].seen(|s| s.reported.contains(&taken.id)).then_some(())).await;
    agents.remove(0).kill().await;
    lost(&world, "p1").await;
    let event = crate::agent::part(taken.id, taken.epoch.expect("an epoch"), taken.generation);
    world.client.report(&world.cluster, &agents[0].member, agents[0].incarnation, event).await.expect("taken");
    assert_eq!(world.ended(&taken).await.state, SnapshotState::Committed);
}

#[tokio::test]
async fn a_member_that_comes_back_as_the_same_process_needs_no_rollback() {
    let world = World::start_with(|c| c.suspect_grace = Duration::from_millis(50)).await;
    let mut agents = world.running(2).await;
    let instance = agents[0].instance;
    agents.remove(0).kill().await;
    lost(&world, "p1").await;
    let same = Agent::start_as(&world, "p1", instance).await;
    assert_eq!(same.incarnation, Incarnation(1));
    world
        .until("it runs", async || matches!(same.desired(), Some(Desired::Run { generation: Generation(1), .. })).then_some(()))
        .await;
    world.committed().await;
    assert_eq!(world.cluster().await.generation, Generation(1));
}

#[tokio::test]
async fn a_lost_member_that_polls_again_is_taken_back() {
    let world = World::start_with(|c| c.suspect_grace = Duration::from_millis(50)).await;
    let mut agents = world.running(2).await;
    let (member, incarnation) = (agents[0].member.clone(), agents[0].incarnation);
    agents.remove(0).kill().await;
    lost(&world, "p1").await;
    let query = AssignmentQuery { incarnation, ..AssignmentQuery::default() };
    let assignment = world.client.assignment(&world.cluster, &member, &query).await.expect("an assignment");
    assert!(matches!(assignment.desired, Desired::Run { generation: Generation(1), .. }), "{:?}", assignment.desired);
}

#[tokio::test]
async fn registering_twice_with_one_instance_is_once_and_an_older_incarnation_is_told_to_leave() {
    let world = World::start().await;
    world.create_cluster(2).await;
    let member: stillframe_protocol::MemberName = "p1".parse().expect("a name");
    let register = |instance| Register { member: member.clone(), instance, address: "127.0.0.1:4100".to_owned() };
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let first = world.client.register(&world.cluster, &register(one)).await.expect("registered");
    assert_eq!(world.client.register(&world.cluster, &register(one)).await.expect("again"), first);
    let second = world.client.register(&world.cluster, &register(two)).await.expect("registered");
    assert_eq!((second.member_id, second.incarnation), (first.member_id, Incarnation(2)));
    let query = AssignmentQuery { incarnation: first.incarnation, after: 1_000_000, ..AssignmentQuery::default() };
    let told = world.client.assignment(&world.cluster, &member, &query).await.expect("an assignment");
    assert!(matches!(told.desired, Desired::Leave { .. }), "{:?}", told.desired);
    let report = ReportEvent::Running { generation: Generation(1) };
    assert_eq!(refused(world.client.report(&world.cluster, &member, first.incarnation, report).await).code, ProblemCode::Fenced);
}

#[tokio::test]
async fn without_a_snapshot_the_cluster_halts_and_starts_afresh_when_everybody_does() {
    let world = World::start().await;
    world.create_cluster(2).await;
    let one = Agent::start(&world, "p1").await;
    // It never reports, so that no snapshot is ever committed.
    one.behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let two = Agent::start(&world, "p2").await;
    world.phase(ClusterPhase::Running).await;
    two.kill().await;
    let halted = world.phase(ClusterPhase::Halted).await;
    assert!(halted.phase_reason.is_some_and(|r| r.contains("p2") && r.contains("start every member again")));
    let _two = Agent::start(&world, "p2").await;
    assert_eq!(world.cluster().await.phase, ClusterPhase::Halted);
    one.kill().await;
    let _one = Agent::start(&world, "p1").await;
    let cluster = world.phase(ClusterPhase::Running).await;
    assert_eq!(cluster.generation, Generation(2));
    world.first_committed().await;
}

#[tokio::test]
async fn a_cluster_that_is_to_halt_on_loss_halts_and_goes_on_by_a_restore() {
    let world = World::start().await;
    world.create_cluster_with(2, |c| c.on_loss = OnLoss::Halt).await;
    let one = Agent::start(&world, "p1").await;
    let two = Agent::start(&world, "p2").await;
    let latest = world.first_committed().await.latest_committed.expect("a snapshot");
    two.kill().await;
    let halted = world.phase(ClusterPhase::Halted).await;
    assert!(halted.phase_reason.is_some_and(|r| r.contains("again, then") && r.contains("`stillframe cluster resume bank`")));
    world.until("the other told to wait", async || matches!(one.desired(), Some(Desired::Wait { .. })).then_some(())).await;
    let _two = Agent::start(&world, "p2").await;
    assert_eq!(world.cluster().await.phase, ClusterPhase::Halted);
    world.client.start_restore(&world.cluster, &stillframe_api::restore::StartRestore::to(latest)).await.expect("a restore");
    assert_eq!(world.phase(ClusterPhase::Running).await.generation, Generation(2));
}

#[tokio::test]
async fn a_lease_that_runs_out_is_the_backstop_of_detection_by_connection() {
    let world = World::start_with(|c| c.lease = Duration::from_millis(400)).await;
    world.create_cluster(1).await;
    // Registers and never polls: there is no connection to close.
    let register =
        Register { member: "p1".parse().expect("a name"), instance: Uuid::now_v7(), address: "127.0.0.1:4100".to_owned() };
    world.client.register(&world.cluster, &register).await.expect("registered");
    lost(&world, "p1").await;
    assert_eq!(
        world.count("SELECT count(*) FROM audit WHERE action = 'member.lost' AND detail ->> 'why' = 'its lease ran out'").await,
        1
    );
}

#[tokio::test]
async fn a_member_that_holds_its_polls_keeps_its_lease() {
    // Long enough for a machine that does much else, and more than two of them.
    let world = World::start_with(|c| c.lease = Duration::from_secs(2)).await;
    let _agents = world.running(2).await;
    let started = Instant::now();
    world.until("more than two leases' time", async || (started.elapsed() > Duration::from_secs(5)).then_some(())).await;
    world.committed().await;
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'member.lost'").await, 0);
}
