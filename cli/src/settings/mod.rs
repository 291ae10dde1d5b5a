//! The coordinator's settings: a flag wins over the environment, the environment over the settings file, that over the default.

pub mod collection;
pub mod database_url;
pub mod file;

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use stillframe_api::HumanDuration;
use stillframe_archive::ArchiveUrl;
use stillframe_coordinator::Config;

use self::{collection::CollectionArgs, database_url::DatabaseUrl, file::SettingsFile};
use crate::{connect::DEFAULT_LISTEN, error::CliError, logging::LogArgs, parse};

/// What `stillframe coordinator` takes on the command line and from the environment.
#[derive(Debug, Clone, Args)]
pub struct CoordinatorArgs {
    /// A TOML file with settings; flags and environment variables win over it
    #[arg(long, env = "STILLFRAME_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The Postgres database (15 or later), postgres://user:password@host/database; prefer the environment, which `ps` doesn't show
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true, value_parser = DatabaseUrl::taken)]
    pub database_url: Option<DatabaseUrl>,
    /// The archive: file:///directory, s3://bucket/prefix?endpoint=..&region=.., or a directory; credentials come from AWS_*
    #[arg(long, env = "STILLFRAME_ARCHIVE", value_name = "URL", hide_env_values = true)]
    pub archive: Option<String>,
    /// Where to listen for HTTP; port 0 takes a free one [default: 127.0.0.1:7700]
    #[arg(long, env = "STILLFRAME_LISTEN", value_name = "ADDR", value_parser = parse::listen)]
    pub listen: Option<SocketAddr>,
    /// How long a member's lease is [default: 10s]
    #[arg(long, env = "STILLFRAME_LEASE", value_name = "DURATION")]
    pub lease: Option<HumanDuration>,
    /// How long a member whose connection closed may take to come back [default: 200ms]
    #[arg(long, env = "STILLFRAME_SUSPECT_GRACE", value_name = "DURATION")]
    pub suspect_grace: Option<HumanDuration>,
    /// How long a restore may take to its commit point [default: 1m]
    #[arg(long, env = "STILLFRAME_RESTORE_TIMEOUT", value_name = "DURATION")]
    pub restore_timeout: Option<HumanDuration>,
    /// How many database connections to open at most [default: 16]
    #[arg(long, env = "STILLFRAME_MAX_CONNECTIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub max_connections: Option<u32>,
    /// What is deleted, when and how fast.
    #[command(flatten)]
    pub collection: CollectionArgs,
}

/// Settings that are complete and well-formed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where everything is and how long things may take.
    pub config: Config,
    file_log: LogArgs,
}

impl CoordinatorArgs {
    /// Puts flags, environment, file and defaults together.
    ///
    /// # Errors
    /// [`CliError::Usage`] when something is missing or malformed; secrets aren't repeated.
    pub fn settle(self) -> Result<Settings, CliError> {
        let file = match &self.config {
            Some(path) if !path.as_os_str().is_empty() => SettingsFile::read(path)?,
            Some(_) | None => SettingsFile::default(),
        };
        let collection = self.collection.settle(&file)?;
        let database_url = self.database_url.filter(|url| !url.is_empty()).or(file.database_url);
        let database_url =
            database_url.ok_or_else(|| missing("the database", "--database-url", "DATABASE_URL", "database_url"))?;
        let archive = self.archive.filter(|archive| !archive.is_empty()).or(file.archive);
        let archive = archive.ok_or_else(|| missing("the archive", "--archive", "STILLFRAME_ARCHIVE", "archive"))?;
        let listen = match (self.listen, file.listen) {
            (Some(listen), _) => listen,
            (None, Some(text)) => {
                parse::listen(&text).map_err(|error| CliError::usage(format!("listen: {text:?} is {error}")))?
            }
            (None, None) => default_listen()?,
        };
        let mut config = base_config(&database_url, parse::archive(&archive)?, listen)?;
        if let Some(lease) = self.lease.or(file.lease) {
            config.lease = lease.get();
        }
        if let Some(grace) = self.suspect_grace.or(file.suspect_grace) {
            config.suspect_grace = grace.get();
        }
        if let Some(timeout) = self.restore_timeout.or(file.restore_timeout) {
            config.restore_timeout = timeout.get();
        }
        match self.max_connections.or(file.max_connections) {
            Some(n @ 2..=10_000) => config.max_connections = n,
            Some(n) => return Err(CliError::usage(format!("max_connections is {n}: expected 2 to 10000"))),
            None => {}
        }
        config.collection = collection;
        Ok(Settings { config, file_log: LogArgs { log_filter: file.log, log_format: file.log_format } })
    }
}

