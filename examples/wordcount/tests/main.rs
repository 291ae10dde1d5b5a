//! The job as a user runs it: real member processes, a real coordinator on a real Postgres, and SIGKILLs on the way.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
};

use stillframe_archive::ArchiveUrl;
use stillframe_coordinator::{Config, Coordinator};
use stillframe_private_postgres::testing::TestDatabase;
use stillframe_wordcount::{Counts, words};
use tokio::process::Command;

struct House {
    dir: tempfile::TempDir,
    coordinator: Coordinator,
    _database: TestDatabase,
}

impl House {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let database = TestDatabase::create().await;
        let archive = ArchiveUrl::from_dir(&dir.path().join("archive")).expect("an archive URL");
        let config = Config::new(database.url(), archive, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let coordinator = stillframe_coordinator::start(config).await.expect("the coordinator starts");
        Self { dir, coordinator, _database: database }
    }

    async fn job(&self, more: &[&str], files: &[PathBuf]) -> Counts {
        let url = format!("http://{}", self.coordinator.local_addr());
        let mut command = Command::new(env!("CARGO_BIN_EXE_wordcount"));
        command.args(["run", "--json", "--url", &url]).args(more).args(files).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.stderr(Stdio::inherit()).output().await.expect("the job runs");
        assert!(output.status.success(), "the job ended with {}", output.status);
        serde_json::from_slice(&output.stdout).expect("counts as JSON")
    }
}

/// Files whose words come unevenly often: `words` words each.
fn files(dir: &Path, files: usize, words: usize) -> Vec<PathBuf> {
    (0..files)
        .map(|file| {
            let mut text = String::new();
            for n in 0..words {
                let _ = write!(text, "Word{} ", (n * n + file) % 997);
                if n % 11 == 0 {
                    text.push('\n');
                }
            }
            let path = dir.join(format!("{file}.txt"));
            std::fs::write(&path, text).expect("writes");
            path
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counts_are_those_of_one_plain_pass() {
    let house = House::start().await;
    let files = files(house.dir.path(), 3, 20_000);
    let counts = house.job(&["--cluster", "undisturbed"], &files).await;
    assert_eq!(counts, words::count_files(&files).expect("reads"));
    house.coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counts_are_those_of_one_plain_pass_although_members_are_killed() {
    let house = House::start().await;
    let files = files(house.dir.path(), 3, 40_000);
    // About a megabyte at 40 ms a chunk lasts long enough for both kills to hit a job under way.
    let kills = ["--kill", "counter-1=900", "--kill", "source=1900", "--pace-ms", "40", "--snapshot-every", "100ms"];
    let counts = house.job(&[&["--cluster", "killed"], &kills[..]].concat(), &files).await;
    assert_eq!(counts, words::count_files(&files).expect("reads"));
    let client = stillframe_api::Client::new(&format!("http://{}", house.coordinator.local_addr())).expect("a client");
    let cluster = client.cluster(&"killed".parse().expect("a name")).await.expect("the cluster");
    assert!(cluster.generation.get() >= 3, "both kills led to a rollback, so the generation is at least 3: {cluster:?}");
    house.coordinator.stop().await;
}
