//! What is read of the audit.

use jiff::Timestamp;
use stillframe_api::{audit::AuditRow, chain::ChainHead};
use stillframe_protocol::ClusterName;

/// Which rows of the audit, newest first. Everything that is given has to match.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only those of this cluster.
    pub cluster: Option<ClusterName>,
    /// Only those of this actor.
    pub actor: Option<String>,
    /// Only those with this action; all that begin with it, when it ends with a point.
    pub action: Option<String>,
    /// Only those about this subject.
    pub subject: Option<String>,
    /// Only those at this time or later.
    pub since: Option<Timestamp>,
    /// Only those before this time.
    pub until: Option<Timestamp>,
    /// Only those that come after the one with this id in the list.
    pub before: Option<u64>,
    /// How many at most.
    pub limit: u32,
}

/// A row with its place in the list.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// Where it is in the list of all rows; not part of the chain.
    pub id: u64,
    /// The row.
    pub row: AuditRow,
}

/// The newest row of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// The cluster; none for the chain of the rows without one.
    pub cluster: Option<ClusterName>,
    /// The row.
    pub head: ChainHead,
}
