//! The database and the store away under load: no process has to be started again, and the application doesn't stop.
//!
//! Here for ten seconds, several leases; `cargo outages` has each away for a minute.

use std::time::Duration;

use stillframe_api::{
    HumanDuration,
    audit::VerifyAudit,
    schedule::PutSchedule,
    snapshot::{AbortReason, SnapshotState, TakeSnapshot},
};
use stillframe_e2e::{
    World, WorldOptions,
    proxy::Weather,
    s3::{Failure, Point, Requests},
    wait::eventually,
    world::Flow,
};

use crate::options;

/// In every run of the tests.
const SHORT: Duration = Duration::from_secs(10);

/// With `cargo outages`.
const LONG: Duration = Duration::from_secs(60);

/// No member pauses longer. Two cores may be busy with several clusters.
const PAUSE: Duration = Duration::from_secs(2);

/// How long the members are watched before.
const BEFORE: Duration = Duration::from_secs(2);

/// Members go on as before: none pauses, and together they do what they did, as well as can be told on a busy machine.
fn goes_on(what: &str, before: Flow, meanwhile: Flow) {
    println!(
        "{what}: {:.0} transfers a second before, {:.0} meanwhile; the longest pause of a member {:?}",
        before.per_second, meanwhile.per_second, meanwhile.longest_pause
    );
    assert!(meanwhile.longest_pause < PAUSE, "{what}: {meanwhile:?}");
    assert!(meanwhile.per_second > before.per_second / 3.0, "{what}: {meanwhile:?} after {before:?}");
}

/// Waits until a snapshot can be taken, and is.
async fn a_snapshot_is_taken(world: &World) {
    eventually("a snapshot is taken", async || {
        world.client().take_snapshot(world.name(), &TakeSnapshot::default()).await.map_err(|error| error.to_string())
    })
    .await;
}

async fn the_database_is_away(length: Duration) {
    let options = WorldOptions { lease: "3s".to_owned(), ..options().with_two_replicas().with_own_postgres() };
    let mut world = World::start(options).await;
    let generation = world.cluster().await.generation.get();
    for _ in 0..2 {
        world.database.server().restart_immediate().await.expect("the server is back");
        let flow = world.flow(Duration::from_secs(1)).await;
        println!("the database crashed: the longest pause of a member {:?}", flow.longest_pause);
        a_snapshot_is_taken(&world).await;
    }
    // Away for all, for several leases.
    let before = world.flow(BEFORE).await;
    for line in 0..2 {
        world.database.line(line).set(Weather::Cut);
    }
    let meanwhile = world.flow(length).await;
    goes_on(&format!("the database away for {length:?}"), before, meanwhile);
    for line in 0..2 {
        world.database.line(line).set(Weather::Fair);
    }
    a_snapshot_is_taken(&world).await;
    world.unharmed(generation).await;
}

/// How a store is away.
#[derive(Debug, Clone, Copy)]
enum Away {
    /// It answers that it is busy.
    Busy,
    /// Nobody reaches it.
    Cut,
}

async fn the_store_is_away(how: Away, length: Duration) {
    let mut world = World::start(options().with_two_replicas().with_large_states()).await;
    let generation = world.cluster().await.generation.get();
    // Snapshots are to be taken all the time, also while they can't be stored.
    let often = PutSchedule::every(HumanDuration::from_millis(500));
    world.client().put_schedule(world.name(), &"often".parse().expect("a name"), &often).await.expect("the schedule is set");
    let before = world.flow(BEFORE).await;

    let failing = match how {
        Away::Busy => Some(world.gate().fail(Requests::default(), Point::BeforeTheWork, Failure::SlowDown)),
        Away::Cut => {
            world.store_line().set(Weather::Cut);
            None
        }
    };
    let caught = world.take_snapshot().await;
    let meanwhile = world.flow(length).await;
    goes_on(&format!("the store away for {length:?} ({how:?})"), before, meanwhile);
    drop(failing);
    world.store_line().set(Weather::Fair);

    // Its deadline is a minute, and counts from when it could begin.
    let ended = world.ended(caught).await;
    match (ended.state, ended.abort.as_ref().map(|abort| abort.reason)) {
        (SnapshotState::Committed, _) => {}
        (SnapshotState::Aborted, Some(AbortReason::DeadlineExceeded | AbortReason::StoreUnavailable)) if length >= LONG => {}
        _ => panic!("{ended:?}"),
    }
    world.client().delete_schedule(world.name(), &"often".parse().expect("a name")).await.expect("the schedule is deleted");
    eventually("every snapshot has ended", async || {
        let open: Vec<_> = world.snapshots().await.into_iter().filter(|snapshot| !snapshot.state.has_ended()).collect();
        if open.is_empty() { Ok(()) } else { Err(format!("{open:?}")) }
    })
    .await;
    world.unharmed(generation).await;
    let audit = world.client().verify_audit(&VerifyAudit::default()).await.expect("a verification");
    assert!(audit.intact, "{audit:?}");
}

#[tokio::test]
async fn the_database_may_crash_and_be_away_under_load_and_nothing_has_to_be_started_again() {
    the_database_is_away(SHORT).await;
}

#[tokio::test]
async fn the_store_may_be_busy_under_load_and_nothing_has_to_be_started_again() {
    the_store_is_away(Away::Busy, SHORT).await;
}

#[tokio::test]
async fn the_store_may_be_cut_off_under_load_and_nothing_has_to_be_started_again() {
    the_store_is_away(Away::Cut, SHORT).await;
}

#[tokio::test]
#[ignore = "takes more than a minute: `cargo outages`"]
async fn the_database_may_be_away_for_a_minute() {
    the_database_is_away(LONG).await;
}

#[tokio::test]
#[ignore = "takes more than a minute: `cargo outages`"]
async fn the_store_may_be_busy_for_a_minute() {
    the_store_is_away(Away::Busy, LONG).await;
}

#[tokio::test]
#[ignore = "takes more than a minute: `cargo outages`"]
async fn the_store_may_be_cut_off_for_a_minute() {
    the_store_is_away(Away::Cut, LONG).await;
}