impl Settings {
    /// What to log: as the command line or the environment says, else as the file says.
    #[must_use]
    pub fn log(&self, args: &LogArgs) -> LogArgs {
        LogArgs {
            log_filter: args.log_filter.clone().or_else(|| self.file_log.log_filter.clone()),
            log_format: args.log_format.or(self.file_log.log_format),
        }
    }
}

/// A coordinator's configuration with every default.
///
/// # Errors
/// [`CliError::Usage`] when the database URL isn't one of Postgres.
pub fn base_config(database_url: &DatabaseUrl, archive: ArchiveUrl, listen: SocketAddr) -> Result<Config, CliError> {
    Ok(Config::new(database_url.checked()?, archive, listen))
}

fn default_listen() -> Result<SocketAddr, CliError> {
    parse::listen(DEFAULT_LISTEN).map_err(CliError::Usage)
}

fn missing(what: &str, flag: &str, env: &str, key: &str) -> CliError {
    CliError::usage(format!(
        "{what} is missing: give {flag}, set {env}, or write {key} into the settings file (--config); \
         `stillframe dev` needs none of them"
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: CoordinatorArgs,
    }

    // The environment of the tests is the developer's own: what matters is given as flags.
    fn settle(words: &[&str]) -> Result<Settings, CliError> {
        Alone::try_parse_from([&["x"], words].concat()).expect("well-formed").args.settle()
    }

    fn file_with(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("it can be written");
        file
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = file_with(
            "delete_rate = 7\nsweep_again = \"1h\"\ndatabase_url = \"postgres://file/x\"\narchive = \"/file\"\nlisten = \"127.0.0.1:1\"\nlease = \"9s\"\nlog = \"debug\"\nlog_format = \"json\"\n",
        );
        let path = file.path().to_str().expect("UTF-8");
        let settings =
            settle(&["--config", path, "--database-url", "postgres://flag/x", "--archive", "/flag", "--listen", "[::1]:2"]);
        let settings = settings.expect("fine");
        assert_eq!(settings.config.database_url, "postgres://flag/x");
        assert_eq!(settings.config.archive.to_string(), "file:///flag");
        assert_eq!(settings.config.listen.to_string(), "[::1]:2");
        assert_eq!(settings.config.lease.as_secs(), 9);
        let collection = settings.config.collection;
        assert_eq!((collection.delete_rate, collection.sweep_again.as_secs()), (7, 3600));
        assert_eq!(settings.config.restore_timeout, stillframe_coordinator::config::DEFAULT_RESTORE_TIMEOUT);
        let log = settings.log(&LogArgs { log_filter: Some("error".to_owned()), log_format: None });
        assert_eq!((log.log_filter.as_deref(), log.log_format), (Some("error"), Some(crate::logging::LogFormat::Json)));
    }

    #[test]
    fn a_database_that_is_none_of_postgres_is_refused_without_repeating_it() {
        for url in ["mysql://me:hunter2@db/x", "me:hunter2@db"] {
            let error =
                settle(&["--database-url", url, "--archive", "/a", "--listen", "127.0.0.1:0"]).expect_err(url).to_string();
            assert!(error.contains("postgres://") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn settings_are_printed_without_the_password() {
        let settings = settle(&["--database-url", "postgres://me:hunter2@db/x", "--archive", "/a", "--listen", "127.0.0.1:0"]);
        assert!(!format!("{:?}", settings.expect("fine")).contains("hunter2"));
    }
}
