//! A directory with Postgres binaries that have been seen to run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::run_as::RunAs;
use crate::{PostgresVersion, Rejected};

/// Binaries that run, as the user that Postgres will run as, and have a version that will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
    version: PostgresVersion,
}

/// Which versions will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needed {
    /// Any that Stillframe works with.
    Supported,
    /// This major version, because a cluster was made with it.
    Major(u32),
}

impl Needed {
    pub(crate) fn accepts(self, version: &PostgresVersion) -> bool {
        match self {
            Self::Supported => version.major() >= PostgresVersion::OLDEST_MAJOR,
            Self::Major(major) => version.major() == major,
        }
    }
}

impl std::fmt::Display for Needed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Supported => write!(f, "Postgres {} or later", PostgresVersion::OLDEST_MAJOR),
            Self::Major(major) => write!(f, "Postgres {major}, which made the existing data directory"),
        }
    }
}

const VERSION_LIMIT: Duration = Duration::from_secs(20);

impl Binaries {
    /// Runs what is in `dir` to see whether it will do.
    pub(crate) async fn check(dir: &Path, needed: Needed, run_as: &RunAs) -> Result<Self, Rejected> {
        let reject = |reason: String| Rejected::new(dir.display(), reason);
        for name in ["postgres", "initdb"] {
            let path = dir.join(name);
            std::fs::metadata(&path).map_err(|error| reject(format!("{name}: {error}")))?;
        }
        let postgres = dir.join("postgres");
        let mut command = tokio::process::Command::from(run_as.command(&postgres));
        command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(VERSION_LIMIT, command.output())
            .await
            .map_err(|_| reject(format!("`postgres --version` gave no answer within {VERSION_LIMIT:?}")))?
            .map_err(|error| reject(format!("user {} can't run postgres: {error}", run_as.name())))?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let Some(version) = PostgresVersion::parse(&stdout).filter(|_| output.status.success()) else {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(reject(format!("`postgres --version` ended with {}: {}{}", output.status, stdout.trim(), stderr.trim())));
        };
        if !needed.accepts(&version) {
            return Err(reject(format!("Postgres {version}, but {needed} is needed")));
        }
        Ok(Self { dir: dir.to_owned(), version })
    }

    /// The directory they are in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Their version.
    pub fn version(&self) -> &PostgresVersion {
        &self.version
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    /// `pg_basebackup` of the same installation, which may not have it. The directory may hold links to the programs that are needed, and to no others.
    pub(crate) fn base_backup(&self) -> PathBuf {
        let postgres = self.postgres();
        let real = std::fs::canonicalize(&postgres).unwrap_or(postgres);
        real.with_file_name("pg_basebackup")
    }

    pub(crate) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }
}
