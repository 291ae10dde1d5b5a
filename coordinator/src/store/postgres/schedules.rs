//! Schedules for answers. Setting, firing and deleting them are transitions like any other.

use sqlx::PgPool;
use stillframe_protocol::{ClusterName, name::ScheduleName};

use super::{json::from_json, write::statement};
use crate::store::{ScheduleRow, StoreError};

/// A schedule.
pub(super) async fn get(pool: &PgPool, cluster: &ClusterName, name: &ScheduleName) -> Result<Option<ScheduleRow>, StoreError> {
    let row = sqlx::query_scalar!(
        r#"SELECT to_jsonb(d) || jsonb_build_object('now', clock_timestamp()) AS "d!" FROM schedules d WHERE cluster = $1 AND name = $2"#,
        cluster.as_str(),
        name.as_str(),
    );
    row.fetch_optional(pool).await.map_err(statement)?.map(from_json).transpose()
}

/// Schedules by name.
pub(super) async fn list(
    pool: &PgPool,
    cluster: &ClusterName,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<ScheduleRow>, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"
        SELECT to_jsonb(d) || jsonb_build_object('now', clock_timestamp()) AS "d!" FROM schedules d
         WHERE cluster = $1 AND ($2::text IS NULL OR name > $2) ORDER BY name LIMIT $3
        "#,
        cluster.as_str(),
        after,
        i64::from(limit),
    );
    rows.fetch_all(pool).await.map_err(statement)?.into_iter().map(from_json).collect()
}

/// Forgets slots a day after: by then no replica can still believe that one is due.
pub(super) async fn trim_slots(pool: &PgPool) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM schedule_slots WHERE slot_at < clock_timestamp() - interval '1 day'")
        .execute(pool)
        .await
        .map_err(statement)?;
    Ok(())
}
