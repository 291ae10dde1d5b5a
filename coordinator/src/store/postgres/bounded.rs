//! Statements that are given up after a while. A replica that is cut off from the database hears nothing, not even that it is cut off: a
//! `statement_timeout` is the server's, and the network's own patience is a quarter of an hour.

use std::time::Duration;

use sqlx::{Postgres, pool::PoolConnection};
use tokio::time::error::Elapsed;

use super::write::statement;
use crate::store::StoreError;

/// How long a small statement may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What a statement came to. A connection that gave no answer in time isn't used any more.
pub(super) fn within<T>(
    connection: PoolConnection<Postgres>,
    result: Result<Result<T, sqlx::Error>, Elapsed>,
) -> Result<T, StoreError> {
    match result {
        Ok(result) => result.map_err(statement),
        Err(_) => {
            // Closed without a word to the server: it would not be heard.
            drop(connection.detach());
            Err(StoreError::Unavailable { reason: format!("no answer within {PATIENCE:?}") })
        }
    }
}
