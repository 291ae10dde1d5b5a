//! A transition is carried out as a whole, or changes nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stillframe_coordinator::{
    decide::{Decision, Refusal, facts::OUTCOMES, member, snapshot},
    store::{Outcome, Scope, StoreError, TransactError},
};
use stillframe_protocol::SnapshotId;
use uuid::Uuid;

use super::{
    steps::{about, bank, broken, cluster, member, registration, rule, sure},
    subject::Subject,
};

pub(super) async fn what_a_transition_gives_is_what_is_read_next(s: &Subject) {
    s.create(2).await;
    for name in ["p1", "p2"] {
        let registration = registration(name, Uuid::now_v7());
        let done = s.decide(rule(move |facts, occasion| member::register(facts, occasion, &registration))).await;
        assert!(done.changed);
        assert_eq!(s.facts().await, done.facts.settled());
    }
}

pub(super) async fn a_rule_that_refuses_changes_nothing(s: &Subject) {
    s.running(1).await;
    let before = s.everything().await;
    let unknown = SnapshotId(Uuid::now_v7());
    let refused = s.try_transact(about(unknown), rule(move |facts, o| snapshot::abort(facts, o, unknown, None))).await;
    assert!(matches!(refused, Err(TransactError::Refused(Refusal::UnknownSnapshot { .. }))), "{refused:?}");
    assert_eq!(s.everything().await, before);
}

pub(super) async fn a_rule_that_changes_nothing_writes_nothing(s: &Subject) {
    s.running(1).await;
    let before = s.everything().await;
    assert!(!s.decide(sure(|facts, _| Decision::nothing(facts))).await.changed);
    assert_eq!(s.everything().await, before);
}

pub(super) async fn a_rule_that_panics_changes_nothing(s: &Subject) {
    s.running(1).await;
    let before = s.everything().await;
    let broke = s.try_transact(Scope::default(), sure(|_, _| panic!("on purpose"))).await;
    assert!(matches!(broke, Err(TransactError::Store(StoreError::Unknown { .. }))), "{broke:?}");
    assert_eq!(s.everything().await, before);
    s.take().await;
}

pub(super) async fn a_transition_goes_on_when_its_caller_goes_away(s: &Subject) {
    s.create(1).await;
    let (store, registration) = (s.shared(), registration("p1", Uuid::now_v7()));
    {
        let name = bank();
        let transacting =
            store.transact(&name, Scope::default(), rule(move |facts, o| member::register(facts, o, &registration)));
        // Once: whoever asked for it is gone after its first step.
        drop(futures::poll!(Box::pin(transacting)));
    }
    let there = async {
        while s.facts().await.members.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), there).await.expect("the member is there");
}

pub(super) async fn transitions_at_several_replicas_at_once_each_rest_on_the_others(s: &Subject) {
    s.create(100).await;
    let name = bank();
    let asked = Arc::new(AtomicU32::new(0));
    let other = s.other().await;
    let done = (0..8).map(|n| {
        let (registration, asked) = (registration(&format!("p{n}"), Uuid::now_v7()), asked.clone());
        let register = rule(move |facts, occasion| {
            asked.fetch_add(1, Ordering::Relaxed);
            member::register(facts, occasion, &registration)
        });
        if n % 2 == 0 { s.store() } else { other }.transact(&name, Scope::default(), register)
    });
    let done = futures::future::join_all(done).await;
    assert!(done.into_iter().all(|done| done.expect("carried out").changed));
    let facts = s.facts().await;
    let mut ids: Vec<u32> = facts.members.values().map(|member| member.member_id.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=8).collect::<Vec<_>>());
    assert_eq!(facts.cluster.version, 1 + 8);
    assert!(asked.load(Ordering::Relaxed) >= 8);
}

pub(super) async fn a_snapshot_of_another_cluster_is_not_in_sight(s: &Subject) {
    let id = s.running(1).await;
    let other = cluster("other");
    s.store().create_cluster(&stillframe_api::cluster::CreateCluster::new(other.clone(), 1), None).await.expect("made");
    let looked = sure(move |facts, _| {
        assert!(facts.snapshot(id).is_none());
        Decision::nothing(facts)
    });
    s.store().transact(&other, about(id), looked).await.expect("carried out");
}

