//! The store on Postgres 15 or later. Queries are checked at compile time (`.sqlx/`); what is read as a whole comes as JSON.
//!
//! | to find | look in |
//! | --- | --- |
//! | connecting and migrating | here |
//! | the one way to run a transaction | [`transaction`] |
//! | what an SQLSTATE means | [`sqlstate`] |
//! | a transition: reading facts, writing the difference | [`facts`], [`write`] |
//! | a transition on remembered facts, in one statement | [`remembered`] |
//! | reports in batches | [`reports`] |
//! | leases, deadlines, schedules, leftovers | [`leases`], [`due`], [`schedules`] |
//! | answers | [`read`] |

use std::{str::FromStr, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use stillframe_api::cluster::CreateCluster;
use stillframe_archive::Part;
use stillframe_protocol::{ClusterName, RestoreId, SnapshotId, name::ScheduleName};
use uuid::Uuid;

use super::{
    ClusterRow, CompleteSnapshot, Due, LeaseKey, Leftover, MemberRow, NewSchedule, PartRow, ProgressRow, RestoreRow, Rule,
    ScheduleRow, Scope, SnapshotFilter, SnapshotRow, Store, StoreError, Taken, TransactError, Transition,
};
use crate::decide::{
    Decision, Facts,
    facts::{ClusterFacts, ScheduleFacts},
};

mod due;
mod facts;
mod json;
mod leases;
mod read;
mod remembered;
mod reports;
mod schedules;
mod sqlstate;
mod transaction;
mod write;

/// The migrations, embedded.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// How long a request waits for a connection before it is told that the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the first connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that was idle for longer is tried out before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(5);

/// A pool of connections to one database.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pub(crate) pool: PgPool,
}

impl PostgresStore {
    /// Connects and migrates.
    ///
    /// # Errors
    /// What is wrong with the database, in a sentence.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self, String> {
        let options = PgConnectOptions::from_str(url).map_err(|error| error.to_string())?;
        let options = options.application_name("stillframe coordinator").options([
            ("TimeZone", "UTC"),
            ("lock_timeout", "5s"),
            ("statement_timeout", "15s"),
            ("idle_in_transaction_session_timeout", "15s"),
            ("jit", "off"),
            // Every query here goes by a key, so one plan serves all arguments; planning anew would cost more than most of them.
            ("plan_cache_mode", "force_generic_plan"),
        ]);
        // The pool only says that it had no connection in time; one connection of its own says why.
        let first = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await;
        let first = first.map_err(|_| format!("it didn't answer within {} s", CONNECT_TIMEOUT.as_secs()))?;
        let first = first.map_err(|error| sqlstate::describe(&error))?;
        first.close().await.map_err(|error| sqlstate::describe(&error))?;
        let pool = PgPoolOptions::new()
            .max_connections(max_connections.max(2))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > TRUSTED_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(options)
            .await
            .map_err(|error| sqlstate::describe(&error))?;
        let version = sqlx::query_scalar!(r#"SELECT current_setting('server_version_num')::integer AS "version!""#);
        let version = version.fetch_one(&pool).await.map_err(|error| sqlstate::describe(&error))?;
        if version < 150_000 {
            return Err(format!("expected Postgres 15 or later, found {}", version / 10_000));
        }
        MIGRATOR.run(&pool).await.map_err(|error| format!("its schema could not be brought up to date: {error}"))?;
        Ok(Self { pool })
    }

    /// Closes every connection.
    pub async fn close(&self) {
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

    async fn unfinished(&self) -> Result<Vec<SnapshotId>, StoreError> {
        reports::unfinished(&self.pool).await
    }

    async fn parts(&self, snapshot: SnapshotId) -> Result<Vec<Part>, StoreError> {
        reports::parts(&self.pool, snapshot).await
    }

    async fn renew_leases(&self, holder: Uuid, lease: Duration, leases: &[LeaseKey]) -> Result<(), StoreError> {
        leases::renew(&self.pool, holder, lease, leases).await
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

    async fn leftovers(&self) -> Result<Vec<Leftover>, StoreError> {
        due::leftovers(&self.pool).await
    }

    async fn swept(&self, snapshot: SnapshotId, again_in: Option<Duration>) -> Result<(), StoreError> {
        due::swept(&self.pool, snapshot, again_in).await
    }

    async fn trim_slots(&self) -> Result<(), StoreError> {
        schedules::trim_slots(&self.pool).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        read::check(&self.pool).await
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
        read::restore(&self.pool, restore).await
    }

    async fn put_schedule(
        &self,
        cluster: &ClusterName,
        schedule: &NewSchedule,
        request_id: Option<String>,
    ) -> Result<ScheduleFacts, StoreError> {
        schedules::put(&self.pool, cluster, schedule, request_id).await
    }

    async fn schedule(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<Option<ScheduleRow>, StoreError> {
        schedules::get(&self.pool, cluster, name).await
    }

    async fn delete_schedule(
        &self,
        cluster: &ClusterName,
        name: &ScheduleName,
        request_id: Option<String>,
    ) -> Result<bool, StoreError> {
        schedules::delete(&self.pool, cluster, name, request_id).await
    }
}
