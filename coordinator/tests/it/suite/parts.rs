//! Parts are taken once, while they are wanted; completeness is looked for afterwards.

use std::time::Duration;

use stillframe_api::{agent::MissingChannel, cluster::CreateCluster, snapshot::SnapshotState};
use stillframe_coordinator::store::{PartRow, ProgressRow};
use stillframe_protocol::{Epoch, Generation, Incarnation, SnapshotId};
use uuid::Uuid;

use super::{
    steps::{bank, cluster, member},
    subject::Subject,
};

pub(super) async fn a_part_that_is_wanted_is_there_from_then_on(s: &Subject) {
    let id = s.running(2).await;
    let row = s.part(id, "p1").await;
    let taken = s.store().insert_parts(std::slice::from_ref(&row)).await.expect("taken");
    assert!(taken.all_new);
    assert_eq!(taken.there, [(id, member("p1"))]);
    assert_eq!(s.other().await.parts(id).await.expect("parts"), [row.part()]);
    assert!(s.facts().await.snapshots[0].reported.contains(&member("p1")));
    let told = s.store().snapshot(id).await.expect("a row").expect("the snapshot");
    assert_eq!((told.bytes, told.parts[&member("p1")].bytes, told.parts.len()), (100, 100, 1));
    assert_eq!(told.parts[&member("p1")].reported_at, s.now().await);
}

pub(super) async fn a_part_that_is_reported_again_changes_nothing_and_is_there(s: &Subject) {
    let id = s.running(2).await;
    let row = s.part(id, "p1").await;
    s.report(id, "p1").await;
    s.pass(Duration::from_secs(1)).await;
    let mut other = row.clone();
    other.report.objects.clear();
    let again = s.other().await.insert_parts(&[other]).await.expect("taken");
    assert!(!again.all_new);
    assert_eq!(again.there, [(id, member("p1"))]);
    assert_eq!(s.store().parts(id).await.expect("parts"), [row.part()]);
    s.report(id, "p2").await;
    s.certify(id).await;
    assert_eq!(s.store().insert_parts(&[row]).await.expect("taken").there, [(id, member("p1"))], "also later on");
}

pub(super) async fn of_a_batch_that_has_a_part_twice_the_first_counts(s: &Subject) {
    let id = s.running(2).await;
    let row = s.part(id, "p1").await;
    let mut second = row.clone();
    second.report.objects.clear();
    let taken = s.store().insert_parts(&[row.clone(), second]).await.expect("taken");
    assert!(!taken.all_new, "not all of what was given is there");
    assert_eq!(s.store().parts(id).await.expect("parts"), [row.part()]);
    let none = s.store().insert_parts(&[]).await.expect("taken");
    assert!(none.there.is_empty() && none.all_new);
}

pub(super) async fn stale_and_foreign_parts_are_refused(s: &Subject) {
    let id = s.running(2).await;
    let row = s.part(id, "p1").await;
    let other = cluster("other");
    s.store().create_cluster(&CreateCluster::new(other.clone(), 1), None).await.expect("made");
    let change = |change: &dyn Fn(&mut PartRow)| {
        let mut row = row.clone();
        change(&mut row);
        row
    };
    let wrong = [
        change(&|row| row.incarnation = Incarnation(2)),
        change(&|row| row.report.epoch = Epoch(9)),
        change(&|row| row.report.generation = Generation(9)),
        change(&|row| row.report.snapshot = SnapshotId(Uuid::now_v7())),
        change(&|row| row.member = member("p3")),
        change(&|row| row.cluster = other.clone()),
    ];
    assert!(s.store().insert_parts(&wrong).await.expect("taken").there.is_empty());
    assert!(s.store().parts(id).await.expect("parts").is_empty());
    // Nor are they told to be there once the right one is: they are somebody else's.
    s.report(id, "p1").await;
    let others = [&wrong[0], &wrong[3], &wrong[4], &wrong[5]].map(Clone::clone);
    assert!(s.store().insert_parts(&others).await.expect("taken").there.is_empty());
    let mixed = [wrong[0].clone(), s.part(id, "p2").await];
    assert_eq!(s.store().insert_parts(&mixed).await.expect("taken").there, [(id, member("p2"))]);
}

pub(super) async fn nobody_wants_the_parts_of_what_is_aborted(s: &Subject) {
    let id = s.running(2).await;
    let (first, second) = (s.part(id, "p1").await, s.part(id, "p2").await);
    s.report(id, "p1").await;
    s.abort(id).await;
    let taken = s.store().insert_parts(&[first, second]).await.expect("taken");
    assert!(taken.there.is_empty(), "one that was there counts no more: {taken:?}");
    assert_eq!(s.store().parts(id).await.expect("parts").len(), 1);
}

