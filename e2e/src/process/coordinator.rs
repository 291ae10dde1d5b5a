//! A coordinator replica.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use stillframe_api::Client;
use stillframe_archive::ArchiveUrl;

use super::{child::Process, port};
use crate::wait::eventually;

/// What a coordinator needs to know.
#[derive(Debug, Clone)]
pub struct CoordinatorSettings {
    /// The database, `postgres://...`.
    pub database_url: String,
    /// The archive.
    pub archive: ArchiveUrl,
    /// The archive's credentials, and whatever else is to be in the environment.
    pub environment: Vec<(String, String)>,
    /// How long a member's lease is, such as `5s`.
    pub lease: String,
    /// How long a restore may take to its commit point, such as `60s`.
    pub restore_timeout: String,
}

/// A coordinator that can be killed and started again on its port.
#[derive(Debug)]
pub struct CoordinatorProcess {
    name: String,
    program: PathBuf,
    directory: PathBuf,
    settings: CoordinatorSettings,
    port: u16,
    process: Option<Process>,
}

impl CoordinatorProcess {
    /// Starts a coordinator and waits until it can serve. Its logs go to the directory.
    ///
    /// # Panics
    ///
    /// When it doesn't start.
    pub async fn start(name: &str, program: &Path, directory: &Path, settings: CoordinatorSettings) -> Self {
        let (name, program, directory) = (name.to_owned(), program.to_owned(), directory.to_owned());
        let mut coordinator = Self { name, program, directory, settings, port: port::unused(), process: None };
        coordinator.start_again().await;
        coordinator
    }

    /// The command that runs a coordinator on this port.
    #[must_use]
    pub fn command(program: &Path, settings: &CoordinatorSettings, port: u16) -> Command {
        let mut command = super::command(program);
        command
            .arg("coordinator")
            .args(["--database-url", &settings.database_url])
            .args(["--archive", &settings.archive.to_string()])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--lease", &settings.lease])
            .args(["--restore-timeout", &settings.restore_timeout])
            .env("STILLFRAME_LOG", "info")
            .envs(settings.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client of it.
    ///
    /// # Panics
    ///
    /// Never: the URL is one.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.url()).expect("the coordinator's URL is one")
    }

    /// The process.
    ///
    /// # Panics
    ///
    /// When it isn't running.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("{} isn't running", self.name))
    }

    /// How its process ended, if it has by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(Process::ended)
    }

    /// SIGKILL.
    ///
    /// # Panics
    ///
    /// When it isn't running.
    pub fn kill(&mut self) {
        self.process.take().expect("the coordinator isn't running").kill();
    }

    /// Starts it on the same port, database and archive, and waits until it can serve.
    ///
    /// # Panics
    ///
    /// When it is running, ends, or can't serve by the deadline.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "the coordinator is running");
        let mut command = Self::command(&self.program, &self.settings, self.port);
        let process = self.process.insert(Process::start(&self.name, &self.directory, &mut command));
        let client = Client::new(&format!("http://127.0.0.1:{}", self.port)).expect("the coordinator's URL is one");
        eventually("the coordinator can serve", async || {
            if let Some(status) = process.ended() {
                panic!("the coordinator has ended: {status}");
            }
            client.ready().await.map_err(|error| error.to_string())
        })
        .await;
    }
}
