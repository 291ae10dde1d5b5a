//! `stillframe dev`: a coordinator with everything it needs, in one directory and one process.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;
use stillframe_api::backoff::Backoff;
use stillframe_archive::ArchiveUrl;
use stillframe_coordinator::{Coordinator, StartError};
use stillframe_private_postgres::{Options, PrivatePostgres, Progress as Step};

use super::coordinator::{until_told, url_of};
use crate::{
    connect::{DEFAULT_LISTEN, DEFAULT_URL},
    error::CliError,
    output::{Output, note},
    parse,
    progress::Progress,
    settings::{base_config, database_url::DatabaseUrl},
    signals::StopSignal,
};

/// How often a private Postgres is started again that doesn't stay up.
const RESTARTS: u32 = 10;

/// How long a Postgres has to run to count as one that stays up.
const RAN_FOR_A_WHILE: Duration = Duration::from_secs(60);

/// The database in the private Postgres.
const DATABASE: &str = "stillframe";

/// What `stillframe dev` takes.
#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    /// Where the database and the archive are kept; made when it isn't there
    #[arg(long, env = "STILLFRAME_DATA_DIR", value_name = "DIR", default_value = "stillframe-data")]
    pub data_dir: PathBuf,
    /// Where to listen for HTTP; port 0 takes a free one
    #[arg(long, env = "STILLFRAME_LISTEN", value_name = "ADDR", default_value = DEFAULT_LISTEN, value_parser = parse::listen)]
    pub listen: SocketAddr,
    /// Use this Postgres database (15 or later) instead of a private one
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true, value_parser = DatabaseUrl::taken)]
    pub database_url: Option<DatabaseUrl>,
}

/// What runs, for people and as JSON.
#[derive(Debug, Serialize)]
struct Ready {
    url: String,
    archive: String,
    data_dir: PathBuf,
    private_postgres: bool,
}

/// Runs until SIGTERM or SIGINT comes, then stops everything in order.
///
/// # Errors
/// [`CliError`] when the directory, the address or the database can't be used; nothing is left running then.
pub async fn run(args: DevArgs, out: &mut Output) -> Result<(), CliError> {
    let mut stop = StopSignal::install()?;
    let progress = Progress::new(out.is_json());
    let started = tokio::select! {
        started = Everything::start(&args, &progress) => started,
        // What was started so far ends with the future.
        () = stop.received() => return Ok(()),
    };
    drop(progress);
    let mut everything = started?;
    let served = match out.result(&everything.ready, how_to_use) {
        Ok(()) => everything.serve(&mut stop).await,
        Err(error) => Err(error),
    };
    stop.next_one_ends_at_once();
    if !out.is_json() {
        note("stopping");
    }
    everything.stop().await?;
    served
}

struct Everything {
    coordinator: Coordinator,
    postgres: Option<PrivatePostgres>,
    ready: Ready,
}

impl Everything {
    async fn start(args: &DevArgs, progress: &Progress) -> Result<Self, CliError> {
        // Before Postgres, which takes seconds: who has the port wants to know at once.
        check_free(args.listen)?;
        let data_dir = make_dir(&args.data_dir)?;
        let archive = ArchiveUrl::from_dir(&data_dir.join("archive")).map_err(CliError::usage)?;
        let (database_url, postgres) = match args.database_url.clone().filter(|url| !url.is_empty()) {
            Some(url) => (url, None),
            None => {
                let options = Options::kept(data_dir.join("postgres"));
                let postgres = stillframe_private_postgres::start(options, |step| tell(progress, &step)).await?;
                (postgres.create_database(DATABASE).await?.into(), Some(postgres))
            }
        };
        let config = base_config(&database_url, archive, args.listen)?;
        if postgres.is_none() {
            progress.keep(&format!(
                "using the database {} (--database-url or DATABASE_URL); no private Postgres is started",
                config.database()
            ));
        }
        progress.show("starting the coordinator");
        let archive = config.archive.to_string();
        let coordinator = match stillframe_coordinator::start(config).await {
            Ok(coordinator) => coordinator,
            Err(error) => {
                stop_postgres(postgres).await?;
                return Err(error.into());
            }
        };
        let ready = Ready { url: url_of(&coordinator), archive, data_dir, private_postgres: postgres.is_some() };
        Ok(Self { coordinator, postgres, ready })
    }

