//! Lists, page by page.

use std::time::Duration;

use stillframe_api::{
    cluster::CreateCluster,
    snapshot::{SnapshotState, Trigger},
};
use stillframe_coordinator::{
    decide::{
        facts::Presence,
        restore::{self, Ask, Target},
    },
    store::SnapshotFilter,
};
use stillframe_protocol::{RestoreId, SnapshotId};
use uuid::Uuid;

use super::{
    steps::{about, bank, cluster, member, rule},
    subject::Subject,
};

pub(super) async fn members_are_listed_by_name_page_by_page(s: &Subject) {
    s.running(3).await;
    s.lose("p2").await;
    let rows = s.store().members(&bank(), None, 2).await.expect("a list");
    let told: Vec<_> = rows.iter().map(|row| (row.name.clone(), row.state)).collect();
    assert_eq!(told, [(member("p1"), Presence::Live), (member("p2"), Presence::Lost)]);
    let facts = &s.facts().await.members[&member("p1")];
    let row = &rows[0];
    assert_eq!((row.member_id, row.incarnation, &row.address), (facts.member_id, facts.incarnation, &facts.address));
    assert_eq!((row.registered_at, row.lease_expires_at), (facts.registered_at, facts.lease_expires_at));
    let next = s.store().members(&bank(), Some("p2"), 2).await.expect("a list");
    assert_eq!(next.into_iter().map(|row| row.name).collect::<Vec<_>>(), [member("p3")]);
    assert!(s.store().members(&cluster("other"), None, 9).await.expect("a list").is_empty());
}

pub(super) async fn snapshots_are_listed_newest_first_by_state_and_page(s: &Subject) {
    let first = s.running(1).await;
    s.commit(first).await;
    let second = s.committed().await;
    let third = s.take().await;
    s.abort(third).await;
    let list = async |state, before, limit| -> Vec<SnapshotId> {
        let rows = s.store().snapshots(&bank(), &SnapshotFilter { state, before, limit }).await.expect("a list");
        rows.into_iter().map(|row| row.facts.id).collect()
    };
    assert_eq!(list(None, None, 9).await, [third, second, first]);
    assert_eq!(list(None, None, 2).await, [third, second]);
    assert_eq!(list(None, Some(second), 9).await, [first]);
    assert_eq!(list(Some(SnapshotState::Committed), None, 9).await, [second, first]);
    assert_eq!(list(Some(SnapshotState::Committed), Some(second), 9).await, [first]);
    assert!(list(Some(SnapshotState::Pending), None, 9).await.is_empty());
    let rows = s.store().snapshots(&bank(), &SnapshotFilter { state: None, before: None, limit: 9 }).await.expect("a list");
    assert_eq!((rows[1].bytes, rows[1].parts.len(), rows[1].now), (100, 0, s.now().await));
    let mut states = s.store().snapshot_states(&bank()).await.expect("a list");
    states.sort_by_key(|(id, _)| *id);
    let committed = SnapshotState::Committed;
    assert_eq!(states, [(first, committed), (second, committed), (third, SnapshotState::Aborted)]);
    assert!(s.store().snapshot(SnapshotId(Uuid::now_v7())).await.expect("an answer").is_none());
}

pub(super) async fn the_newest_snapshot_is_found_that_was_committed_by_a_time(s: &Subject) {
    let first = s.running(1).await;
    let by = async |time| s.store().committed_before(&bank(), time).await.expect("an answer");
    assert_eq!(by(s.now().await).await, None);
    s.commit(first).await;
    let early = s.now().await;
    s.pass(Duration::from_secs(10)).await;
    let second = s.committed().await;
    let late = s.now().await;
    assert_eq!(by(early - jiff::SignedDuration::from_micros(1)).await, None);
    assert_eq!(by(early).await, Some(first));
    assert_eq!(by(late - jiff::SignedDuration::from_nanos(1)).await, Some(first));
    assert_eq!(by(late).await, Some(second));
    assert_eq!(s.store().committed_before(&cluster("other"), late).await.expect("an answer"), None);
}

pub(super) async fn restores_are_listed_newest_first_with_the_bytes_of_their_parts(s: &Subject) {
    let id = s.running_with(CreateCluster::new(bank(), 2)).await;
    s.commit(id).await;
    let mut restores: Vec<RestoreId> = Vec::new();
    for _ in 0..3 {
        let (target, trigger, mapping) = (Target::Latest, Trigger::Request, Default::default());
        let ask = Ask { target, trigger, timeout_ms: None, fallback: 0, retries: 0, mapping };
        let done = s.transact(about(id), rule(move |facts, o| restore::start(facts, o, ask.clone()))).await;
        let known = done.facts.restore.expect("under way");
        let restore = known.id;
        restores.push(restore);
        s.decide(rule(move |facts, o| restore::cancel(facts, o, restore, &known, None))).await;
    }
    restores.reverse();
    let list = async |before, limit| -> Vec<RestoreId> {
        let rows = s.store().restores(&bank(), before, limit).await.expect("a list");
        rows.into_iter().map(|row| row.facts.id).collect()
    };
    assert_eq!(list(None, 9).await, restores);
    assert_eq!(list(None, 1).await, restores[..1]);
    assert_eq!(list(Some(restores[0]), 9).await, restores[1..]);
    let row = s.store().restore(restores[0]).await.expect("an answer").expect("it is known");
    assert_eq!((&row.cluster, row.facts.snapshot), (&bank(), id));
    assert_eq!(row.part_bytes.into_iter().collect::<Vec<_>>(), [(member("p1"), 100), (member("p2"), 100)]);
    assert!(s.store().restore(RestoreId(Uuid::now_v7())).await.expect("an answer").is_none());
}
