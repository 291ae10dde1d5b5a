//! Schedules as settings. Firing one is a transition like any other.

use serde_json::json;
use sqlx::PgPool;
use stillframe_protocol::{ClusterName, name::ScheduleName};

use super::{
    facts,
    json::{bigint, from_json},
    transaction::{Body, run},
    write::{only_store, statement},
};
use crate::{
    decide::facts::ScheduleFacts,
    store::{NewSchedule, ScheduleRow, StoreError},
};

/// Sets a schedule. Its grid of slots begins anew, a full interval from now, when the interval changed; never earlier than the last slot.
pub(super) async fn put(
    pool: &PgPool,
    cluster: &ClusterName,
    schedule: &NewSchedule,
    request_id: Option<String>,
) -> Result<ScheduleFacts, StoreError> {
    let (cluster, schedule) = (cluster.clone(), schedule.clone());
    let body: Body<ScheduleFacts> = Box::new(move |connection| {
        let (cluster, schedule, request_id) = (cluster.clone(), schedule.clone(), request_id.clone());
        Box::pin(async move {
            let put = sqlx::query_scalar!(
                r#"
                WITH put AS (
                    INSERT INTO schedules AS d (cluster, name, every_ms, timeout_ms, next_at, created_at)
                    VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $3::bigint / 1000.0), clock_timestamp())
                    ON CONFLICT (cluster, name) DO UPDATE SET
                        every_ms = excluded.every_ms, timeout_ms = excluded.timeout_ms,
                        next_at = CASE WHEN d.every_ms = excluded.every_ms THEN d.next_at ELSE excluded.next_at END
                    RETURNING d.*
                ), line AS (
                    INSERT INTO audit (cluster, actor, action, subject, detail, request_id) VALUES ($1, 'request', 'schedule.set', $2, $5, $6)
                )
                SELECT to_jsonb(put) AS "put!" FROM put
                "#,
                cluster.as_str(),
                schedule.name.as_str(),
                bigint(schedule.every_ms),
                schedule.timeout_ms.map(bigint),
                json!({ "every_ms": schedule.every_ms, "timeout_ms": schedule.timeout_ms }),
                request_id,
            )
            .fetch_one(connection)
            .await?;
            Ok(from_json(put)?)
        })
    });
    run(pool, body).await.map_err(only_store)
}

/// A schedule.
pub(super) async fn get(pool: &PgPool, cluster: &ClusterName, name: &ScheduleName) -> Result<Option<ScheduleRow>, StoreError> {
    let row = sqlx::query_scalar!(
        r#"SELECT to_jsonb(d) AS "d!" FROM schedules d WHERE cluster = $1 AND name = $2"#,
        cluster.as_str(),
        name.as_str(),
    );
    row.fetch_optional(pool).await.map_err(statement)?.map(from_json).transpose()
}

/// Deletes a schedule; its slots stay decided, should one of the same name be set again.
pub(super) async fn delete(
    pool: &PgPool,
    cluster: &ClusterName,
    name: &ScheduleName,
    request_id: Option<String>,
) -> Result<bool, StoreError> {
    let (cluster, name) = (cluster.clone(), name.clone());
    let body: Body<bool> = Box::new(move |connection| {
        let (cluster, name, request_id) = (cluster.clone(), name.clone(), request_id.clone());
        Box::pin(async move {
            // A slot that is being fired, under this lock, is fired first.
            facts::lock(connection, &cluster).await?;
            let deleted = sqlx::query_scalar!(
                r#"
        WITH gone AS (DELETE FROM schedules WHERE cluster = $1 AND name = $2 RETURNING name),
             line AS (INSERT INTO audit (cluster, actor, action, subject, detail, request_id)
                      SELECT $1, 'request', 'schedule.deleted', name, '{}', $3 FROM gone)
        SELECT count(*) AS "gone!" FROM gone
        "#,
                cluster.as_str(),
                name.as_str(),
                request_id,
            )
            .fetch_one(connection)
            .await?;
            Ok(deleted > 0)
        })
    });
    run(pool, body).await.map_err(only_store)
}

/// Forgets slots a day after: by then no replica can still believe that one is due.
pub(super) async fn trim_slots(pool: &PgPool) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM schedule_slots WHERE slot_at < clock_timestamp() - interval '1 day'")
        .execute(pool)
        .await
        .map_err(statement)?;
    Ok(())
}
