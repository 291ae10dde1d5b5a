//! The running server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::{Instant, timeout};

use crate::binaries::Needed;
use crate::home::Home;
use crate::socket::Socket;
use crate::supervise::{Job, Supervised};
use crate::{Binaries, DataDir, Error, Options, PostgresVersion, Progress, initdb, poll, search, settings};

/// How long a start may take. It is about a second; recovery after a crash may take longer.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// How long one attempt to connect may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long an orderly shutdown may take, before a hard one.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long a hard shutdown may take.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(30);

/// A private server, running.
///
/// It ends when this value is dropped and when this process ends, in whatever way. Neither waits for the end; [`stop`](Self::stop)
/// does. It doesn't depend on the runtime or the thread that started it.
#[derive(Debug)]
pub struct PrivatePostgres {
    // The order is that of dropping: first the server is told to end, then its directories are removed (if temporary) and unlocked.
    pub(crate) supervised: Supervised,
    pub(crate) socket: Socket,
    pub(crate) home: Home,
    pub(crate) binaries: Binaries,
    pub(crate) options: Options,
    pub(crate) pid: u32,
}

/// Starts a private server, and returns when it answers.
///
/// `progress` is called at each step, from within this call. When the returned future is dropped, what was started ends.
///
/// # Errors
///
/// See [`Error`]. Nothing is left running after one.
pub async fn start(options: Options, progress: impl Fn(Progress) + Send + Sync) -> Result<PrivatePostgres, Error> {
    let home = Home::open(&options.data_dir, &progress).await?;
    let made_by = home.cluster_major()?;
    let needed = made_by.map_or(Needed::Supported, Needed::Major);
    let binaries = search::find(&options.binaries, needed, home.run_as(), &progress).await?;
    if made_by.is_none() {
        progress(Progress::InitDb { cluster: home.cluster() });
        initdb::make_cluster(&home, &binaries, options.fsync).await?;
    }
    progress(Progress::Starting { cluster: home.cluster() });
    home.clear_stale_pid()?;
    let socket = Socket::choose(&home.cluster(), home.run_as())?;
    let (supervised, pid) = launch(&home, &socket, &binaries, &options).await?;
    progress(Progress::Ready { version: binaries.version().clone(), from: binaries.dir().to_owned() });
    Ok(PrivatePostgres { supervised, socket, home, binaries, options, pid })
}

impl PrivatePostgres {
    /// The URL of the database `postgres`, which is always there, as the superuser.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL of a database of this server, which need not exist yet.
    pub fn url_of(&self, database: &str) -> String {
        self.socket.url(database)
    }

    /// Makes a database, unless there is one of this name, and returns its URL.
    ///
    /// # Errors
    ///
    /// [`Error::Sql`], when the server can't be reached or refuses.
    pub async fn create_database(&self, name: &str) -> Result<String, Error> {
        let doing = || format!("create the database {name}");
        let mut connection = PgConnection::connect(&self.url()).await.map_err(Error::sql(doing()))?;
        let statement = format!(r#"CREATE DATABASE "{}""#, name.replace('"', r#""""#));
        match sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await {
            Err(error) if !exists_already(&error) => return Err(Error::sql(doing())(error)),
            Ok(_) | Err(_) => {}
        }
        // The database is there; how the connection ends doesn't matter.
        let _ = connection.close().await;
        Ok(self.url_of(name))
    }

    /// The process id of the server (its postmaster).
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The server's version.
    pub fn version(&self) -> &PostgresVersion {
        self.binaries.version()
    }

    /// The directory that has the binaries.
    pub fn binaries_dir(&self) -> &Path {
        self.binaries.dir()
    }

    /// The directory that has the cluster and the log. It differs from the one in [`Options`] when that was
    /// [relocated](Progress::Relocated).
    pub fn data_dir(&self) -> &Path {
        self.home.dir()
    }

    /// The server's log file.
    pub fn log_path(&self) -> PathBuf {
        self.home.log_path()
    }

    /// Stops the server in an orderly way: open transactions are rolled back, what is committed is on disk. A temporary data
    /// directory is gone afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::StillRunning`] when it ends neither in an orderly way within 30 s nor in a hard way within 30 s more.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.supervised.let_go();
        if self.has_ended(STOP_LIMIT).await? {
            return Ok(());
        }
        self.end_immediately().await
    }

