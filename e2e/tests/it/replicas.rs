//! Two coordinators on one database: killed, frozen, cut off, under load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use stillframe_api::snapshot::{ListSnapshots, SnapshotState, TakeSnapshot};
use stillframe_e2e::{
    World, WorldOptions,
    proxy::Weather,
    s3::{Operation, Point, Requests},
    wait::eventually,
    world::SOON,
};
use tokio::task::JoinHandle;

use crate::options;

/// Requests of a client that knows all coordinators, one after the other, until it is told to end: reads, and perhaps changes.
struct Asking {
    task: JoinHandle<Vec<String>>,
    stop: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
}

impl Asking {
    fn start(world: &World, changes: bool) -> Self {
        let (client, cluster) = (world.client(), world.name().clone());
        let (stop, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (ends, counts) = (stop.clone(), asked.clone());
        let task = tokio::spawn(async move {
            let mut failed = Vec::new();
            while ends.load(Ordering::Relaxed) == 0 {
                let list = ListSnapshots { limit: Some(5), ..ListSnapshots::default() };
                let mut answers =
                    vec![client.cluster(&cluster).await.map(drop), client.list_snapshots(&cluster, &list).await.map(drop)];
                if changes {
                    answers.push(client.take_snapshot(&cluster, &TakeSnapshot::default()).await.map(drop));
                }
                counts.fetch_add(answers.len() as u64, Ordering::Relaxed);
                // A refusal is an answer too: sixteen may wait, no more.
                failed.extend(answers.into_iter().filter_map(Result::err).filter(|e| e.is_transient()).map(|e| e.to_string()));
            }
            failed
        });
        Self { task, stop, asked }
    }

    /// Waits until so many more requests were answered.
    async fn goes_on(&self, many: u64) {
        let until = self.asked.load(Ordering::Relaxed) + many;
        eventually("requests are answered", async || {
            let asked = self.asked.load(Ordering::Relaxed);
            if asked >= until { Ok(()) } else { Err(format!("{asked} of {until}")) }
        })
        .await;
    }

    /// Ends, and checks that no request has failed.
    async fn end(self) {
        self.stop.store(1, Ordering::Relaxed);
        let failed = self.task.await.expect("the requests end");
        println!("{} requests, {} failed", self.asked.load(Ordering::Relaxed), failed.len());
        assert!(failed.is_empty(), "{failed:?}");
    }
}

#[tokio::test]
async fn a_replica_killed_while_recording_delays_the_snapshot_by_little_and_fails_no_request() {
    let mut world = World::start(options().with_two_replicas().with_large_states()).await;
    let generation = world.cluster().await.generation.get();

    let held = world.gate().hold(Requests::writes().key_with("/parts/a."), Point::BeforeTheWork, 1);
    let id = world.take_snapshot().await;
    held.arrived(1).await;
    let asking = Asking::start(&world, true);
    asking.goes_on(6).await;
    // The one that the snapshot was asked for at, and that some of the members poll.
    world.coordinator.kill();
    let killed = Instant::now();
    held.let_through();
    world.committed(id).await;
    println!("killed while recording: committed {:?} after the kill", killed.elapsed());
    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    asking.goes_on(30).await;
    asking.end().await;

    world.coordinator.start_again().await;
    world.unharmed(generation).await;
}

#[tokio::test]
async fn a_replica_killed_while_committing_is_stood_in_for_by_the_other() {
    // All members report to the first, so that is the one that commits.
    let options = WorldOptions { spread: false, ..options().with_two_replicas().with_gate() };
    let mut world = World::start(options).await;
    let generation = world.cluster().await.generation.get();
    let asking = Asking::start(&world, false);
    let held = world.gate().hold(Requests::of(Operation::Put).key_ending("manifest.json"), Point::BeforeTheWork, 1);
    let id = world.take_snapshot().await;
    held.arrived(1).await;
    world.coordinator.kill();
    let killed = Instant::now();
    world.committed(id).await;
    println!("killed while committing: committed {:?} after the kill", killed.elapsed());
    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    asking.goes_on(30).await;
    asking.end().await;
    // The dead replica's request arrives after all, and changes nothing.
    held.let_through();
    world.coordinator.start_again().await;
    world.unharmed(generation).await;
}

#[tokio::test]
async fn members_of_a_replica_that_is_cut_off_from_the_database_move_to_the_other() {
    let options = WorldOptions { lease: "4s".to_owned(), ..options().with_two_replicas().with_own_postgres() };
    let mut world = World::start(options).await;
    let generation = world.cluster().await.generation.get();
    for weather in [Weather::Held { forth: true, back: true }, Weather::Cut] {
        world.database.line(0).set(weather);
        // Longer than a lease, so that members that stayed would be lost.
        let pause = world.flow(Duration::from_secs(7)).await.longest_pause;
        println!("one replica cut off ({weather:?}): the longest pause of a member was {pause:?}");
        assert!(pause < Duration::from_secs(4), "{pause:?}");
        // It takes all members, so all have moved.
        let there = world.others[0].client();
        let taken = there.take_snapshot(world.name(), &TakeSnapshot::default()).await.expect("a snapshot");
        let ended = there.wait_snapshot(taken.id, Duration::from_secs(60)).await.expect("it");
        assert_eq!(ended.state, SnapshotState::Committed, "{ended:?}");
        world.database.line(0).set(Weather::Fair);
        let here = world.coordinator.client();
        eventually("the replica is back", async || here.ready().await.map_err(|error| error.to_string())).await;
    }
    world.unharmed(generation).await;
}

#[tokio::test]
async fn a_replica_that_was_frozen_does_no_harm_when_it_wakes() {
    let options = WorldOptions { lease: "3s".to_owned(), ..options().with_two_replicas() };
    let mut world = World::start(options).await;
    let generation = world.cluster().await.generation.get();
    world.coordinator.process().freeze().await;
    let pause = world.flow(Duration::from_secs(7)).await.longest_pause;
    println!("one replica frozen: the longest pause of a member was {pause:?}");
    let there = world.others[0].client();
    let taken = there.take_snapshot(world.name(), &TakeSnapshot::default()).await.expect("a snapshot");
    let ended = there.wait_snapshot(taken.id, Duration::from_secs(60)).await.expect("it");
    assert_eq!(ended.state, SnapshotState::Committed, "{ended:?}");
    world.coordinator.process().thaw().await;
    let here = world.coordinator.client();
    eventually("the replica is back", async || here.ready().await.map_err(|error| error.to_string())).await;
    world.flow(Duration::from_secs(2)).await;
    world.unharmed(generation).await;
}
