//! What must hold whatever a rule decides: a broken rule is a fault, and has changed nothing.

use std::time::Duration;

use jiff::SignedDuration;
use stillframe_api::{
    channel_state::{Alignment, ChannelState},
    restore::RestoreState,
    snapshot::{SnapshotState, Trigger},
};
use stillframe_coordinator::{
    decide::{
        Facts,
        facts::CollectionState,
        restore::{self, Ask, Target},
        retention::{self, NewHold},
    },
    store::Scope,
};
use stillframe_protocol::{Epoch, HoldId, Incarnation, RestoreId, SnapshotId};
use uuid::Uuid;

use super::{
    steps::{about, about_kept, broken, fault, member, rule},
    subject::Subject,
};

async fn is_refused(s: &Subject, scope: Scope, change: impl Fn(&mut Facts) + Send + Sync + 'static) {
    let before = s.everything().await;
    let reason = fault(s.try_transact(scope, broken(change)).await);
    assert!(!reason.is_empty());
    assert_eq!(s.everything().await, before);
}

pub(super) async fn a_counter_never_goes_back(s: &Subject) {
    s.running(1).await;
    is_refused(s, Scope::default(), |facts| facts.cluster.epoch = Epoch(0)).await;
    is_refused(s, Scope::default(), |facts| facts.cluster.revision -= 1).await;
    is_refused(s, Scope::default(), |facts| facts.cluster.last_member_id = 0).await;
    is_refused(s, Scope::default(), |facts| facts.cluster.version -= 2).await;
}

pub(super) async fn all_members_of_a_generation_go_by_the_same(s: &Subject) {
    s.running(1).await;
    is_refused(s, Scope::default(), |facts| facts.cluster.channels_in_force.alignment = Alignment::Aligned).await;
    is_refused(s, Scope::default(), |facts| {
        let channels = &mut facts.cluster.channels;
        (channels.alignment, channels.channel_state) = (Alignment::Aligned, ChannelState::SenderLogged);
    })
    .await;
    is_refused(s, Scope::default(), |facts| facts.cluster.channels.aligned_timeout_ms = Some(0)).await;
}

pub(super) async fn an_incarnation_is_never_used_again(s: &Subject) {
    s.running(1).await;
    s.register("p1").await;
    let of_p1 = |facts: &mut Facts, incarnation| {
        let p1 = facts.members.get_mut(&member("p1")).expect("it is there");
        (p1.incarnation, p1.instance) = (Incarnation(incarnation), Uuid::now_v7());
    };
    is_refused(s, Scope::default(), move |facts| of_p1(facts, 1)).await;
    is_refused(s, Scope::default(), move |facts| of_p1(facts, 2)).await;
}

pub(super) async fn a_member_has_a_number_of_its_own(s: &Subject) {
    s.running(1).await;
    is_refused(s, Scope::default(), |facts| {
        let mut twin = facts.members[&member("p1")].clone();
        twin.name = member("p2");
        facts.members.insert(twin.name.clone(), twin);
    })
    .await;
}

pub(super) async fn committed_and_aborted_exclude_each_other(s: &Subject) {
    let committed = s.running(1).await;
    s.commit(committed).await;
    let aborted = s.take().await;
    s.abort(aborted).await;
    let abort = s.snapshot(aborted).await.abort;
    is_refused(s, about(committed), move |facts| {
        let index = facts.snapshots.iter().position(|snapshot| snapshot.id == committed).expect("in sight");
        (facts.snapshots[index].state, facts.snapshots[index].abort) = (SnapshotState::Aborted, abort.clone());
    })
    .await;
    is_refused(s, about(aborted), move |facts| {
        let index = facts.snapshots.iter().position(|snapshot| snapshot.id == aborted).expect("in sight");
        (facts.snapshots[index].state, facts.snapshots[index].abort) = (SnapshotState::Committed, None);
    })
    .await;
}

pub(super) async fn a_snapshot_that_is_recorded_keeps_its_numbers(s: &Subject) {
    s.running(1).await;
    is_refused(s, Scope::default(), |facts| facts.snapshots[0].epoch = Some(Epoch(77))).await;
    is_refused(s, Scope::default(), |facts| facts.snapshots[0].generation = facts.snapshots[0].generation.next()).await;
    is_refused(s, Scope::default(), |facts| facts.snapshots[0].recording_at = Some(jiff::Timestamp::UNIX_EPOCH)).await;
}

