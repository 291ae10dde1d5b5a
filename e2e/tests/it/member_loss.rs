//! SIGKILL of a member.

use std::time::Instant;

use stillframe_api::{
    cluster::MemberState,
    snapshot::{AbortReason, MemberPhase, SnapshotState},
};
use stillframe_e2e::{
    World, WorldOptions,
    s3::{Operation, Point, Requests},
    wait::eventually,
    world::{SOON, name, place},
};

use crate::options;

#[tokio::test]
async fn a_member_killed_while_recording_aborts_the_snapshot_and_the_cluster_rolls_back_by_itself() {
    let mut world = World::start(options()).await;
    let before = world.take_committed().await;

    // While c doesn't move, its markers don't come, and the others record.
    world.member("c").process().freeze().await;
    let caught = world.take_snapshot().await;
    let recording = world
        .snapshot_where(caught, "is being recorded by b", |snapshot| place(snapshot, "b").phase == MemberPhase::Recording)
        .await;
    assert_eq!(recording.state, SnapshotState::Recording);
    assert!(place(&recording, "b").missing.iter().any(|line| line.contains("c -> b")), "{recording:?}");
    world.member_mut("b").kill();
    let aborted = world.ended(caught).await;
    world.member("c").process().thaw().await;

    assert_eq!(aborted.state, SnapshotState::Aborted, "{aborted:?}");
    let abort = aborted.abort.expect("it says why");
    assert_eq!((abort.reason, abort.member), (AbortReason::MemberLost, Some(name("b"))), "{}", abort.detail);

    world.member_mut("b").start_again();
    let cluster = world.running(2).await;
    world.members_run_in(cluster.generation.get()).await;
    let after = world.take_committed().await;
    assert!(after.epoch > aborted.epoch, "an epoch isn't used again: {after:?}");
    assert!(world.conserved(after.id).await.transfers >= world.conserved(before.id).await.transfers);
    world.all_conserved().await;
    // Only b was started again.
    world.no_member_has_ended();
}

#[tokio::test]
async fn a_member_killed_while_idle_is_noticed_soon_and_the_cluster_goes_on_from_its_last_snapshot() {
    let mut world = World::start(options()).await;
    let last = world.take_committed().await;
    let at_the_cut = world.conserved(last.id).await.transfers;

    let killed = Instant::now();
    world.member_mut("a").kill();
    let cluster = eventually("the loss is noticed", async || {
        let cluster = world.cluster().await;
        if cluster.lost_members > 0 { Ok(cluster) } else { Err(format!("{cluster:?}")) }
    })
    .await;
    assert!(killed.elapsed() < SOON, "noticed after {:?}", killed.elapsed());
    assert_eq!(cluster.live_members, 2);
    eventually("a is lost", async || {
        let members = world.client().list_members(world.name(), &Default::default()).await.expect("the members are listed");
        let a = members.items.into_iter().find(|member| member.name == name("a")).expect("a is listed");
        if a.state == MemberState::Lost { Ok(()) } else { Err(format!("{a:?}")) }
    })
    .await;

    world.member_mut("a").start_again();
    let cluster = world.running(2).await;
    world.members_run_in(cluster.generation.get()).await;
    let after = world.take_committed().await;
    assert!(world.conserved(after.id).await.transfers >= at_the_cut, "nothing from before the snapshot is lost");
    world.all_conserved().await;
    world.no_member_has_ended();
}

#[tokio::test]
async fn a_member_that_dies_when_its_part_is_reported_does_not_harm_the_snapshot() {
    let mut world = World::start(options().with_large_states()).await;

    // The part of a stays on its way to the store.
    let held = world.gate().hold(Requests::writes().key_with("/parts/a."), Point::BeforeTheWork, 1);
    let id = world.take_snapshot().await;
    held.arrived(1).await;
    world
        .snapshot_where(id, "has the parts of b and c", |snapshot| {
            ["b", "c"].iter().all(|member| place(snapshot, member).phase == MemberPhase::Reported)
        })
        .await;
    world.member_mut("b").kill();
    eventually("the loss is noticed", async || {
        let cluster = world.cluster().await;
        if cluster.lost_members > 0 { Ok(()) } else { Err(format!("{cluster:?}")) }
    })
    .await;
    held.let_through();

    world.committed(id).await;
    world.conserved(id).await;
    world.member_mut("b").start_again();
    let cluster = world.running(2).await;
    world.members_run_in(cluster.generation.get()).await;
    world.take_committed().await;
    world.all_conserved().await;
}

#[tokio::test]
async fn what_a_member_killed_in_the_middle_of_an_upload_left_in_the_store_is_aborted() {
    let options = WorldOptions { ballast_bytes: 12 << 20, ..options().with_gate() };
    let mut world = World::start(options).await;
    assert_eq!(world.unfinished_uploads(), 0, "the first snapshot went up in pieces, and is complete");

    let held = world.gate().hold(Requests::of(Operation::UploadPart).key_with("/parts/a."), Point::BeforeTheWork, 2);
    let id = world.take_snapshot().await;
    held.arrived(1).await;
    // What the others have under way when the snapshot is aborted is a matter of their own: here they are done.
    world
        .snapshot_where(id, "has the parts of the others", |snapshot| {
            ["b", "c"].iter().all(|member| place(snapshot, member).phase == MemberPhase::Reported)
        })
        .await;
    assert!(world.unfinished_uploads() > 0);
    world.member_mut("a").kill();
    let aborted = world.ended(id).await;
    assert_eq!(aborted.abort.map(|abort| abort.reason), Some(AbortReason::MemberLost));
    held.throw_away();
    eventually("the store has forgotten the upload", async || match world.unfinished_uploads() {
        0 => Ok(()),
        left => Err(format!("{left} files are left of it")),
    })
    .await;
    world.member_mut("a").start_again();
    world.running(2).await;
    world.take_committed().await;
    world.all_conserved().await;
}

#[tokio::test]
async fn a_member_that_stood_still_past_its_lease_goes_on_when_nobody_has_taken_its_place() {
    let mut world = World::start(WorldOptions { lease: "2s".to_owned(), ..options() }).await;
    let generation = world.cluster().await.generation;

    world.member("c").process().freeze().await;
    let id = world.take_snapshot().await;
    let aborted = world.ended(id).await;
    let abort = aborted.abort.as_ref().unwrap_or_else(|| panic!("{aborted:?}"));
    assert_eq!((abort.reason, abort.member.clone()), (AbortReason::MemberLost, Some(name("c"))), "{}", abort.detail);
    world.member("c").process().thaw().await;

    // It still has all its state: there is nothing to roll back.
    assert_eq!(world.running(1).await.generation, generation);
    world.members_run_in(generation.get()).await;
    world.take_committed().await;
    assert_eq!(world.cluster().await.generation, generation);
    world.all_conserved().await;
    world.no_member_has_ended();
}

#[tokio::test]
async fn a_member_that_was_replaced_while_it_stood_still_is_fenced_and_ends() {
    let mut world = World::start(options()).await;

    world.member("c").process().freeze().await;
    let mut zombie = world.member_mut("c").replace();
    let cluster = world.running(2).await;
    world.members_run_in(cluster.generation.get()).await;
    let before = world.take_committed().await;
    zombie.thaw().await;

    let status = zombie.end().await;
    assert!(!status.success(), "it has ended as if all was well");
    let after = world.take_committed().await;
    assert_eq!(world.cluster().await.generation, cluster.generation, "the zombie has changed nothing");
    assert!(world.conserved(after.id).await.transfers >= world.conserved(before.id).await.transfers);
    world.all_conserved().await;
    world.no_member_has_ended();
}
