//! Why a request has no good answer.

use stillframe_archive::ArchiveError;
use stillframe_protocol::{ClusterName, RestoreId, SnapshotId, name::ScheduleName};

use crate::{
    decide::Refusal,
    store::{StoreError, TransactError},
};

/// Why a request has no good answer. `http/error.rs` says it in HTTP.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A field is malformed or out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// No such cluster.
    #[error("there is no cluster {0}")]
    UnknownCluster(ClusterName),
    /// No such snapshot.
    #[error("there is no snapshot {0}")]
    UnknownSnapshot(SnapshotId),
    /// No such schedule.
    #[error("cluster {0} has no schedule {1}")]
    UnknownSchedule(ClusterName, ScheduleName),
    /// No such restore.
    #[error("there is no restore {0}")]
    UnknownRestore(RestoreId),
    /// The name is taken.
    #[error("cluster {cluster} exists with other settings: {differences}")]
    ClusterExists {
        /// The cluster.
        cluster: ClusterName,
        /// What differs.
        differences: String,
    },
    /// A rule refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive failed.
    #[error("the archive can't be used just now: {0}")]
    Archive(String),
    /// The idempotency key belongs to another request.
    #[error("idempotency key {0:?} was used for a request with another method, path or body")]
    KeyReused(String),
    /// The request is being carried out, for long.
    #[error("the request with idempotency key {0:?} is still being carried out")]
    StillUnderWay(String),
    /// The coordinator stops.
    #[error("the coordinator is stopping")]
    Stopping,
}

impl From<TransactError> for ServiceError {
    fn from(error: TransactError) -> Self {
        match error {
            TransactError::UnknownCluster(cluster) => Self::UnknownCluster(cluster),
            TransactError::Refused(refusal) => Self::Refused(refusal),
            TransactError::Store(error) => Self::Store(error),
        }
    }
}

impl From<ArchiveError> for ServiceError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error.to_string())
    }
}
