//! A transition on remembered facts is carried out if they are still the facts, and else changes nothing.

use stillframe_api::{
    cluster::CreateCluster,
    retention::Retention,
    snapshot::{SnapshotState, Trigger},
};
use stillframe_coordinator::{
    decide::{Decision, Facts, retention, settings, snapshot},
    store::PartRow,
};
use stillframe_protocol::SnapshotId;
use uuid::Uuid;

use super::{
    steps::{bank, broken, occasion, stamped, sure, verdict},
    subject::Subject,
};

/// A running cluster whose first snapshot is committed, as it is remembered.
async fn calm(s: &Subject) -> Facts {
    let first = s.running_with(CreateCluster { max_concurrent: 2, ..CreateCluster::new(bank(), 2) }).await;
    s.commit(first).await;
    s.facts().await
}

fn taking(facts: &Facts) -> (Decision, SnapshotId) {
    let request = snapshot::Request { trigger: Trigger::Request, labels: Default::default(), timeout_ms: None };
    let occasion = occasion();
    let decision = snapshot::request(facts, &occasion, request).expect("no refusal");
    (stamped(facts, decision, Uuid::now_v7()), occasion.snapshot)
}

async fn carried_out(s: &Subject, before: &Facts, decision: &Decision, parts: &[PartRow]) -> bool {
    let done = s.store().transact_remembered(before, decision, parts, Some("r1")).await.expect("an answer");
    if let Some(now) = done {
        assert_eq!(now, s.now().await);
    }
    done.is_some()
}

async fn changes_nothing(s: &Subject, before: &Facts, decision: &Decision, parts: &[PartRow]) {
    let was = s.everything().await;
    assert!(!carried_out(s, before, decision, parts).await);
    assert_eq!(s.everything().await, was);
}

pub(super) async fn it_is_carried_out_while_the_facts_are_as_remembered(s: &Subject) {
    let before = calm(s).await;
    let (decision, id) = taking(&before);
    assert!(carried_out(s, &before, &decision, &[]).await);
    assert_eq!(s.facts().await, decision.next.clone().settled());
    assert_eq!(s.snapshot(id).await.state, SnapshotState::Recording);
    let rows = s.store().audit_chain(Some(&bank()), 0, u64::MAX, 100).await.expect("rows");
    let last = rows.last().expect("rows");
    assert_eq!((last.action.as_str(), last.request_id.as_deref()), ("snapshot.recording", Some("r1")));
    changes_nothing(s, &before, &decision, &[]).await;
}

pub(super) async fn whoever_decided_in_between_wins(s: &Subject) {
    let before = calm(s).await;
    s.take().await;
    let (decision, _) = taking(&before);
    changes_nothing(s, &before, &decision, &[]).await;
}

pub(super) async fn of_two_replicas_at_once_one_is_carried_out(s: &Subject) {
    let before = calm(s).await;
    let ((one, _), (other, _)) = (taking(&before), taking(&before));
    let done = tokio::join!(
        s.store().transact_remembered(&before, &one, &[], None),
        s.other().await.transact_remembered(&before, &other, &[], None)
    );
    assert!(done.0.expect("an answer").is_some() != done.1.expect("an answer").is_some());
}

pub(super) async fn the_last_parts_go_with_it_in_one_commit(s: &Subject) {
    calm(s).await;
    let id = s.take().await;
    s.report(id, "p1").await;
    let mut before = s.facts().await;
    before.know_complete(id);
    let decision = snapshot::certified(&before, &occasion(), id, &verdict(&s.snapshot(id).await));
    let (first, last) = (s.part(id, "p1").await, s.part(id, "p2").await);
    // One that is there already: then what is there may be another than what was verified.
    changes_nothing(s, &before, &decision, &[first, last.clone()]).await;
    changes_nothing(s, &before, &decision, &[last.clone(), last.clone()]).await;
    assert_eq!(s.store().parts(id).await.expect("parts").len(), 1);
    assert!(carried_out(s, &before, &decision, &[last]).await);
    assert_eq!(s.snapshot(id).await.state, SnapshotState::Committing);
    assert_eq!(s.store().parts(id).await.expect("parts").len(), 2);
    assert!(s.store().complete_snapshots(&[id]).await.expect("a list")[0].committing);
}

pub(super) async fn what_is_about_more_than_snapshots_takes_the_long_way(s: &Subject) {
    let before = calm(s).await;
    let keeps = Some(Retention { keep_last: Some(3), ..Retention::empty() });
    changes_nothing(s, &before, &retention::set(&before, &occasion(), keeps), &[]).await;
    let changes = settings::Changes { min_members: Some(1), ..settings::Changes::default() };
    changes_nothing(s, &before, &settings::update_cluster(&before, &occasion(), changes, None).expect("a decision"), &[]).await;
    let mut next = before.clone();
    next.members.values_mut().for_each(|member| member.address.push('x'));
    next.cluster.version += 1;
    changes_nothing(s, &before, &Decision { next, audit: vec![] }, &[]).await;
    let mut next = before.clone();
    next.cluster.restore_fallback += 1;
    next.cluster.version += 1;
    changes_nothing(s, &before, &Decision { next, audit: vec![] }, &[]).await;
}

pub(super) async fn another_history_that_has_come_to_the_same_version_is_told_by_its_stamp(s: &Subject) {
    let mut before = calm(s).await;
    before.cluster.stamp = Uuid::now_v7();
    let (decision, _) = taking(&before);
    changes_nothing(s, &before, &decision, &[]).await;
}

pub(super) async fn a_snapshot_that_is_another_by_now_has_it_change_nothing(s: &Subject) {
    calm(s).await;
    let id = s.take().await;
    let (before, part) = (s.facts().await, s.part(id, "p1").await);
    let decision = snapshot::abort(&before, &occasion(), id, None).expect("no refusal");
    // Somebody decided without counting the version up, as an older release might.
    s.transact(
        super::steps::about(id),
        broken(move |facts| {
            let snapshot = facts.snapshots.iter_mut().find(|snapshot| snapshot.id == id).expect("in sight");
            (snapshot.state, snapshot.committing_at) = (SnapshotState::Committing, Some(facts.now));
            facts.cluster.version -= 1;
        }),
    )
    .await;
    changes_nothing(s, &before, &decision, &[]).await;
    changes_nothing(s, &before, &decision, &[part]).await;
}

pub(super) async fn a_server_that_may_have_lost_transactions_takes_the_long_way(s: &Subject) {
    let before = calm(s).await;
    let (decision, _) = taking(&before);
    s.fail_over("memory/2").await;
    changes_nothing(s, &before, &decision, &[]).await;
    s.decide(sure(|facts, o| stillframe_coordinator::decide::resync::fell_behind(facts, o, None))).await;
    let before = s.facts().await;
    let (decision, _) = taking(&before);
    assert!(carried_out(s, &before, &decision, &[]).await);
}

pub(super) async fn a_cluster_that_never_had_a_transition_takes_the_long_way(s: &Subject) {
    s.create(1).await;
    let before = s.facts().await;
    let mut next = before.clone();
    next.cluster.version += 1;
    changes_nothing(s, &before, &Decision { next, audit: vec![] }, &[]).await;
}
