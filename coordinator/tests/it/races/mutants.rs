//! Rules that are broken on purpose, and that the races must find broken: a check is worth something only if it fails without the rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use sqlx::{PgPool, postgres::PgPoolOptions};
use stillframe_archive::{Archive, Pace};
use stillframe_coordinator::store::{CompleteSnapshot, PartRow, Scope, Store, StoreError, Taken};
use stillframe_protocol::{ClusterName, SnapshotId};
use uuid::Uuid;

use super::{field::Field, pairs, stepped::Stepped};

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// A part counts whatever generation it was captured in.
    NoGenerationCheck,
    /// The objects of a snapshot go before the database has decided that they may.
    DeleteBeforeDeciding,
    /// A snapshot is complete when as many parts were reported as it has members, whoever reported them.
    CountAcknowledgements,
    /// Whether a snapshot is complete is looked for within the transaction that inserts a part, and never after.
    LookWithinTheReport,
}

/// What a mutant knows, in both replicas.
#[derive(Debug, Default)]
struct Known {
    /// How many parts of a snapshot were reported.
    counts: BTreeMap<SnapshotId, (ClusterName, u32)>,
    /// The snapshots that were found complete.
    complete: BTreeSet<SnapshotId>,
    archive: Option<Archive>,
    pool: Option<PgPool>,
}

/// A mutant in its place; or none, by default.
#[derive(Debug, Clone, Default)]
pub(super) struct Mutation {
    mutant: Option<Mutant>,
    known: Arc<Mutex<Known>>,
}

impl Mutation {
    fn of(mutant: Mutant) -> Self {
        Self { mutant: Some(mutant), known: Arc::default() }
    }

    /// What the mutant is to work on.
    pub(super) fn settle(&self, archive: &Archive, database: &str) {
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy(database).expect("a URL");
        let mut known = self.known.lock().expect("unpoisoned");
        (known.archive, known.pool) = (Some(archive.clone()), Some(pool));
    }

    pub(super) async fn before_transact(&self, store: &Stepped, cluster: &ClusterName, scope: &Scope) {
        let (Some(Mutant::DeleteBeforeDeciding), Some(snapshot), true) = (self.mutant, scope.snapshot, scope.kept) else {
            return;
        };
        let archive = self.known.lock().expect("unpoisoned").archive.clone().expect("settled");
        archive.delete_snapshot(cluster, snapshot, &Pace::new(1_000)).await.expect("deleted");
        store.gate.pass("after the objects were deleted").await;
    }

    pub(super) async fn insert_parts(&self, store: &Stepped, rows: &[PartRow]) -> Result<Taken, StoreError> {
        match self.mutant {
            Some(Mutant::NoGenerationCheck) => {
                let mut rows = rows.to_vec();
                for row in &mut rows {
                    let snapshot = store.inner.snapshot(row.report.snapshot).await?.expect("it is known");
                    row.report.generation = snapshot.facts.generation;
                }
                store.inner.insert_parts(&rows).await
            }
            Some(Mutant::CountAcknowledgements) => {
                let taken = store.inner.insert_parts(rows).await?;
                let mut known = self.known.lock().expect("unpoisoned");
                for row in rows {
                    known.counts.entry(row.report.snapshot).or_insert_with(|| (row.cluster.clone(), 0)).1 += 1;
                }
                Ok(Taken { all_new: false, ..taken })
            }
            Some(Mutant::LookWithinTheReport) => self.insert_and_look(store, rows).await,
            Some(Mutant::DeleteBeforeDeciding) | None => store.inner.insert_parts(rows).await,
        }
    }

