//! A server ends with its parent, and not before.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use stillframe_private_postgres::{DataDir, Options};

use crate::support::{eventually, is_alive, kept, number, open_dir, start_quietly};

/// Where the process below keeps its data; empty: in a temporary directory.
const DATA_DIR: &str = "STILLFRAME_TEST_PARENT_DATA_DIR";

/// Not a test: the process that the tests below start and kill.
#[tokio::test]
#[ignore = "it is started by other tests"]
async fn parent() {
    let data_dir = match std::env::var_os(DATA_DIR).expect("started by a test") {
        dir if dir.is_empty() => DataDir::Temporary,
        dir => DataDir::Kept(PathBuf::from(dir)),
    };
    let server = start_quietly(Options { data_dir, ..Options::temporary() }).await.expect("start");
    // A process that outlives this one must not keep the server alive.
    let bystander = Command::new("sh").args(["-c", "sleep 600 >/dev/null 2>&1 & echo $!"]).output().expect("sleep");
    let bystander = String::from_utf8(bystander.stdout).expect("a process id");
    println!("\nstarted {} {} {}", server.pid(), bystander.trim(), server.data_dir().display());
    std::future::pending().await
}

struct Parent {
    process: Child,
    server_pid: u32,
    bystander_pid: u32,
    data_dir: PathBuf,
}

impl Parent {
    fn start(data_dir: Option<&Path>) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["lifetime::parent", "--exact", "--ignored", "--nocapture"])
            .env(DATA_DIR, data_dir.unwrap_or(Path::new("")))
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the parent");
        let mut lines = BufReader::new(process.stdout.take().expect("stdout")).lines().map_while(Result::ok);
        let line = lines.find_map(|line| line.strip_prefix("started ").map(str::to_owned)).expect("the parent started a server");
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().expect("three words");
        let (server, bystander, dir) = (word(), word(), word());
        Self {
            process,
            server_pid: server.parse().expect("a process id"),
            bystander_pid: bystander.parse().expect("a process id"),
            data_dir: PathBuf::from(dir),
        }
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.process.kill().expect("kill");
        self.process.wait().expect("wait");
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let bystander = rustix::process::Pid::from_raw(self.bystander_pid.cast_signed());
        let _ = bystander.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
    }
}

#[tokio::test]
async fn a_server_ends_when_its_parent_is_killed_and_its_directory_can_be_used_again() {
    let dir = open_dir();
    let data_dir = dir.path().join("pg");
    let mut parent = Parent::start(Some(&data_dir));
    assert!(is_alive(parent.server_pid));
    parent.kill();
    // At once: the next start waits for the end of the old server.
    let server = start_quietly(kept(&data_dir)).await.expect("the next start");
    assert!(!is_alive(parent.server_pid));
    assert!(is_alive(parent.bystander_pid));
    assert_eq!(number(&server.url(), "SELECT 1::bigint").await, 1);
    server.stop().await.expect("stop");
}

#[tokio::test]
async fn nothing_is_left_of_a_temporary_server_when_its_parent_is_killed() {
    let mut parent = Parent::start(None);
    assert!(is_alive(parent.server_pid) && parent.data_dir.exists());
    parent.kill();
    eventually("the server is gone", || !is_alive(parent.server_pid)).await;
    eventually("its directory is gone", || !parent.data_dir.exists()).await;
}

#[tokio::test]
async fn a_server_ends_when_its_handle_is_dropped() {
    let server = start_quietly(Options::temporary()).await.expect("start");
    let (pid, dir) = (server.pid(), server.data_dir().to_owned());
    drop(server);
    eventually("the server is gone", || !is_alive(pid)).await;
    eventually("its directory is gone", || !dir.exists()).await;
}

#[tokio::test]
async fn a_server_outlives_the_runtime_and_the_thread_that_started_it() {
    let starting = std::thread::spawn(|| {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(start_quietly(Options::temporary())).expect("start")
    });
    let server = starting.join().expect("the thread");
    assert_eq!(number(&server.url(), "SELECT 1::bigint").await, 1);
    server.stop().await.expect("stop");
}

#[tokio::test]
async fn a_stop_after_the_server_has_died_by_itself_is_fine() {
    let server = start_quietly(Options::temporary()).await.expect("start");
    let (pid, dir) = (server.pid(), server.data_dir().to_owned());
    let process = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process id");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("kill");
    server.stop().await.expect("stop");
    assert!(!is_alive(pid));
    assert!(!dir.exists());
}