    /// Waits until the server has ended by itself: it was killed, or its machine ran out of something. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the system won't tell.
    pub async fn ended(&mut self) -> Result<(), Error> {
        while !self.has_ended(STOP_LIMIT).await? {}
        Ok(())
    }

    /// Starts the server again after it has ended by itself, on the same socket. Its process id changes.
    ///
    /// # Errors
    ///
    /// The errors of [`start`]; then it isn't running. What its processes held may take a moment to be free, so trying again is right.
    pub async fn start_again(&mut self) -> Result<(), Error> {
        (self.supervised, self.pid) = launch(&self.home, &self.socket, &self.binaries, &self.options).await?;
        Ok(())
    }

    /// Ends the server as a crash would, without writing anything, and starts it again on the same socket. Its process id changes.
    ///
    /// # Errors
    ///
    /// [`Error::StillRunning`] when it doesn't end; the errors of [`start`] when it doesn't come back, and then it isn't running.
    pub async fn restart_immediate(&mut self) -> Result<(), Error> {
        self.end_immediately().await?;
        self.start_again().await
    }

    /// Ends the server as a crash would, without writing anything.
    ///
    /// # Errors
    ///
    /// [`Error::StillRunning`] when it doesn't end.
    pub async fn end_immediately(&mut self) -> Result<(), Error> {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // An error means that it is gone already.
            let _ = kill_process(pid, Signal::QUIT);
        }
        if self.has_ended(IMMEDIATE_LIMIT).await? {
            return Ok(());
        }
        Err(Error::StillRunning { pid: self.pid, waited: IMMEDIATE_LIMIT, log_path: self.log_path() })
    }

    async fn has_ended(&mut self, limit: Duration) -> Result<bool, Error> {
        let status = self.supervised.wait(limit).await.map_err(Error::file("wait for", self.binaries.postgres()))?;
        Ok(status.is_some())
    }
}

/// Runs the server and waits until it answers.
pub(crate) async fn launch(
    home: &Home,
    socket: &Socket,
    binaries: &Binaries,
    options: &Options,
) -> Result<(Supervised, u32), Error> {
    let mut argv = vec![binaries.postgres().into()];
    argv.extend(settings::arguments(&home.cluster(), socket.dir(), options));
    let job = Job {
        shell: home.run_as().command(Job::SHELL),
        argv,
        output: home.log(),
        stop_signal: match options.data_dir {
            DataDir::Kept(_) => "INT",
            // What will be removed need not be written down first.
            DataDir::Temporary => "QUIT",
        },
        remove: [home.to_remove(), socket.to_remove()],
    };
    let mut supervised = Supervised::spawn(job).map_err(Error::file("run", binaries.postgres()))?;
    wait_until_ready(&mut supervised, home, &socket.url("postgres")).await?;
    let pid = home.postmaster_pid().ok_or_else(|| {
        Error::file("read the process id in", home.cluster().join("postmaster.pid"))(std::io::ErrorKind::InvalidData.into())
    })?;
    Ok((supervised, pid))
}

async fn wait_until_ready(supervised: &mut Supervised, home: &Home, url: &str) -> Result<(), Error> {
    let end = Instant::now() + READY_LIMIT;
    let mut ticks = poll::ticks();
    loop {
        let ended = supervised.try_wait().map_err(Error::file("wait for the server of", home.cluster()))?;
        if let Some(status) = ended {
            return Err(Error::EndedEarly { status, log_path: home.log_path(), log: home.log_tail() });
        }
        let attempt = timeout(CONNECT_LIMIT, PgConnection::connect(url)).await;
        match attempt.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut)) {
            Ok(connection) => {
                let _ = connection.close().await;
                return Ok(());
            }
            Err(source) if Instant::now() >= end => {
                return Err(Error::NotReady { waited: READY_LIMIT, log_path: home.log_path(), log: home.log_tail(), source });
            }
            Err(_) => {}
        }
        ticks.tick().await;
    }
}

/// Two may make the same database at once: then the second fails on the catalog's unique index.
fn exists_already(error: &sqlx::Error) -> bool {
    const DUPLICATE_DATABASE: &str = "42P04";
    const UNIQUE_VIOLATION: &str = "23505";
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| [DUPLICATE_DATABASE, UNIQUE_VIOLATION].contains(&code.as_ref()))
}
