//! What can go wrong, for a person who has to do something about it.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why there is no private server.
///
/// No variant leaves a server running, and none has changed a cluster that was there before: every call can be repeated when its
/// cause is gone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No usable binaries anywhere, and none could be fetched.
    #[error("expected {needed}, found none. Looked at:\n{}\nDo one of: {install}; set STILLFRAME_PG_BIN to a directory with `postgres` and `initdb`; give the URL of a server (DATABASE_URL)", lines(.rejected))]
    NoBinaries {
        /// Which versions would have done.
        needed: String,
        /// Each place that was looked at, and why it would not do.
        rejected: Vec<Rejected>,
        /// The command that installs Postgres on this platform.
        install: String,
    },
    /// The directory that the caller or `STILLFRAME_PG_BIN` names has no usable binaries.
    #[error("expected usable Postgres binaries in {}, which was named for them (STILLFRAME_PG_BIN): {}. Correct it, or unset it to search this machine", .0.place, .0.reason)]
    NamedBinaries(Rejected),
    /// Postgres refuses to run as root, and this root may not become another user.
    #[error(
        "expected to start Postgres as user {user}, because it refuses to run as root, but this process may not change its user ({source}): run as a non-root user"
    )]
    CannotLeaveRoot {
        /// The user it should have been.
        user: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Postgres refuses to run as root, and there is no other user.
    #[error(
        "expected a user `postgres` or `nobody` in /etc/passwd to run Postgres as, because it refuses to run as root, found neither: run as a non-root user"
    )]
    NoServerUser,
    /// Another process has its server in this directory.
    #[error("expected {} to be free, but {} has it{}: stop that process, or choose another data directory", .data_dir.display(), process(.holder), server(.postgres))]
    InUse {
        /// The directory.
        data_dir: PathBuf,
        /// The process that started the server there, when it left its id.
        holder: Option<u32>,
        /// The server's own process id, when it left one.
        postgres: Option<u32>,
    },
    /// `pg_basebackup` failed.
    #[error("expected a copy of the server for a standby, but pg_basebackup ended with {status}: {said}")]
    BaseBackup {
        /// How it ended.
        status: ExitStatus,
        /// What it printed.
        said: String,
    },
    /// The cluster belongs to a user other than the one that Postgres would run as.
    #[error("expected the Postgres data in {} to belong to user {expected_uid}, found that it belongs to user {found_uid}: run as that user, or choose another data directory", .cluster.display())]
    ForeignCluster {
        /// The cluster's directory.
        cluster: PathBuf,
        /// The id of the user that Postgres would run as.
        expected_uid: u32,
        /// The id of the directory's owner.
        found_uid: u32,
    },
    /// The cluster had been moved to where its user can reach it, and is no longer there.
    #[error("expected the data of {} in {}, which is gone. Bring it back, or remove {} to start with an empty database", .data_dir.display(), .actual.display(), .pointer.display())]
    Gone {
        /// The directory that the caller chose.
        data_dir: PathBuf,
        /// Where the data should be.
        actual: PathBuf,
        /// The file that says so.
        pointer: PathBuf,
    },
    /// No directory was found that the user who runs Postgres can reach.
    #[error(
        "expected a directory that user {user} can reach for Postgres, tried {tried}: make one of them reachable, or choose another data directory"
    )]
    Unreachable {
        /// The user that Postgres runs as.
        user: String,
        /// What was tried.
        tried: String,
    },
    /// A file operation failed.
    #[error("could not {doing} {}: {source}", .path.display())]
    File {
        /// What was attempted, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `initdb` failed. The half-made cluster is removed by the next start.
    #[error("expected initdb to make a cluster in {}, but it ended with {status}. Its last words:\n{log}", .cluster.display())]
    InitDb {
        /// The cluster's directory.
        cluster: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The tail of its output.
        log: String,
    },
    /// The server ended before it answered.
    #[error("expected Postgres to answer, but it ended with {status}. The end of {}:\n{log}", .log_path.display())]
    EndedEarly {
        /// How it ended.
        status: ExitStatus,
        /// The log file (gone when the data directory was a temporary one).
        log_path: PathBuf,
        /// The tail of it.
        log: String,
    },
    /// The server runs, but doesn't answer. It is stopped again.
    #[error("expected Postgres to answer within {waited:?}, but: {source}. The end of {}:\n{log}", .log_path.display())]
    NotReady {
        /// How long it was given.
        waited: Duration,
        /// The log file.
        log_path: PathBuf,
        /// The tail of it.
        log: String,
        /// The last attempt's error.
        source: sqlx::Error,
    },
    /// The server didn't end when asked to.
    #[error("expected Postgres (process {pid}) to end within {waited:?}, but it still runs: look at {}, then end it by hand", .log_path.display())]
    StillRunning {
        /// The server's process.
        pid: u32,
        /// How long it was given.
        waited: Duration,
        /// The log file.
        log_path: PathBuf,
    },
    /// A statement on the private server failed.
    #[error("could not {doing}: {source}")]
    Sql {
        /// What was attempted.
        doing: String,
        /// What the server said.
        source: sqlx::Error,
    },
}

impl Error {
    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }

    pub(crate) fn sql(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Sql { doing, source }
    }
}

/// A place that was looked at for binaries, and why it would not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The directory, or the name of the source.
    pub place: String,
    /// Why not.
    pub reason: String,
}

impl Rejected {
    pub(crate) fn new(place: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self { place: place.to_string(), reason: reason.to_string() }
    }
}

fn lines(rejected: &[Rejected]) -> String {
    rejected.iter().map(|r| format!("  {}: {}", r.place, r.reason)).collect::<Vec<_>>().join("\n")
}

fn process(holder: &Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

fn server(postgres: &Option<u32>) -> String {
    postgres.map_or_else(String::new, |pid| format!(" (its Postgres is process {pid})"))
}
