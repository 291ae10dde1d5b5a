//! What can go wrong with the store.

use stillframe_protocol::ClusterName;

use crate::decide::Refusal;

/// The store failed. Nothing is known to have changed, unless it says otherwise.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached, or doesn't take writes just now. Nothing was changed. Try again.
    #[error("the database can't be used just now: {reason}")]
    Unavailable {
        /// What it said.
        reason: String,
    },
    /// The answer to a commit was lost: it may or may not have happened. Look, or try again.
    #[error("the database's answer to a commit was lost, so the change may or may not have been made: {reason}")]
    Unknown {
        /// What it said.
        reason: String,
    },
    /// Too many others were at it at the same time. Nothing was changed. Try again.
    #[error("too many changes at the same time: {reason}")]
    Contended {
        /// What it said.
        reason: String,
    },
    /// A fault of ours: a broken constraint, or a row that can't be read.
    #[error("the database refused or holds something unexpected: {reason}")]
    Fault {
        /// What it said.
        reason: String,
    },
}

/// A transition that wasn't carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransactError {
    /// There is no such cluster.
    #[error("there is no cluster {0}")]
    UnknownCluster(ClusterName),
    /// The rule refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
