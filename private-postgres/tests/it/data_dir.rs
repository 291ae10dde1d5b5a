//! The data directory.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;

use stillframe_private_postgres::{BinarySearch, DataDir, Error, Options, Progress, start};
use tokio::sync::Notify;

use crate::support::{is_root, kept, number, open_dir, run, start_quietly};

async fn keeps_its_data_in(data_dir: &Path) {
    let server = start_quietly(kept(data_dir)).await.expect("first start");
    run(&server.url(), "CREATE TABLE t AS SELECT 42::bigint AS x").await;
    server.stop().await.expect("stop");
    let server = start_quietly(kept(data_dir)).await.expect("second start");
    assert_eq!(number(&server.url(), "SELECT x FROM t").await, 42);
    server.stop().await.expect("stop");
}

#[tokio::test]
async fn data_are_kept_from_one_start_to_the_next() {
    let dir = open_dir();
    keeps_its_data_in(&dir.path().join("made/by/start")).await;
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_will_do() {
    let dir = open_dir();
    keeps_its_data_in(&dir.path().join("x".repeat(120))).await;
}

#[tokio::test]
async fn a_path_with_odd_characters_will_do() {
    let dir = open_dir();
    keeps_its_data_in(&dir.path().join(r#"it's, "$(odd)"; ä \ *"#)).await;
}

#[tokio::test]
async fn what_is_committed_survives_a_crash_of_the_server() {
    let dir = open_dir();
    let mut server = start_quietly(Options::kept(dir.path().join("pg"))).await.expect("start");
    run(&server.url(), "CREATE TABLE t AS SELECT 42::bigint AS x").await;
    let (url, pid) = (server.url(), server.pid());
    server.restart_immediate().await.expect("restart");
    assert_eq!((server.url(), number(&url, "SELECT x FROM t").await), (url.clone(), 42));
    assert_ne!(server.pid(), pid);
    server.stop().await.expect("stop");
}

#[tokio::test]
async fn a_second_server_in_the_same_directory_is_refused_and_told_who_has_it() {
    let dir = open_dir();
    let server = start_quietly(kept(&dir.path().join("pg"))).await.expect("start");
    let error = start_quietly(kept(&dir.path().join("pg"))).await.expect_err("the second");
    let expected = (Some(std::process::id()), Some(server.pid()));
    assert!(matches!(&error, Error::InUse { holder, postgres, .. } if (*holder, *postgres) == expected), "{error}");
    assert_eq!(number(&server.url(), "SELECT 1::bigint").await, 1, "the first isn't disturbed");
    server.stop().await.expect("stop");
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_nothing_in_the_way_of_the_next() {
    let dir = open_dir();
    let data_dir = dir.path().join("pg");
    let reached = Notify::new();
    let report = |progress| {
        if matches!(progress, Progress::InitDb { .. }) {
            reached.notify_one();
        }
    };
    tokio::select! {
        biased;
        () = reached.notified() => {}
        ended = start(kept(&data_dir), report) => panic!("it should have been given up: {ended:?}"),
    }
    let server = start_quietly(kept(&data_dir)).await.expect("the next start");
    server.stop().await.expect("stop");
}

#[tokio::test]
async fn a_cluster_is_not_given_to_another_major_version() {
    let dir = open_dir();
    let data_dir = dir.path().join("pg");
    let server = start_quietly(kept(&data_dir)).await.expect("start");
    let actual = server.data_dir().to_owned();
    server.stop().await.expect("stop");
    fs::write(actual.join("cluster/PG_VERSION"), "9\n").expect("write");
    let binaries = BinarySearch { fetch: false, ..BinarySearch::this_machine() };
    let error = start_quietly(Options { binaries, ..kept(&data_dir) }).await.expect_err("an error");
    assert!(error.to_string().contains("Postgres 9, which made the existing data directory"), "{error}");
}

#[tokio::test]
async fn a_server_that_ends_early_is_an_error_with_the_end_of_its_log() {
    let mut options = Options::temporary();
    options.settings.push(("shared_buffers".into(), "nonsense".into()));
    let error = start_quietly(options).await.expect_err("an error");
    assert!(matches!(&error, Error::EndedEarly { log, .. } if log.contains("nonsense")), "{error}");
}

#[tokio::test]
async fn a_lock_file_that_names_a_process_of_something_else_is_no_hindrance() {
    let dir = open_dir();
    let data_dir = dir.path().join("pg");
    let server = start_quietly(kept(&data_dir)).await.expect("start");
    let actual = server.data_dir().to_owned();
    server.stop().await.expect("stop");
    // As after a crash of the machine, when the id has been given to another process: here to this one.
    let lock = format!("{}\n{}\n1700000000\n5432\n", std::process::id(), actual.join("cluster").display());
    fs::write(actual.join("cluster/postmaster.pid"), lock).expect("write");
    let server = start_quietly(kept(&data_dir)).await.expect("start again");
    server.stop().await.expect("stop");
}

#[tokio::test]
async fn root_keeps_data_elsewhere_when_the_server_can_not_reach_the_directory() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("chmod");
    let data_dir = dir.path().join("pg");
    let relocated = Mutex::new(None);
    let report = |progress| {
        if let Progress::Relocated { actual, .. } = progress {
            *relocated.lock().expect("lock") = Some(actual);
        }
    };
    let server = start(kept(&data_dir), report).await.expect("start");
    let actual = relocated.lock().expect("lock").clone().expect("it was reported");
    assert_eq!(server.data_dir(), actual);
    server.stop().await.expect("stop");

    keeps_its_data_in(&data_dir).await;
    fs::remove_dir_all(&actual).expect("remove");
    let error = start_quietly(kept(&data_dir)).await.expect_err("the data are gone");
    assert!(matches!(&error, Error::Gone { actual: named, .. } if *named == actual), "{error}");
}

#[tokio::test]
async fn nobody_else_can_reach_the_socket() {
    let server = start_quietly(Options::temporary()).await.expect("start");
    let mode = fs::metadata(server.data_dir().join("cluster")).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o077, 0);
    server.stop().await.expect("stop");
}

#[tokio::test]
async fn a_temporary_directory_is_gone_after_the_stop() {
    let server = start_quietly(Options { data_dir: DataDir::Temporary, ..Options::temporary() }).await.expect("start");
    let dir = server.data_dir().to_owned();
    assert!(dir.exists());
    server.stop().await.expect("stop");
    assert!(!dir.exists());
}
