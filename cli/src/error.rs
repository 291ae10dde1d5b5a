//! Why a command has no good end, and the one place where that becomes an exit code.

use std::io;

use serde_json::{Value, json};
use stillframe_api::{
    ClientError, HumanDuration, Problem, ProblemCode,
    snapshot::{Abort, Snapshot},
};
use stillframe_archive::{ArchiveError, VerifyError};
use stillframe_coordinator::StartError;
use stillframe_protocol::{RestoreId, SnapshotId};

use crate::exit::Exit;

/// Why a command has no good end. The message says what was expected, what was found, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The coordinator refused, or can't be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The command line, the environment or the settings file is wrong. Nothing was done.
    #[error("{0}")]
    Usage(String),
    /// The coordinator didn't start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The private Postgres didn't start or stop.
    #[error(transparent)]
    Postgres(#[from] stillframe_private_postgres::Error),
    /// The archive can't be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The archive went away while snapshots were verified: nothing was found wrong, and nothing was proved.
    #[error("{0}")]
    Unverified(VerifyError),
    /// The snapshot that was waited for was aborted.
    #[error("snapshot {snapshot} was aborted ({}): {}", .abort.reason, .abort.detail)]
    SnapshotAborted {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Why, and who or what is to blame.
        abort: Box<Abort>,
    },
    /// The restore that was waited for failed.
    #[error("restore {restore} failed: {reason}")]
    RestoreFailed {
        /// The restore.
        restore: RestoreId,
        /// Why, naming member and object.
        reason: String,
    },
    /// `--wait` ran out first.
    #[error("{what} hasn't ended within {waited}: {state}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: HumanDuration,
        /// Where it is.
        state: String,
    },
    /// The command did its work, and the answer is bad.
    #[error("{0}")]
    Failed(String),
    /// A signal came before it was done.
    #[error("interrupted: it was stopped before it was done")]
    Interrupted,
    /// The system refused something that the command can't do without.
    #[error("could not {doing}: {source}")]
    System {
        /// What was attempted, as a verb and its object.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

impl CliError {
    /// A usage error from whatever says what is wrong.
    pub fn usage(message: impl ToString) -> Self {
        Self::Usage(message.to_string())
    }

    /// What the system refused.
    pub fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }

    /// The error of an aborted snapshot; `None` when it wasn't aborted.
    #[must_use]
    pub fn of_aborted(snapshot: &Snapshot) -> Option<Self> {
        let abort = snapshot.abort.clone()?;
        Some(Self::SnapshotAborted { snapshot: snapshot.id, abort: Box::new(abort) })
    }

    /// How the process exits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Client(ClientError::Refused(problem)) => of_problem(problem.code),
            Self::Client(ClientError::Unreachable { .. } | ClientError::NotStillframe { .. }) => Exit::Unreachable,
            Self::Client(ClientError::BadUrl { .. }) | Self::Usage(_) => Exit::Usage,
            Self::Start(error) => of_start(error),
            Self::Postgres(_) | Self::RestoreFailed { .. } | Self::Failed(_) | Self::System { .. } => Exit::Failed,
            Self::Archive(error) => of_archive(error),
            Self::Unverified(_) => Exit::Unreachable,
            Self::SnapshotAborted { .. } => Exit::Aborted,
            Self::TimedOut { .. } => Exit::TimedOut,
            Self::Interrupted => Exit::Interrupted,
        }
    }

    /// The problem, when the coordinator refused.
    fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Client(error) => error.problem(),
            _ => None,
        }
    }

    /// What to do now, where the message doesn't say it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Client(ClientError::Refused(problem)) => problem.hint.clone(),
            Self::Client(ClientError::Unreachable { .. }) => {
                Some("start one with `stillframe dev` (all in one) or `stillframe coordinator`".to_owned())
            }
            Self::SnapshotAborted { abort, .. } if !abort.missing.is_empty() => {
                Some(format!("still missing: {}", abort.missing.join("; ")))
            }
            Self::TimedOut { .. } => Some("it goes on: wait again with `show --wait`".to_owned()),
            _ => None,
        }
    }

    /// The message without the hint, on one line for a refusal.
    #[must_use]
    pub fn message(&self) -> String {
        match self.problem() {
            Some(problem) => format!("{}: {}", problem.title, problem.detail),
            None => self.to_string(),
        }
    }

    /// The error as `--json` prints it: the coordinator's own problem, or one of the same shape, with `exit_code`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let exit = self.exit();
        let mut value = match self.problem() {
            Some(problem) => serde_json::to_value(problem).unwrap_or_default(),
            None => own_problem(self.code(), &self.message(), self.hint().as_deref()),
        };
        value["exit_code"] = exit.code().into();
        value
    }

    /// The stable name of an error of the command's own.
    fn code(&self) -> &'static str {
        match self.exit() {
            Exit::Ok | Exit::Failed => match self {
                Self::RestoreFailed { .. } => "restore_failed",
                _ => "failed",
            },
            Exit::Usage => "usage",
            Exit::Aborted => "snapshot_aborted",
            Exit::TimedOut => "timed_out",
            Exit::Unreachable => "unreachable",
            Exit::Refused => "refused",
            Exit::Interrupted => "interrupted",
        }
    }
}

