//! Writing what a decision changed about restores, and reading them for answers.

use jiff::Timestamp;
use sqlx::{PgConnection, PgPool};
use stillframe_protocol::{ClusterName, RestoreId, SnapshotId};
use uuid::Uuid;

use super::{
    json::{from_json, to_json},
    transaction::Stop,
    write::statement,
};
use crate::{
    decide::{Facts, facts::RestoreFacts},
    store::{RestoreRow, StoreError, difference::Difference},
};

/// Writes restores and what is known of unreadable snapshots, where they changed.
pub(super) async fn write(
    connection: &mut PgConnection,
    cluster: &ClusterName,
    next: &Facts,
    difference: &Difference<'_>,
) -> Result<(), Stop> {
    for restore in &difference.restores {
        put(connection, cluster, restore).await?;
    }
    if difference.unreadable { unreadable(connection, cluster, next, &difference.readable).await } else { Ok(()) }
}

async fn put(connection: &mut PgConnection, cluster: &ClusterName, restore: &RestoreFacts) -> Result<(), Stop> {
    sqlx::query!(
        r#"
        INSERT INTO restores (id, cluster, snapshot, generation, state, trigger, failure, failure_reason, fallback, retries, timeout_ms, mapping,
                              tried, retry_at, members, created_at, resumed_at, ended_at, deadline_at)
        SELECT r.id, $1, r.snapshot, r.generation, r.state, r.trigger, r.failure, r.failure_reason, r.fallback, r.retries, r.timeout_ms,
               r.mapping, r.tried, r.retry_at, r.members, r.created_at, r.resumed_at, r.ended_at, r.deadline_at
          FROM jsonb_to_record($2) AS r(id uuid, snapshot uuid, generation bigint, state text, trigger jsonb, failure text, failure_reason text,
                                        fallback integer, retries integer, timeout_ms bigint, mapping jsonb, tried jsonb,
                                        retry_at timestamptz, members jsonb, created_at timestamptz, resumed_at timestamptz,
                                        ended_at timestamptz, deadline_at timestamptz)
        ON CONFLICT (id) DO UPDATE SET
            snapshot = excluded.snapshot, generation = excluded.generation, state = excluded.state, failure = excluded.failure,
            failure_reason = excluded.failure_reason, fallback = excluded.fallback, mapping = excluded.mapping, tried = excluded.tried,
            retry_at = excluded.retry_at, members = excluded.members, resumed_at = excluded.resumed_at, ended_at = excluded.ended_at,
            deadline_at = excluded.deadline_at
        "#,
        cluster.as_str(),
        to_json(restore)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn unreadable(
    connection: &mut PgConnection,
    cluster: &ClusterName,
    next: &Facts,
    readable: &[SnapshotId],
) -> Result<(), Stop> {
    let readable: Vec<Uuid> = readable.iter().map(|id| id.0).collect();
    sqlx::query!("DELETE FROM unreadable_snapshots WHERE snapshot = ANY ($1)", &readable).execute(&mut *connection).await?;
    sqlx::query!(
        r#"
        INSERT INTO unreadable_snapshots (snapshot, cluster, restore, member, detail, found_at)
        SELECT u.key::uuid, $1, v.restore, v.member, v.detail, v.found_at
          FROM jsonb_each($2) AS u, jsonb_to_record(u.value) AS v(restore uuid, member text, detail text, found_at timestamptz)
        ON CONFLICT (snapshot) DO UPDATE SET
            restore = excluded.restore, member = excluded.member, detail = excluded.detail, found_at = excluded.found_at
        "#,
        cluster.as_str(),
        to_json(&next.unreadable)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A restore, with the bytes of the parts of its snapshot.
pub(super) async fn restore(pool: &PgPool, id: RestoreId) -> Result<Option<RestoreRow>, StoreError> {
    let row = sqlx::query_scalar!(
        r#"
        SELECT to_jsonb(r) || jsonb_build_object('part_bytes',
                   (SELECT coalesce(jsonb_object_agg(p.member, p.bytes), '{}') FROM parts p WHERE p.snapshot = r.snapshot)) AS "r!"
          FROM restores r WHERE id = $1
        "#,
        id.0
    );
    row.fetch_optional(pool).await.map_err(statement)?.map(from_json).transpose()
}

/// Restores, newest first: ids are UUIDv7, so their order is that of their making.
pub(super) async fn restores(
    pool: &PgPool,
    cluster: &ClusterName,
    before: Option<RestoreId>,
    limit: u32,
) -> Result<Vec<RestoreRow>, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"
        SELECT to_jsonb(r) || jsonb_build_object('part_bytes',
                   (SELECT coalesce(jsonb_object_agg(p.member, p.bytes), '{}') FROM parts p WHERE p.snapshot = r.snapshot)) AS "r!"
          FROM restores r WHERE r.cluster = $1 AND ($2::uuid IS NULL OR r.id < $2) ORDER BY r.id DESC LIMIT $3
        "#,
        cluster.as_str(),
        before.map(|id| id.0),
        i64::from(limit),
    );
    rows.fetch_all(pool).await.map_err(statement)?.into_iter().map(from_json).collect()
}

/// The newest committed snapshot, by its epoch, all parts of which were there at this time.
pub(super) async fn committed_before(
    pool: &PgPool,
    cluster: &ClusterName,
    time: Timestamp,
) -> Result<Option<SnapshotId>, StoreError> {
    // Postgres would round to its microseconds, and find what came up to half of one later.
    let time = Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time);
    let id = sqlx::query_scalar!(
        r#"
        SELECT s.id FROM snapshots s
         WHERE s.cluster = $1 AND s.state = 'committed' AND s.committing_at <= $2::text::timestamptz
         ORDER BY s.epoch DESC LIMIT 1
        "#,
        cluster.as_str(),
        time.to_string(),
    );
    Ok(id.fetch_optional(pool).await.map_err(statement)?.map(SnapshotId))
}
