//! What is to be swept, by whom and when; and whether anything may be.

use std::{collections::BTreeSet, time::Duration};

use jiff::SignedDuration;
use stillframe_api::{cluster::CreateCluster, retention::Retention, snapshot::SnapshotState};
use stillframe_archive::ObjectKey;
use stillframe_coordinator::{
    decide::{
        deletion::{self, Swept},
        facts::CollectionState,
        retention::{self, NewHold},
    },
    store::{AuditFilter, Collecting, Scope},
};
use stillframe_protocol::{HoldId, Incarnation, SnapshotId};
use uuid::Uuid;

use super::{
    steps::{about, about_kept, bank, broken, cluster, member, rule, sure},
    subject::Subject,
};

fn suspended(reason: &str) -> CollectionState {
    CollectionState::Suspended { reason: reason.to_owned() }
}

async fn swept(s: &Subject, id: SnapshotId, again_in: i64) {
    let again = SignedDuration::from_secs(again_in);
    s.transact(about(id), sure(move |facts, o| deletion::swept(facts, o, id, Swept::default(), again))).await;
}

pub(super) async fn what_an_aborted_snapshot_left_is_to_be_swept_at_once_and_again(s: &Subject) {
    let id = s.running_with(CreateCluster { archive_prefix: Some("a".to_owned()), ..CreateCluster::new(bank(), 1) }).await;
    assert!(s.store().leftovers(None).await.expect("a list").is_empty());
    s.abort(id).await;
    let [leftover] = <[_; 1]>::try_from(s.store().leftovers(None).await.expect("a list")).expect("one");
    assert_eq!((leftover.snapshot, &leftover.cluster, leftover.state), (id, &bank(), SnapshotState::Aborted));
    assert_eq!((leftover.archive_prefix.as_deref(), leftover.sweep_at), (Some("a"), s.now().await));
    swept(s, id, 60).await;
    assert!(s.store().leftovers(None).await.expect("a list").is_empty(), "not yet again");
    assert_eq!(s.store().leftovers(Some(&bank())).await.expect("a list").len(), 1, "but it is in sight");
    assert!(s.store().leftovers(Some(&cluster("other"))).await.expect("a list").is_empty());
    s.pass(Duration::from_secs(60)).await;
    assert_eq!(s.store().leftovers(None).await.expect("a list").len(), 1);
    swept(s, id, 60).await;
    assert!(s.store().leftovers(Some(&bank())).await.expect("a list").is_empty(), "twice is enough");
}

pub(super) async fn leftovers_are_told_the_earliest_first_and_a_hundred_at_most(s: &Subject) {
    let first = s.running(1).await;
    s.abort(first).await;
    let aborted = s.snapshot(first).await;
    let now = s.now().await;
    let copies = move |facts: &mut stillframe_coordinator::decide::Facts| {
        for n in 0..120_i64 {
            let mut copy = aborted.clone();
            (copy.id, copy.epoch, copy.recording_at) = (SnapshotId(Uuid::now_v7()), None, None);
            copy.sweep_at = Some(now - SignedDuration::from_secs(n % 60));
            facts.snapshots.push(copy);
        }
    };
    s.decide(broken(copies)).await;
    let due = s.store().leftovers(None).await.expect("a list");
    assert_eq!(due.len(), 100);
    assert!(due.is_sorted_by_key(|leftover| (leftover.sweep_at, leftover.snapshot)));
    let all = s.store().leftovers(Some(&bank())).await.expect("a list");
    assert_eq!(all.len(), 121);
    assert_eq!(all[..100], due);
}

pub(super) async fn of_several_clusters_each_has_its_turn_at_being_swept(s: &Subject) {
    s.running(1).await;
    let first = s.recording().await;
    s.abort(first).await;
    s.pass(Duration::from_secs(1)).await;
    let second = s.take().await;
    s.abort(second).await;
    s.pass(Duration::from_secs(1)).await;
    let other = cluster("other");
    s.store().create_cluster(&CreateCluster::new(other.clone(), 1), None).await.expect("made");
    let registration = super::steps::registration("p1", Uuid::now_v7());
    let register = rule(move |facts, o| stillframe_coordinator::decide::member::register(facts, o, &registration));
    s.store().transact(&other, Scope::default(), register).await.expect("carried out");
    let done = s.store().transact(&other, Scope::default(), super::steps::arriving("p1")).await.expect("carried out");
    let third = done.facts.snapshots[0].id;
    let aborts = rule(move |facts, o| stillframe_coordinator::decide::snapshot::abort(facts, o, third, None));
    s.store().transact(&other, about(third), aborts).await.expect("carried out");
    let leftovers = s.store().leftovers(None).await.expect("a list");
    let order: Vec<_> = leftovers.into_iter().map(|leftover| leftover.snapshot).collect();
    assert_eq!(order, [first, third, second], "the first of each before the second of any");
}

pub(super) async fn a_snapshot_that_is_deleted_passes_through_deleting(s: &Subject) {
    let first = s.running(1).await;
    s.commit(first).await;
    s.committed().await;
    s.transact(about_kept(first), rule(move |facts, o| deletion::request(facts, o, first))).await;
    let state = async || s.snapshot(first).await.state;
    assert_eq!(state().await, SnapshotState::Deleting);
    assert_eq!(s.store().leftovers(None).await.expect("a list")[0].state, SnapshotState::Deleting);
    swept(s, first, 60).await;
    assert_eq!(state().await, SnapshotState::Deleted);
    assert!(s.facts().await.outcomes.iter().any(|outcome| outcome.id == first && outcome.committed), "it had been committed");
}