/// A problem of the command's own, in the shape of RFC 9457.
fn own_problem(code: &str, detail: &str, hint: Option<&str>) -> Value {
    let mut value = json!({
        "type": format!("urn:stillframe:cli:{code}"),
        "title": code.replace('_', " "),
        "detail": detail,
        "code": code,
    });
    if let Some(hint) = hint {
        value["hint"] = hint.into();
    }
    value
}

fn of_problem(code: ProblemCode) -> Exit {
    match code {
        ProblemCode::DatabaseUnavailable | ProblemCode::ArchiveUnavailable | ProblemCode::Stopping => Exit::Unreachable,
        ProblemCode::Internal => Exit::Failed,
        ProblemCode::InvalidRequest
        | ProblemCode::NoSuchRoute
        | ProblemCode::UnknownCluster
        | ProblemCode::UnknownMember
        | ProblemCode::UnknownSnapshot
        | ProblemCode::UnknownSchedule
        | ProblemCode::UnknownRestore
        | ProblemCode::UnknownHold
        | ProblemCode::TooFewMembers
        | ProblemCode::MemberLeaving
        | ProblemCode::TooManyHolds
        | ProblemCode::SnapshotNeeded
        | ProblemCode::CollectionSuspended
        | ProblemCode::ClusterExists
        | ProblemCode::ClusterNotRunning
        | ProblemCode::MemberLost
        | ProblemCode::SnapshotUnderWay
        | ProblemCode::RestoreUnderWay
        | ProblemCode::SnapshotNotCommitted
        | ProblemCode::SnapshotEnded
        | ProblemCode::MembersDiffer
        | ProblemCode::RequestUnderWay
        | ProblemCode::IdempotencyKeyReused
        | ProblemCode::NothingToRestore
        | ProblemCode::SnapshotUnreadable
        | ProblemCode::ChannelsFormCycle
        | ProblemCode::RestoreEnded
        | ProblemCode::Fenced => Exit::Refused,
    }
}

fn of_start(error: &StartError) -> Exit {
    match error {
        StartError::Database { .. } => Exit::Unreachable,
        StartError::Archive(error) => of_archive(error),
        StartError::Listen { .. } | StartError::OtherArchive { .. } | StartError::Unreliable(_) => Exit::Failed,
    }
}

/// Whether the archive could be reached at all.
fn of_archive(error: &ArchiveError) -> Exit {
    match error {
        ArchiveError::Unreachable { .. }
        | ArchiveError::OpenFiles { .. }
        | ArchiveError::Denied { .. }
        | ArchiveError::NoCredentials { .. }
        | ArchiveError::NoBucket { .. } => Exit::Unreachable,
        ArchiveError::Location(_) => Exit::Usage,
        ArchiveError::NotFound { .. }
        | ArchiveError::Truncated { .. }
        | ArchiveError::Corrupted { .. }
        | ArchiveError::Conflict { .. }
        | ArchiveError::Manifest { .. }
        | ArchiveError::NotAnArchive { .. }
        | ArchiveError::OtherArchive { .. }
        | ArchiveError::NewerFormat { .. }
        | ArchiveError::Unusable { .. }
        | ArchiveError::Spill { .. }
        | ArchiveError::Unwanted { .. }
        | ArchiveError::StillWritten { .. } => Exit::Failed,
    }
}
