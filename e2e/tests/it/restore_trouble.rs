//! Restores that somebody or something gets in the way of, and a restore under another name.

use stillframe_api::{
    audit::ListAudit,
    restore::{Restore, RestoreFailure, RestorePhase, RestoreState, StartRestore},
};
use stillframe_e2e::{
    World,
    s3::{Held, Operation, Point, Requests},
    wait::eventually,
    world::name,
};
use stillframe_protocol::SnapshotId;

use crate::options;

/// The next member that reads the part of `member` waits.
fn hold_part(world: &World, member: &str) -> Held {
    let reads = Requests::of(Operation::Get).key_with(format!("/parts/{member}."));
    world.gate().hold(reads, Point::BeforeTheWork, 1)
}

/// The cluster runs in this generation, snapshots are taken, and every committed one adds up.
async fn goes_on_in(world: &World, generation: u64) {
    assert_eq!(world.running(generation).await.generation.get(), generation);
    world.members_run_in(generation).await;
    for member in world.members() {
        let sent = member.status().map_or(0, |status| status.sent);
        member.says("goes on", |status| status.sent > sent).await;
    }
    let next = world.take_committed().await;
    assert_eq!(next.generation.get(), generation);
    world.all_conserved().await;
}

async fn audited(world: &World, action: &str) -> usize {
    let query = ListAudit { action: Some(action.to_owned()), ..ListAudit::default() };
    world.client().list_audit(&query).await.expect("the audit").items.len()
}

#[tokio::test]
async fn a_member_killed_while_it_prepares_costs_the_generation_and_the_restore_completes_when_it_is_back() {
    let mut world = World::start(options().with_large_states()).await;
    let snapshot = world.take_committed().await;

    let held = hold_part(&world, "b");
    let first = world.start_restore(snapshot.id).await;
    held.arrived(1).await;
    eventually("the others are prepared", async || {
        let restore = world.client().restore(first.id).await.map_err(|error| error.to_string())?;
        let prepared = restore.members.iter().filter(|member| member.phase == RestorePhase::Prepared).count();
        if prepared == 2 { Ok(()) } else { Err(format!("{restore:?}")) }
    })
    .await;
    world.member_mut("b").kill();
    // What the dead one asked for is answered, to nobody.
    held.let_through();
    let waiting = eventually("the restore waits for the member", async || {
        let restore = world.client().restore(first.id).await.map_err(|error| error.to_string())?;
        if restore.state == RestoreState::Planned { Ok(restore) } else { Err(format!("{restore:?}")) }
    })
    .await;
    assert!(waiting.generation > first.generation, "{waiting:?}");
    world.member_mut("b").start_again();

    let restore = world.restore_ended(first.id).await;
    assert_eq!((restore.state, restore.snapshot), (RestoreState::Completed, snapshot.id), "{restore:?}");
    goes_on_in(&world, restore.generation.get()).await;
    // Nobody has ever run in the generation that was burned.
    let burned = first.generation.get();
    assert!(world.members().iter().all(|member| member.history().iter().all(|status| status.generation != burned)));
    world.no_member_has_ended();
}

#[tokio::test]
async fn a_restore_cancelled_before_its_commit_point_changes_nothing_but_a_generations_number() {
    let mut world = World::start(options().with_large_states()).await;
    let snapshot = world.take_committed().await;
    let before = world.cluster().await.generation.get();

    let held = hold_part(&world, "b");
    let restore = world.start_restore(snapshot.id).await;
    held.arrived(1).await;
    let cancelled: Restore = world.typed(&["restore", "cancel", &restore.id.to_string(), "--json"]).exits(0).json();
    assert_eq!((cancelled.state, cancelled.failure_reason), (RestoreState::Failed, Some(RestoreFailure::Cancelled)));
    goes_on_in(&world, before).await;
    // The part comes after all, and is of no use to anybody.
    held.let_through();
    goes_on_in(&world, before).await;
    for member in world.members() {
        let history = member.history();
        assert!(history.windows(2).all(|pair| pair[0].sent <= pair[1].sent), "{} has gone back", member.name());
    }

    let later = world.restored(snapshot.id).await;
    assert!(later.generation > restore.generation, "{later:?}");
    goes_on_in(&world, later.generation.get()).await;
    let refused = world.typed(&["restore", "cancel", &later.id.to_string(), "--json"]).exits(6);
    assert!(refused.stderr.contains("restore_ended"), "{refused:?}");
    world.no_member_has_ended();
}

