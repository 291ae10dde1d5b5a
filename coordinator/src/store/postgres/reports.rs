//! Reports in batches. A part is inserted under a share lock of its snapshot, not of the cluster: reports don't wait for each other, and an
//! abort and a report exclude each other. Completeness is looked for in a second statement, after the first has committed: two last reports
//! in two transactions would each see the other as missing. Each is one statement, a transaction of its own.

use serde_json::Value;
use sqlx::PgPool;
use stillframe_archive::Part;
use stillframe_protocol::{MemberName, NameError, SnapshotId};
use uuid::Uuid;

use super::{
    json::{bigint, from_json, to_json},
    write::statement,
};
use crate::{
    decide::part,
    store::{CompleteSnapshot, PartRow, ProgressRow, StoreError, Taken},
};

/// Inserts parts that are still wanted; gives those that are there.
pub(super) async fn insert_parts(pool: &PgPool, rows: &[PartRow]) -> Result<Taken, StoreError> {
    let inserted = insert(pool, rows).await?;
    if inserted.len() == rows.len() {
        return Ok(Taken { there: inserted, all_new: true });
    }
    Ok(Taken { there: present(pool, rows).await?, all_new: false })
}

/// Parts as the columns of a multi-row statement.
pub(super) struct PartColumns {
    pub(super) snapshots: Vec<Uuid>,
    pub(super) members: Vec<String>,
    pub(super) incarnations: Vec<i64>,
    pub(super) contents: Vec<Value>,
    pub(super) bytes: Vec<i64>,
}

impl PartColumns {
    pub(super) fn of(rows: &[PartRow]) -> Result<Self, StoreError> {
        Ok(Self {
            snapshots: rows.iter().map(|r| r.report.snapshot.0).collect(),
            members: rows.iter().map(|r| r.member.to_string()).collect(),
            incarnations: rows.iter().map(|r| bigint(r.incarnation.0)).collect(),
            contents: rows.iter().map(|r| to_json(&r.part())).collect::<Result<_, _>>()?,
            bytes: rows.iter().map(|r| bigint(part::bytes(&r.report))).collect(),
        })
    }
}

async fn insert(pool: &PgPool, rows: &[PartRow]) -> Result<Vec<(SnapshotId, MemberName)>, StoreError> {
    let columns = PartColumns::of(rows)?;
    let clusters: Vec<String> = rows.iter().map(|r| r.cluster.to_string()).collect();
    let epochs: Vec<i64> = rows.iter().map(|r| bigint(r.report.epoch.0)).collect();
    let generations: Vec<i64> = rows.iter().map(|r| bigint(r.report.generation.0)).collect();
    let inserted = sqlx::query!(
        r#"
        WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)), wanted AS MATERIALIZED (
            SELECT id, cluster, epoch, generation, view FROM snapshots
             WHERE id = ANY ($1) AND state = 'recording' ORDER BY id FOR SHARE
        )
        INSERT INTO parts (snapshot, member, incarnation, content, bytes)
        SELECT r.snapshot, r.member, r.incarnation, r.content, r.bytes
          FROM lazily, unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::jsonb[], $8::bigint[])
               AS r(snapshot, cluster, member, incarnation, epoch, generation, content, bytes)
          JOIN wanted w ON w.id = r.snapshot AND w.cluster = r.cluster AND w.epoch = r.epoch AND w.generation = r.generation
         WHERE (w.view ->> r.member)::bigint = r.incarnation
        ON CONFLICT (snapshot, member) DO NOTHING
        RETURNING snapshot, member
        "#,
        &columns.snapshots,
        &clusters,
        &columns.members,
        &columns.incarnations,
        &epochs,
        &generations,
        &columns.contents,
        &columns.bytes,
    )
    .fetch_all(pool)
    .await
    .map_err(statement)?;
    inserted.into_iter().map(|row| Ok((SnapshotId(row.snapshot), name(&row.member)?))).collect()
}

/// The parts that are there, whoever's insert it was.
async fn present(pool: &PgPool, rows: &[PartRow]) -> Result<Vec<(SnapshotId, MemberName)>, StoreError> {
    let ids: Vec<Uuid> = rows.iter().map(|r| r.report.snapshot.0).collect();
    let members: Vec<String> = rows.iter().map(|r| r.member.to_string()).collect();
    let incarnations: Vec<i64> = rows.iter().map(|r| bigint(r.incarnation.0)).collect();
    let clusters: Vec<String> = rows.iter().map(|r| r.cluster.to_string()).collect();
    let present = sqlx::query!(
        r#"
        SELECT p.snapshot, p.member FROM parts p
          JOIN unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[]) AS r(snapshot, member, incarnation, cluster)
            ON p.snapshot = r.snapshot AND p.member = r.member AND p.incarnation = r.incarnation
          JOIN snapshots s ON s.id = p.snapshot AND s.cluster = r.cluster AND s.state IN ('recording', 'committing', 'committed')
        "#,
        &ids,
        &members,
        &incarnations,
        &clusters,
    )
    .fetch_all(pool)
    .await
    .map_err(statement)?;
    present.into_iter().map(|row| Ok((SnapshotId(row.snapshot), name(&row.member)?))).collect()
}

