//! Members come and go while transfers flow and snapshots are taken all the time.

use stillframe_api::{
    audit::ListAudit,
    cluster::{LeaveRequest, MemberState},
    schedule::PutSchedule,
    settings::UpdateCluster,
    snapshot::{AbortReason, Snapshot, SnapshotState},
};
use stillframe_e2e::{World, wait::eventually, world::name};

use crate::options;

async fn min_members(world: &World, min_members: u32) {
    let changes = UpdateCluster { min_members: Some(min_members), ..UpdateCluster::default() };
    world.client().update_cluster(world.name(), &changes).await.expect("it is changed");
}

async fn state(world: &World, member: &str) -> Option<MemberState> {
    let members = world.client().list_members(world.name(), &Default::default()).await.expect("the members are listed");
    members.items.into_iter().find(|listed| listed.name == name(member)).map(|listed| listed.state)
}

/// Waits for a committed snapshot of these members that began after everything that there is.
async fn committed_with(world: &World, members: &[&str]) -> Snapshot {
    let after = world.cluster().await.epoch;
    eventually(&format!("a snapshot of {members:?} is committed"), async || {
        let snapshots = world.snapshots().await;
        for line in snapshots.iter().filter(|s| s.state == SnapshotState::Committed && s.epoch > Some(after)) {
            let snapshot = world.client().snapshot(line.id).await.expect("it is shown");
            if snapshot.members.iter().map(|place| place.member.as_str()).eq(members.iter().copied()) {
                return Ok(snapshot);
            }
        }
        Err(format!("{} snapshots", snapshots.len()))
    })
    .await
}

#[tokio::test]
async fn members_leave_join_and_come_back_while_snapshots_go_on_and_no_money_is_lost() {
    let mut world = World::start(options()).await;
    let schedule: PutSchedule = serde_json::from_value(serde_json::json!({ "every": "200ms" })).expect("a schedule");
    let often = "often".parse().expect("a name");
    world.client().put_schedule(world.name(), &often, &schedule).await.expect("it is set");
    committed_with(&world, &["a", "b", "c"]).await;

    min_members(&world, 2).await;
    let asked = world.client().leave(world.name(), &name("c"), &LeaveRequest::default()).await.expect("two stay");
    assert!(asked.asked_to_leave, "{asked:?}");
    let mut gone = world.retire("c");
    let status = gone.end().await;
    assert!(status.success(), "it ends well: {status}");
    assert_eq!(state(&world, "c").await, Some(MemberState::Left));
    committed_with(&world, &["a", "b"]).await;

    // Another one joins while snapshots are being recorded, and the one that left comes back; both without money.
    world.add_empty_member("d");
    committed_with(&world, &["a", "b", "d"]).await;
    world.add_empty_member("c");
    committed_with(&world, &["a", "b", "c", "d"]).await;
    for member in ["c", "d"] {
        world.member(member).says("it has some of the money", |status| status.balance > 0 && status.sent > 0).await;
    }

    let cluster = world.running(1).await;
    assert_eq!((cluster.generation.get(), cluster.live_members), (1, 4), "nothing was rolled back: {cluster:?}");
    world.client().delete_schedule(world.name(), &often).await.expect("it is deleted");
    let audit = async |action: &str| {
        let query = ListAudit { action: Some(action.to_owned()), ..ListAudit::default() };
        world.client().list_audit(&query).await.expect("the audit").items.len()
    };
    assert_eq!((audit("member.left").await, audit("member.lost").await), (1, 0));
    for snapshot in world.snapshots().await {
        if let Some(abort) = &snapshot.abort {
            assert_eq!(abort.reason, AbortReason::MembershipChanged, "{snapshot:?}");
        }
    }
    assert!(world.all_conserved().await >= 5);
    world.no_member_has_ended();
}

#[tokio::test]
async fn a_rollback_to_a_snapshot_of_before_one_left_waits_for_it_and_one_of_after_goes_on_without_it() {
    let mut world = World::start(options()).await;
    let with_it = world.take_committed().await;
    min_members(&world, 2).await;
    world.client().leave(world.name(), &name("c"), &LeaveRequest::default()).await.expect("two stay");
    assert!(world.retire("c").end().await.success());
    // By then a snapshot without it is committed: it stays until there is one.
    world.member_mut("b").kill();
    world.member_mut("b").start_again();
    let cluster = world.running(2).await;
    world.members_run_in(cluster.generation.get()).await;
    let without = world.take_committed().await;
    assert_eq!(without.members.len(), 2, "{without:?}");
    world.conserved(without.id).await;

    let restore = world.start_restore(with_it.id).await;
    let waits = eventually("the restore waits for it", async || {
        let cluster = world.cluster().await;
        let reason = cluster.phase_reason.clone().unwrap_or_default();
        if reason.ends_with("waits for c") { Ok(reason) } else { Err(format!("{cluster:?}")) }
    })
    .await;
    assert!(waits.contains(&with_it.id.to_string()), "{waits}");
    world.add_empty_member("c");
    let restore = world.restore_ended(restore.id).await;
    assert_eq!(restore.failure, None, "{restore:?}");
    world.members_run_in(restore.generation.get()).await;
    let whole = world.take_committed().await;
    assert_eq!(whole.members.len(), 3);
    world.conserved(whole.id).await;
    world.no_member_has_ended();
}
