//! Taking up what the archive proves, and knowing when the database may have lost transactions.

use sqlx::{PgConnection, PgPool};
use stillframe_api::{cluster::CreateCluster, snapshot::SnapshotState};
use stillframe_archive::Part;
use stillframe_protocol::{ClusterName, NameError, SnapshotId};

use super::{
    json::{bigint, from_json, to_json},
    transaction::Stop,
    write::statement,
};
use crate::{decide::facts::ContinuityFacts, store::StoreError};

/// Makes the cluster that a transition takes up, unless it is there; and lets that transition have a snapshot committed that the archive proves so.
pub(super) async fn make_cluster(connection: &mut PgConnection, settings: &CreateCluster) -> Result<(), Stop> {
    sqlx::query!("SELECT set_config('stillframe.taking_up', 'on', true)").fetch_one(&mut *connection).await?;
    let on_loss = to_json(&settings.on_loss)?;
    sqlx::query!(
        "INSERT INTO clusters (name, min_members, snapshot_timeout_ms, on_loss, archive_prefix, max_concurrent, min_pause_ms,
                               rollback_limit, rollback_window_ms, rollback_backoff_ms, restore_fallback,
                               channel_state, alignment, aligned_timeout_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (name) DO NOTHING",
        settings.name.as_str(),
        i32::try_from(settings.min_members).unwrap_or(i32::MAX),
        settings.snapshot_timeout.as_millis(),
        on_loss.as_str(),
        settings.archive_prefix,
        i32::try_from(settings.max_concurrent).unwrap_or(i32::MAX),
        bigint(settings.min_pause.as_millis()),
        i32::try_from(settings.rollback.limit).unwrap_or(i32::MAX),
        settings.rollback.window.as_millis(),
        settings.rollback.backoff.as_millis(),
        i32::try_from(settings.rollback.fallback).unwrap_or(i32::MAX),
        settings.channel_state.to_string(),
        settings.alignment.to_string(),
        settings.aligned_timeout.map(stillframe_api::HumanDuration::as_millis),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The parts of a snapshot that was taken up. Those that had been reported are the same.
pub(super) async fn put_parts(connection: &mut PgConnection, snapshot: SnapshotId, parts: &[Part]) -> Result<(), Stop> {
    let members: Vec<String> = parts.iter().map(|part| part.member.to_string()).collect();
    let incarnations: Vec<i64> = parts.iter().map(|part| bigint(part.incarnation.0)).collect();
    let contents = parts.iter().map(to_json).collect::<Result<Vec<_>, _>>()?;
    let bytes: Vec<i64> = parts.iter().map(|part| bigint(part.objects.iter().map(|object| object.bytes).sum())).collect();
    sqlx::query!(
        "INSERT INTO parts (snapshot, member, incarnation, content, bytes)
         SELECT $1, p.member, p.incarnation, p.content, p.bytes
           FROM unnest($2::text[], $3::bigint[], $4::jsonb[], $5::bigint[]) AS p(member, incarnation, content, bytes)
         ON CONFLICT (snapshot, member) DO UPDATE SET
             incarnation = excluded.incarnation, content = excluded.content, bytes = excluded.bytes",
        snapshot.0,
        &members,
        &incarnations,
        &contents,
        &bytes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps where a cluster's numbers go on.
pub(super) async fn put(connection: &mut PgConnection, cluster: &ClusterName, facts: &ContinuityFacts) -> Result<(), Stop> {
    sqlx::query!(
        "INSERT INTO continuity (cluster, home, incarnation_floor, behind, claimed_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (cluster) DO UPDATE SET
             home = excluded.home, incarnation_floor = excluded.incarnation_floor, behind = excluded.behind,
             claimed_at = excluded.claimed_at",
        cluster.as_str(),
        facts.home,
        bigint(facts.incarnation_floor.0),
        facts.behind,
        facts.claimed_at.map(jiff_sqlx::ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Every snapshot of a cluster.
pub(super) async fn snapshot_states(
    pool: &PgPool,
    cluster: &ClusterName,
) -> Result<Vec<(SnapshotId, SnapshotState)>, StoreError> {
    let rows = sqlx::query!(r#"SELECT id, to_jsonb(state) AS "state!" FROM snapshots WHERE cluster = $1"#, cluster.as_str());
    let rows = rows.fetch_all(pool).await.map_err(statement)?;
    rows.into_iter().map(|row| Ok((SnapshotId(row.id), from_json(row.state)?))).collect()
}

/// The clusters of which the archive may know more.
pub(super) async fn behind(pool: &PgPool) -> Result<Vec<ClusterName>, StoreError> {
    let rows = sqlx::query_scalar!("SELECT cluster FROM continuity WHERE behind IS NOT NULL OR home <> database_identity()");
    let fault = |error: NameError| StoreError::Fault { reason: error.to_string() };
    rows.fetch_all(pool).await.map_err(statement)?.into_iter().map(|name| name.parse().map_err(fault)).collect()
}