    /// Serves until a signal comes. A private Postgres that ends meanwhile is started again; the coordinator finds it again by itself.
    async fn serve(&mut self, stop: &mut StopSignal) -> Result<(), CliError> {
        tokio::select! {
            served = until_told(&mut self.coordinator, stop) => served,
            error = tend(self.postgres.as_mut()) => Err(error),
        }
    }

    /// The coordinator first: it is the one that needs the database.
    async fn stop(self) -> Result<(), CliError> {
        self.coordinator.stop().await;
        stop_postgres(self.postgres).await
    }
}

/// Starts the private Postgres again when it has ended, however often, as long as it runs for a while in between.
async fn tend(postgres: Option<&mut PrivatePostgres>) -> CliError {
    let Some(postgres) = postgres else { return std::future::pending().await };
    let mut left = RESTARTS;
    loop {
        let started = Instant::now();
        if let Err(error) = postgres.ended().await {
            return error.into();
        }
        if started.elapsed() > RAN_FOR_A_WHILE {
            left = RESTARTS;
        }
        tracing::warn!(log = %postgres.log_path().display(), "the private Postgres has ended by itself; starting it again");
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(2));
        loop {
            let Some(fewer) = left.checked_sub(1) else {
                let log = postgres.log_path();
                return CliError::Failed(format!("the private Postgres doesn't stay up; its log says why: {}", log.display()));
            };
            left = fewer;
            match postgres.start_again().await {
                Ok(()) => break,
                Err(error) => tracing::warn!(%error, "the private Postgres doesn't start yet"),
            }
            backoff.wait().await;
        }
        tracing::warn!("the private Postgres is back");
    }
}

/// What is worth knowing later stays on the terminal.
fn tell(progress: &Progress, step: &Step) {
    match step {
        Step::Relocated { .. } | Step::Ready { .. } => progress.keep(&step.to_string()),
        _ => progress.show(&step.to_string()),
    }
}

async fn stop_postgres(postgres: Option<PrivatePostgres>) -> Result<(), CliError> {
    match postgres {
        Some(postgres) => Ok(postgres.stop().await?),
        None => Ok(()),
    }
}

fn check_free(listen: SocketAddr) -> Result<(), CliError> {
    match TcpListener::bind(listen) {
        Ok(_free) => Ok(()),
        Err(error) => Err(StartError::Listen { listen, reason: error.to_string() }.into()),
    }
}

/// Makes the directory of `--data-dir` where it isn't there.
///
/// # Errors
/// [`CliError::Usage`] when there is something else; [`CliError::System`] when the system refuses.
pub fn make_dir(dir: &Path) -> Result<PathBuf, CliError> {
    if let Some(other) = dir.ancestors().find(|part| part.exists()).filter(|part| !part.is_dir()) {
        return Err(CliError::usage(format!(
            "--data-dir: expected a directory, or a path where one can be made, found that {} is a file; name another one",
            other.display()
        )));
    }
    fs::create_dir_all(dir).map_err(CliError::system(format!("make the data directory {}", dir.display())))?;
    dir.canonicalize().map_err(CliError::system(format!("find the data directory {}", dir.display())))
}

fn how_to_use(ready: &Ready) -> String {
    let Ready { url, archive, data_dir, private_postgres } = ready;
    let kept = if *private_postgres { "database and archive are" } else { "the archive is" };
    let export = if url == DEFAULT_URL { String::new() } else { format!("  export STILLFRAME_URL={url}\n") };
    format!(
        "Stillframe is ready.\n  coordinator  {url}\n  archive      {archive}\n\nIn another terminal:\n{export}  \
         stillframe cluster create bank --min-members 2     # then start the members, with this coordinator's URL\n  \
         stillframe snapshot take bank --wait\n  stillframe snapshot list bank\n  \
         stillframe snapshot verify --archive '{archive}' bank --all\n\n\
         Ctrl-C stops everything; {kept} kept in {}.",
        data_dir.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_that_is_a_file_is_refused_before_anything_starts() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        for dir in [file.path().to_owned(), file.path().join("below")] {
            let error = make_dir(&dir).expect_err("it is a file");
            assert_eq!(error.exit(), crate::exit::Exit::Usage);
            assert!(error.to_string().contains(&format!("{} is a file", file.path().display())), "{error}");
        }
    }
}
