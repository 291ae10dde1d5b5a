//! Retention, holds, and deleting snapshots.

use std::time::Duration;

use stillframe_api::{
    ProblemCode,
    restore::{RestoreState, StartRestore},
    retention::{CreateHold, Retention},
    snapshot::{Snapshot, SnapshotState},
};
use stillframe_protocol::{HoldId, SnapshotId};
use uuid::Uuid;

use crate::{
    agent::{OnPrepare, OnSnapshot},
    harness::{PATIENCE, World, refused},
};

fn hold() -> CreateHold {
    CreateHold { owner: "audit".to_owned(), reason: "Q3".to_owned(), expires_in: None }
}

async fn state(world: &World, id: SnapshotId) -> SnapshotState {
    world.client.snapshot(id).await.expect("the snapshot").state
}

async fn deleted(world: &World, id: SnapshotId) {
    world.until("it deleted", async || (state(world, id).await == SnapshotState::Deleted).then_some(())).await;
    let folder = world.directory.path().join(format!("archive/clusters/bank/snapshots/{id}"));
    assert!(!folder.exists(), "{} is still there", folder.display());
}

fn manifest(world: &World, snapshot: &Snapshot) -> bool {
    world.directory.path().join(format!("archive/clusters/bank/snapshots/{}/manifest.json", snapshot.id)).exists()
}

#[tokio::test]
async fn retention_lets_go_what_no_rule_keeps_and_a_hold_keeps_what_it_holds() {
    let world = World::start_with(|config| config.collection.interval = Duration::from_millis(50)).await;
    let _agents = world.running(2).await;
    let first = world.cluster().await.latest_committed.expect("a first one");
    let (held, third, fourth) = (world.committed().await, world.committed().await, world.committed().await);
    let made = world.client.hold_snapshot(held.id, &hold()).await.expect("held");
    assert_eq!(world.client.list_holds(held.id).await.expect("holds").items, std::slice::from_ref(&made));
    assert_eq!(world.client.retention(&world.cluster).await.expect("one").retention, None);
    let retention = Retention { keep_last: Some(2), ..Retention::empty() };
    let set = world.client.put_retention(&world.cluster, &retention).await.expect("set");
    assert_eq!(set, world.client.retention(&world.cluster).await.expect("one"));
    deleted(&world, first).await;
    for kept in [&held, &third, &fourth] {
        assert_eq!(state(&world, kept.id).await, SnapshotState::Committed);
        assert!(manifest(&world, kept));
    }
    world.client.release_hold(held.id, made.id).await.expect("removed");
    deleted(&world, held.id).await;
    assert_eq!(state(&world, third.id).await, SnapshotState::Committed);
    // What was decided is in the audit, in the order in which it was done; and each is swept once more later.
    let lines = "SELECT count(*) FROM audit d JOIN audit g ON g.subject = d.subject AND g.id > d.id
                  WHERE d.action = 'snapshot.deleting' AND g.action = 'snapshot.deleted' AND d.detail ->> 'because' = 'retention'";
    assert_eq!(world.count(lines).await, 2);
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action IN ('snapshot.held', 'snapshot.released')").await, 2);
    assert_eq!(
        world.count("SELECT count(*) FROM snapshots WHERE state = 'deleted' AND sweeps = 1 AND sweep_at IS NOT NULL").await,
        2
    );
    world.client.delete_retention(&world.cluster).await.expect("deleted");
    assert_eq!(world.client.retention(&world.cluster).await.expect("none").retention, None);
    let nothing = refused(world.client.put_retention(&world.cluster, &Retention::empty()).await);
    assert!(nothing.code == ProblemCode::InvalidRequest && nothing.detail.contains("keep_last"), "{nothing}");
}

#[tokio::test]
async fn a_hold_too_many_has_a_problem_of_its_own_and_not_all_of_them_are_named() {
    let world = World::start().await;
    let _agents = world.running(1).await;
    let (older, _) = (world.committed().await, world.committed().await);
    for _ in 0..100 {
        world.client.hold_snapshot(older.id, &hold()).await.expect("held");
    }
    let full = refused(world.client.hold_snapshot(older.id, &hold()).await);
    assert!(full.code == ProblemCode::TooManyHolds && full.status == 409 && full.detail.contains("100"), "{full}");
    let needed = refused(world.client.delete_snapshot(older.id).await);
    assert_eq!(needed.detail.matches("held by").count(), 3, "{needed}");
    assert!(needed.detail.ends_with("and for 97 more reasons"), "{needed}");
}

