//! A real coordinator in this process.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use stillframe_archive::ArchiveUrl;
use stillframe_coordinator::{Config, Coordinator};
use stillframe_private_postgres::testing::TestDatabase;
use tempfile::TempDir;

use super::{Ran, run_at};

/// A coordinator with a database and an archive for one test.
pub(crate) struct Real {
    coordinator: Coordinator,
    _database: TestDatabase,
    archive: TempDir,
}

impl Real {
    pub(crate) async fn start() -> Self {
        let database = TestDatabase::create().await;
        let archive = tempfile::tempdir().expect("a temporary directory");
        let url = ArchiveUrl::from_dir(archive.path()).expect("a directory");
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = Config::new(database.url(), url, listen);
        // Tests are members by hand, and may be slow.
        config.lease = Duration::from_secs(300);
        let coordinator = stillframe_coordinator::start(config).await.expect("the coordinator starts");
        Self { coordinator, _database: database, archive }
    }

    /// Runs the command against it.
    pub(crate) async fn run(&self, words: &[&str]) -> Ran {
        let url = self.url();
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let run = move || run_at(&url, &words.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.expect("it ends")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.coordinator.local_addr())
    }

    pub(crate) fn archive(&self) -> &str {
        self.archive.path().to_str().expect("UTF-8")
    }

    pub(crate) async fn stop(self) {
        self.coordinator.stop().await;
    }
}
