//! What an error of the database means. The only place that knows SQLSTATEs; nothing matches on message text.

use super::writable;
use crate::store::StoreError;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A lost race: run the transaction again.
    Retry,
    /// The connection is dead, or leads to a server that can't write: throw it away.
    Away,
    /// A fault of ours.
    Fault,
}

/// Classifies an error; takes note of a server that takes no writes.
pub(super) fn kind(error: &sqlx::Error) -> Kind {
    match error {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // serialization_failure, deadlock_detected, lock_not_available, query_canceled (by statement_timeout)
            Some("40001" | "40P01" | "55P03" | "57014") => Kind::Retry,
            // division_by_zero: how a statement of ours undoes itself when what it found isn't what was remembered
            Some("22012") => Kind::Retry,
            // read_only_sql_transaction: a demoted primary
            Some("25006") => {
                writable::doubt();
                Kind::Away
            }
            // connection exceptions, insufficient resources, operator intervention, system errors, invalid authorization
            Some(code) if ["08", "53", "57", "58", "28"].contains(&code.get(..2).unwrap_or_default()) => Kind::Away,
            // idle_in_transaction_session_timeout, invalid_catalog_name, and object_not_in_prerequisite_state: a database that lets nobody in
            Some("25P03" | "3D000" | "55000") => Kind::Away,
            Some(_) | None => Kind::Fault,
        },
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Kind::Away,
        // The enum is non-exhaustive: the rest are faults in how we ask or read.
        _ => Kind::Fault,
    }
}

/// The error of a statement whose transaction has certainly not been committed.
pub(super) fn unavailable(error: sqlx::Error) -> StoreError {
    let reason = describe(&error);
    match kind(&error) {
        Kind::Retry => StoreError::Contended { reason },
        Kind::Away => StoreError::Unavailable { reason },
        Kind::Fault => StoreError::Fault { reason },
    }
}

/// The error in a sentence, without addresses of secrets.
pub(super) fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::PoolTimedOut => "no connection could be had in time".to_owned(),
        sqlx::Error::Database(database) => match database.code() {
            Some(code) => format!("{} (SQLSTATE {code})", database.message()),
            None => database.message().to_owned(),
        },
        other => other.to_string(),
    }
}