pub(super) async fn what_snapshots_own_is_told_of_those_that_are_known(s: &Subject) {
    let first = s.running(2).await;
    s.report(first, "p1").await;
    s.abort(first).await;
    let second = s.take().await;
    let unknown = SnapshotId(Uuid::now_v7());
    let mut standings = s.store().standings(&[second, unknown, first]).await.expect("a list");
    standings.sort_by_key(|standing| standing.snapshot);
    let [one, other] = <[_; 2]>::try_from(standings).expect("two");
    let key = ObjectKey::state_key(&bank(), first, &member("p1"), Incarnation(1));
    assert_eq!((one.snapshot, one.state, one.sweeps, one.keys), (first, SnapshotState::Aborted, true, [key].into()));
    assert_eq!(
        (other.snapshot, other.state, other.sweeps, other.keys),
        (second, SnapshotState::Recording, false, BTreeSet::new())
    );
}

pub(super) async fn what_is_done_now_and_then_is_claimed_once(s: &Subject) {
    s.create(1).await;
    s.store().create_cluster(&CreateCluster::new(cluster("other"), 1), None).await.expect("made");
    let hour = Duration::from_secs(3600);
    let claim = async |what| {
        let mut claimed = s.store().claim_collecting(what, hour).await.expect("claimed");
        claimed.sort();
        claimed
    };
    assert!(claim(Collecting::Retention).await.is_empty(), "clusters that keep everything have nothing to expire");
    assert_eq!(claim(Collecting::Orphans).await, [bank(), cluster("other")]);
    assert!(s.other().await.claim_collecting(Collecting::Orphans, hour).await.expect("claimed").is_empty());
    let keeps = Some(Retention { keep_last: Some(2), ..Retention::empty() });
    s.decide(sure(move |facts, o| retention::set(facts, o, keeps))).await;
    assert_eq!(s.facts().await.cluster.retention.and_then(|retention| retention.keep_last), Some(2));
    assert_eq!(claim(Collecting::Retention).await, [bank()]);
    assert!(claim(Collecting::Retention).await.is_empty());
    s.pass(hour - Duration::from_millis(1)).await;
    assert!(claim(Collecting::Orphans).await.is_empty());
    s.pass(Duration::from_millis(1)).await;
    assert_eq!(claim(Collecting::Orphans).await.len(), 2);
    assert_eq!(claim(Collecting::Retention).await, [bank()]);
}

pub(super) async fn of_two_replicas_that_claim_at_once_one_does(s: &Subject) {
    s.create(1).await;
    let hour = Duration::from_secs(3600);
    let (one, other) = tokio::join!(
        s.store().claim_collecting(Collecting::Orphans, hour),
        s.other().await.claim_collecting(Collecting::Orphans, hour)
    );
    assert_eq!(one.expect("claimed").len() + other.expect("claimed").len(), 1);
}

pub(super) async fn a_suspension_keeps_its_first_reason_until_it_is_confirmed(s: &Subject) {
    let set =
        async |state: CollectionState| s.store().set_collection(&state, "request", Some("r1".to_owned())).await.expect("set");
    assert_eq!(s.store().collection().await.expect("told").state, CollectionState::Confirmed);
    assert!(!set(CollectionState::Confirmed).await);
    s.pass(Duration::from_secs(1)).await;
    assert!(set(suspended("first")).await);
    let since = s.now().await;
    s.pass(Duration::from_secs(1)).await;
    assert!(!set(suspended("second")).await);
    let told = s.other().await.collection().await.expect("told");
    assert_eq!((told.state, told.changed_at), (suspended("first"), since));
    assert!(set(CollectionState::Confirmed).await);
    let rows =
        s.store().audit(&AuditFilter { subject: Some("collection".to_owned()), limit: 10, ..AuditFilter::default() }).await;
    let rows = rows.expect("rows");
    let told: Vec<_> = rows.iter().map(|entry| (entry.row.action.as_str(), entry.row.reason.as_deref())).collect();
    assert_eq!(told, [("collection.confirmed", None), ("collection.suspended", Some("first"))]);
    assert!(rows.iter().all(|entry| entry.row.cluster.is_none() && entry.row.request_id.as_deref() == Some("r1")));
}

pub(super) async fn what_is_kept_is_read_when_it_is_asked_for(s: &Subject) {
    let first = s.running(1).await;
    s.commit(first).await;
    let second = s.committed().await;
    assert!(s.facts().await.kept.is_none());
    let hold = NewHold { id: HoldId(Uuid::now_v7()), owner: "o".to_owned(), reason: "r".to_owned(), expires_in: None };
    let id = hold.id;
    s.transact(about_kept(first), rule(move |facts, o| retention::hold(facts, o, first, hold.clone()))).await;
    let scope = || Scope { kept: true, ..Scope::default() };
    let kept = async || {
        let looked = s.transact(scope(), sure(|facts, _| stillframe_coordinator::decide::Decision::nothing(facts))).await;
        looked.facts.kept.expect("what is kept")
    };
    let read = kept().await;
    assert_eq!(read.committed.iter().map(|committed| committed.id).collect::<Vec<_>>(), [first, second]);
    assert_eq!((read.holds.len(), read.holds[0].id, read.holds[0].snapshot), (1, id, first));
    assert_eq!(read.collection, CollectionState::Confirmed);
    s.store().set_collection(&suspended("a test"), "request", None).await.expect("set");
    assert_eq!(kept().await.collection, suspended("a test"));
    s.transact(about_kept(first), rule(move |facts, o| retention::release(facts, o, first, id))).await;
    assert!(kept().await.holds.is_empty());
}
