//! The audit has a row for every change of state, in chains that verify.

use std::time::Duration;

use stillframe_api::{
    audit::AuditRow,
    chain::{ChainChecker, ChainHead, NO_HASH},
};
use stillframe_coordinator::{decide::facts::CollectionState, store::AuditFilter};
use stillframe_protocol::ClusterName;

use super::{
    steps::{bank, cluster},
    subject::Subject,
};

async fn chain(s: &Subject, of: Option<&ClusterName>) -> Vec<AuditRow> {
    s.store().audit_chain(of, 0, u64::MAX, 1_000).await.expect("rows")
}

async fn list(s: &Subject, filter: AuditFilter) -> Vec<String> {
    let entries = s.store().audit(&AuditFilter { limit: filter.limit.max(1), ..filter }).await.expect("rows");
    entries.into_iter().map(|entry| entry.row.action).collect()
}

/// A cluster with a committed snapshot, and a row of no cluster.
async fn written(s: &Subject) {
    let id = s.running(1).await;
    s.pass(Duration::from_secs(1)).await;
    s.commit(id).await;
    s.store().set_collection(&CollectionState::Suspended { reason: "why".to_owned() }, "request", None).await.expect("set");
}

pub(super) async fn every_change_has_its_rows_in_order(s: &Subject) {
    written(s).await;
    let actions: Vec<String> = chain(s, Some(&bank())).await.into_iter().map(|row| row.action).collect();
    let expected = [
        "cluster.created",
        "member.registered",
        "member.arrived",
        "cluster.running",
        "snapshot.requested",
        "snapshot.recording",
        "snapshot.committing",
        "snapshot.committed",
    ];
    assert_eq!(actions, expected);
    let rows = chain(s, Some(&bank())).await;
    assert!(rows.iter().all(|row| row.cluster == Some(bank())));
    assert_eq!(rows[1].subject, "p1");
    let detail: serde_json::Value = serde_json::from_str(&rows[1].detail).expect("JSON");
    assert_eq!(detail, serde_json::json!({ "incarnation": 1, "address": "p1:1" }));
    assert!(rows.is_sorted_by_key(|row| row.at));
    assert_eq!(rows.last().map(|row| row.at), Some(s.now().await));
}

pub(super) async fn each_chain_verifies_up_to_its_head(s: &Subject) {
    written(s).await;
    s.store().create_cluster(&stillframe_api::cluster::CreateCluster::new(cluster("other"), 1), None).await.expect("made");
    let heads = s.store().audit_heads(None).await.expect("heads");
    assert_eq!(heads.iter().map(|head| head.cluster.clone()).collect::<Vec<_>>(), [None, Some(bank()), Some(cluster("other"))]);
    for head in heads {
        let mut checker = ChainChecker::new(head.cluster.clone(), vec![head.head.clone()]);
        let rows = chain(s, head.cluster.as_ref()).await;
        assert_eq!(rows[0].prev_hash, NO_HASH);
        rows.iter().for_each(|row| checker.take(row));
        let report = checker.finish();
        assert!(report.intact, "{report:?}");
        assert_eq!(report.head, Some(head.head));
    }
    let one = s.store().audit_heads(Some(&bank())).await.expect("heads");
    assert_eq!(one.len(), 1);
    assert!(s.store().audit_heads(Some(&cluster("nobody"))).await.expect("heads").is_empty());
}

pub(super) async fn a_stretch_of_a_chain_is_told_in_order(s: &Subject) {
    written(s).await;
    let all = chain(s, Some(&bank())).await;
    let stretch = async |after, last, limit| s.store().audit_chain(Some(&bank()), after, last, limit).await.expect("rows");
    assert_eq!(stretch(0, u64::MAX, 2).await, all[..2]);
    assert_eq!(stretch(2, 4, 100).await, all[2..4]);
    assert_eq!(stretch(2, 4, 1).await, all[2..3]);
    assert!(stretch(all.len() as u64, u64::MAX, 9).await.is_empty());
    assert_eq!(chain(s, None).await.into_iter().map(|row| row.seq).collect::<Vec<_>>(), [1]);
    let last = all.last().map(|row| ChainHead { seq: row.seq, hash: row.hash.clone() });
    assert_eq!(s.store().audit_heads(Some(&bank())).await.expect("heads").pop().map(|head| head.head), last);
}

pub(super) async fn rows_are_found_by_all_that_is_given_newest_first(s: &Subject) {
    let beginning = s.now().await;
    written(s).await;
    let filter = AuditFilter { cluster: Some(bank()), limit: 100, ..AuditFilter::default() };
    let with = |change: &dyn Fn(&mut AuditFilter)| {
        let mut filter = filter.clone();
        change(&mut filter);
        filter
    };
    let all = list(s, filter.clone()).await;
    assert_eq!((all.len(), all[0].as_str()), (8, "snapshot.committed"));
    let committing = ["snapshot.committed", "snapshot.committing"];
    assert_eq!(list(s, with(&|f| f.limit = 2)).await, committing);
    assert_eq!(list(s, with(&|f| f.action = Some("snapshot.committed".to_owned()))).await, ["snapshot.committed"]);
    assert_eq!(list(s, with(&|f| f.action = Some("snapshot.".to_owned()))).await.len(), 4);
    assert!(list(s, with(&|f| f.action = Some("snapshot".to_owned()))).await.is_empty());
    assert_eq!(list(s, with(&|f| f.subject = Some("p1".to_owned()))).await, ["member.arrived", "member.registered"]);
    let automatic = list(s, with(&|f| f.actor = Some("coordinator".to_owned()))).await;
    assert!(automatic.contains(&"snapshot.recording".to_owned()) && !automatic.contains(&"member.registered".to_owned()));
    let later = beginning + jiff::SignedDuration::from_secs(1);
    assert_eq!(list(s, with(&|f| f.since = Some(later))).await, committing);
    assert_eq!(list(s, with(&|f| f.until = Some(later))).await.len(), 6);
    assert!(list(s, with(&|f| (f.since, f.until) = (Some(later), Some(later)))).await.is_empty());
    assert_eq!(list(s, AuditFilter { limit: 1, ..AuditFilter::default() }).await, ["collection.suspended"]);
    let page = s.store().audit(&with(&|f| f.limit = 3)).await.expect("rows");
    let next = s.store().audit(&with(&|f| f.before = page.last().map(|entry| entry.id))).await.expect("rows");
    let actions: Vec<String> = page.into_iter().chain(next).map(|entry| entry.row.action).collect();
    assert_eq!(actions, all, "page by page, all of them and each once");
}
