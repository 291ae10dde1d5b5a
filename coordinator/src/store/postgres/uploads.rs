//! Uploads in pieces: written before the first piece, forgotten once they have ended.

use sqlx::PgPool;
use stillframe_archive::ObjectKey;
use stillframe_protocol::{ClusterName, SnapshotId};

use super::{json::bigint, write::statement};
use crate::store::{StoreError, UnfinishedUpload, UploadRow, Uploads};

/// How many are told at once.
const MOST: i64 = 1_000;

/// Keeps an upload, if its snapshot wants the part. Under a share lock of the snapshot: an abort comes before, or sees it.
pub(super) async fn put(pool: &PgPool, row: &UploadRow) -> Result<bool, StoreError> {
    let wanted = sqlx::query_scalar!(
        r#"
        WITH wanted AS MATERIALIZED (
            SELECT id FROM snapshots
             WHERE id = $1 AND cluster = $2 AND state = 'recording' AND view -> $3 = to_jsonb($4::bigint) FOR SHARE
        ), kept AS (
            INSERT INTO uploads (snapshot, key, upload, member, incarnation) SELECT id, $5, $6, $3, $4 FROM wanted
            ON CONFLICT DO NOTHING
        )
        SELECT count(*) AS "wanted!" FROM wanted
        "#,
        row.upload.snapshot.0,
        row.cluster.as_str(),
        row.member.as_str(),
        bigint(row.incarnation.0),
        row.upload.key.as_str(),
        row.upload.upload,
    )
    .fetch_one(pool)
    .await
    .map_err(statement)?;
    Ok(wanted > 0)
}

/// Forgets an upload.
pub(super) async fn forget(pool: &PgPool, snapshot: SnapshotId, key: &ObjectKey, upload: &str) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM uploads WHERE snapshot = $1 AND key = $2 AND upload = $3", snapshot.0, key.as_str(), upload)
        .execute(pool)
        .await
        .map_err(statement)?;
    Ok(())
}

/// Uploads that may be unfinished.
pub(super) async fn list(pool: &PgPool, of: Uploads<'_>) -> Result<Vec<UnfinishedUpload>, StoreError> {
    let (snapshot, cluster, after) = match of {
        Uploads::Of(snapshot) => (Some(snapshot.0), None, None),
        Uploads::Ended(cluster) => (None, Some(cluster.as_str()), None),
        Uploads::Stray(after) => (None, None, Some(after.as_secs_f64())),
    };
    let rows = sqlx::query!(
        r#"
        SELECT u.snapshot, u.key, u.upload, u.begun_at AS "begun_at: jiff_sqlx::Timestamp", s.cluster, c.archive_prefix,
               s.ended_at AS "ended_at: jiff_sqlx::Timestamp"
          FROM uploads u JOIN snapshots s ON s.id = u.snapshot JOIN clusters c ON c.name = s.cluster
         WHERE ($1::uuid IS NULL OR u.snapshot = $1)
           AND ($2::text IS NULL OR (s.cluster = $2 AND s.ended_at IS NOT NULL))
           AND ($3::float8 IS NULL OR greatest(u.begun_at, coalesce(s.ended_at, 'infinity')) <= clock_timestamp() - make_interval(secs => $3))
         ORDER BY u.begun_at, u.upload LIMIT $4
        "#,
        snapshot,
        cluster,
        after,
        MOST,
    )
    .fetch_all(pool)
    .await
    .map_err(statement)?;
    let fault = |reason: String| StoreError::Fault { reason };
    rows.into_iter()
        .map(|row| {
            Ok(UnfinishedUpload {
                cluster: row.cluster.parse::<ClusterName>().map_err(|error| fault(error.to_string()))?,
                archive_prefix: row.archive_prefix,
                snapshot: SnapshotId(row.snapshot),
                key: row.key.parse().map_err(|error: stillframe_archive::KeyError| fault(error.to_string()))?,
                upload: row.upload,
                begun_at: row.begun_at.to_jiff(),
                ended_at: row.ended_at.map(|at| at.to_jiff()),
            })
        })
        .collect()
}
