//! Problem details (RFC 9457): every error of the API has this one shape.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What kind of problem it is. Stable: programs may match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// A field, name, duration, query or body is malformed or out of bounds.
    InvalidRequest,
    /// No such route or method.
    NoSuchRoute,
    /// No cluster of that name.
    UnknownCluster,
    /// No member of that name in the cluster.
    UnknownMember,
    /// No snapshot of that id.
    UnknownSnapshot,
    /// No schedule of that name in the cluster.
    UnknownSchedule,
    /// No restore of that id.
    UnknownRestore,
    /// No hold of that id on the snapshot.
    UnknownHold,
    /// A cluster of that name exists with other settings.
    ClusterExists,
    /// The cluster's phase doesn't allow it (forming, restoring, halted).
    ClusterNotRunning,
    /// A member is lost, and the request needs all of them.
    MemberLost,
    /// If the member left, fewer than `min_members` would stay.
    TooFewMembers,
    /// The member is leaving already.
    MemberLeaving,
    /// Another snapshot of the cluster is under way, and there is no slot for one more.
    SnapshotUnderWay,
    /// A restore of the cluster is under way.
    RestoreUnderWay,
    /// Only a committed snapshot can be restored.
    SnapshotNotCommitted,
    /// The snapshot has ended already, otherwise than asked for.
    SnapshotEnded,
    /// A hold, a restore or a rollback needs the snapshot: it can't be deleted.
    SnapshotNeeded,
    /// The snapshot has as many holds as it can have.
    TooManyHolds,
    /// Nothing is deleted until an operator confirms that the catalog is whole.
    CollectionSuspended,
    /// The mapping of a restore doesn't fit the members of the snapshot.
    MembersDiffer,
    /// There is no committed snapshot to go back to.
    NothingToRestore,
    /// The snapshot is known to be unreadable.
    SnapshotUnreadable,
    /// The channels of the cluster form a cycle, so they can't be aligned.
    ChannelsFormCycle,
    /// The restore has passed its commit point, or has ended.
    RestoreEnded,
    /// A newer incarnation or generation has taken over: this one must stop.
    Fenced,
    /// The database can't be reached or refuses to write just now. Try again.
    DatabaseUnavailable,
    /// The archive can't be reached just now. Try again.
    ArchiveUnavailable,
    /// This replica is stopping. Try again, at another one or when it has started again.
    Stopping,
    /// A request with the same idempotency key is being carried out. Ask again with that key.
    RequestUnderWay,
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// A fault of the coordinator's own; its log has more under the request id.
    Internal,
}

/// An error as RFC 9457 describes it, with a stable `code` and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:stillframe:problem:<code>`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The kind of problem in a few words; the same for every problem of a code.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// What was expected, what was found.
    pub detail: String,
    /// What kind of problem it is.
    pub code: ProblemCode,
    /// What to do now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The id under which the coordinator logged this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    /// A problem of this code. The coordinator's `http/error.rs` is the only place that chooses `status`.
    #[must_use]
    pub fn new(code: ProblemCode, status: u16, title: &str, detail: impl Into<String>) -> Self {
        let name = serde_json::to_value(code).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        Self {
            type_uri: format!("urn:stillframe:problem:{name}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            code,
            hint: None,
            request_id: None,
        }
    }

    /// Adds what to do now.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
