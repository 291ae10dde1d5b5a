//! A coordinator replica under a supervisor: it is started again when it ended before it could serve, as any process manager does.

use std::path::{Path, PathBuf};

use stillframe_api::Client;
use stillframe_e2e::process::{CoordinatorProcess, Process, coordinator::CoordinatorSettings, port};

use crate::plan::fault::replica_name;

/// A replica, killed or not.
#[derive(Debug)]
pub struct Replica {
    number: usize,
    program: PathBuf,
    logs: PathBuf,
    settings: CoordinatorSettings,
    port: u16,
    process: Option<Process>,
}

impl Replica {
    /// A replica that isn't started yet.
    #[must_use]
    pub fn new(number: usize, program: &Path, logs: &Path, settings: CoordinatorSettings) -> Self {
        let (program, logs) = (program.to_owned(), logs.to_owned());
        Self { number, program, logs, settings, port: port::unused(), process: None }
    }

    /// Its port on loopback, in all its lives.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its own URL, past the proxies.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client of it, past the proxies.
    ///
    /// # Panics
    ///
    /// Never: the URL is one.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.url()).expect("the replica's URL is one")
    }

    /// Starts it, without waiting until it serves. Nothing happens when it runs.
    pub fn start(&mut self) {
        if self.process.is_none() {
            let mut command = CoordinatorProcess::command(&self.program, &self.settings, self.port);
            // Soon, so that a run sees retention and second sweeps at work.
            command.args(["--gc-interval", "3s", "--sweep-again", "20s"]);
            // What a lost database knew of, nobody owns any more: it goes, be it much or little.
            command.args([
                "--orphans",
                "delete",
                "--orphan-interval",
                "5s",
                "--orphan-grace",
                "20s",
                "--orphan-max-percent",
                "100",
            ]);
            self.process = Some(Process::start(&replica_name(self.number).replace(' ', "-"), &self.logs, &mut command));
        }
    }

    /// SIGKILL. Nothing happens when it doesn't run.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGSTOP, if it runs.
    pub async fn freeze(&mut self) {
        if let Some(process) = self.process.as_mut()
            && process.ended().is_none()
        {
            process.freeze().await;
        }
    }

    /// SIGCONT, if it runs.
    pub async fn thaw(&mut self) {
        if let Some(process) = self.process.as_mut()
            && process.ended().is_none()
        {
            process.thaw().await;
        }
    }

    /// Starts it again if it ended before it could serve: its database or its archive was away.
    ///
    /// # Errors
    /// When it ended although it had served: no outage may make it.
    pub fn supervise(&mut self) -> Result<bool, String> {
        let Some(process) = self.process.as_mut() else { return Ok(false) };
        let Some(status) = process.ended() else { return Ok(false) };
        let served = process.printed().contains("coordinator on");
        if served {
            return Err(format!("{} ended by itself after it had served: {status}", replica_name(self.number)));
        }
        self.process = None;
        self.start();
        Ok(true)
    }
}
