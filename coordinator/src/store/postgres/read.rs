//! Reading for answers.

use std::collections::BTreeMap;

use sqlx::PgPool;
use stillframe_protocol::{ClusterName, NameError, SnapshotId};

use super::{
    bounded::{PATIENCE, within},
    json::{from_json, unsigned},
    writable,
    write::statement,
};
use crate::store::{ClusterRow, MemberRow, SnapshotFilter, SnapshotRow, StoreError};

fn fault(error: NameError) -> StoreError {
    StoreError::Fault { reason: error.to_string() }
}

/// The revisions of clusters, from a server that takes writes: another may not know the newest.
pub(super) async fn revisions(pool: &PgPool, clusters: &[ClusterName]) -> Result<Vec<(ClusterName, u64)>, StoreError> {
    let names: Vec<String> = clusters.iter().map(ToString::to_string).collect();
    let mut connection = pool.acquire().await.map_err(statement)?;
    let rows = sqlx::query!(
        r#"
        SELECT current_setting('transaction_read_only') = 'on' AS "read_only!",
               (SELECT coalesce(jsonb_object_agg(name, revision), '{}') FROM clusters WHERE name = ANY ($1)) AS "revisions!"
        "#,
        &names,
    );
    let row = tokio::time::timeout(PATIENCE, rows.fetch_one(&mut *connection)).await;
    let row = within(connection, row)?;
    if row.read_only {
        // That connection is asked, and closed, before it is used again.
        writable::doubt();
        return Err(writable::read_only());
    }
    let revisions: BTreeMap<ClusterName, u64> = from_json(row.revisions)?;
    Ok(revisions.into_iter().collect())
}

/// A cluster.
pub(super) async fn cluster(pool: &PgPool, cluster: &ClusterName) -> Result<Option<ClusterRow>, StoreError> {
    let row = sqlx::query_scalar!(
        r#"
        SELECT to_jsonb(c) || jsonb_build_object(
                   'under_way', (SELECT coalesce(jsonb_agg(jsonb_build_object('snapshot', s.id, 'state', s.state,
                                            'since', CASE s.state WHEN 'recording' THEN s.recording_at ELSE s.committing_at END,
                                            'archive_error', s.archive_error) ORDER BY s.epoch), '[]')
                                   FROM snapshots s WHERE s.cluster = c.name AND s.state IN ('recording', 'committing')),
                   'pending', (SELECT count(*) FROM snapshots s WHERE s.cluster = c.name AND s.state = 'pending'),
                   'live_members', (SELECT count(*) FROM members m WHERE m.cluster = c.name AND m.state = 'live' AND m.standing NOT IN ('excluded', 'left')),
                   'lost_members', (SELECT count(*) FROM members m WHERE m.cluster = c.name AND m.state = 'lost' AND m.standing NOT IN ('excluded', 'left')),
                   'restore', (SELECT r.id FROM restores r WHERE r.cluster = c.name AND r.state IN ('planned', 'preparing', 'resuming'))) AS "c!"
          FROM clusters c WHERE c.name = $1
        "#,
        cluster.as_str(),
    );
    row.fetch_optional(pool).await.map_err(statement)?.map(from_json).transpose()
}

/// Clusters by name.
pub(super) async fn clusters(pool: &PgPool, after: Option<&str>, limit: u32) -> Result<Vec<ClusterRow>, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"
        SELECT to_jsonb(c) || jsonb_build_object(
                   'under_way', (SELECT coalesce(jsonb_agg(jsonb_build_object('snapshot', s.id, 'state', s.state,
                                            'since', CASE s.state WHEN 'recording' THEN s.recording_at ELSE s.committing_at END,
                                            'archive_error', s.archive_error) ORDER BY s.epoch), '[]')
                                   FROM snapshots s WHERE s.cluster = c.name AND s.state IN ('recording', 'committing')),
                   'pending', (SELECT count(*) FROM snapshots s WHERE s.cluster = c.name AND s.state = 'pending'),
                   'live_members', (SELECT count(*) FROM members m WHERE m.cluster = c.name AND m.state = 'live' AND m.standing NOT IN ('excluded', 'left')),
                   'lost_members', (SELECT count(*) FROM members m WHERE m.cluster = c.name AND m.state = 'lost' AND m.standing NOT IN ('excluded', 'left')),
                   'restore', (SELECT r.id FROM restores r WHERE r.cluster = c.name AND r.state IN ('planned', 'preparing', 'resuming'))) AS "c!"
          FROM clusters c WHERE $1::text IS NULL OR c.name > $1 ORDER BY c.name LIMIT $2
        "#,
        after,
        i64::from(limit),
    );
    rows.fetch_all(pool).await.map_err(statement)?.into_iter().map(from_json).collect()
}

