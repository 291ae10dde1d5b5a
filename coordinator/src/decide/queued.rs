//! What is promised of snapshots that wait, and of settings that change meanwhile.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use stillframe_api::{
    cluster::{ClusterPhase, OnLoss},
    snapshot::{SnapshotState, Trigger},
    waiting::WaitsFor,
};
use stillframe_protocol::SnapshotId;

use super::{
    Refusal, queue,
    settings::Changes,
    snapshot::{self, Request},
    world::World,
};

/// A cluster of two that has taken its first snapshot.
fn running() -> World {
    let mut world = World::new(2, OnLoss::RestoreLatest);
    (0..2).for_each(|n| world.register(n));
    world.report_all();
    world.commit(false);
    world
}

fn with_pause(min_pause_ms: u64) -> World {
    let mut world = running();
    world.update(Changes { min_pause_ms: Some(min_pause_ms), ..Changes::default() });
    world
}

fn at(ms: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_millis(ms)).expect("a time")
}

fn ask(world: &mut World) -> SnapshotId {
    world.request().expect("a snapshot");
    world.all.keys().next_back().copied().expect("it")
}

fn ask_with(world: &mut World, timeout_ms: u64) -> SnapshotId {
    let request = Request { trigger: Trigger::Request, labels: BTreeMap::new(), timeout_ms: Some(timeout_ms) };
    world.decide(|facts, occasion| snapshot::request(facts, occasion, request.clone())).expect("a snapshot");
    world.all.keys().next_back().copied().expect("it")
}

fn state(world: &World, id: SnapshotId) -> SnapshotState {
    world.all[&id].state
}

#[test]
fn the_pause_is_between_beginnings_whatever_became_of_the_one_before() {
    let mut world = with_pause(5_000);
    let first = ask(&mut world);
    assert_eq!(queue::waits_for(&world.facts, first), Some(WaitsFor::MinPause { until: at(5_000) }));
    world.advance(4_999);
    world.deadlines();
    assert_eq!(state(&world, first), SnapshotState::Pending);
    world.advance(1);
    world.deadlines();
    assert_eq!(state(&world, first), SnapshotState::Recording);
    world.abort(world.all.keys().position(|id| *id == first).expect("it"));
    let second = ask(&mut world);
    assert_eq!(world.all[&second].begins_at, Some(at(10_000)));
}

#[test]
fn the_wait_for_the_pause_is_not_counted_against_the_timeout() {
    let mut world = with_pause(60_000);
    let (first, second) = (ask(&mut world), ask(&mut world));
    assert_eq!((world.all[&first].deadline_at, world.all[&second].deadline_at), (at(61_000), at(121_000)));
    world.advance(60_000);
    world.deadlines();
    assert_eq!((state(&world, first), state(&world, second)), (SnapshotState::Recording, SnapshotState::Pending));
    world.report_all();
    world.commit(false);
    world.advance(60_000);
    world.deadlines();
    assert_eq!(state(&world, second), SnapshotState::Recording);
}

#[test]
fn whoever_moves_up_begins_earlier_and_has_its_whole_time_from_then_on() {
    let mut world = with_pause(60_000);
    let (first, second) = (ask(&mut world), ask(&mut world));
    world.advance(30_000);
    world.abort(world.all.keys().position(|id| *id == first).expect("it"));
    assert_eq!((world.all[&second].begins_at, world.all[&second].deadline_at), (Some(at(60_000)), at(61_000)));
    assert_eq!(queue::position(&world.facts, second), Some(1));
}

#[test]
fn a_shorter_pause_lets_those_that_wait_begin_at_once() {
    let mut world = with_pause(60_000);
    let (first, second) = (ask(&mut world), ask(&mut world));
    world.advance(20);
    world.update(Changes { min_pause_ms: Some(0), max_concurrent: Some(2), ..Changes::default() });
    assert_eq!((state(&world, first), state(&world, second)), (SnapshotState::Recording, SnapshotState::Recording));
}

