//! What is due, by the database's clock, and when the next is.

use std::time::Duration;

use sqlx::PgPool;
use stillframe_protocol::{ClusterName, NameError, name::ScheduleName};

use super::write::statement;
use crate::store::{Due, StoreError};

/// How many are taken up at once.
const BATCH: i64 = 100;

fn fault(error: NameError) -> StoreError {
    StoreError::Fault { reason: error.to_string() }
}

fn split<T>(rows: Vec<(T, f64)>) -> Due<T> {
    let mut due = Due { now: Vec::new(), next_in: None };
    for (what, in_secs) in rows {
        if in_secs <= 0.0 {
            due.now.push(what);
        } else if due.next_in.is_none() {
            due.next_in = Some(Duration::try_from_secs_f64(in_secs).unwrap_or(Duration::MAX));
        }
    }
    due
}

/// Clusters with something past its deadline, or with a snapshot that may begin once a pause is over.
pub(super) async fn deadlines(pool: &PgPool) -> Result<Due<ClusterName>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT d.cluster AS "cluster!", extract(epoch FROM min(d.deadline_at) - clock_timestamp())::float8 AS "in_secs!"
          FROM (SELECT cluster, deadline_at FROM snapshots WHERE state IN ('pending', 'recording')
                UNION ALL
                SELECT cluster, deadline_at FROM restores WHERE state IN ('planned', 'preparing')
                UNION ALL
                SELECT cluster, retry_at FROM restores WHERE retry_at IS NOT NULL
                UNION ALL
                SELECT name, rollback_at FROM clusters WHERE rollback_at IS NOT NULL
                UNION ALL
                -- While no slot is free, the end of those under way lets it begin.
                SELECT s.cluster, s.begins_at FROM snapshots s JOIN clusters c ON c.name = s.cluster
                 WHERE s.state = 'pending' AND c.phase = 'running' AND c.min_pause_ms > 0
                   AND c.max_concurrent > (SELECT count(*) FROM snapshots u
                                            WHERE u.cluster = s.cluster AND u.state IN ('recording', 'committing'))) d
         WHERE d.deadline_at IS NOT NULL
         GROUP BY d.cluster ORDER BY 2 LIMIT $1
        "#,
        BATCH,
    )
    .fetch_all(pool)
    .await
    .map_err(statement)?;
    let rows = rows.into_iter().map(|row| Ok((row.cluster.parse().map_err(fault)?, row.in_secs)));
    Ok(split(rows.collect::<Result<_, _>>()?))
}

/// Schedules whose slot is due.
pub(super) async fn schedules(pool: &PgPool) -> Result<Due<(ClusterName, ScheduleName)>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT cluster, name, extract(epoch FROM next_at - clock_timestamp())::float8 AS "in_secs!" FROM schedules
         WHERE NOT paused ORDER BY next_at LIMIT $1
        "#,
        BATCH,
    )
    .fetch_all(pool)
    .await
    .map_err(statement)?;
    let rows =
        rows.into_iter().map(|row| Ok(((row.cluster.parse().map_err(fault)?, row.name.parse().map_err(fault)?), row.in_secs)));
    Ok(split(rows.collect::<Result<_, _>>()?))
}
