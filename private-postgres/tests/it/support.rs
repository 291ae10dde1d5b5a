//! What the tests share.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stillframe_private_postgres::{Error, Options, PrivatePostgres, start};
use tempfile::TempDir;
use tokio::time::{Instant, interval};

/// Generous: machines that run tests may be slow.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `check` holds.
pub(crate) async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    let mut ticks = interval(Duration::from_millis(10));
    while !check() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        ticks.tick().await;
    }
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    // A process of another user is alive too.
    !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A temporary directory that every user can enter, and below directories that every user can enter.
pub(crate) fn open_dir() -> TempDir {
    let dir = if is_root() { tempfile::tempdir_in("/tmp") } else { tempfile::tempdir() };
    let dir = dir.expect("a temporary directory");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
    dir
}

/// A durable server, but without waiting for the disk.
pub(crate) fn kept(data_dir: &Path) -> Options {
    Options { fsync: false, ..Options::kept(data_dir) }
}

pub(crate) async fn start_quietly(options: Options) -> Result<PrivatePostgres, Error> {
    start(options, |_| {}).await
}

/// Runs statements.
pub(crate) async fn run(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect(sql);
    connection.close().await.expect("close");
}

/// Asks for one number.
pub(crate) async fn number(url: &str, sql: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    let answer: i64 = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.expect(sql);
    connection.close().await.expect("close");
    answer
}