#[test]
fn fewer_slots_than_are_under_way_abort_nothing_and_let_nothing_begin() {
    let mut world = running();
    world.update(Changes { max_concurrent: Some(3), ..Changes::default() });
    let taken: Vec<SnapshotId> = (0..3).map(|_| ask(&mut world)).collect();
    assert!(taken.iter().all(|id| state(&world, *id) == SnapshotState::Recording));
    world.update(Changes { max_concurrent: Some(1), ..Changes::default() });
    let next = ask(&mut world);
    assert!(taken.iter().all(|id| state(&world, *id) == SnapshotState::Recording));
    let Some(WaitsFor::Slot { held_by }) = queue::waits_for(&world.facts, next) else { panic!("it waits for a slot") };
    assert_eq!(held_by.iter().map(|holder| holder.snapshot).collect::<Vec<_>>(), taken);
    world.report_all();
    world.commit(false);
    assert_eq!(state(&world, next), SnapshotState::Recording);
}

#[test]
fn the_clusters_timeout_follows_for_those_that_wait_unless_they_have_one_of_their_own() {
    let mut world = running();
    let recording = ask(&mut world);
    let (waits, own) = (ask(&mut world), ask_with(&mut world, 700));
    world.advance(100);
    world.update(Changes { snapshot_timeout_ms: Some(9_000), ..Changes::default() });
    let deadline = |id: SnapshotId| world.all[&id].deadline_at;
    assert_eq!((deadline(recording), deadline(waits), deadline(own)), (at(1_000), at(9_000), at(700)));
}

#[test]
fn a_snapshots_timeout_counts_from_when_recording_began() {
    let mut world = running();
    world.advance(300);
    let (recording, waits) = (ask(&mut world), ask(&mut world));
    world.advance(500);
    world.set_timeout(recording, 5_000).expect("changed");
    world.set_timeout(waits, 2_000).expect("changed");
    assert_eq!((world.all[&recording].deadline_at, world.all[&waits].deadline_at), (at(5_300), at(2_300)));
    let revision = world.facts.cluster.revision;
    world.set_timeout(recording, 6_000).expect("changed");
    assert_eq!(world.facts.cluster.revision, revision + 1, "agents have to know");
    let refused = world.set_timeout(recording, 400).expect_err("400 ms are over");
    assert!(matches!(refused, Refusal::TimeIsUp { .. }), "{refused}");
    world.report_all();
    world.commit(true);
    let refused = world.set_timeout(recording, 60_000).expect_err("only forward");
    assert!(matches!(refused, Refusal::SnapshotUnchangeable { state: SnapshotState::Committing, .. }), "{refused}");
}

#[test]
fn asking_for_the_settings_there_are_changes_nothing() {
    let mut world = running();
    let (version, changes) = (world.facts.cluster.version, Changes { max_concurrent: Some(1), ..Changes::default() });
    world.update(changes);
    assert_eq!(world.facts.cluster.version, version);
}

#[test]
fn a_forming_cluster_runs_and_a_halted_one_goes_back_when_the_settings_say_so() {
    let mut world = World::new(3, OnLoss::Halt);
    (0..2).for_each(|n| world.register(n));
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Forming);
    world.update(Changes { min_members: Some(2), ..Changes::default() });
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Running);
    world.report_all();
    world.commit(false);
    world.lose(0);
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Halted);
    world.update(Changes { on_loss: Some(OnLoss::RestoreLatest), ..Changes::default() });
    world.register(0);
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Restoring);
}

#[test]
fn what_holds_the_slot_is_named_with_what_the_archive_says() {
    let mut world = running();
    let holder = ask(&mut world);
    world.report_all();
    world.commit(true);
    let waits = ask(&mut world);
    world.decide(|facts, occasion| Ok(snapshot::held_up(facts, occasion, holder, "it is away"))).expect("noted");
    let Some(WaitsFor::Archive { held_by }) = queue::waits_for(&world.facts, waits) else { panic!("it waits for the archive") };
    assert_eq!((held_by[0].snapshot, held_by[0].archive_error.as_deref()), (holder, Some("it is away")));
    let version = world.facts.cluster.version;
    world.decide(|facts, occasion| Ok(snapshot::held_up(facts, occasion, holder, "it is away"))).expect("nothing new");
    assert_eq!(world.facts.cluster.version, version);
    world.commit(false);
}

#[test]
fn a_lost_member_is_what_they_wait_for() {
    let mut world = running();
    ask(&mut world);
    let waits = ask(&mut world);
    world.report_all();
    world.lose(1);
    let Some(WaitsFor::Members { lost }) = queue::waits_for(&world.facts, waits) else { panic!("it waits for a member") };
    assert_eq!(lost.len(), 1);
}
