//! A streaming standby of a private server: for tests of what happens when the primary is lost, and the standby, which may not have heard of everything,
//! is promoted.

use std::process::Stdio;
use std::time::Duration;

use sqlx::{Connection, PgConnection};

use crate::home::Home;
use crate::server::{PrivatePostgres, launch};
use crate::socket::{PORT, SUPERUSER, Socket};
use crate::{DataDir, Error, Options, poll};

/// How long a backup of a fresh server may take. It is about a second.
const BACKUP_LIMIT: Duration = Duration::from_secs(120);

/// How long a standby may take to have replayed what there is, to have stopped listening, and to be promoted.
const LIMIT: Duration = Duration::from_secs(60);

impl PrivatePostgres {
    /// Whether [`standby`](Self::standby) has what it needs: `pg_basebackup` beside the server's binaries. The Python package doesn't bring it.
    pub fn can_have_a_standby(&self) -> bool {
        self.binaries.base_backup().exists()
    }

    /// Starts a temporary server that follows this one, asynchronously: a commit here doesn't wait for it. It is read-only until it is
    /// [promoted](Self::promote).
    ///
    /// # Errors
    ///
    /// The errors of [`start`](crate::start); [`Error::BaseBackup`] when the copy can't be made.
    pub async fn standby(&self) -> Result<Self, Error> {
        let home = Home::open(&DataDir::Temporary, &|_| {}).await?;
        let program = self.binaries.base_backup();
        let mut command = tokio::process::Command::from(home.run_as().command(&program));
        command
            .arg("--pgdata")
            .arg(home.cluster())
            .arg("--host")
            .arg(self.socket.dir())
            .args(["--port", &PORT.to_string(), "--username", SUPERUSER])
            // Follows from where the copy ends, without a slot: what the primary has dropped by then can't be followed, and it drops little.
            .args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(BACKUP_LIMIT, command.output()).await;
        let output = output.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(Error::file("run", &program))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::BaseBackup { status: output.status, said });
        }
        // The primary's socket lies in its cluster, and the lock of it was copied.
        let lock = home.cluster().join(format!(".s.PGSQL.{PORT}.lock"));
        match std::fs::remove_file(&lock) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::file("remove", &lock)(error)),
            Ok(()) | Err(_) => {}
        }
        let socket = Socket::choose(&home.cluster(), home.run_as())?;
        let options = Options { data_dir: DataDir::Temporary, ..self.options.clone() };
        let (supervised, pid) = launch(&home, &socket, &self.binaries, &options).await?;
        Ok(Self { supervised, socket, home, binaries: self.binaries.clone(), options, pid })
    }

    /// Waits until this standby has replayed everything that `primary` has committed by now.
    ///
    /// # Errors
    ///
    /// [`Error::Sql`]; a time-out when it doesn't come that far within a minute.
    pub async fn catch_up_with(&self, primary: &Self) -> Result<(), Error> {
        let position = primary.ask::<String>("SELECT pg_current_wal_insert_lsn()::text").await?;
        self.until(&format!("SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn")).await
    }

    /// Has this standby stop listening to its primary: what is committed there from now on doesn't come here any more.
    ///
    /// # Errors
    ///
    /// As [`catch_up_with`](Self::catch_up_with).
    pub async fn stop_following(&self) -> Result<(), Error> {
        self.execute("ALTER SYSTEM SET primary_conninfo = ''").await?;
        self.ask::<bool>("SELECT pg_reload_conf()").await?;
        self.until("SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)").await
    }

    /// Makes this standby a server of its own, on a new timeline. Its primary should be gone by then.
    ///
    /// # Errors
    ///
    /// As [`catch_up_with`](Self::catch_up_with).
    pub async fn promote(&self) -> Result<(), Error> {
        self.ask::<bool>("SELECT pg_promote(wait => true)").await?;
        self.until("SELECT NOT pg_is_in_recovery()").await
    }

    async fn execute(&self, sql: &'static str) -> Result<(), Error> {
        let failed = || Error::sql(sql.to_owned());
        let mut connection = PgConnection::connect(&self.url()).await.map_err(failed())?;
        sqlx::raw_sql(sql).execute(&mut connection).await.map_err(failed())?;
        Ok(())
    }

    async fn ask<T>(&self, sql: &str) -> Result<T, Error>
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let failed = || Error::sql(sql.to_owned());
        let mut connection = PgConnection::connect(&self.url()).await.map_err(failed())?;
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.map_err(failed())
    }

    async fn until(&self, sql: &str) -> Result<(), Error> {
        let wait = async {
            let mut ticks = poll::ticks();
            while !self.ask::<bool>(sql).await? {
                ticks.tick().await;
            }
            Ok(())
        };
        let timed_out = |_| Err(Error::sql(sql.to_owned())(sqlx::Error::PoolTimedOut));
        tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(timed_out)
    }
}