pub(super) async fn a_snapshot_is_complete_once_all_its_parts_are_there(s: &Subject) {
    let id = s.running_with(CreateCluster { archive_prefix: Some("a/b".to_owned()), ..CreateCluster::new(bank(), 2) }).await;
    let complete = async || s.store().complete_snapshots(&[id, SnapshotId(Uuid::now_v7())]).await.expect("a list");
    assert!(complete().await.is_empty());
    s.report(id, "p2").await;
    assert!(complete().await.is_empty());
    s.report(id, "p1").await;
    let [found] = <[_; 1]>::try_from(complete().await).expect("one");
    let facts = s.snapshot(id).await;
    assert_eq!((found.id, &found.cluster, found.archive_prefix.as_deref()), (id, &bank(), Some("a/b")));
    assert_eq!((Some(found.epoch), found.generation, found.committing), (facts.epoch, facts.generation, false));
    assert_eq!((Some(found.recording_at), &found.view, &found.labels), (facts.recording_at, &facts.view, &facts.labels));
    assert_eq!(found.parts.iter().map(|part| part.member.clone()).collect::<Vec<_>>(), [member("p1"), member("p2")]);
    s.certify(id).await;
    assert!(complete().await[0].committing);
    let digest = stillframe_archive::Digest::of(b"manifest");
    let committed =
        super::steps::sure(move |facts, o| stillframe_coordinator::decide::snapshot::committed(facts, o, id, &digest));
    s.transact(super::steps::about(id), committed).await;
    assert!(complete().await.is_empty(), "nothing is left to be done");
}

pub(super) async fn of_two_last_parts_at_two_replicas_one_finds_the_snapshot_complete(s: &Subject) {
    let id = s.running(2).await;
    let rows = [s.part(id, "p1").await, s.part(id, "p2").await];
    let report = async |store: &dyn stillframe_coordinator::store::Store, row: &PartRow| {
        store.insert_parts(std::slice::from_ref(row)).await.expect("taken");
        store.complete_snapshots(&[id]).await.expect("a list").len()
    };
    let (one, other) = tokio::join!(report(s.store(), &rows[0]), report(s.other().await, &rows[1]));
    assert!(one + other >= 1, "neither has seen the other's");
}

pub(super) async fn what_somebody_has_to_drive_forward_is_complete_or_committing(s: &Subject) {
    let first = s.running_with(CreateCluster { max_concurrent: 4, ..CreateCluster::new(bank(), 1) }).await;
    let (second, third, waiting) = (s.take().await, s.take().await, s.take().await);
    s.report(first, "p1").await;
    s.report(second, "p1").await;
    s.certify(second).await;
    s.commit(third).await;
    let page = async |after, limit| s.store().unfinished(after, limit).await.expect("a list");
    assert_eq!(page(None, 9).await, [first, second]);
    assert_eq!(
        (page(None, 1).await, page(Some(first), 1).await, page(Some(second), 1).await),
        (vec![first], vec![second], vec![])
    );
    assert_eq!(s.snapshot(waiting).await.state, SnapshotState::Recording);
}

fn word(id: SnapshotId, name: &str, received: u64) -> ProgressRow {
    let missing = vec![MissingChannel { from: member("p9"), received, expected: None, since_ms: 3 }];
    let (cluster, member, incarnation) = (bank(), member(name), Incarnation(1));
    ProgressRow { cluster, member, incarnation, snapshot: id, missing, spooled_bytes: 7 }
}

pub(super) async fn the_latest_word_on_what_is_waited_for_counts(s: &Subject) {
    let id = s.running(2).await;
    let received = async || -> Vec<(String, u64)> {
        let progress = s.facts().await.snapshots[0].progress.clone();
        progress.iter().map(|(name, word)| (name.to_string(), word.missing[0].received)).collect()
    };
    s.store().put_progress(vec![word(id, "p1", 1), word(id, "p2", 5), word(id, "p1", 2)]).await.expect("kept");
    assert_eq!(received().await, [("p1".to_owned(), 2), ("p2".to_owned(), 5)]);
    s.pass(Duration::from_secs(1)).await;
    let stale = ProgressRow { incarnation: Incarnation(2), ..word(id, "p2", 99) };
    let foreign = ProgressRow { cluster: cluster("other"), ..word(id, "p2", 98) };
    s.other().await.put_progress(vec![word(id, "p1", 3), stale, foreign]).await.expect("kept");
    assert_eq!(received().await, [("p1".to_owned(), 3), ("p2".to_owned(), 5)]);
    assert_eq!(s.facts().await.snapshots[0].progress[&member("p1")].at, s.now().await);
}

pub(super) async fn words_count_only_while_the_snapshot_is_recorded(s: &Subject) {
    let id = s.running(1).await;
    s.store().put_progress(vec![word(id, "p1", 1)]).await.expect("kept");
    s.report(id, "p1").await;
    s.certify(id).await;
    s.store().put_progress(vec![word(id, "p1", 2)]).await.expect("not kept");
    assert!(s.facts().await.snapshots[0].progress.is_empty());
    assert_eq!(s.snapshot(id).await.progress[&member("p1")].missing[0].received, 1, "for whoever asks why it took so long");
}
