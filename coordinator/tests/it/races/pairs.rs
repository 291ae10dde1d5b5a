//! The pairs of operations that conflict.

use std::{sync::Arc, time::Duration};

use stillframe_api::{
    agent::ReportEvent,
    restore::StartRestore,
    retention::CreateHold,
    schedule::PutSchedule,
    snapshot::{SnapshotState, TakeSnapshot},
};
use stillframe_coordinator::{
    decide::{Refusal, member::Evidence},
    service::ServiceError,
};
use stillframe_protocol::{Generation, Incarnation, RestoreId, SnapshotId, name::ScheduleName};
use uuid::Uuid;

use super::{
    explore::{Came, Done, Explored, Pair, explore, operation},
    field::{Begun, Field, MEMBERS, Open, Replica, caller, name},
};
use crate::harness::PATIENCE;

/// A cluster with a snapshot that is being recorded, and one member's part of it.
async fn half_reported(field: &Field) -> (Begun, Open) {
    let begun = field.running(1).await;
    let open = field.take(&begun).await;
    let reported = field.replicas[0].report(&begun.cluster, MEMBERS[0], open, open.generation).await;
    assert!(reported.expect("reported"));
    (begun, open)
}

/// Reports a member's part, and does what follows.
async fn report(replica: Arc<Replica>, (begun, open): (Begun, Open), member: &'static str) -> Done {
    let done = replica.report(&begun.cluster, member, open, open.generation).await.map(drop);
    replica.gate.quiet().await;
    done
}

/// What is wrong with a snapshot that has to have ended as one of these.
async fn must_end(field: &Field, open: Open, patience: Duration, as_one_of: &[SnapshotState]) -> Vec<String> {
    match field.ended(open.id, patience).await {
        Some(state) if as_one_of.contains(&state) => Vec::new(),
        Some(state) => vec![format!("expected the snapshot to end as one of {as_one_of:?}, found {state:?}")],
        None => vec![format!("the snapshot does not end within {patience:?}")],
    }
}

fn unless(holds: bool, what: impl FnOnce() -> String) -> Vec<String> {
    if holds { Vec::new() } else { vec![what()] }
}

const EITHER: [SnapshotState; 2] = [SnapshotState::Committed, SnapshotState::Aborted];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_and_an_abort_exclude_each_other() {
    let field = Field::new().await;
    let abort = async |replica: Arc<Replica>, (_, open): (Begun, Open)| {
        replica.service.abort_snapshot(&caller(), open.id, Default::default()).await.map(drop)
    };
    let pair = Pair { first: operation(|replica, from| report(replica, from, MEMBERS[1])), second: operation(abort) };
    let check = async |(_, open): &(Begun, Open), came: &Came| {
        let state = field.ended(open.id, PATIENCE).await;
        let expected = match &came.second {
            Ok(()) => SnapshotState::Aborted,
            Err(_) => SnapshotState::Committed,
        };
        unless(state == Some(expected), || format!("expected it {expected:?}, found {state:?}; the abort: {:?}", came.second))
    };
    explore(&field, async || half_reported(&field).await, pair, check).await.must_hold();
}

