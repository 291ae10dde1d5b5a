//! `coordinator` and `dev` that can't start: one message, the right exit code, and no secret in it.

use std::net::{Ipv4Addr, TcpListener};

use stillframe_private_postgres::testing::TestDatabase;

use crate::support::{Ran, finish, run, stillframe};

#[test]
fn a_coordinator_without_a_database_or_an_archive_says_how_to_give_them() {
    run(&["coordinator"]).exits(2).says(&["--database-url", "DATABASE_URL", "stillframe dev"]);
    run(&["coordinator", "--database-url", "postgres://db/x"]).exits(2).says(&["--archive", "STILLFRAME_ARCHIVE"]);
    run(&["coordinator", "--config", "/nowhere/x.toml"]).exits(2).says(&["/nowhere/x.toml"]);
}

#[test]
fn a_database_that_cannot_be_reached_exits_5_without_its_password() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let archive = dir.path().to_str().expect("UTF-8");
    let url = "postgres://me:hunter2@127.0.0.1:1/x";
    let ran = run(&["coordinator", "--database-url", url, "--archive", archive, "--listen", "127.0.0.1:0"]).exits(5);
    let ran = ran.says(&["127.0.0.1:1/x", "--database-url", "refused"]);
    assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_exist_is_told_from_one_that_is_away() {
    let database = TestDatabase::create().await;
    let (before, name) = database.url().rsplit_once('/').expect("a URL with a database");
    let url = format!("{before}/{}", name.replacen(|_| true, "no", 1));
    let ran = blocking(move || {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let archive = dir.path().to_str().expect("UTF-8");
        run(&["coordinator", "--database-url", &url, "--archive", archive, "--listen", "127.0.0.1:0"])
    });
    ran.await.exits(5).says(&["does not exist", "3D000", "--database-url"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_credentials_says_which_variables_to_set() {
    let database = TestDatabase::create().await;
    let url = database.url().to_owned();
    let ran = blocking(move || {
        let archive = "s3://bucket?endpoint=http://127.0.0.1:1&allow_http=true&region=us-east-1";
        let mut command = stillframe(&["coordinator", "--database-url", &url, "--archive", archive, "--listen", "127.0.0.1:0"]);
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE"] {
            command.env_remove(name);
        }
        // The machine's role is asked for at an address where nothing is.
        command.env("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1");
        finish(command.spawn().expect("the command can be started"))
    });
    let ran = ran.await.exits(5).says(&["s3://bucket", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "refused"]);
    assert!(!ran.stderr.contains("max_retries") && !ran.stderr.contains("Generic"), "{ran:?}");
}

#[test]
fn the_environment_comes_before_the_file_and_a_flag_before_both() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("stillframe.toml");
    std::fs::write(&file, "database_url = \"postgres://127.0.0.1:1/file\"\narchive = \"/nowhere\"\n").expect("it can be written");
    let file = file.to_str().expect("UTF-8");
    let archive = dir.path().to_str().expect("UTF-8");
    let with_env = |words: &[&str]| {
        let mut command =
            stillframe(&[&["coordinator", "--config", file, "--archive", archive, "--listen", "127.0.0.1:0"], words].concat());
        command.env("DATABASE_URL", "postgres://127.0.0.1:1/env");
        finish(command.spawn().expect("the command can be started"))
    };
    with_env(&[]).exits(5).says(&["127.0.0.1:1/env"]);
    with_env(&["--database-url", "postgres://127.0.0.1:1/flag"]).exits(5).says(&["127.0.0.1:1/flag"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cannot_be_reached_exits_5() {
    let database = TestDatabase::create().await;
    let url = database.url().to_owned();
    let ran = blocking(move || {
        let archive = "s3://bucket?endpoint=http://127.0.0.1:1&allow_http=true&region=us-east-1";
        let mut command = stillframe(&["coordinator", "--database-url", &url, "--archive", archive, "--listen", "127.0.0.1:0"]);
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "hunter2");
        finish(command.spawn().expect("the command can be started"))
    });
    let ran = ran.await.exits(5).says(&["s3://bucket", "refused"]);
    assert!(!ran.stderr.contains("max_retries") && !ran.stderr.contains("Generic"), "{ran:?}");
    assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_exits_1_and_names_it() {
    let database = TestDatabase::create().await;
    let url = database.url().to_owned();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let listen = taken.local_addr().expect("an address").to_string();
    let ran = blocking(move || {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().to_str().expect("UTF-8");
        let dev = run(&["dev", "--data-dir", path, "--listen", &listen]).exits(1).says(&[&listen, "--listen"]);
        assert!(!dev.stderr.contains("Postgres"), "it is found before anything is started: {dev:?}");
        run(&["coordinator", "--database-url", &url, "--archive", path, "--listen", &listen])
            .exits(1)
            .says(&[&listen, "--listen"])
    });
    ran.await;
    drop(taken);
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = file.path().join("dir");
    run(&["dev", "--data-dir", path.to_str().expect("UTF-8"), "--listen", "127.0.0.1:0"])
        .exits(2)
        .says(&["--data-dir", &format!("{} is a file", file.path().display())]);
}

async fn blocking(run: impl FnOnce() -> Ran + Send + 'static) -> Ran {
    tokio::task::spawn_blocking(run).await.expect("it ends")
}