#[tokio::test]
async fn what_is_held_latest_open_or_unknown_is_not_deleted_by_hand() {
    let world = World::start().await;
    let agents = world.running(1).await;
    let (older, latest) = (world.committed().await, world.committed().await);
    let needed = refused(world.client.delete_snapshot(latest.id).await);
    assert!(needed.code == ProblemCode::SnapshotNeeded && needed.detail.contains("latest committed"), "{needed}");
    let made = world.client.hold_snapshot(older.id, &hold()).await.expect("held");
    let needed = refused(world.client.delete_snapshot(older.id).await);
    assert!(needed.detail.contains("held by audit (Q3)") && needed.hint.is_some(), "{needed}");
    assert_eq!(refused(world.client.release_hold(older.id, HoldId(Uuid::nil())).await).code, ProblemCode::UnknownHold);
    world.client.release_hold(older.id, made.id).await.expect("removed");
    // A hold that has expired holds nothing.
    let short = CreateHold { expires_in: Some("1ms".parse().expect("a duration")), ..hold() };
    world.client.hold_snapshot(older.id, &short).await.expect("held");
    world
        .until("it deleted", async || {
            let answer = world.client.delete_snapshot(older.id).await.ok()?;
            matches!(answer.state, SnapshotState::Deleting | SnapshotState::Deleted).then_some(())
        })
        .await;
    deleted(&world, older.id).await;
    let again = world.client.delete_snapshot(older.id).await.expect("the same");
    assert_eq!(again.state, SnapshotState::Deleted);
    assert_eq!(refused(world.client.hold_snapshot(older.id, &hold()).await).code, ProblemCode::SnapshotEnded);
    let restore = world.client.start_restore(&world.cluster, &StartRestore::to(older.id)).await;
    assert_eq!(refused(restore).code, ProblemCode::SnapshotNotCommitted);
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let open = world.take().await;
    assert_eq!(refused(world.client.delete_snapshot(open.id).await).code, ProblemCode::SnapshotUnderWay);
    world.client.abort_snapshot(open.id, &Default::default()).await.expect("aborted");
    world.client.delete_snapshot(open.id).await.expect("an aborted one may go");
    deleted(&world, open.id).await;
    let unknown = SnapshotId(Uuid::nil());
    assert_eq!(refused(world.client.delete_snapshot(unknown).await).code, ProblemCode::UnknownSnapshot);
}

#[tokio::test]
async fn a_restore_and_a_deletion_of_one_snapshot_exclude_each_other() {
    let world = World::start().await;
    let agents = world.running(1).await;
    for _ in 0..8 {
        let snapshot = world.committed().await;
        let _newer = world.committed().await;
        agents[0].behave(|b| b.on_prepare = OnPrepare::Prepared);
        let start = StartRestore::to(snapshot.id);
        let (restore, deletion) =
            tokio::join!(world.client.start_restore(&world.cluster, &start), world.client.delete_snapshot(snapshot.id),);
        match (restore, deletion) {
            (Ok(restore), Err(_)) => {
                let ended = world.client.wait_restore(restore.id, PATIENCE).await.expect("the restore");
                assert_eq!(ended.state, RestoreState::Completed, "{ended:?}");
                assert_eq!(state(&world, snapshot.id).await, SnapshotState::Committed);
                assert!(manifest(&world, &snapshot));
            }
            (Err(_), Ok(_)) => deleted(&world, snapshot.id).await,
            (restore, deletion) => panic!("both or neither: {restore:?}, {deletion:?}"),
        }
    }
}

#[tokio::test]
async fn while_collection_is_suspended_nothing_is_deleted() {
    let world = World::start_with(|config| config.collection.interval = Duration::from_millis(50)).await;
    let agents = world.running(1).await;
    let (older, _latest) = (world.committed().await, world.committed().await);
    let suspend = "WITH s AS (UPDATE collection SET state = 'suspended', reason = 'a test' RETURNING 1) SELECT count(*) FROM s";
    assert_eq!(world.count(suspend).await, 1);
    let suspended = refused(world.client.delete_snapshot(older.id).await);
    assert!(suspended.code == ProblemCode::CollectionSuspended && suspended.detail.contains("a test"), "{suspended}");
    let retention = Retention { keep_last: Some(1), ..Retention::empty() };
    world.client.put_retention(&world.cluster, &retention).await.expect("set");
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let open = world.take().await;
    let left = world.directory.path().join(format!("archive/clusters/bank/snapshots/{}/parts/p1.1", open.id));
    std::fs::create_dir_all(&left).expect("a folder");
    std::fs::write(left.join("state"), "left").expect("an object");
    world.client.abort_snapshot(open.id, &Default::default()).await.expect("aborted");
    let claimed =
        "SELECT count(*) FROM collecting WHERE retention_at > (SELECT max(at) FROM audit WHERE action = 'snapshot.aborted')";
    world.until("retention looked at", async || (world.count(claimed).await == 1).then_some(())).await;
    assert_eq!(state(&world, older.id).await, SnapshotState::Committed);
    assert!(left.join("state").exists());
    let confirm = "WITH s AS (UPDATE collection SET state = 'confirmed', reason = NULL RETURNING 1) SELECT count(*) FROM s";
    assert_eq!(world.count(confirm).await, 1);
    deleted(&world, older.id).await;
    world.until("the rest gone", async || (!left.exists()).then_some(())).await;
}

#[tokio::test]
async fn an_aborted_snapshot_with_a_manifest_suspends_collection_for_the_database_has_forgotten_something() {
    let world = World::start().await;
    let agents = world.running(1).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let open = world.take().await;
    let folder = world.directory.path().join(format!("archive/clusters/bank/snapshots/{}", open.id));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("manifest.json"), "{}").expect("an object");
    world.client.abort_snapshot(open.id, &Default::default()).await.expect("aborted");
    let suspended = "SELECT count(*) FROM collection WHERE state = 'suspended' AND reason LIKE '%has lost a commit%'";
    world.until("it suspended", async || (world.count(suspended).await == 1).then_some(())).await;
    assert!(folder.join("manifest.json").exists());
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'collection.suspended'").await, 1);
}
