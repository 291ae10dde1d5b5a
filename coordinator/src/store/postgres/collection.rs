//! What is to be swept from the archive, and whether anything may be.

use std::time::Duration;

use sqlx::PgPool;
use stillframe_protocol::{ClusterName, NameError, SnapshotId};

use super::{
    json::from_json,
    transaction::{Body, run},
    write::{only_store, statement},
};
use crate::{
    decide::facts::CollectionState,
    store::{Collecting, CollectionRow, Leftover, Standing, StoreError},
};

/// How many are taken up at once, over all clusters.
const BATCH: i64 = 100;

/// How many are told of one cluster.
const MOST: i64 = 1_000;

fn fault(error: NameError) -> StoreError {
    StoreError::Fault { reason: error.to_string() }
}

/// Snapshots of which nothing may stay.
pub(super) async fn leftovers(pool: &PgPool, cluster: Option<&ClusterName>) -> Result<Vec<Leftover>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT s.id, s.cluster, c.archive_prefix, to_jsonb(s.state) AS "state!", s.sweep_at AS "sweep_at!: jiff_sqlx::Timestamp"
          FROM snapshots s JOIN clusters c ON c.name = s.cluster
         WHERE s.state IN ('aborted', 'deleting', 'deleted') AND s.sweep_at IS NOT NULL
           AND CASE WHEN $1::text IS NULL THEN s.sweep_at <= clock_timestamp() ELSE s.cluster = $1 END
         -- Of each cluster its first before the second of any: one whose archive is away takes nobody's turn.
         ORDER BY row_number() OVER (PARTITION BY s.cluster ORDER BY s.sweep_at, s.id), s.sweep_at, s.id LIMIT $2
        "#,
        cluster.map(ClusterName::as_str),
        if cluster.is_some() { MOST } else { BATCH },
    )
    .fetch_all(pool)
    .await
    .map_err(statement)?;
    rows.into_iter()
        .map(|row| {
            Ok(Leftover {
                cluster: row.cluster.parse().map_err(fault)?,
                archive_prefix: row.archive_prefix,
                snapshot: SnapshotId(row.id),
                state: from_json(row.state)?,
                sweep_at: row.sweep_at.to_jiff(),
            })
        })
        .collect()
}

/// What is known of snapshots, as much as says what they own.
pub(super) async fn standings(pool: &PgPool, snapshots: &[SnapshotId]) -> Result<Vec<Standing>, StoreError> {
    let ids: Vec<uuid::Uuid> = snapshots.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"
        SELECT s.id, to_jsonb(s.state) AS "state!", s.sweep_at IS NOT NULL AS "sweeps!",
               (SELECT coalesce(jsonb_agg(o.object -> 'key'), '[]')
                  FROM parts p, jsonb_array_elements(p.content -> 'objects') AS o(object)
                 WHERE p.snapshot = s.id AND o.object ? 'key') AS "keys!"
          FROM snapshots s WHERE s.id = ANY ($1)
        "#,
        &ids,
    )
    .fetch_all(pool)
    .await
    .map_err(statement)?;
    rows.into_iter()
        .map(|row| {
            let (state, keys) = (from_json(row.state)?, from_json(row.keys)?);
            Ok(Standing { snapshot: SnapshotId(row.id), state, sweeps: row.sweeps, keys })
        })
        .collect()
}

/// Claims clusters for what is done now and then.
pub(super) async fn claim(pool: &PgPool, what: Collecting, every: Duration) -> Result<Vec<ClusterName>, StoreError> {
    let every = every.as_secs_f64();
    let names = match what {
        Collecting::Retention => {
            let claim = sqlx::query_scalar!(
                r#"
                INSERT INTO collecting AS k (cluster, retention_at)
                SELECT c.name, clock_timestamp() FROM clusters c LEFT JOIN collecting l ON l.cluster = c.name
                 WHERE c.retention IS NOT NULL
                   AND (l.retention_at IS NULL OR l.retention_at <= clock_timestamp() - make_interval(secs => $1)) LIMIT $2
                ON CONFLICT (cluster) DO UPDATE SET retention_at = excluded.retention_at
                 WHERE k.retention_at IS NULL OR k.retention_at <= clock_timestamp() - make_interval(secs => $1)
                RETURNING cluster
                "#,
                every,
                BATCH,
            );
            claim.fetch_all(pool).await
        }
        Collecting::Orphans => {
            let claim = sqlx::query_scalar!(
                r#"
                INSERT INTO collecting AS k (cluster, orphans_at)
                SELECT c.name, clock_timestamp() FROM clusters c LEFT JOIN collecting l ON l.cluster = c.name
                 WHERE l.orphans_at IS NULL OR l.orphans_at <= clock_timestamp() - make_interval(secs => $1) LIMIT $2
                ON CONFLICT (cluster) DO UPDATE SET orphans_at = excluded.orphans_at
                 WHERE k.orphans_at IS NULL OR k.orphans_at <= clock_timestamp() - make_interval(secs => $1)
                RETURNING cluster
                "#,
                every,
                BATCH,
            );
            claim.fetch_all(pool).await
        }
    };
    names.map_err(statement)?.into_iter().map(|name| name.parse().map_err(fault)).collect()
}

/// Whether anything may be deleted.
pub(super) async fn get(pool: &PgPool) -> Result<CollectionRow, StoreError> {
    let row = sqlx::query_scalar!(r#"SELECT to_jsonb(g) AS "g!" FROM collection_now g"#);
    from_json(row.fetch_one(pool).await.map_err(statement)?)
}

/// Changes whether anything may be deleted.
pub(super) async fn set(
    pool: &PgPool,
    state: &CollectionState,
    actor: &str,
    request_id: Option<String>,
) -> Result<bool, StoreError> {
    let (word, action, reason) = match state {
        CollectionState::Confirmed => ("confirmed", "collection.confirmed", None),
        CollectionState::Suspended { reason } => ("suspended", "collection.suspended", Some(reason.clone())),
    };
    let actor = actor.to_owned();
    let body: Body<bool> = Box::new(move |connection| {
        let (actor, reason, request_id) = (actor.clone(), reason.clone(), request_id.clone());
        Box::pin(async move {
            // A suspension keeps its first reason until it is confirmed.
            let changed = sqlx::query_scalar!(
                r#"
                WITH changed AS (
                    UPDATE collection SET state = $1, reason = $2, changed_at = clock_timestamp() WHERE state <> $1 RETURNING state
                ), line AS (
                    INSERT INTO audit (cluster, actor, action, subject, reason, detail, request_id)
                    SELECT NULL, $3, $4, 'collection', $2, jsonb_build_object('reason', $2::text), $5 FROM changed
                )
                SELECT count(*) AS "changed!" FROM changed
                "#,
                word,
                reason,
                actor,
                action,
                request_id,
            )
            .fetch_one(connection)
            .await?;
            Ok(changed > 0)
        })
    });
    run(pool, body).await.map_err(only_store)
}
