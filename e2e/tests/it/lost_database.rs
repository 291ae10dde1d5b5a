//! The database is dropped; the operator has the archive, and `docs/resync.md`.

use std::collections::BTreeSet;

use stillframe_api::{
    audit::VerifyAudit,
    cluster::ClusterPhase,
    gc::Collection,
    restore::{Restore, RestoreState},
    resync::ResyncReport,
    snapshot::SnapshotState,
};
use stillframe_e2e::{World, WorldOptions, wait::eventually};
use stillframe_protocol::SnapshotId;

use crate::options;

async fn committed(world: &World) -> BTreeSet<SnapshotId> {
    let is = |snapshot: &stillframe_api::snapshot::Snapshot| snapshot.state == SnapshotState::Committed;
    world.snapshots().await.into_iter().filter(is).map(|snapshot| snapshot.id).collect()
}

/// Nothing is deleted, whoever asks.
async fn nothing_goes(world: &World, old: SnapshotId) {
    let refused = world.typed(&["snapshot", "delete", &old.to_string(), "--json"]).exits(6);
    assert!(refused.stderr.contains("collection_suspended"), "{refused:?}");
    world.typed(&["retention", "set", "bank", "--keep-last", "1"]).exits(0);
    assert!(world.typed(&["gc", "show", "--json"]).exits(0).json::<Collection>().suspended);
    world.typed(&["gc", "run", "bank"]).exits(0);
    world.conserved(old).await;
    assert_eq!(world.client().snapshot(old).await.expect("it is shown").state, SnapshotState::Committed);
}

#[tokio::test]
async fn a_dropped_database_is_rebuilt_by_an_operator_from_the_bucket_and_the_cluster_goes_on_from_its_latest_snapshot() {
    let mut world = World::start(WorldOptions { replicas: 2, ..options().with_large_states() }).await;
    let old = world.take_committed().await;
    let latest = world.take_committed().await;
    let at_the_cut = world.conserved(latest.id).await.transfers;
    let before = committed(&world).await;

    world.lose_the_database().await;
    // The processes of before have run past what the archive has: none of them goes on with that.
    for member in world.members_mut() {
        assert!(!member.end().await.success(), "it has ended as if all was well");
    }
    let clusters: serde_json::Value = world.typed(&["cluster", "list", "--json"]).exits(0).json();
    assert_eq!(clusters["items"], serde_json::json!([]), "the database is empty");

    let dry: ResyncReport = world.typed(&["archive", "resync", "--dry-run", "--json"]).exits(0).json();
    assert_eq!(dry.taken_up.iter().map(|taken| taken.snapshot).collect::<BTreeSet<_>>(), before, "{dry:?}");
    let said = world.typed(&["archive", "resync"]).exits(0);
    assert!(said.stdout.contains("cluster bank with the members a, b, c"), "{said:?}");
    assert_eq!(committed(&world).await, before);
    let cluster = world.cluster().await;
    assert_eq!((cluster.phase, cluster.latest_committed), (ClusterPhase::Halted, Some(latest.id)), "{cluster:?}");

    for member in world.members_mut() {
        member.start_again();
    }
    let restore: Restore = world.typed(&["restore", "start", "bank", "--latest", "--json", "--wait"]).exits(0).json();
    assert_eq!((restore.state, restore.snapshot), (RestoreState::Completed, latest.id), "{restore:?}");
    let generation = world.running(latest.generation.get() + 1).await.generation.get();
    world.members_run_in(generation).await;
    for member in world.members() {
        let first = member.history().into_iter().find(|status| status.generation == generation).expect("it runs");
        member.says("goes on", |status| status.received > first.received && status.sent > first.sent).await;
    }

    // Conserved, in what was taken up and in what is taken from now on; and no number is used twice.
    let next = world.take_committed().await;
    assert!(world.conserved(next.id).await.transfers > at_the_cut);
    assert!(next.epoch > latest.epoch && next.generation > latest.generation, "{next:?}");
    let used = latest.members.iter().map(|member| member.incarnation).max().expect("it has members");
    assert!(next.members.iter().all(|member| member.incarnation > used), "{next:?}");
    world.all_conserved().await;

    nothing_goes(&world, old.id).await;
    world.typed(&["gc", "confirm"]).exits(0);
    world.typed(&["gc", "run", "bank"]).exits(0);
    eventually("retention lets the older ones go", async || {
        let left = world.bucket.keys(&old.id.to_string()).await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    world.conserved(next.id).await;
    let audit = world.client().verify_audit(&VerifyAudit::default()).await.expect("a verification");
    assert!(audit.intact, "{audit:?}");
    world.no_member_has_ended();
}
