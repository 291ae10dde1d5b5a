//! `stillframe dev`, `stillframe demo` and `stillframe coordinator` as processes: they say where they serve, and stop in order when told to.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use stillframe_private_postgres::testing::TestDatabase;

use crate::support::{Ran, finish, run_at, stillframe};

/// Starts it and reads the line with which it says that it is ready.
fn ready(words: &[&str]) -> (Child, BufReader<ChildStdout>, Value) {
    let mut child = stillframe(words).spawn().expect("the command can be started");
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("it can be read");
    match serde_json::from_str(&line) {
        Ok(ready) => (child, stdout, ready),
        Err(_) => panic!("expected a line of JSON, found {line:?}; {:?}", finish(child)),
    }
}

fn stop(child: Child, signal: Signal) -> Ran {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("it runs");
    finish(child)
}

fn start_dev(dir: &Path) -> (Child, BufReader<ChildStdout>, String) {
    let dir = dir.to_str().expect("UTF-8");
    let (child, stdout, ready) = ready(&["dev", "--data-dir", dir, "--listen", "127.0.0.1:0", "--json"]);
    assert_eq!(ready["private_postgres"], json!(true));
    let url = ready["url"].as_str().expect("a URL").to_owned();
    (child, stdout, url)
}

#[test]
fn dev_serves_until_interrupted_and_keeps_what_it_knew() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (child, _stdout, url) = start_dev(dir.path());
    run_at(&url, &["cluster", "create", "bank", "--min-members", "2"]).exits(0);
    stop(child, Signal::INT).exits(0);
    run_at(&url, &["cluster", "list"]).exits(5);

    let (child, _stdout, url) = start_dev(dir.path());
    run_at(&url, &["cluster", "show", "bank"]).exits(0);
    stop(child, Signal::TERM).exits(0);
    assert!(dir.path().join("archive/format.json").exists());
}

#[test]
fn a_demo_that_is_interrupted_ends_with_the_code_of_that() {
    let mut child = stillframe(&["demo", "--members", "2", "--seconds", "60"]).spawn().expect("it starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("coordinator on") {
        line.clear();
        assert!(stderr.read_line(&mut line).expect("text") > 0, "it ended before it had a coordinator");
    }
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).expect("text");
        rest
    });
    stop(child, Signal::INT).exits(130);
    let rest = rest.join().expect("the reader ends");
    assert!(rest.contains("error: interrupted"), "{rest}");
}

/// The process of the private Postgres below this directory.
fn postgres_in(dir: &Path) -> Option<Pid> {
    std::fs::read_dir(dir).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.file_name()? == "postmaster.pid" {
            return std::fs::read_to_string(path).ok()?.lines().next()?.trim().parse().ok().and_then(Pid::from_raw);
        }
        path.is_dir().then(|| postgres_in(&path)).flatten()
    })
}

#[test]
fn dev_starts_its_postgres_again_when_that_has_ended() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (child, _stdout, url) = start_dev(dir.path());
    run_at(&url, &["cluster", "create", "bank", "--min-members", "2"]).exits(0);
    let postgres = postgres_in(dir.path()).expect("a Postgres");
    kill_process(postgres, Signal::KILL).expect("it runs");
    // A request waits for the database for a few seconds, so this is patient.
    let is_back = (0..20).any(|_| run_at(&url, &["cluster", "show", "bank"]).code == Some(0));
    let ran = stop(child, Signal::INT).exits(0);
    assert!(is_back, "{}", ran.stderr);
    assert!(ran.stderr.contains("has ended by itself") && ran.stderr.contains("is back"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_serves_until_terminated() {
    let database = TestDatabase::create().await;
    let url = database.url().to_owned();
    let served = tokio::task::spawn_blocking(move || {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let archive = dir.path().to_str().expect("UTF-8");
        let words = ["coordinator", "--database-url", &url, "--archive", archive, "--listen", "127.0.0.1:0", "--json"];
        let (child, _stdout, ready) = ready(&[&words[..], &["--log-format", "json"]].concat());
        run_at(ready["url"].as_str().expect("a URL"), &["cluster", "list"]).exits(0);
        let ran = stop(child, Signal::TERM).exits(0);
        for line in ran.stderr.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"].is_string()), "{line}");
        }
    });
    served.await.expect("it ends");
}