pub(super) async fn an_epoch_and_an_id_are_used_once(s: &Subject) {
    let first = s.running(1).await;
    let twin = s.snapshot(first).await;
    let (again, same) = (twin.clone(), twin);
    is_refused(s, Scope::default(), move |facts| {
        let mut again = again.clone();
        again.id = SnapshotId(Uuid::now_v7());
        facts.snapshots.push(again);
    })
    .await;
    s.commit(first).await;
    // Not in sight any more, so it is taken for a new one.
    is_refused(s, Scope::default(), move |facts| facts.snapshots.push(same.clone())).await;
}

async fn restoring(s: &Subject) -> RestoreId {
    let id = s.running(1).await;
    s.commit(id).await;
    let ask = Ask {
        target: Target::Snapshot(id),
        trigger: Trigger::Request,
        timeout_ms: None,
        fallback: 0,
        retries: 0,
        mapping: Default::default(),
    };
    let done = s.transact(about(id), rule(move |facts, occasion| restore::start(facts, occasion, ask.clone()))).await;
    done.facts.restore.expect("a restore").id
}

pub(super) async fn two_restores_are_never_under_way_at_once(s: &Subject) {
    restoring(s).await;
    is_refused(s, Scope::default(), |facts| {
        let restore = facts.restore.as_mut().expect("under way");
        restore.id = RestoreId(Uuid::now_v7());
        restore.generation = restore.generation.next();
    })
    .await;
}

pub(super) async fn a_restore_never_uses_a_generation_again(s: &Subject) {
    restoring(s).await;
    is_refused(s, Scope::default(), |facts| {
        let restore = facts.restore.as_mut().expect("under way");
        restore.generation = stillframe_protocol::Generation(restore.generation.0 - 1);
    })
    .await;
}

pub(super) async fn a_restore_that_has_ended_stays_ended(s: &Subject) {
    let id = restoring(s).await;
    let known = s.facts().await.restore.expect("under way");
    s.decide(rule(move |facts, occasion| restore::cancel(facts, occasion, id, &known, None))).await;
    let ended = s.store().restore(id).await.expect("a restore").expect("it is known").facts;
    assert!(ended.state == RestoreState::Failed && ended.ended_at.is_some());
    is_refused(s, Scope::default(), move |facts| {
        let mut again = ended.clone();
        (again.state, again.ended_at) = (RestoreState::Preparing, None);
        facts.restore = Some(again);
    })
    .await;
}

fn deleting(id: SnapshotId) -> impl Fn(&mut Facts) + Send + Sync + 'static {
    move |facts| {
        let index = facts.snapshots.iter().position(|snapshot| snapshot.id == id).expect("in sight");
        facts.snapshots[index].state = SnapshotState::Deleting;
    }
}

pub(super) async fn what_is_needed_is_never_deleted(s: &Subject) {
    let first = s.running(1).await;
    s.commit(first).await;
    is_refused(s, about(first), deleting(first)).await;
    let latest = s.committed().await;
    let hold = NewHold {
        id: HoldId(Uuid::now_v7()),
        owner: "o".to_owned(),
        reason: "r".to_owned(),
        expires_in: Some(SignedDuration::from_secs(60)),
    };
    s.transact(about_kept(first), rule(move |facts, o| retention::hold(facts, o, first, hold.clone()))).await;
    is_refused(s, about(first), deleting(first)).await;
    s.pass(Duration::from_secs(61)).await;
    let suspended = CollectionState::Suspended { reason: "a test".to_owned() };
    s.store().set_collection(&suspended, "request", None).await.expect("suspended");
    is_refused(s, about(first), deleting(first)).await;
    s.store().set_collection(&CollectionState::Confirmed, "request", None).await.expect("confirmed");
    is_refused(s, about(latest), deleting(latest)).await;
    s.transact(about(first), broken(deleting(first))).await;
    assert_eq!(s.snapshot(first).await.state, SnapshotState::Deleting);
}

pub(super) async fn a_decision_that_breaks_one_guard_changes_nothing_else_either(s: &Subject) {
    s.running(1).await;
    is_refused(s, Scope::default(), |facts| {
        let mut other = facts.members[&member("p1")].clone();
        (other.name, other.member_id) = (member("p2"), stillframe_protocol::MemberId(2));
        facts.members.insert(other.name.clone(), other);
        facts.cluster.last_member_id = 2;
        facts.snapshots[0].epoch = Some(Epoch(77));
    })
    .await;
    assert_eq!(s.store().members(&super::steps::bank(), None, 10).await.expect("a list").len(), 1);
}
