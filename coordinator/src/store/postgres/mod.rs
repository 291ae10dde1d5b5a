//! The store on Postgres 15 or later. Queries are checked at compile time (`.sqlx/`); what is read as a whole comes as JSON.
//!
//! | to find | look in |
//! | --- | --- |
//! | connecting and migrating, and the role that serves requests | [`connect`], [`role`] |
//! | the one way to run a transaction | [`transaction`] |
//! | what an SQLSTATE means, servers that take no writes | [`sqlstate`], [`writable`] |
//! | a transition: reading facts, writing the difference | [`facts`], [`write`] |
//! | a transition on remembered facts, in one statement | [`remembered`] |
//! | reports in batches, uploads in pieces | [`reports`], [`uploads`] |
//! | leases, deadlines, schedules | [`leases`], [`due`], [`schedules`] |
//! | what is to be swept, and whether it may be | [`collection`] |
//! | statements that are given up after a while | [`bounded`] |
//! | telling other replicas of changes | [`hints`] |
//! | requests that are carried out once | [`idempotency`] |
//! | answers | [`read`], [`audit`] |

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::PgPool;
use stillframe_api::{audit::AuditRow, cluster::CreateCluster, snapshot::SnapshotState};
use stillframe_archive::{ObjectKey, Part};
use stillframe_protocol::{ClusterName, RestoreId, SnapshotId, name::ScheduleName};
use uuid::Uuid;

use super::{
    AuditEntry, AuditFilter, AuditHead, ClusterRow, Collecting, CollectionRow, CompleteSnapshot, Due, Hint, LeaseKey, Leftover,
    MemberRow, PartRow, ProgressRow, Renewal, RestoreRow, Rule, ScheduleRow, Scope, SnapshotFilter, SnapshotRow, Store,
    StoreError, Taken, TransactError, Transition, UnfinishedUpload, UploadRow, Uploads,
};
use crate::decide::{
    Decision, Facts,
    facts::{ClusterFacts, CollectionState},
};

mod audit;
mod bounded;
mod collection;
mod connect;
mod continuity;
mod due;
mod facts;
mod hints;
mod idempotency;
mod json;
mod leases;
mod read;
mod remembered;
mod reports;
mod restores;
mod role;
mod schedules;
mod sqlstate;
mod transaction;
mod uploads;
mod writable;
mod write;

pub use role::SERVING_ROLE;

/// The migrations, embedded.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// A pool of connections to one database.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pub(crate) pool: PgPool,
    listener: hints::Listener,
}

impl PostgresStore {
    /// Closes every connection.
    pub async fn close(&self) {
        self.listener.close().await;
        self.pool.close().await;
    }
}

/// The trait's methods, each in its file.
#[async_trait]
impl Store for PostgresStore {
    async fn transact(&self, cluster: &ClusterName, scope: Scope, rule: Rule) -> Result<Transition, TransactError> {
        transaction::transact(&self.pool, cluster.clone(), scope, rule).await
    }

    async fn transact_remembered(
        &self,
        before: &Facts,
        decision: &Decision,
        parts: &[PartRow],
        request_id: Option<&str>,
    ) -> Result<Option<Timestamp>, StoreError> {
        remembered::transact(&self.pool, before, decision, parts, request_id).await
    }

    async fn create_cluster(
        &self,
        settings: &CreateCluster,
        request_id: Option<String>,
    ) -> Result<(ClusterFacts, bool), StoreError> {
        write::create_cluster(&self.pool, settings.clone(), request_id).await
    }

