//! What the caller chooses about a private server.

use std::path::PathBuf;

use crate::BinarySearch;

/// How to start a private server. Begin with [`Options::kept`] or [`Options::temporary`] and change what you need.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the cluster lives, and whether it outlives the server.
    pub data_dir: DataDir,
    /// Whether a commit waits for the disk. `false` loses the whole cluster when the machine crashes, so it is for tests only.
    pub fsync: bool,
    /// Where to look for the binaries.
    pub binaries: BinarySearch,
    /// How many connections the server accepts at once.
    pub max_connections: u16,
    /// More server settings, name and value, which win over this crate's own.
    pub settings: Vec<(String, String)>,
}

/// Where the cluster lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataDir {
    /// This directory, made when it isn't there and kept when the server stops. The crate keeps several files in it (the cluster,
    /// the log, a lock), so give it a directory of its own.
    Kept(PathBuf),
    /// A new directory in the system's temporary directory, removed when the server stops or its parent dies.
    Temporary,
}

impl Options {
    /// A durable server whose cluster is kept in `data_dir`.
    pub fn kept(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: DataDir::Kept(data_dir.into()),
            fsync: true,
            binaries: BinarySearch::this_machine(),
            max_connections: 100,
            settings: Vec::new(),
        }
    }

    /// A throw-away server for tests: a temporary directory, no fsync.
    pub fn temporary() -> Self {
        Self { data_dir: DataDir::Temporary, fsync: false, ..Self::kept("") }
    }
}
