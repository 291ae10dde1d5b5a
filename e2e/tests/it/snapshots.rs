//! Snapshots that don't go as they usually do.

use jiff::Timestamp;
use stillframe_api::{
    HumanDuration, ProblemCode,
    settings::{UpdateCluster, UpdateSnapshot},
    snapshot::{AbortReason, AbortSnapshot, Snapshot, SnapshotState, TakeSnapshot},
};
use stillframe_e2e::{
    World,
    s3::{Failure, Point, Requests},
    wait::eventually,
    world::place,
};
use stillframe_protocol::SnapshotId;

use crate::options;

async fn take_within(world: &World, timeout_ms: u64) -> SnapshotId {
    let request = TakeSnapshot { timeout: Some(HumanDuration::from_millis(timeout_ms)), ..TakeSnapshot::default() };
    world.client().take_snapshot(world.name(), &request).await.expect("a snapshot is taken").id
}

async fn aborted(world: &World, id: SnapshotId, reason: AbortReason) -> Snapshot {
    let snapshot = world.ended(id).await;
    assert_eq!(snapshot.state, SnapshotState::Aborted, "{snapshot:?}");
    assert_eq!(snapshot.abort.as_ref().map(|abort| abort.reason), Some(reason), "{snapshot:?}");
    snapshot
}

#[tokio::test]
async fn messages_in_flight_at_the_cut_are_recorded_and_given_again_by_a_restore() {
    let mut world = World::start(options()).await;

    // While c doesn't move, what the others send it piles up on the way.
    world.member("c").process().freeze().await;
    for member in ["a", "b"] {
        let sent = world.member(member).status().map_or(0, |status| status.sent);
        world.member(member).says("sends on", |status| status.sent > sent + 200).await;
    }
    let id = world.take_snapshot().await;
    world.snapshot_in(id, SnapshotState::Recording).await;
    world.member("c").process().thaw().await;
    let snapshot = world.committed(id).await;
    let audit = world.conserved(id).await;
    assert!(audit.messages_in_flight > 0, "{audit:?}");
    assert_eq!(snapshot.messages_in_flight, Some(audit.messages_in_flight));

    let restore = world.restored(id).await;
    world.members_run_in(restore.generation.get()).await;
    let after = world.take_committed().await;
    assert!(world.conserved(after.id).await.transfers >= audit.transfers);
    world.all_conserved().await;
    world.no_member_has_ended();
}

#[tokio::test]
async fn a_snapshot_that_takes_too_long_is_aborted_and_says_what_it_waited_for() {
    let mut world = World::start(options()).await;

    world.member("c").process().freeze().await;
    let snapshot = aborted(&world, take_within(&world, 2_500).await, AbortReason::DeadlineExceeded).await;
    world.member("c").process().thaw().await;

    let abort = snapshot.abort.as_ref().expect("it says why");
    assert!(abort.missing.iter().any(|line| line.contains("c -> a")), "{abort:?}");
    assert!(place(&snapshot, "c").bytes == 0, "{snapshot:?}");
    let next = world.take_committed().await;
    world.conserved(next.id).await;
    world.all_conserved().await;
    world.no_member_has_ended();
}

#[tokio::test]
async fn a_store_that_fails_costs_snapshots_and_nothing_else() {
    let mut world = World::start(options().with_large_states()).await;
    let generation = world.cluster().await.generation;
    let sent = world.member("a").status().map_or(0, |status| status.sent);

    let failing = world.gate().fail(Requests::writes(), Point::BeforeTheWork, Failure::SlowDown);
    let id = take_within(&world, 2_000).await;
    failing.arrived(3).await;
    let snapshot = world.ended(id).await;
    assert_eq!(snapshot.state, SnapshotState::Aborted, "{snapshot:?}");
    world.member("a").says("goes on meanwhile", |status| status.sent > sent).await;
    drop(failing);

    let next = world.take_committed().await;
    world.conserved(next.id).await;
    assert_eq!(world.cluster().await.generation, generation);
    world.all_conserved().await;
    world.no_member_has_ended();
}

#[tokio::test]
async fn a_snapshot_is_aborted_on_request_and_a_committed_one_is_not() {
    let mut world = World::start(options().with_gate()).await;
    world.member("c").process().freeze().await;
    let id = world.take_snapshot().await;
    let why = AbortSnapshot { why: Some("not now".to_owned()) };
    world.client().abort_snapshot(id, &why).await.expect("it is aborted");
    let snapshot = aborted(&world, id, AbortReason::Requested).await;
    assert!(snapshot.abort.is_some_and(|abort| abort.detail.contains("not now")));
    world.member("c").process().thaw().await;

    let committed = world.take_committed().await;
    let refused = world.client().abort_snapshot(committed.id, &why).await.expect_err("it is committed");
    assert_eq!(refused.problem().map(|problem| (problem.status, problem.code)), Some((409, ProblemCode::SnapshotEnded)));
    world.all_conserved().await;
    world.no_member_has_ended();
}

#[tokio::test]
async fn several_snapshots_are_taken_at_once_and_each_conserves_the_money() {
    let world = World::start(options().with_large_states()).await;
    let changes = UpdateCluster { max_concurrent: Some(3), ..UpdateCluster::default() };
    world.client().update_cluster(world.name(), &changes).await.expect("changed");

    // The parts of a stay on their way to the store, so none of the three can end before the others have begun.
    let held = world.gate().hold(Requests::writes().key_with("/parts/a."), Point::BeforeTheWork, 3);
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(world.take_snapshot().await);
    }
    held.arrived(3).await;
    let mut epochs = Vec::new();
    for id in &taken {
        let recording = world.snapshot_in(*id, SnapshotState::Recording).await;
        epochs.push(recording.epoch);
    }
    assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "{epochs:?}");
    let waits = world.take_snapshot().await;
    let pending = world.snapshot_in(waits, SnapshotState::Pending).await;
    assert_eq!(pending.position, Some(1));
    held.let_through();

    let mut transfers = 0;
    for id in taken.into_iter().chain([waits]) {
        world.committed(id).await;
        let audit = world.conserved(id).await;
        assert!(audit.transfers >= transfers, "a later cut is later everywhere");
        transfers = audit.transfers;
    }
}

#[tokio::test]
async fn a_longer_timeout_reaches_the_members_that_are_storing_their_parts() {
    let world = World::start(options().with_large_states()).await;
    let held = world.gate().fail(Requests::writes().key_with("/parts/a."), Point::BeforeTheWork, Failure::SlowDown);
    let request = TakeSnapshot { timeout: Some(HumanDuration::from_millis(8_000)), ..TakeSnapshot::default() };
    let taken = world.client().take_snapshot(world.name(), &request).await.expect("taken");
    let changes = UpdateSnapshot { timeout: Some(HumanDuration::from_millis(600_000)) };
    world.client().update_snapshot(taken.id, &changes).await.expect("changed");
    let first_deadline = taken.deadline_at;
    eventually("the first deadline is past", async || {
        let now = world.client().snapshot(taken.id).await.expect("it");
        assert_eq!(now.state, SnapshotState::Recording, "{now:?}");
        if Timestamp::now() > first_deadline { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    drop(held);
    world.committed(taken.id).await;
    world.conserved(taken.id).await;
}
