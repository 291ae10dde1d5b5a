//! Idempotency keys.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{PostgresStore, write::statement};
use crate::store::{
    StoreError,
    idempotency::{Claim, KeptAnswer, KeyedRequest, Keys},
};

/// How many keys are forgotten at once.
const TRIM: i64 = 1_000;

fn count(attempt: u32) -> i32 {
    i32::try_from(attempt).unwrap_or(i32::MAX)
}

#[async_trait]
impl Keys for PostgresStore {
    async fn claim(&self, request: &KeyedRequest, seed: Uuid, hold: Duration) -> Result<Claim, StoreError> {
        // Twice, for a claim that is given up between the two statements.
        for _ in 0..2 {
            let claimed = sqlx::query!(
                r#"
                WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
                INSERT INTO idempotency_keys AS k (key, fingerprint, seed, claimed_until)
                SELECT $1, $2, $3, clock_timestamp() + make_interval(secs => $4) FROM lazily
                ON CONFLICT (key) DO UPDATE SET attempts = k.attempts + 1, claimed_until = excluded.claimed_until
                 WHERE k.status IS NULL AND k.fingerprint = excluded.fingerprint AND k.claimed_until <= clock_timestamp()
                RETURNING seed, attempts
                "#,
                request.key,
                request.fingerprint,
                seed,
                hold.as_secs_f64(),
            );
            if let Some(row) = claimed.fetch_optional(&self.pool).await.map_err(statement)? {
                return Ok(Claim::Mine { seed: row.seed, attempt: u32::try_from(row.attempts).unwrap_or(u32::MAX) });
            }
            let found = sqlx::query!(
                "SELECT fingerprint, status, content_type, location, body FROM idempotency_keys WHERE key = $1",
                request.key
            );
            let Some(row) = found.fetch_optional(&self.pool).await.map_err(statement)? else { continue };
            if row.fingerprint != request.fingerprint {
                return Ok(Claim::OtherRequest);
            }
            return Ok(match (row.status, row.body) {
                (Some(status), Some(body)) => Claim::Answered(KeptAnswer {
                    status: u16::try_from(status).unwrap_or_default(),
                    content_type: row.content_type,
                    location: row.location,
                    body,
                }),
                (Some(_) | None, _) => Claim::UnderWay,
            });
        }
        Ok(Claim::UnderWay)
    }

    async fn keep_claim(&self, key: &str, attempt: u32, hold: Duration) -> Result<bool, StoreError> {
        let kept = sqlx::query!(
            r#"
            WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
            UPDATE idempotency_keys k SET claimed_until = clock_timestamp() + make_interval(secs => $3)
              FROM lazily WHERE k.key = $1 AND k.attempts = $2 AND k.status IS NULL
            "#,
            key,
            count(attempt),
            hold.as_secs_f64(),
        );
        Ok(kept.execute(&self.pool).await.map_err(statement)?.rows_affected() == 1)
    }

    async fn settle_claim(&self, key: &str, attempt: u32, answer: Option<KeptAnswer>) -> Result<(), StoreError> {
        let Some(answer) = answer else {
            // It keeps its seed: an earlier attempt may have made something.
            let given_up = sqlx::query!(
                r#"
                WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
                UPDATE idempotency_keys k SET claimed_until = clock_timestamp() FROM lazily
                 WHERE k.key = $1 AND k.attempts = $2 AND k.status IS NULL
                "#,
                key,
                count(attempt)
            );
            return given_up.execute(&self.pool).await.map(drop).map_err(statement);
        };
        // The first answer stays: both attempts have done the same, and somebody may have been given it.
        let settled = sqlx::query!(
            r#"
            WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
            UPDATE idempotency_keys k SET status = $2, content_type = $3, location = $4, body = $5
              FROM lazily WHERE k.key = $1 AND k.status IS NULL
            "#,
            key,
            i16::try_from(answer.status).unwrap_or(i16::MAX),
            answer.content_type,
            answer.location,
            answer.body,
        );
        settled.execute(&self.pool).await.map(drop).map_err(statement)
    }

    async fn trim_keys(&self, older: Duration) -> Result<u64, StoreError> {
        let trimmed = sqlx::query!(
            r#"
            DELETE FROM idempotency_keys WHERE key IN (
                SELECT key FROM idempotency_keys WHERE created_at < clock_timestamp() - make_interval(secs => $1)
                 ORDER BY created_at LIMIT $2)
            "#,
            older.as_secs_f64(),
            TRIM,
        );
        Ok(trimmed.execute(&self.pool).await.map_err(statement)?.rows_affected())
    }
}