    async fn facts(&self, cluster: &ClusterName) -> Result<Option<Facts>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(sqlstate::unavailable)?;
        facts::read(&mut connection, cluster, &Scope::default()).await
    }

    async fn announce(&self, hints: &[Hint]) -> Result<(), StoreError> {
        hints::announce(&self.pool, hints).await
    }

    async fn next_hint(&self) -> Result<Hint, StoreError> {
        self.listener.next().await
    }

    async fn revisions(&self, clusters: &[ClusterName]) -> Result<Vec<(ClusterName, u64)>, StoreError> {
        read::revisions(&self.pool, clusters).await
    }

    async fn insert_parts(&self, rows: &[PartRow]) -> Result<Taken, StoreError> {
        reports::insert_parts(&self.pool, rows).await
    }

    async fn put_progress(&self, rows: Vec<ProgressRow>) -> Result<(), StoreError> {
        reports::put_progress(&self.pool, rows).await
    }

    async fn complete_snapshots(&self, snapshots: &[SnapshotId]) -> Result<Vec<CompleteSnapshot>, StoreError> {
        reports::complete(&self.pool, snapshots).await
    }

    async fn unfinished(&self, after: Option<SnapshotId>, limit: u32) -> Result<Vec<SnapshotId>, StoreError> {
        reports::unfinished(&self.pool, after, limit).await
    }

    async fn parts(&self, snapshot: SnapshotId) -> Result<Vec<Part>, StoreError> {
        reports::parts(&self.pool, snapshot).await
    }

    async fn renew_leases(&self, holder: Uuid, lease: Duration, renewals: &[Renewal]) -> Result<(), StoreError> {
        leases::renew(&self.pool, holder, lease, renewals).await
    }

    async fn expired_leases(&self) -> Result<Vec<LeaseKey>, StoreError> {
        leases::expired(&self.pool).await
    }

    async fn deadlines(&self) -> Result<Due<ClusterName>, StoreError> {
        due::deadlines(&self.pool).await
    }

    async fn due_schedules(&self) -> Result<Due<(ClusterName, ScheduleName)>, StoreError> {
        due::schedules(&self.pool).await
    }

    async fn leftovers(&self, cluster: Option<&ClusterName>) -> Result<Vec<Leftover>, StoreError> {
        collection::leftovers(&self.pool, cluster).await
    }

    async fn put_upload(&self, upload: &UploadRow) -> Result<bool, StoreError> {
        uploads::put(&self.pool, upload).await
    }

    async fn forget_upload(&self, snapshot: SnapshotId, key: &ObjectKey, upload: &str) -> Result<(), StoreError> {
        uploads::forget(&self.pool, snapshot, key, upload).await
    }

    async fn uploads(&self, of: Uploads<'_>) -> Result<Vec<UnfinishedUpload>, StoreError> {
        uploads::list(&self.pool, of).await
    }

    async fn standings(&self, snapshots: &[SnapshotId]) -> Result<Vec<super::Standing>, StoreError> {
        collection::standings(&self.pool, snapshots).await
    }

    async fn claim_collecting(&self, what: Collecting, every: Duration) -> Result<Vec<ClusterName>, StoreError> {
        collection::claim(&self.pool, what, every).await
    }

    async fn collection(&self) -> Result<CollectionRow, StoreError> {
        collection::get(&self.pool).await
    }

    async fn set_collection(&self, state: &CollectionState, actor: &str, request_id: Option<String>) -> Result<bool, StoreError> {
        collection::set(&self.pool, state, actor, request_id).await
    }

    async fn trim_slots(&self) -> Result<(), StoreError> {
        schedules::trim_slots(&self.pool).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        writable::check(self.pool.acquire().await.map_err(sqlstate::unavailable)?).await
    }

    async fn cluster(&self, cluster: &ClusterName) -> Result<Option<ClusterRow>, StoreError> {
        read::cluster(&self.pool, cluster).await
    }

    async fn clusters(&self, after: Option<&str>, limit: u32) -> Result<Vec<ClusterRow>, StoreError> {
        read::clusters(&self.pool, after, limit).await
    }

    async fn members(&self, cluster: &ClusterName, after: Option<&str>, limit: u32) -> Result<Vec<MemberRow>, StoreError> {
        read::members(&self.pool, cluster, after, limit).await
    }

    async fn snapshot(&self, snapshot: SnapshotId) -> Result<Option<SnapshotRow>, StoreError> {
        read::snapshot(&self.pool, snapshot).await
    }

    async fn snapshots(&self, cluster: &ClusterName, filter: &SnapshotFilter) -> Result<Vec<SnapshotRow>, StoreError> {
        read::snapshots(&self.pool, cluster, filter).await
    }

    async fn restore(&self, restore: RestoreId) -> Result<Option<RestoreRow>, StoreError> {
        restores::restore(&self.pool, restore).await
    }

    async fn restores(
        &self,
        cluster: &ClusterName,
        before: Option<RestoreId>,
        limit: u32,
    ) -> Result<Vec<RestoreRow>, StoreError> {
        restores::restores(&self.pool, cluster, before, limit).await
    }

    async fn committed_before(&self, cluster: &ClusterName, time: Timestamp) -> Result<Option<SnapshotId>, StoreError> {
        restores::committed_before(&self.pool, cluster, time).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        audit::list(&self.pool, filter).await
    }

    async fn audit_heads(&self, cluster: Option<&ClusterName>) -> Result<Vec<AuditHead>, StoreError> {
        audit::heads(&self.pool, cluster).await
    }

    async fn audit_chain(
        &self,
        cluster: Option<&ClusterName>,
        after: u64,
        last: u64,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        audit::chain(&self.pool, cluster, after, last, limit).await
    }

    async fn snapshot_states(&self, cluster: &ClusterName) -> Result<Vec<(SnapshotId, SnapshotState)>, StoreError> {
        continuity::snapshot_states(&self.pool, cluster).await
    }

    async fn behind(&self) -> Result<Vec<ClusterName>, StoreError> {
        continuity::behind(&self.pool).await
    }

    async fn schedules(&self, cluster: &ClusterName, after: Option<&str>, limit: u32) -> Result<Vec<ScheduleRow>, StoreError> {
        schedules::list(&self.pool, cluster, after, limit).await
    }

    async fn schedule(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<Option<ScheduleRow>, StoreError> {
        schedules::get(&self.pool, cluster, name).await
    }
}