    pub(super) async fn complete_snapshots(
        &self,
        store: &Stepped,
        ids: &[SnapshotId],
    ) -> Result<Vec<CompleteSnapshot>, StoreError> {
        match self.mutant {
            Some(Mutant::CountAcknowledgements) => {
                let counts = self.known.lock().expect("unpoisoned").counts.clone();
                let mut complete = Vec::new();
                for (id, (cluster, count)) in ids.iter().filter_map(|id| counts.get(id).map(|counted| (*id, counted))) {
                    let facts = store.inner.facts(cluster).await?.expect("the cluster");
                    let Some(snapshot) = facts.snapshot(id).filter(|snapshot| *count >= snapshot.view_members) else { continue };
                    complete.push(CompleteSnapshot {
                        id,
                        cluster: cluster.clone(),
                        archive_prefix: None,
                        epoch: snapshot.epoch.expect("it is recorded"),
                        generation: snapshot.generation,
                        committing: false,
                        recording_at: snapshot.recording_at.expect("it is recorded"),
                        labels: snapshot.labels.clone(),
                        view: snapshot.view.clone(),
                        parts: store.inner.parts(id).await?,
                        departed: Vec::new(),
                    });
                }
                Ok(complete)
            }
            Some(Mutant::LookWithinTheReport) => {
                let known = self.known.lock().expect("unpoisoned").complete.clone();
                let ids: Vec<SnapshotId> = ids.iter().copied().filter(|id| known.contains(id)).collect();
                store.inner.complete_snapshots(&ids).await
            }
            Some(Mutant::NoGenerationCheck | Mutant::DeleteBeforeDeciding) | None => store.inner.complete_snapshots(ids).await,
        }
    }

    async fn insert_and_look(&self, store: &Stepped, rows: &[PartRow]) -> Result<Taken, StoreError> {
        let pool = self.known.lock().expect("unpoisoned").pool.clone().expect("settled");
        let mut transaction = pool.begin().await.expect("a transaction");
        for row in rows {
            let content = serde_json::to_value(row.part()).expect("JSON");
            let insert = "INSERT INTO parts (snapshot, member, incarnation, content, bytes) VALUES ($1, $2, $3, $4, 3) ON CONFLICT DO NOTHING";
            let insert = sqlx::query(insert).bind(row.report.snapshot.0).bind(row.member.as_str());
            insert.bind(row.incarnation.0 as i64).bind(content).execute(&mut *transaction).await.expect("inserted");
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.report.snapshot.0).collect();
        let complete = "SELECT s.id FROM snapshots s WHERE s.id = ANY ($1) AND s.view_members = (SELECT count(*) FROM parts p WHERE p.snapshot = s.id)";
        let complete: Vec<Uuid> = sqlx::query_scalar(complete).bind(ids).fetch_all(&mut *transaction).await.expect("looked");
        store.gate.pass("within insert_parts, before its commit").await;
        transaction.commit().await.expect("committed");
        self.known.lock().expect("unpoisoned").complete.extend(complete.into_iter().map(SnapshotId));
        let there = rows.iter().map(|row| (row.report.snapshot, row.member.clone())).collect();
        Ok(Taken { there, all_new: false })
    }
}

async fn with(mutant: Mutant) -> Arc<Field> {
    Field::with(Mutation::of(mutant)).await
}

/// How long a snapshot may take that a mutant may have forgotten for ever.
const SHORT: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_check_of_generations_a_part_of_an_older_one_is_taken() {
    let found = pairs::late_report_of_an_older_generation(&with(Mutant::NoGenerationCheck).await).await;
    assert!(found.violations.iter().any(|what| what.contains("captured elsewhere than")), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_deleted_before_it_is_decided_is_missing_from_a_restore() {
    let found = pairs::deletion_against_restore(&with(Mutant::DeleteBeforeDeciding).await).await;
    assert!(found.violations.iter().any(|what| what.contains("does not verify")), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn acknowledgements_that_are_counted_complete_a_snapshot_early() {
    let found = pairs::one_report_twice(&with(Mutant::CountAcknowledgements).await, SHORT).await;
    assert!(found.violations.iter().any(|what| what.contains("counted as complete with 1 of 2 parts")), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn looked_for_within_the_report_completeness_is_never_seen() {
    let found = pairs::two_last_reports(&with(Mutant::LookWithinTheReport).await, SHORT).await;
    assert!(found.violations.iter().any(|what| what.contains("nobody takes it forward")), "{found:?}");
}