pub(super) async fn however_many_are_aborted_the_newest_committed_ones_stay_in_sight(s: &Subject) {
    let mut expected = vec![(s.running(1).await, true)];
    s.commit(expected[0].0).await;
    for n in 1..=OUTCOMES * 2 {
        let id = s.take().await;
        let commits = n % 6 == 0;
        if commits {
            s.commit(id).await
        } else {
            s.abort(id).await
        }
        expected.push((id, commits));
    }
    let oldest = expected.len() - OUTCOMES;
    let expected: Vec<_> =
        expected.into_iter().enumerate().filter(|(n, (_, committed))| *committed || *n >= oldest).map(|(_, it)| it).collect();
    let outcomes = s.facts().await.outcomes;
    assert_eq!(outcomes.iter().map(|outcome| (outcome.id, outcome.committed)).collect::<Vec<_>>(), expected);
    for _ in 0..OUTCOMES {
        s.committed().await;
    }
    let outcomes = s.facts().await.outcomes;
    assert!(outcomes.len() == OUTCOMES && outcomes.iter().all(|outcome| outcome.committed), "{outcomes:?}");
}

pub(super) async fn the_one_that_was_asked_about_is_in_sight_also_when_it_has_ended(s: &Subject) {
    let id = s.running(1).await;
    s.commit(id).await;
    assert!(s.facts().await.snapshot(id).is_none());
    let done = s.transact(about(id), sure(|facts, _| Decision::nothing(facts))).await;
    assert_eq!(done.facts.snapshot(id), Some(&s.snapshot(id).await));
    let outcomes = s.facts().await.outcomes;
    assert_eq!(outcomes.iter().map(|outcome| (outcome.id, outcome.committed)).collect::<Vec<_>>(), [(id, true)]);
    assert!(s.facts().await.latest_view.contains(&member("p1")));
}

pub(super) async fn what_a_rule_may_not_change_stays_as_it_is(s: &Subject) {
    let id = s.running(1).await;
    let (before, was) = (s.facts().await.cluster, s.snapshot(id).await);
    s.decide(broken(|facts| {
        facts.cluster.archive_prefix = Some("elsewhere".to_owned());
        facts.snapshots[0].labels.insert("a".to_owned(), "b".to_owned());
        facts.snapshots[0].view.clear();
        facts.snapshots[0].archive_error = Some("changed".to_owned());
    }))
    .await;
    let after = s.facts().await.cluster;
    assert_eq!(after.archive_prefix, before.archive_prefix);
    assert_eq!(after.version, before.version + 1);
    let is = s.snapshot(id).await;
    assert_eq!((is.labels, is.view), (was.labels, was.view), "a view is frozen once it is recorded");
    assert_eq!(is.archive_error.as_deref(), Some("changed"));
}

pub(super) async fn each_version_has_a_stamp_of_its_own(s: &Subject) {
    s.running(1).await;
    let first = s.facts().await.cluster.stamp;
    s.take().await;
    let second = s.facts().await.cluster.stamp;
    // Of a replica of an earlier release, which doesn't know of stamps.
    s.decide(Arc::new(|facts| {
        let mut next = facts.clone();
        next.cluster.version += 1;
        Ok(Decision { next, audit: Vec::new() }.into())
    }))
    .await;
    let third = s.facts().await.cluster.stamp;
    assert!(first != second && second != third && first != third);
}

pub(super) async fn of_requests_that_are_carried_out_together_each_is_in_its_own_rows(s: &Subject) {
    s.create(9).await;
    let ask = |name: &str| member::Ask {
        actor: "request".to_owned(),
        request_id: Some(format!("of {name}")),
        change: member::Change::Register(registration(name, Uuid::now_v7())),
    };
    let asks = [ask("p1"), ask("p2")];
    let scope = Scope { request_id: Some("of the batch".to_owned()), ..Scope::default() };
    s.transact(scope, sure(move |facts, o| member::together(facts, o, &asks).0)).await;
    let rows = s.store().audit_chain(Some(&bank()), 1, u64::MAX, 10).await.expect("rows");
    let told: Vec<_> = rows.iter().map(|row| (row.subject.as_str(), row.request_id.as_deref())).collect();
    assert_eq!(told, [("p1", Some("of p1")), ("p2", Some("of p2"))]);
}

pub(super) async fn the_request_is_in_the_audit(s: &Subject) {
    s.create(1).await;
    let registration = registration("p1", Uuid::now_v7());
    let scope = Scope { request_id: Some("r7".to_owned()), ..Scope::default() };
    let outcome: stillframe_coordinator::store::Rule = {
        let occasion = super::steps::occasion();
        Arc::new(move |facts| member::register(facts, &occasion, &registration).map(Outcome::from))
    };
    s.transact(scope, outcome).await;
    let rows = s.store().audit_chain(Some(&bank()), 1, u64::MAX, 10).await.expect("rows");
    assert!(!rows.is_empty() && rows.iter().all(|row| row.request_id.as_deref() == Some("r7")));
}