/// Members by name.
pub(super) async fn members(
    pool: &PgPool,
    cluster: &ClusterName,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<MemberRow>, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"
        SELECT to_jsonb(m) || jsonb_build_object('last_seen_at', l.seen_at, 'lease_expires_at', l.expires_at) AS "m!"
          FROM members m JOIN leases l ON l.cluster = m.cluster AND l.member = m.name
         WHERE m.cluster = $1 AND m.standing <> 'excluded' AND ($2::text IS NULL OR m.name > $2) ORDER BY m.name LIMIT $3
        "#,
        cluster.as_str(),
        after,
        i64::from(limit),
    );
    rows.fetch_all(pool).await.map_err(statement)?.into_iter().map(from_json).collect()
}

/// A snapshot with everything about it.
pub(super) async fn snapshot(pool: &PgPool, id: SnapshotId) -> Result<Option<SnapshotRow>, StoreError> {
    let row = sqlx::query!(
        r#"
        SELECT clock_timestamp() AS "now!: jiff_sqlx::Timestamp", s.cluster,
               to_jsonb(s) || jsonb_build_object(
                   'reported', (SELECT coalesce(jsonb_agg(p.member), '[]') FROM parts p WHERE p.snapshot = s.id),
                   'progress', (SELECT coalesce(jsonb_object_agg(g.member, jsonb_build_object('missing', g.missing, 'at', g.at)), '{}')
                                  FROM progress g WHERE g.snapshot = s.id)) AS "facts!",
               (SELECT coalesce(jsonb_object_agg(p.member, jsonb_build_object('bytes', p.bytes, 'reported_at', p.reported_at)), '{}')
                  FROM parts p WHERE p.snapshot = s.id) AS "parts!",
               (SELECT coalesce(sum(p.bytes), 0)::bigint FROM parts p WHERE p.snapshot = s.id) AS "bytes!"
          FROM snapshots s WHERE s.id = $1
        "#,
        id.0,
    );
    let Some(row) = row.fetch_optional(pool).await.map_err(statement)? else { return Ok(None) };
    Ok(Some(SnapshotRow {
        now: row.now.to_jiff(),
        cluster: row.cluster.parse().map_err(fault)?,
        facts: from_json(row.facts)?,
        bytes: unsigned(row.bytes),
        parts: from_json(row.parts)?,
    }))
}

/// Snapshots, newest first: ids are UUIDv7, so their order is that of their making.
pub(super) async fn snapshots(
    pool: &PgPool,
    cluster: &ClusterName,
    filter: &SnapshotFilter,
) -> Result<Vec<SnapshotRow>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT clock_timestamp() AS "now!: jiff_sqlx::Timestamp", to_jsonb(s) AS "facts!",
               (SELECT coalesce(sum(p.bytes), 0)::bigint FROM parts p WHERE p.snapshot = s.id) AS "bytes!"
          FROM snapshots s
         WHERE s.cluster = $1 AND ($2::text IS NULL OR s.state = $2) AND ($3::uuid IS NULL OR s.id < $3)
         ORDER BY s.id DESC LIMIT $4
        "#,
        cluster.as_str(),
        filter.state.map(|state| state.as_str()),
        filter.before.map(|id| id.0),
        i64::from(filter.limit),
    );
    let rows = rows.fetch_all(pool).await.map_err(statement)?;
    rows.into_iter()
        .map(|row| {
            let (now, cluster, bytes) = (row.now.to_jiff(), cluster.clone(), unsigned(row.bytes));
            Ok(SnapshotRow { now, cluster, facts: from_json(row.facts)?, bytes, parts: Default::default() })
        })
        .collect()
}