pub(super) async fn two_last_reports(field: &Arc<Field>, patience: Duration) -> Explored {
    let set = async || {
        let begun = field.running(1).await;
        let open = field.take(&begun).await;
        (begun, open)
    };
    let pair = Pair {
        first: operation(|replica, from| report(replica, from, MEMBERS[0])),
        second: operation(|replica, from| report(replica, from, MEMBERS[1])),
    };
    let check = async |(_, open): &(Begun, Open), _: &Came| must_end(field, *open, patience, &EITHER[..1]).await;
    explore(field, set, pair, check).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_last_reports_one_is_followed_by_the_commit() {
    two_last_reports(&Field::new().await, PATIENCE).await.must_hold();
}

/// A report whose answer was lost is made again, at the other replica; then the other member's comes.
pub(super) async fn one_report_twice(field: &Arc<Field>, patience: Duration) -> Explored {
    let set = async || {
        let begun = field.running(1).await;
        let open = field.take(&begun).await;
        (begun, open)
    };
    let pair = Pair {
        first: operation(|replica, from| report(replica, from, MEMBERS[0])),
        second: operation(|replica, from| report(replica, from, MEMBERS[0])),
    };
    let check = async |from: &(Begun, Open), came: &Came| {
        let mut wrong = unless(came.first.is_ok() && came.second.is_ok(), || "a report was refused".to_owned());
        if let Err(error) = report(field.replicas[1].clone(), from.clone(), MEMBERS[1]).await {
            wrong.push(format!("the other member's report: {error}"));
        }
        wrong.extend(must_end(field, from.1, patience, &EITHER[..1]).await);
        wrong
    };
    explore(field, set, pair, check).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_report_that_comes_twice_counts_once() {
    one_report_twice(&Field::new().await, PATIENCE).await.must_hold();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_end_by_a_deadline_and_the_last_report_exclude_each_other() {
    let field = Field::new().await;
    let set = async || {
        let begun = field.running(1).await;
        // Its time is up as soon as anybody looks.
        let request = TakeSnapshot { timeout: Some("1ms".parse().expect("a duration")), ..TakeSnapshot::default() };
        let open = field.replicas[0].take(&begun.cluster, request).await;
        let reported = field.replicas[0].report(&begun.cluster, MEMBERS[0], open, open.generation).await;
        assert!(reported.expect("reported"));
        (begun, open)
    };
    let overdue = async |replica: Arc<Replica>, (begun, _): (Begun, Open)| replica.service.end_overdue(&begun.cluster).await;
    let pair = Pair { first: operation(|replica, from| report(replica, from, MEMBERS[1])), second: operation(overdue) };
    let check = async |(_, open): &(Begun, Open), _: &Came| must_end(&field, *open, PATIENCE, &EITHER).await;
    explore(&field, set, pair, check).await.must_hold();
}

/// A member that hasn't heard of a restore reports a part of the generation before it, to a snapshot of the new one.
pub(super) async fn late_report_of_an_older_generation(field: &Arc<Field>) -> Explored {
    let set = async || {
        let begun = field.running(1).await;
        let open = field.restored(&begun).await;
        (begun, open)
    };
    let late = async |replica: Arc<Replica>, (begun, open): (Begun, Open)| {
        let before = Generation(open.generation.0 - 1);
        replica.report(&begun.cluster, MEMBERS[1], open, before).await.map(drop)
    };
    let pair = Pair { first: operation(|replica, from| report(replica, from, MEMBERS[1])), second: operation(late) };
    let check = async |from: &(Begun, Open), _: &Came| {
        drop(report(field.replicas[0].clone(), from.clone(), MEMBERS[0]).await);
        must_end(field, from.1, PATIENCE, &EITHER[..1]).await
    };
    explore(field, set, pair, check).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_late_report_of_an_older_generation_changes_nothing() {
    late_report_of_an_older_generation(&Field::new().await).await.must_hold();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restore_and_the_last_report_leave_the_snapshot_ended_and_the_cluster_restoring() {
    let field = Field::new().await;
    let restore = async |replica: Arc<Replica>, (begun, _): (Begun, Open)| {
        replica.service.start_restore(&caller(), &begun.cluster, StartRestore::to(begun.committed[0])).await.map(drop)
    };
    let pair = Pair { first: operation(|replica, from| report(replica, from, MEMBERS[1])), second: operation(restore) };
    let check = async |(begun, open): &(Begun, Open), came: &Came| {
        let mut wrong = must_end(&field, *open, PATIENCE, &EITHER).await;
        let under_way = field.restores_under_way(&begun.cluster).await;
        wrong.extend(unless(came.second.is_ok() && under_way.len() == 1, || format!("{:?}, {under_way:?}", came.second)));
        wrong
    };
    explore(&field, async || half_reported(&field).await, pair, check).await.must_hold();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_incarnation_and_the_last_report_of_the_old_one_leave_the_snapshot_of_one_view() {
    let field = Field::new().await;
    let register = async |replica: Arc<Replica>, (begun, _): (Begun, Open)| {
        replica.register(&begun.cluster, MEMBERS[1], Uuid::now_v7()).await.map(drop)
    };
    let pair = Pair { first: operation(|replica, from| report(replica, from, MEMBERS[1])), second: operation(register) };
    let check = async |(_, open): &(Begun, Open), came: &Came| {
        let mut wrong = must_end(&field, *open, PATIENCE, &EITHER).await;
        wrong.extend(unless(came.second.is_ok(), || format!("{:?}", came.second)));
        wrong
    };
    explore(&field, async || half_reported(&field).await, pair, check).await.must_hold();
}

async fn restore(replica: Arc<Replica>, begun: Begun, to: usize) -> Done {
    replica.service.start_restore(&caller(), &begun.cluster, StartRestore::to(begun.committed[to])).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_restores_one_is_begun() {
    let field = Field::new().await;
    let pair = Pair {
        first: operation(|replica, begun| restore(replica, begun, 0)),
        second: operation(|replica, begun| restore(replica, begun, 1)),
    };
    let check = async |begun: &Begun, came: &Came| {
        let under_way: Vec<RestoreId> = field.restores_under_way(&begun.cluster).await;
        unless(came.first.is_ok() != came.second.is_ok() && under_way.len() == 1, || {
            format!("{:?}, {:?}, under way: {under_way:?}", came.first, came.second)
        })
    };
    explore(&field, async || field.running(2).await, pair, check).await.must_hold();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_replicas_one_fires_a_slot() {
    let field = Field::new().await;
    let schedule = ScheduleName::new("hourly").expect("a name");
    let set = async || {
        let begun = field.running(1).await;
        let hourly = PutSchedule::every("1h".parse().expect("a duration"));
        field.replicas[0].service.put_schedule(&caller(), &begun.cluster, &schedule, hourly).await.expect("a schedule");
        let due = "UPDATE schedules SET next_at = clock_timestamp() - interval '10 ms', next_slot_at = NULL WHERE cluster = $1";
        field.change(due, &begun.cluster).await;
        begun
    };
    let fire = {
        let schedule = schedule.clone();
        operation(move |replica: Arc<Replica>, begun: Begun| {
            let schedule = schedule.clone();
            async move { replica.service.fire(&begun.cluster, &schedule).await }
        })
    };
    let pair = Pair { first: fire.clone(), second: fire };
    let check = async |begun: &Begun, came: &Came| {
        let mut connection = field.connection().await;
        let slots = "SELECT count(*) FROM schedule_slots WHERE cluster = $1 AND snapshot IS NOT NULL";
        let slots: i64 =
            sqlx::query_scalar(slots).bind(begun.cluster.as_str()).fetch_one(&mut *connection).await.expect("a count");
        unless(came.first.is_ok() && came.second.is_ok() && slots == 1, || format!("{slots} slots were fired"))
    };
    explore(&field, set, pair, check).await.must_hold();
}

async fn delete(replica: Arc<Replica>, begun: Begun) -> Done {
    replica.service.delete_snapshot(&caller(), begun.committed[0]).await.map(drop)
}

pub(super) async fn deletion_against_restore(field: &Arc<Field>) -> Explored {
    let pair = Pair { first: operation(delete), second: operation(|replica, begun| restore(replica, begun, 0)) };
    let check = async |_: &Begun, came: &Came| {
        unless(came.first.is_ok() != came.second.is_ok(), || format!("both or neither: {:?}, {:?}", came.first, came.second))
    };
    explore(field, async || field.running(2).await, pair, check).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deletion_and_a_restore_of_one_snapshot_exclude_each_other() {
    deletion_against_restore(&Field::new().await).await.must_hold();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deletion_and_a_hold_of_one_snapshot_exclude_each_other() {
    let field = Field::new().await;
    let hold = async |replica: Arc<Replica>, begun: Begun| {
        let request = CreateHold { owner: "audit".to_owned(), reason: "a race".to_owned(), expires_in: None };
        replica.service.hold_snapshot(&caller(), begun.committed[0], request).await.map(drop)
    };
    let pair = Pair { first: operation(delete), second: operation(hold) };
    let check = async |_: &Begun, came: &Came| {
        unless(came.first.is_ok() != came.second.is_ok(), || format!("both or neither: {:?}, {:?}", came.first, came.second))
    };
    explore(&field, async || field.running(2).await, pair, check).await.must_hold();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_that_register_under_one_name_get_two_incarnations_and_the_last_is_in_force() {
    let field = Field::new().await;
    let register =
        async |replica: Arc<Replica>, begun: Begun| replica.register(&begun.cluster, MEMBERS[1], Uuid::now_v7()).await.map(drop);
    let pair = Pair { first: operation(register), second: operation(register) };
    let check = async |begun: &Begun, came: &Came| {
        let facts = field.replicas[0].service.members(&begun.cluster, &Default::default()).await.expect("members").items;
        let incarnation = facts.iter().find(|member| member.name == name(MEMBERS[1])).map(|member| member.incarnation);
        // The first registration was the set-up's.
        unless(came.first.is_ok() && came.second.is_ok() && incarnation == Some(Incarnation(3)), || format!("{incarnation:?}"))
    };
    explore(&field, async || field.running(1).await, pair, check).await.must_hold();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_members_that_come_at_once_are_both_there_and_the_cluster_runs_once() {
    let field = Field::new().await;
    let set = async || Begun { cluster: field.cluster().await, committed: Vec::<SnapshotId>::new() };
    let join = |member: &'static str| {
        operation(move |replica: Arc<Replica>, begun: Begun| async move { replica.join(&begun.cluster, member).await })
    };
    let pair = Pair { first: join(MEMBERS[0]), second: join(MEMBERS[1]) };
    let check = async |begun: &Begun, _: &Came| {
        let cluster = field.replicas[0].service.cluster(&begun.cluster).await.expect("the cluster");
        unless((cluster.live_members, cluster.generation) == (2, Generation(1)), || format!("{cluster:?}"))
    };
    explore(&field, set, pair, check).await.must_hold();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_comes_back_while_it_is_declared_lost_is_back() {
    let field = Field::new().await;
    let set = async || {
        let begun = field.running(1).await;
        let run_out = "UPDATE leases SET expires_at = clock_timestamp() WHERE cluster = $1 AND member = 'p2'";
        field.change(run_out, &begun.cluster).await;
        begun
    };
    let lease = |begun: &Begun| (begun.cluster.clone(), name(MEMBERS[1]), Incarnation(1));
    let lose = operation(move |replica: Arc<Replica>, begun: Begun| async move {
        replica.service.lose(&lease(&begun), Evidence::LeaseExpired).await
    });
    let arrive =
        operation(move |replica: Arc<Replica>, begun: Begun| async move { replica.service.arrive(&lease(&begun)).await });
    let check = async |begun: &Begun, _: &Came| {
        let cluster = field.replicas[0].service.cluster(&begun.cluster).await.expect("the cluster");
        unless(cluster.lost_members == 0, || format!("{cluster:?}"))
    };
    explore(&field, set, Pair { first: lose, second: arrive }, check).await.must_hold();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_word_that_all_are_prepared_and_a_cancellation_exclude_each_other() {
    let field = Field::new().await;
    type From = (Begun, (RestoreId, Generation));
    let set = async || {
        let begun = field.running(1).await;
        let first = &field.replicas[0];
        let restore = first.service.start_restore(&caller(), &begun.cluster, StartRestore::to_latest()).await.expect("a restore");
        let (id, generation) = (restore.id, restore.generation);
        first.say(&begun.cluster, MEMBERS[0], ReportEvent::Prepared { restore: id, generation, bytes: 3 }).await.expect("taken");
        (begun, (id, generation))
    };
    let prepared = async |replica: Arc<Replica>, (begun, (restore, generation)): From| {
        replica.say(&begun.cluster, MEMBERS[1], ReportEvent::Prepared { restore, generation, bytes: 3 }).await.map(drop)
    };
    let cancel = async |replica: Arc<Replica>, (_, (restore, _)): From| {
        replica.service.cancel_restore(&caller(), restore, Default::default()).await.map(drop)
    };
    let check = async |(begun, (restore, generation)): &From, came: &Came| {
        let cluster = field.replicas[0].service.cluster(&begun.cluster).await.expect("the cluster");
        let now = field.replicas[0].service.restore(*restore, None).await.expect("the restore");
        let is_passed = cluster.generation == *generation;
        let refused = matches!(came.second, Err(ServiceError::Refused(Refusal::RestoreEnded { .. })));
        unless(is_passed == refused && is_passed != (came.second.is_ok()), || format!("{:?}, {now:?}", came.second))
    };
    explore(&field, set, Pair { first: operation(prepared), second: operation(cancel) }, check).await.must_hold();
}