fn name(text: &str) -> Result<MemberName, StoreError> {
    text.parse().map_err(|error: NameError| StoreError::Fault { reason: error.to_string() })
}

/// Those of the snapshots that have all their parts and aren't committed yet, with the parts.
pub(super) async fn complete(pool: &PgPool, ids: &[SnapshotId]) -> Result<Vec<CompleteSnapshot>, StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query_scalar!(
        r#"
        SELECT jsonb_build_object(
                   'id', s.id, 'cluster', s.cluster, 'archive_prefix', c.archive_prefix, 'epoch', s.epoch, 'generation', s.generation,
                   'committing', s.state = 'committing', 'recording_at', s.recording_at, 'labels', s.labels, 'view', s.view,
                   'parts', (SELECT coalesce(jsonb_agg(p.content ORDER BY p.member), '[]') FROM parts p WHERE p.snapshot = s.id),
                   'departed', (SELECT coalesce(jsonb_agg(d.counters ORDER BY d.member), '[]')
                                  FROM (SELECT DISTINCT ON (g.member) g.member, g.counters FROM departures g
                                         WHERE g.cluster = s.cluster AND g.generation = s.generation AND g.left_at <= s.recording_at
                                           AND NOT s.view ? g.member
                                         ORDER BY g.member, g.incarnation DESC) d)) AS "complete!"
          FROM snapshots s JOIN clusters c ON c.name = s.cluster
         WHERE s.id = ANY ($1) AND s.state IN ('recording', 'committing')
           AND s.view_members = (SELECT count(*) FROM parts p WHERE p.snapshot = s.id)
        "#,
        &ids,
    )
    .fetch_all(pool)
    .await
    .map_err(statement)?;
    rows.into_iter().map(|row| from_json(row).map(CompleteSnapshot::with_needed)).collect()
}

/// Snapshots that a replica left complete or committing.
pub(super) async fn unfinished(pool: &PgPool, after: Option<SnapshotId>, limit: u32) -> Result<Vec<SnapshotId>, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"
        SELECT s.id FROM snapshots s
         WHERE s.id > $1
           AND (s.state = 'committing'
                OR (s.state = 'recording' AND s.view_members = (SELECT count(*) FROM parts p WHERE p.snapshot = s.id)))
         ORDER BY s.id
         LIMIT $2
        "#,
        after.map_or_else(Uuid::nil, |id| id.0),
        i64::from(limit),
    )
    .fetch_all(pool)
    .await
    .map_err(statement)?;
    Ok(rows.into_iter().map(SnapshotId).collect())
}

/// The parts of a snapshot.
pub(super) async fn parts(pool: &PgPool, snapshot: SnapshotId) -> Result<Vec<Part>, StoreError> {
    let rows = sqlx::query_scalar!("SELECT content FROM parts WHERE snapshot = $1 ORDER BY member", snapshot.0);
    rows.fetch_all(pool).await.map_err(statement)?.into_iter().map(from_json).collect()
}

/// The latest word of each member counts, and only that of the incarnation in the view.
pub(super) async fn put_progress(pool: &PgPool, rows: Vec<ProgressRow>) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = rows.iter().map(|r| r.snapshot.0).collect();
    let clusters: Vec<String> = rows.iter().map(|r| r.cluster.to_string()).collect();
    let members: Vec<String> = rows.iter().map(|r| r.member.to_string()).collect();
    let incarnations: Vec<i64> = rows.iter().map(|r| bigint(r.incarnation.0)).collect();
    let spooled: Vec<i64> = rows.iter().map(|r| bigint(r.spooled_bytes)).collect();
    let missing = rows.iter().map(|r| to_json(&r.missing)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query!(
        r#"
        WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
        INSERT INTO progress (snapshot, member, missing, spooled_bytes)
        SELECT DISTINCT ON (r.snapshot, r.member) r.snapshot, r.member, r.missing, r.spooled
          FROM lazily, unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::jsonb[], $6::bigint[])
               WITH ORDINALITY AS r(snapshot, cluster, member, incarnation, missing, spooled, nth)
          JOIN snapshots s ON s.id = r.snapshot AND s.cluster = r.cluster AND s.state = 'recording'
         WHERE (s.view ->> r.member)::bigint = r.incarnation
         -- Of several words of a member, the last that was given.
         ORDER BY r.snapshot, r.member, r.nth DESC
        ON CONFLICT (snapshot, member) DO UPDATE SET missing = excluded.missing, spooled_bytes = excluded.spooled_bytes, at = clock_timestamp()
        "#,
        &ids,
        &clusters,
        &members,
        &incarnations,
        &missing,
        &spooled,
    )
    .execute(pool)
    .await
    .map_err(statement)?;
    Ok(())
}
