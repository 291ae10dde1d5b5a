//! Servers that don't take writes. After a failover a pool may hold connections to the primary that was demoted: it answers every query, with what
//! was true some time ago, and says only to a write that it takes none. As soon as one is met, no connection of this process is used for a while
//! without being asked first; those of that server are closed.

use std::{
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{PgConnection, Postgres, pool::PoolConnection};

use super::write::statement;
use crate::store::StoreError;

/// A connection that was idle for longer is asked before it is used.
pub(super) const TRUSTED_IDLE: Duration = Duration::from_secs(5);

/// How long every connection is asked after a read-only server was met. Longer than [`TRUSTED_IDLE`]: so each is asked, in this time or for having
/// been idle, before it is used after it.
const DOUBTED_FOR: Duration = Duration::from_secs(10);

/// When a read-only server was last met. Of the process, not of a pool: errors are classified where no pool is at hand, and asking once too often does no harm.
static MET: LazyLock<Mutex<Option<Instant>>> = LazyLock::new(Mutex::default);

fn met() -> std::sync::MutexGuard<'static, Option<Instant>> {
    MET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server said that it takes no writes.
pub(super) fn doubt() {
    *met() = Some(Instant::now());
}

/// Whether connections are to be asked.
pub(super) fn is_doubted() -> bool {
    met().is_some_and(|at| at.elapsed() < DOUBTED_FOR)
}

/// Asks a connection whether its server takes writes.
pub(super) async fn takes_writes(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let read_only = sqlx::query_scalar!(r#"SELECT current_setting('transaction_read_only') = 'on' AS "read_only!""#);
    let read_only = read_only.fetch_one(connection).await?;
    if read_only {
        doubt();
    }
    Ok(!read_only)
}

/// Why a server is of no use.
pub(super) fn read_only() -> StoreError {
    StoreError::Unavailable { reason: "it is read-only: a standby, or a primary that was demoted".to_owned() }
}

/// Whether this server takes writes; else its connection isn't used any more.
pub(super) async fn check(mut connection: PoolConnection<Postgres>) -> Result<(), StoreError> {
    if takes_writes(&mut connection).await.map_err(statement)? {
        return Ok(());
    }
    drop(connection.detach());
    Err(read_only())
}
