//! The database server is lost, and its asynchronous standby, which hasn't heard of the last transactions, is promoted.

use std::collections::{BTreeMap, BTreeSet};

use stillframe_api::{
    audit::{ListAudit, VerifyAudit},
    cluster::PageQuery,
    retention::Retention,
    snapshot::{Snapshot, SnapshotState},
};
use stillframe_e2e::{
    World, WorldOptions,
    s3::{Point, Requests},
    wait::eventually,
};
use stillframe_private_postgres::PrivatePostgres;

use crate::options;

/// A world whose database has a standby, and the standby; or nothing, said loudly.
async fn with_standby(what: &str) -> Option<(World, PrivatePostgres)> {
    let options = WorldOptions { replicas: 2, ..options().with_own_postgres().with_large_states() };
    let mut world = World::start(options).await;
    let server = world.database.server();
    if !server.can_have_a_standby() {
        eprintln!(
            "\n!!!! NOT TESTED: {what}: there is no pg_basebackup in {}; install PostgreSQL's own packages !!!!\n",
            server.binaries_dir().display()
        );
        return None;
    }
    let standby = server.standby().await.unwrap_or_else(|error| panic!("no standby: {error}"));
    Some((world, standby))
}

/// The standby hears of everything that was committed by now, and of nothing that is committed from now on.
async fn part_here(world: &mut World, standby: &PrivatePostgres) {
    standby.catch_up_with(world.database.server()).await.unwrap_or_else(|error| panic!("{error}"));
    standby.stop_following().await.unwrap_or_else(|error| panic!("{error}"));
}

async fn audited(world: &World, action: &str) -> usize {
    let query = ListAudit { action: Some(action.to_owned()), ..ListAudit::default() };
    world.client().list_audit(&query).await.map_or(0, |page| page.items.len())
}

async fn reconciled(world: &World) {
    eventually("the database was brought up to what the archive proves", async || {
        let done = audited(world, "cluster.reconciled").await;
        if done > 0 { Ok(()) } else { Err(format!("{:?}", world.client().cluster(world.name()).await)) }
    })
    .await;
}

/// Every committed snapshot of the bucket, by epoch: no epoch is used twice, and no incarnation by two processes.
async fn manifests(world: &World) -> BTreeMap<u64, stillframe_archive::Manifest> {
    let mut found = BTreeMap::new();
    for key in world.bucket.keys("manifest.json").await {
        let id = key.rsplit('/').nth(1).and_then(|id| id.parse().ok()).expect("a manifest lies under its snapshot's id");
        let manifest = world.archive().await.read_manifest(world.name(), stillframe_protocol::SnapshotId(id)).await.expect("it");
        let epoch = manifest.epoch.0;
        assert!(found.insert(epoch, manifest).is_none(), "epoch {epoch} is used twice");
    }
    found
}

/// Everything that the archive had is there still, as it was.
async fn nothing_went(world: &World, before: &[(Snapshot, Vec<String>)]) {
    for (snapshot, keys) in before {
        assert_eq!(&world.bucket.keys(&snapshot.id.to_string()).await, keys);
        let now = world.client().snapshot(snapshot.id).await.unwrap_or_else(|error| panic!("{}: {error}", snapshot.id));
        assert_eq!((now.state, now.epoch, now.generation), (SnapshotState::Committed, snapshot.epoch, snapshot.generation));
        world.conserved(snapshot.id).await;
    }
}

async fn with_keys(world: &World, snapshot: Snapshot) -> (Snapshot, Vec<String>) {
    let keys = world.bucket.keys(&snapshot.id.to_string()).await;
    (snapshot, keys)
}