/// Harms the state of a member in a snapshot; gives its key.
async fn corrupted(world: &World, snapshot: SnapshotId, member: &str) -> String {
    let keys = world.bucket.keys(&format!("{snapshot}/parts/{member}.")).await;
    let key = keys.into_iter().find(|key| key.ends_with("/state")).expect("the state is an object of its own");
    world.bucket.corrupt(&key).await;
    key
}

#[tokio::test]
async fn a_restore_that_may_falls_back_from_a_corrupted_snapshot_to_the_one_before_and_the_audit_says_so() {
    let mut world = World::start(options().with_large_states()).await;
    let good = world.take_committed().await;
    let bad = world.take_committed().await;
    let key = corrupted(&world, bad.id, "b").await;

    let words = ["restore", "start", "bank", &bad.id.to_string(), "--fallback", "1", "--json", "--wait"];
    let restore: Restore = world.typed(&words).exits(0).json();
    assert_eq!((restore.state, restore.snapshot), (RestoreState::Completed, good.id), "{restore:?}");
    let [passed_over] = &restore.unreadable[..] else { panic!("{restore:?}") };
    assert_eq!((passed_over.snapshot, &passed_over.member), (bad.id, &name("b")));
    assert!(passed_over.detail.contains(&key), "{passed_over:?}");
    assert_eq!(audited(&world, "restore.fell_back").await, 1);
    let generation = restore.generation.get();
    world.running(generation).await;
    world.members_run_in(generation).await;

    // Known by now, it isn't tried again.
    let words = ["restore", "start", "bank", &bad.id.to_string(), "--fallback", "1", "--json", "--wait"];
    let again: Restore = world.typed(&words).exits(0).json();
    assert_eq!((again.state, again.snapshot), (RestoreState::Completed, good.id), "{again:?}");
    world.running(again.generation.get()).await;
    world.members_run_in(again.generation.get()).await;
    let next = world.take_committed().await;
    for snapshot in [good.id, next.id] {
        world.conserved(snapshot).await;
    }
    world.no_member_has_ended();
}

#[tokio::test]
async fn a_member_of_another_name_takes_up_the_part_of_one_that_leaves_and_no_money_is_lost_on_the_renamed_channels() {
    let mut world = World::start(options().with_large_states()).await;
    // One with transfers under way to and from the member that is to leave, as there nearly always are.
    let snapshot = world.take_committed().await;
    let at_the_cut = world.conserved(snapshot.id).await.transfers;

    let words = ["restore", "start", "bank", &snapshot.id.to_string(), "--map", "c=d", "--json"];
    let started: Restore = world.typed(&words).exits(0).json();
    assert_eq!(started.state, RestoreState::Planned, "{started:?}");
    world.add_member("d");
    let restore = world.restore_ended(started.id).await;
    assert_eq!(restore.state, RestoreState::Completed, "{restore:?}");
    let parts: Vec<_> = restore.members.iter().map(|member| (member.member.as_str(), member.part.as_str())).collect();
    assert_eq!(parts, [("a", "a"), ("b", "b"), ("d", "c")]);
    assert!(!world.take_member_away("c").end().await.success(), "the one that left has ended as if all was well");

    goes_on_in(&world, restore.generation.get()).await;
    let next = world.take_committed().await;
    assert_eq!(next.members.iter().map(|member| member.member.as_str()).collect::<Vec<_>>(), ["a", "b", "d"]);
    assert!(world.conserved(next.id).await.transfers > at_the_cut);
    // The snapshot of before has the old names; it is taken up under the new ones once more.
    let again = StartRestore { mapping: [(name("c"), name("d"))].into(), ..StartRestore::to(snapshot.id) };
    let again = world.client().start_restore(world.name(), &again).await.expect("a restore");
    let again = world.restore_ended(again.id).await;
    assert_eq!(again.state, RestoreState::Completed, "{again:?}");
    goes_on_in(&world, again.generation.get()).await;
    world.no_member_has_ended();
}
