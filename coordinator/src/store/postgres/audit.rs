//! Reading the audit. Writing it is part of every transition; its trigger numbers and hashes the rows.

use sqlx::PgPool;
use stillframe_api::{audit::AuditRow, chain::ChainHead};
use stillframe_protocol::{ClusterName, NameError};

use super::{
    json::{bigint, unsigned},
    transaction::{Body, run},
    write::{only_store, statement},
};
use crate::store::{AuditEntry, AuditFilter, AuditHead, StoreError};

/// A row as it is stored.
struct Stored {
    id: i64,
    cluster: Option<String>,
    seq: i64,
    at: jiff_sqlx::Timestamp,
    actor: String,
    action: String,
    subject: String,
    reason: Option<String>,
    request_id: Option<String>,
    detail: String,
    prev_hash: String,
    hash: String,
}

fn cluster(name: Option<String>) -> Result<Option<ClusterName>, StoreError> {
    let fault = |error: NameError| StoreError::Fault { reason: error.to_string() };
    name.map(|name| name.parse().map_err(fault)).transpose()
}

impl TryFrom<Stored> for AuditEntry {
    type Error = StoreError;

    fn try_from(stored: Stored) -> Result<Self, StoreError> {
        let row = AuditRow {
            cluster: cluster(stored.cluster)?,
            seq: unsigned(stored.seq),
            at: stored.at.to_jiff(),
            actor: stored.actor,
            action: stored.action,
            subject: stored.subject,
            reason: stored.reason,
            request_id: stored.request_id,
            detail: stored.detail,
            prev_hash: stored.prev_hash,
            hash: stored.hash,
        };
        Ok(Self { id: unsigned(stored.id), row })
    }
}

/// Rows, newest first.
pub(super) async fn list(pool: &PgPool, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
    let filter = filter.clone();
    let body: Body<Vec<AuditEntry>> = Box::new(move |connection| {
        let filter = filter.clone();
        Box::pin(async move {
            // Any of the conditions may be the one that finds few rows: this one query is planned for what is asked.
            sqlx::query!("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)").fetch_one(&mut *connection).await?;
            let family = filter.action.as_deref().filter(|action| action.ends_with('.'));
            let rows = sqlx::query_as!(
                Stored,
                r#"
                SELECT id, cluster, seq, at AS "at: jiff_sqlx::Timestamp", actor, action, subject, reason, request_id,
                       detail::text AS "detail!", prev_hash, hash
                  FROM audit
                 WHERE ($1::text IS NULL OR cluster = $1) AND ($2::text IS NULL OR actor = $2) AND ($3::text IS NULL OR action = $3)
                   AND ($4::text IS NULL OR starts_with(action, $4)) AND ($5::text IS NULL OR subject = $5)
                   AND ($6::timestamptz IS NULL OR at >= $6) AND ($7::timestamptz IS NULL OR at < $7)
                   AND ($8::bigint IS NULL OR id < $8)
                 ORDER BY id DESC LIMIT $9
                "#,
                filter.cluster.as_ref().map(ClusterName::as_str),
                filter.actor,
                filter.action.as_deref().filter(|_| family.is_none()),
                family,
                filter.subject,
                filter.since.map(jiff_sqlx::Timestamp::from) as _,
                filter.until.map(jiff_sqlx::Timestamp::from) as _,
                filter.before.map(bigint),
                i64::from(filter.limit),
            )
            .fetch_all(&mut *connection)
            .await?;
            Ok(rows.into_iter().map(AuditEntry::try_from).collect::<Result<_, _>>()?)
        })
    });
    run(pool, body).await.map_err(only_store)
}

/// The newest row of each chain, by cluster.
pub(super) async fn heads(pool: &PgPool, of: Option<&ClusterName>) -> Result<Vec<AuditHead>, StoreError> {
    let rows = sqlx::query!(
        "SELECT nullif(cluster, '') AS cluster, seq, hash FROM audit_heads h WHERE $1::text IS NULL OR h.cluster = $1 ORDER BY h.cluster",
        of.map(ClusterName::as_str),
    );
    let rows = rows.fetch_all(pool).await.map_err(statement)?;
    let head = |seq, hash| ChainHead { seq: unsigned(seq), hash };
    rows.into_iter().map(|row| Ok(AuditHead { cluster: cluster(row.cluster)?, head: head(row.seq, row.hash) })).collect()
}

/// A stretch of a chain, in order. Rows with one number twice, which only somebody with the owner's rights can have made, all come.
pub(super) async fn chain(
    pool: &PgPool,
    of: Option<&ClusterName>,
    after: u64,
    last: u64,
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    let rows = sqlx::query_as!(
        Stored,
        r#"
        SELECT id, cluster, seq, at AS "at: jiff_sqlx::Timestamp", actor, action, subject, reason, request_id,
               detail::text AS "detail!", prev_hash, hash
          FROM audit
         WHERE coalesce(cluster, '') = $1 AND seq > $2 AND seq <= $3
         ORDER BY coalesce(cluster, ''), seq LIMIT $4
        "#,
        of.map_or("", ClusterName::as_str),
        bigint(after),
        bigint(last),
        i64::from(limit),
    );
    let rows = rows.fetch_all(pool).await.map_err(statement)?;
    rows.into_iter().map(|row| Ok(AuditEntry::try_from(row)?.row)).collect()
}
