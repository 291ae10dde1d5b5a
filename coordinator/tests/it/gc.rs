//! Garbage collection: the plan, and that exactly it is carried out.

use std::time::Duration;

use stillframe_api::{
    gc::{GcOptions, OrphanReason, Orphans},
    retention::{Keep, Retention},
    snapshot::SnapshotState,
};
use stillframe_protocol::SnapshotId;
use uuid::Uuid;

use crate::harness::{World, refused};

const DELETE: GcOptions = GcOptions { orphans: Some(Orphans::Delete), ignore_breaker: false };

/// Nothing is done by the clock in these tests, and what is there is old enough at once.
async fn world() -> World {
    World::start_with(|config| {
        config.collection.interval = Duration::from_secs(3600);
        config.collection.orphan_grace = Duration::ZERO;
    })
    .await
}

fn put(world: &World, key: &str) -> std::path::PathBuf {
    let path = world.directory.path().join("archive/clusters/bank").join(key);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(&path, "object").expect("written");
    path
}

#[tokio::test]
async fn the_plan_says_what_goes_and_why_and_the_run_does_exactly_that() {
    let world = world().await;
    let _agents = world.running(1).await;
    let first = world.cluster().await.latest_committed.expect("a first one");
    let (second, latest) = (world.committed().await, world.committed().await);
    let retention = Retention { keep_last: Some(2), ..Retention::empty() };
    world.client.put_retention(&world.cluster, &retention).await.expect("set");
    let unknown = SnapshotId(Uuid::from_u128(7));
    let orphan = put(&world, &format!("snapshots/{unknown}/parts/p9.1/state"));
    let stale = put(&world, &format!("snapshots/{}/parts/p1.9/state", latest.id));
    let lost = SnapshotId(Uuid::from_u128(8));
    let forgotten = put(&world, &format!("snapshots/{lost}/manifest.json"));
    let foreign = put(&world, "notes.txt");

    let plan = world.client.plan_gc(&world.cluster, &GcOptions::default()).await.expect("a plan");
    let expiring: Vec<SnapshotId> = plan.expiring().map(|snapshot| snapshot.snapshot).collect();
    // Retention may have been carried out when the world began: then the first is gone already.
    assert!(expiring == [first] || expiring.is_empty(), "{plan:?}");
    let kept = |id| plan.snapshots.iter().find(|s| s.snapshot == id).expect("listed").keep.clone();
    assert_eq!(kept(second.id), [Keep::Last]);
    assert!(kept(latest.id).contains(&Keep::LatestCommitted));
    assert_eq!((plan.orphans.orphans, plan.orphans.go), (4, 0), "{plan:?}");
    assert!(plan.orphans.withheld.as_ref().is_some_and(|why| why.contains("only reported; 2")), "{plan:?}");

    let plan = world.client.plan_gc(&world.cluster, &DELETE).await.expect("a plan");
    let mut found: Vec<(OrphanReason, bool)> = plan.orphans.items.iter().map(|o| (o.because, o.goes)).collect();
    found.sort_by_key(|(because, _)| because.as_str());
    let expected = [
        (OrphanReason::ForeignKey, false),
        (OrphanReason::NotInManifest, true),
        (OrphanReason::UnknownCommitted, false),
        (OrphanReason::UnknownSnapshot, true),
    ];
    assert_eq!(found, expected);
    let report = world.client.run_gc(&world.cluster, &DELETE).await.expect("done");
    assert_eq!(report.plan.orphans.items, plan.orphans.items);
    assert_eq!(report.orphans, 2);
    assert!(!orphan.exists() && !stale.exists() && forgotten.exists() && foreign.exists());
    world
        .until("the first deleted", async || {
            (world.client.snapshot(first).await.expect("it").state == SnapshotState::Deleted).then_some(())
        })
        .await;
    world.archive().await.verify_snapshot(&world.cluster, latest.id).await.expect("untouched");
    world.archive().await.verify_snapshot(&world.cluster, second.id).await.expect("untouched");
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'gc.run' AND detail ->> 'orphans' = '2'").await, 1);
    let nothing = world.client.run_gc(&world.cluster, &DELETE).await.expect("done");
    assert_eq!((nothing.snapshots, nothing.orphans, nothing.uploads), (0, 0, 0));
}

