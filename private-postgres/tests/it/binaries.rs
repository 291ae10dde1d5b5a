//! Where the binaries come from.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use stillframe_private_postgres::{BinarySearch, Error, Options, find_binaries};
use tempfile::TempDir;

use crate::support::{open_dir, start_quietly};

/// A directory with a `postgres` that is this shell script.
fn fake(script: &str) -> TempDir {
    let dir = open_dir();
    for name in ["postgres", "initdb"] {
        // Copied by another process: a file that this one wrote could still be open for writing in a child that another test is
        // just starting, and then can't be run.
        let written = dir.path().join("script");
        fs::write(&written, format!("#!/bin/sh\n{script}\n")).expect("write");
        fs::set_permissions(&written, Permissions::from_mode(0o755)).expect("chmod");
        let copied = Command::new("cp").arg("-p").arg(&written).arg(dir.path().join(name)).status().expect("cp");
        assert!(copied.success());
    }
    dir
}

fn nowhere() -> BinarySearch {
    BinarySearch { named: None, path: Vec::new(), installed: Vec::new(), cache: None, fetch: false }
}

#[tokio::test]
async fn a_candidate_that_will_not_do_is_skipped() {
    let good = find_binaries(&BinarySearch::this_machine(), |_| {}).await.expect("binaries");
    let (old, broken) = (fake("echo 'postgres (PostgreSQL) 14.9'"), fake("echo no such library >&2; exit 1"));
    let path = vec![old.path().to_owned(), broken.path().to_owned(), good.dir().to_owned()];
    let found = find_binaries(&BinarySearch { path, ..nowhere() }, |_| {}).await.expect("binaries");
    assert_eq!(found, good);
}

#[tokio::test]
async fn when_there_are_none_the_error_names_every_place_and_what_to_do() {
    let (old, broken) = (fake("echo 'postgres (PostgreSQL) 14.9'"), fake("echo no such library >&2; exit 1"));
    let (path, installed) = (vec![old.path().to_owned()], vec![broken.path().to_owned()]);
    let error = find_binaries(&BinarySearch { path, installed, ..nowhere() }, |_| {}).await.expect_err("no binaries");
    let message = error.to_string();
    for part in ["Postgres 14.9", "15 or later", "no such library", "the cache", "STILLFRAME_PG_BIN"] {
        assert!(message.contains(part), "{part:?} is missing in:\n{message}");
    }
}

#[tokio::test]
async fn a_named_directory_that_will_not_do_is_an_error() {
    let good = find_binaries(&BinarySearch::this_machine(), |_| {}).await.expect("binaries");
    let search = BinarySearch { named: Some(PathBuf::from("/nonexistent")), path: vec![good.dir().to_owned()], ..nowhere() };
    let error = find_binaries(&search, |_| {}).await.expect_err("an error");
    assert!(matches!(&error, Error::NamedBinaries(rejected) if rejected.place == "/nonexistent"), "{error}");
}

#[tokio::test]
async fn an_initdb_that_fails_is_an_error_with_its_last_words() {
    let fails = fake(r#"if [ "$1" = --version ]; then echo 'postgres (PostgreSQL) 17.1'; else echo disk on fire; exit 3; fi"#);
    let options = Options { binaries: BinarySearch::only(fails.path()), ..Options::temporary() };
    let error = start_quietly(options).await.expect_err("an error");
    assert!(matches!(&error, Error::InitDb { log, .. } if log == "disk on fire"), "{error}");
}