#[tokio::test]
async fn snapshots_that_the_promoted_standby_has_not_heard_of_are_taken_up_and_nothing_has_to_be_started_again() {
    let Some((mut world, standby)) = with_standby("a promoted standby that misses snapshots").await else { return };
    let generation = world.cluster().await.generation;
    let known = world.take_committed().await;
    // The standby knows that this one is being recorded. Left alone, it would abort it, and have it deleted.
    let held = world.gate().hold(Requests::writes().key_with("/parts/a."), Point::BeforeTheWork, 1);
    let half_known = world.take_snapshot().await;
    held.arrived(1).await;
    part_here(&mut world, &standby).await;
    held.let_through();
    let half_known = world.committed(half_known).await;
    let unknown = world.take_committed().await;
    let before = [with_keys(&world, known).await, with_keys(&world, half_known).await, with_keys(&world, unknown).await];
    let used = manifests(&world).await;

    world.database.fail_over(standby).await;
    reconciled(&world).await;
    nothing_went(&world, &before).await;
    assert_eq!(world.cluster().await.latest_committed, Some(before[2].0.id));
    assert!(audited(&world, "snapshot.taken_up").await >= 2);

    let next = eventually("a snapshot is taken", async || {
        world.client().take_snapshot(world.name(), &Default::default()).await.map_err(|error| error.to_string())
    })
    .await;
    let next = world.committed(next.id).await;
    let highest = used.keys().next_back().copied().expect("there are some");
    assert!(next.epoch.is_some_and(|epoch| epoch.0 > highest + 1_000), "{next:?} after {highest}");
    manifests(&world).await;
    world.unharmed(generation.get()).await;
    let audit = world.client().verify_audit(&VerifyAudit::default()).await.expect("a verification");
    assert!(audit.intact, "{audit:?}");

    // Deletion goes on by itself: it was only held up.
    let retention = Retention { keep_last: Some(1), ..Retention::empty() };
    world.client().put_retention(world.name(), &retention).await.expect("it is set");
    let done = world.client().run_gc(world.name(), &Default::default()).await.expect("it runs");
    assert!(!done.plan.collection.suspended, "{done:?}");
    // By this run, or by the collection that goes on in the background and may have been faster.
    for (snapshot, _) in before {
        eventually("it is deleted", async || {
            let now = world.client().snapshot(snapshot.id).await.map_err(|error| error.to_string())?;
            if now.state == SnapshotState::Deleted { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
        assert_eq!(world.bucket.keys(&snapshot.id.to_string()).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_restore_and_a_registration_that_the_promoted_standby_has_not_heard_of_use_no_number_twice() {
    let Some((mut world, standby)) = with_standby("a promoted standby that misses a restore").await else { return };
    let first = world.take_committed().await;
    part_here(&mut world, &standby).await;
    // A new incarnation of b, and a new generation of all.
    world.member_mut("b").kill();
    world.member_mut("b").start_again();
    let lost = world.running(first.generation.get() + 1).await;
    world.members_run_in(lost.generation.get()).await;
    let latest = world.take_committed().await;
    let used: BTreeSet<_> = latest.members.iter().map(|member| (member.member.clone(), member.incarnation)).collect();
    let before = [with_keys(&world, first).await, with_keys(&world, latest).await];

    world.database.fail_over(standby).await;
    reconciled(&world).await;
    // The process whose registration was lost is fenced; the others are in a generation that the database didn't know, and wait.
    assert!(!world.member_mut("b").end().await.success(), "it has ended as if all was well");
    world.member_mut("b").start_again();
    // Its return has all of them put back by themselves, to what was the latest snapshot before the failover.
    let cluster = world.running(lost.generation.get() + 100).await;
    world.members_run_in(cluster.generation.get()).await;
    let restores = world.client().list_restores(world.name(), &PageQuery::default()).await.expect("a list").items;
    let newest = restores.iter().find(|restore| restore.generation == cluster.generation).expect("a restore began it");
    assert_eq!(newest.snapshot, before[1].0.id, "{newest:?}");
    nothing_went(&world, &before).await;
    let next = world.take_committed().await;
    let again = next.members.iter().find(|member| member.member.as_str() == "b").expect("b is in it");
    assert!(used.iter().all(|(name, incarnation)| *name != again.member || again.incarnation > *incarnation), "{next:?}");
    manifests(&world).await;
    world.all_conserved().await;
    world.no_member_has_ended();
}
