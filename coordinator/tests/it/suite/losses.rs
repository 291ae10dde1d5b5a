//! Taking up what the archive proves, and knowing when transactions may have been lost.

use std::sync::Arc;

use stillframe_api::{
    channel_state::Alignment,
    cluster::{ClusterPhase, CreateCluster},
    snapshot::SnapshotState,
};
use stillframe_archive::{Floors, Part};
use stillframe_coordinator::{
    decide::{
        Decision, Facts, Refusal,
        facts::CollectionState,
        resync::{self, Proved, Shown},
    },
    store::{Found, Scope, TransactError},
};
use stillframe_protocol::{Epoch, Generation, Incarnation, Logged, SeqRanges, SnapshotId, ViewMember};
use uuid::Uuid;

use super::{
    steps::{bank, member, object, rule, sure},
    subject::{HOME, Subject},
};

fn settings() -> CreateCluster {
    CreateCluster {
        max_concurrent: 3,
        min_pause: "2s".parse().expect("2s"),
        alignment: Alignment::Aligned,
        aligned_timeout: Some("3s".parse().expect("3s")),
        ..CreateCluster::new(bank(), 2)
    }
}

fn found(snapshot: Option<SnapshotId>, parts: Vec<Part>) -> Scope {
    Scope { snapshot, found: Some(Arc::new(Found { settings: settings(), parts })), ..Scope::default() }
}

fn proved(id: SnapshotId) -> Proved {
    Proved {
        id,
        epoch: Epoch(9),
        generation: Generation(4),
        started_at: jiff::Timestamp::UNIX_EPOCH,
        labels: [("a".to_owned(), "b".to_owned())].into(),
        view: [(member("p1"), Incarnation(7)), (member("p2"), Incarnation(7))].into(),
        messages_in_flight: 3,
    }
}

fn part(id: SnapshotId, name: &str, incarnation: Incarnation) -> Part {
    let objects = vec![object(&bank(), id, &member(name), incarnation)];
    let (sent, received, recorded) = (vec![], vec![], vec![]);
    let logged = vec![Logged { to: member("p2"), ranges: SeqRanges::prefix(2), bytes: 7 }];
    let peers = vec![ViewMember { member: member("p2"), incarnation: Incarnation(7) }];
    Part { member: member(name), incarnation, objects, sent, received, recorded, logged, peers }
}

pub(super) async fn a_cluster_that_was_found_is_made_with_its_settings_in_its_first_transition(s: &Subject) {
    let id = SnapshotId(Uuid::now_v7());
    let members = proved(id).view;
    let floors = Floors { epoch: Epoch(9), generation: Generation(4), incarnation: Incarnation(7), member_id: 2 };
    let shown = Shown { floors, generation: Generation(4), latest_view: members.keys().cloned().collect(), members };
    s.transact(found(None, vec![]), sure(move |facts, o| resync::begin(facts, o, &shown))).await;
    let parts = vec![part(id, "p1", Incarnation(7)), part(id, "p2", Incarnation(7))];
    let proved = proved(id);
    s.transact(found(Some(id), parts.clone()), sure(move |facts, o| resync::take_up(facts, o, &proved))).await;
    let facts = s.facts().await;
    assert_eq!((facts.cluster.phase, facts.cluster.max_concurrent, facts.cluster.min_pause_ms), (ClusterPhase::Halted, 3, 2_000));
    let channels = facts.cluster.channels;
    assert_eq!((channels.alignment, channels.aligned_timeout_ms), (Alignment::Aligned, Some(3_000)));
    assert_eq!((facts.cluster.latest_committed, facts.latest_view.len()), (Some(id), 2));
    assert_eq!(s.store().parts(id).await.expect("parts"), parts);
    assert_eq!(s.snapshot(id).await.labels.len(), 1);
    assert!(facts.continuity.incarnation_floor > Incarnation(7));
}

pub(super) async fn a_cluster_that_was_found_is_not_made_when_the_rule_refuses(s: &Subject) {
    let refuses = rule(|facts: &Facts, _| Err(Refusal::UnknownSchedule { cluster: facts.cluster.name.clone() }));
    let refused = s.try_transact(found(None, vec![]), refuses).await;
    assert!(matches!(refused, Err(TransactError::Refused(_))), "{refused:?}");
    assert!(s.store().cluster(&bank()).await.expect("an answer").is_none());
    s.transact(found(None, vec![]), sure(|facts, _| Decision::nothing(facts))).await;
    assert!(s.store().cluster(&bank()).await.expect("an answer").is_some(), "it was found, if nothing more");
}

pub(super) async fn what_the_archive_proves_is_committed_whatever_it_was_here(s: &Subject) {
    let id = s.running(2).await;
    s.report(id, "p1").await;
    s.abort(id).await;
    let facts = s.snapshot(id).await;
    let (epoch, generation) = (facts.epoch.expect("an epoch"), facts.generation);
    let proved = Proved { epoch, generation, view: facts.view.clone(), ..proved(id) };
    let taken_up = proved.clone();
    // Only where it is taken up: else committed and aborted exclude each other.
    let without = s.try_transact(super::steps::about(id), sure(move |facts, o| resync::take_up(facts, o, &taken_up))).await;
    super::steps::fault(without);
    let parts: Vec<Part> = facts.view.iter().map(|(name, incarnation)| part(id, name.as_str(), *incarnation)).collect();
    s.transact(found(Some(id), parts.clone()), sure(move |facts, o| resync::take_up(facts, o, &proved))).await;
    let after = s.snapshot(id).await;
    assert_eq!((after.state, after.abort, after.view), (SnapshotState::Committed, None, facts.view));
    assert_eq!(s.store().parts(id).await.expect("parts"), parts);
}

pub(super) async fn a_server_that_is_another_than_before_has_its_clusters_behind(s: &Subject) {
    s.running(1).await;
    assert!(s.store().behind().await.expect("a list").is_empty());
    let continuity = s.facts().await.continuity;
    assert_eq!((continuity.here.as_deref(), continuity.home.as_deref()), (Some(HOME), Some(HOME)));
    s.fail_over("memory/2").await;
    assert_eq!(s.store().behind().await.expect("a list"), [bank()]);
    assert!(s.facts().await.continuity.moved().is_some());
    let suspended = s.store().collection().await.expect("told").state;
    assert!(matches!(&suspended, CollectionState::Suspended { reason } if reason.contains("bank")), "{suspended:?}");
    let before = s.facts().await.cluster;
    s.decide(sure(|facts, o| resync::fell_behind(facts, o, None))).await;
    let after = s.facts().await;
    assert!(after.cluster.epoch.0 >= before.epoch.0 + resync::EPOCHS && after.continuity.moved().is_none());
    assert_eq!(s.store().behind().await.expect("a list"), [bank()], "until it is reconciled");
    let behind = after.continuity.behind.expect("why");
    assert_eq!(s.store().collection().await.expect("told").state, CollectionState::Suspended { reason: behind.clone() });
    s.decide(sure(move |facts, o| resync::reconciled(facts, o, &behind))).await;
    assert!(s.store().behind().await.expect("a list").is_empty());
    assert_eq!(s.store().collection().await.expect("told").state, CollectionState::Confirmed);
}
