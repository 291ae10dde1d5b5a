//! Putting a cluster back.

use stillframe_api::{
    ProblemCode,
    restore::{RestorePhase, RestoreState, StartRestore},
    snapshot::{AbortSnapshot, SnapshotState, Trigger},
};
use stillframe_bank::MemberStatus;
use stillframe_e2e::{
    World,
    s3::{Operation, Point, Requests},
};
use stillframe_protocol::SnapshotId;
use uuid::Uuid;

use crate::options;

#[tokio::test]
async fn a_cluster_is_put_back_to_an_older_snapshot_by_its_id() {
    let mut world = World::start(options()).await;
    let older = world.take_committed().await;
    let then = world.conserved(older.id).await;
    for member in world.members() {
        let sent = member.status().map_or(0, |status| status.sent);
        member.says("goes on", |status| status.sent > sent + 400).await;
    }
    let newer = world.take_committed().await;
    assert!(world.conserved(newer.id).await.transfers >= then.transfers + 1_200);
    let now: Vec<_> = world.members().iter().map(|member| member.status().expect("it has a status")).collect();

    let restore = world.restored(older.id).await;

    assert_eq!((&restore.trigger, restore.snapshot), (&Trigger::Request, older.id));
    assert!(restore.members.iter().all(|member| member.phase == RestorePhase::Running), "{restore:?}");
    assert!(restore.generation > older.generation);
    assert_eq!(world.running(restore.generation.get()).await.generation, restore.generation);
    world.members_run_in(restore.generation.get()).await;
    // They went back, behind what each had sent before.
    for (member, now) in world.members().iter().zip(now) {
        let went_back = |status: &MemberStatus| status.generation == restore.generation.get() && status.sent < now.sent;
        assert!(member.history().iter().any(went_back), "{} hasn't gone back: {now:?}", member.name());
    }

    let after = world.take_committed().await;
    assert!(after.epoch > newer.epoch, "an epoch isn't used again: {after:?}");
    assert!(world.conserved(after.id).await.transfers >= then.transfers);
    // Both ways: the newer snapshot is still there.
    let restore = world.restored(newer.id).await;
    world.members_run_in(restore.generation.get()).await;
    world.take_committed().await;
    world.all_conserved().await;
    world.no_member_has_ended();
}

#[tokio::test]
async fn a_second_restore_while_one_runs_and_a_restore_of_an_aborted_snapshot_are_refused() {
    let world = World::start(options().with_large_states()).await;
    let snapshot = world.take_committed().await.id;
    let refusal = async |snapshot: SnapshotId| {
        let refused = world.client().start_restore(world.name(), &StartRestore::to(snapshot)).await.expect_err("it is refused");
        let problem = refused.problem().unwrap_or_else(|| panic!("{refused}")).clone();
        (problem.status, problem.code)
    };

    // A snapshot that is being recorded can't be restored, and neither can an aborted one.
    let held = world.gate().hold(Requests::writes().key_with("/parts/a."), Point::BeforeTheWork, 1);
    let never = world.take_snapshot().await;
    held.arrived(1).await;
    assert_eq!(refusal(never).await, (409, ProblemCode::SnapshotNotCommitted));
    world.client().abort_snapshot(never, &AbortSnapshot::default()).await.expect("it is aborted");
    held.let_through();
    assert_eq!(world.ended(never).await.state, SnapshotState::Aborted);
    assert_eq!(refusal(never).await, (409, ProblemCode::SnapshotNotCommitted));
    assert_eq!(refusal(SnapshotId(Uuid::now_v7())).await, (404, ProblemCode::UnknownSnapshot));

    // While one restore runs there is no other.
    let held = world.gate().hold(Requests::of(Operation::Get).key_with("/parts/b."), Point::BeforeTheWork, 1);
    let restore = world.start_restore(snapshot).await;
    held.arrived(1).await;
    assert_eq!(refusal(snapshot).await, (409, ProblemCode::RestoreUnderWay));
    held.let_through();
    assert_eq!(world.restore_ended(restore.id).await.state, RestoreState::Completed);
    world.take_committed().await;
    world.all_conserved().await;
}
