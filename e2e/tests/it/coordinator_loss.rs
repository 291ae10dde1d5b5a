//! SIGKILL of the coordinator.

use stillframe_api::snapshot::SnapshotState;
use stillframe_e2e::{
    World, WorldOptions,
    s3::{Operation, Point, Requests},
    wait::eventually,
};
use stillframe_protocol::SnapshotId;

use crate::options;

/// What must hold once the coordinator is back: the members went on without being started again, and snapshots and money are in order.
async fn goes_on(world: &mut World, generation: u64) {
    world.running(generation).await;
    world.take_committed().await;
    world.all_conserved().await;
    world.no_member_has_ended();
}

#[tokio::test]
async fn a_coordinator_killed_while_recording_leaves_no_snapshot_stuck() {
    let mut world = World::start(options()).await;
    let generation = world.cluster().await.generation.get();

    world.member("c").process().freeze().await;
    let id = world.take_snapshot().await;
    world.snapshot_in(id, SnapshotState::Recording).await;
    world.coordinator.kill();
    world.member("c").process().thaw().await;
    world.coordinator.start_again().await;

    world.ended(id).await;
    goes_on(&mut world, generation).await;
}

#[tokio::test]
async fn a_coordinator_that_is_away_while_members_complete_their_parts_finds_them_when_it_is_back() {
    let mut world = World::start(options().with_large_states()).await;
    let generation = world.cluster().await.generation.get();

    // All that is missing is the part of a, which is on its way to the store.
    let held = world.gate().hold(Requests::writes().key_with("/parts/a."), Point::BeforeTheWork, 1);
    let id = world.take_snapshot().await;
    held.arrived(1).await;
    world.coordinator.kill();
    held.let_through();
    world.coordinator.start_again().await;

    world.committed(id).await;
    goes_on(&mut world, generation).await;
}

fn manifest_of(id: SnapshotId) -> Requests {
    Requests::of(Operation::Put).key_ending(format!("{id}/manifest.json"))
}

#[tokio::test]
async fn a_coordinator_killed_before_the_manifest_is_written_commits_it_when_it_is_back() {
    let mut world = World::start(options().with_gate()).await;
    let generation = world.cluster().await.generation.get();

    let held = world.gate().hold(Requests::of(Operation::Put).key_ending("manifest.json"), Point::BeforeTheWork, 1);
    let id = world.take_snapshot().await;
    held.arrived(1).await;
    world.snapshot_in(id, SnapshotState::Committing).await;
    world.coordinator.kill();
    assert_eq!(world.bucket.keys(&format!("{id}/manifest.json")).await, Vec::<String>::new());
    world.coordinator.start_again().await;

    // From committing there is only forward.
    world.committed(id).await;
    let key = world.bucket.keys(&format!("{id}/manifest.json")).await.pop().expect("the manifest is written");
    let written = world.bucket.read(&key).await;
    // The dead coordinator's request arrives after all, and changes nothing.
    assert!(world.gate().count(&manifest_of(id)) >= 2);
    held.let_through();
    goes_on(&mut world, generation).await;
    assert_eq!(world.bucket.read(&key).await, written);
}

#[tokio::test]
async fn a_coordinator_killed_when_the_manifest_is_written_but_not_answered_commits_it_when_it_is_back() {
    let mut world = World::start(options().with_gate()).await;
    let generation = world.cluster().await.generation.get();

    let held = world.gate().hold(Requests::of(Operation::Put).key_ending("manifest.json"), Point::BeforeTheAnswer, 1);
    let id = world.take_snapshot().await;
    held.arrived(1).await;
    world.coordinator.kill();
    let key = world.bucket.keys(&format!("{id}/manifest.json")).await.pop().expect("the manifest is written");
    let written = world.bucket.read(&key).await;
    world.coordinator.start_again().await;

    world.committed(id).await;
    assert_eq!(world.bucket.read(&key).await, written, "its bytes are a function of the rows");
    goes_on(&mut world, generation).await;
    held.throw_away();
}

#[tokio::test]
async fn a_coordinator_killed_while_a_restore_is_prepared_ends_it_when_it_is_back() {
    let mut world = World::start(options().with_large_states()).await;
    let snapshot = world.take_committed().await;

    let held = world.gate().hold(Requests::of(Operation::Get).key_with("/parts/b."), Point::BeforeTheWork, 1);
    let restore = world.start_restore(snapshot.id).await;
    held.arrived(1).await;
    world.coordinator.kill();
    held.let_through();
    world.coordinator.start_again().await;

    let ended = world.restore_ended(restore.id).await;
    let cluster = world.running(1).await;
    world.members_run_in(cluster.generation.get()).await;
    assert!(cluster.generation <= ended.generation, "{cluster:?}, {ended:?}");
    goes_on(&mut world, cluster.generation.get()).await;
}

#[tokio::test]
async fn a_member_lost_while_the_coordinator_is_down_is_found_out_when_it_is_back() {
    let mut world = World::start(WorldOptions { lease: "2s".to_owned(), ..options() }).await;
    let last = world.take_committed().await;

    // Nobody sees the connection close, so the lease has to tell.
    world.coordinator.kill();
    world.member_mut("b").kill();
    world.coordinator.start_again().await;
    eventually("b is missed", async || {
        let cluster = world.cluster().await;
        if cluster.lost_members == 1 && cluster.live_members == 2 { Ok(()) } else { Err(format!("{cluster:?}")) }
    })
    .await;

    world.member_mut("b").start_again();
    let cluster = world.running(2).await;
    world.members_run_in(cluster.generation.get()).await;
    let after = world.take_committed().await;
    assert!(world.conserved(after.id).await.transfers >= world.conserved(last.id).await.transfers);
    goes_on(&mut world, cluster.generation.get()).await;
}

#[tokio::test]
async fn a_member_replaced_while_the_coordinator_is_down_takes_the_cluster_back() {
    let mut world = World::start(options()).await;
    world.coordinator.kill();
    world.member_mut("b").kill();
    world.member_mut("b").start_again();
    world.coordinator.start_again().await;

    let cluster = world.running(2).await;
    world.members_run_in(cluster.generation.get()).await;
    goes_on(&mut world, cluster.generation.get()).await;
}