#[tokio::test]
async fn young_orphans_stay_and_so_do_too_many_at_once_unless_somebody_says_so() {
    let mut world = world().await;
    let _agents = world.running(1).await;
    let unknown = SnapshotId(Uuid::from_u128(7));
    let orphans: Vec<_> = (0..30).map(|n| put(&world, &format!("snapshots/{unknown}/parts/p{n}.1/state"))).collect();
    let report = world.client.run_gc(&world.cluster, &DELETE).await.expect("done");
    assert_eq!((report.plan.orphans.orphans, report.orphans), (30, 0));
    assert!(report.plan.orphans.withheld.is_some_and(|why| why.contains("30 of 31 objects")));
    let report = world.client.run_gc(&world.cluster, &GcOptions { ignore_breaker: true, ..DELETE }).await.expect("done");
    assert_eq!(report.orphans, 30);
    assert!(orphans.iter().all(|orphan| !orphan.exists()));
    world.stop_coordinator().await;
    world.config.collection.orphan_grace = Duration::from_secs(3600);
    world.start_coordinator().await;
    let young = put(&world, &format!("snapshots/{unknown}/parts/p1.1/state"));
    let report = world.client.run_gc(&world.cluster, &DELETE).await.expect("done");
    assert_eq!((report.plan.orphans.orphans, report.orphans), (1, 0));
    assert!(young.exists());
}

#[tokio::test]
async fn a_suspended_collection_deletes_nothing_until_it_is_confirmed_and_says_why() {
    let world = world().await;
    let _agents = world.running(1).await;
    let unknown = SnapshotId(Uuid::from_u128(7));
    let orphan = put(&world, &format!("snapshots/{unknown}/parts/p1.1/state"));
    let suspend = "WITH s AS (UPDATE collection SET state = 'suspended', reason = 'a test' RETURNING 1) SELECT count(*) FROM s";
    assert_eq!(world.count(suspend).await, 1);
    let report = world.client.run_gc(&world.cluster, &DELETE).await.expect("done");
    assert!(report.plan.collection.suspended && report.orphans == 0 && orphan.exists(), "{report:?}");
    assert!(report.plan.orphans.withheld.is_some_and(|why| why.contains("a test")));
    assert_eq!(world.client.collection().await.expect("it").reason.as_deref(), Some("a test"));
    assert!(!world.client.confirm_collection().await.expect("confirmed").suspended);
    assert_eq!(world.client.run_gc(&world.cluster, &DELETE).await.expect("done").orphans, 1);
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'collection.confirmed'").await, 1);
    let nobody = "nobody".parse().expect("a name");
    assert!(refused(world.client.plan_gc(&nobody, &DELETE).await).detail.contains("nobody"));
}

#[tokio::test]
async fn the_clock_deletes_orphans_when_it_may_and_several_replicas_do_no_harm() {
    let world = World::start_with(|config| {
        config.collection.interval = Duration::from_millis(50);
        config.collection.orphan_interval = Duration::from_millis(50);
        config.collection.orphan_grace = Duration::ZERO;
        config.collection.orphans = Orphans::Delete;
        config.collection.sweep_again = Duration::from_millis(50);
    })
    .await;
    let _agents = world.running(2).await;
    let mut second = world.config.clone();
    second.listen.set_port(0);
    let second = stillframe_coordinator::start(second).await.expect("a second replica");
    let retention = Retention { keep_last: Some(1), ..Retention::empty() };
    world.client.put_retention(&world.cluster, &retention).await.expect("set");
    let unknown = SnapshotId(Uuid::from_u128(7));
    let orphan = put(&world, &format!("snapshots/{unknown}/parts/p1.1/state"));
    for _ in 0..3 {
        world.committed().await;
    }
    world.until("the orphan gone", async || (!orphan.exists()).then_some(())).await;
    world
        .until("one snapshot left", async || {
            let all = world.snapshots().await;
            let of = |state| all.iter().filter(|s| s.state == state).count();
            (of(SnapshotState::Committed) == 1 && of(SnapshotState::Deleting) == 0).then_some(())
        })
        .await;
    let twice = "SELECT count(*) FROM (SELECT subject FROM audit WHERE action = 'snapshot.deleted' GROUP BY subject HAVING count(*) > 1) t";
    assert_eq!(world.count(twice).await, 0);
    let latest = world.cluster().await.latest_committed.expect("one");
    world.archive().await.verify_snapshot(&world.cluster, latest).await.expect("whole");
    second.stop().await;
}
