//! A member of the bank.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use stillframe_bank::MemberStatus;
use stillframe_protocol::MemberName;

use super::child::Process;
use crate::wait::eventually;

/// What a member needs to know.
#[derive(Debug, Clone)]
pub struct MemberSettings {
    /// The coordinator's URL.
    pub coordinator: String,
    /// The cluster.
    pub cluster: String,
    /// How many accounts it holds.
    pub accounts: u32,
    /// What each account holds at the beginning.
    pub initial: u64,
    /// How many transfers it sends a second, about.
    pub transfers_per_second: u32,
    /// Bytes that make its state large.
    pub ballast_bytes: usize,
    /// Where it listens for other members and what those dial; any free port, dialled as it is, when none.
    pub listen: Option<(SocketAddr, SocketAddr)>,
    /// The archive's credentials, and whatever else is to be in the environment.
    pub environment: Vec<(String, String)>,
}

/// A member that can be frozen, killed, and started again under its name.
#[derive(Debug)]
pub struct MemberProcess {
    program: PathBuf,
    directory: PathBuf,
    settings: MemberSettings,
    name: MemberName,
    lives: u32,
    process: Option<Process>,
}

impl MemberProcess {
    /// Starts a member. Its logs go to the directory.
    ///
    /// # Panics
    ///
    /// When the process can't be started.
    #[must_use]
    pub fn start(program: &Path, directory: &Path, name: MemberName, settings: MemberSettings) -> Self {
        let mut member =
            Self { program: program.to_owned(), directory: directory.to_owned(), settings, name, lives: 0, process: None };
        member.start_again();
        member
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &MemberName {
        &self.name
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
        self.process.take().unwrap_or_else(|| panic!("{} isn't running", self.name)).kill();
    }

    /// Waits until its process has ended by itself, and says how. It can be started again then.
    ///
    /// # Panics
    ///
    /// When it isn't running, or doesn't end by the deadline.
    pub async fn end(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap_or_else(|| panic!("{} isn't running", self.name));
        process.end().await
    }

    /// Starts a new process under the same name while the one so far still lives, which becomes the caller's.
    ///
    /// # Panics
    ///
    /// When there is none, or the new one can't be started.
    #[must_use]
    pub fn replace(&mut self) -> Process {
        let zombie = self.process.take().unwrap_or_else(|| panic!("{} isn't running", self.name));
        self.start_again();
        zombie
    }

    /// A new process under the same name.
    ///
    /// # Panics
    ///
    /// When it is running, or can't be started.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "{} is running", self.name);
        self.lives += 1;
        let settings = &self.settings;
        let mut command = super::command(&self.program);
        command
            .arg("demo-member")
            .args(["--coordinator", &settings.coordinator])
            .args(["--cluster", &settings.cluster])
            .args(["--member", self.name.as_str()])
            .args(["--accounts", &settings.accounts.to_string()])
            .args(["--initial", &settings.initial.to_string()])
            .args(["--transfers-per-second", &settings.transfers_per_second.to_string()])
            .args(["--ballast-bytes", &settings.ballast_bytes.to_string()])
            .args(["--status", "--end-with-stdin"])
            .env("STILLFRAME_LOG", "info")
            .envs(settings.environment.iter().map(|(name, value)| (name, value)));
        if let Some((listen, advertise)) = settings.listen {
            command.args(["--listen", &listen.to_string(), "--advertise", &advertise.to_string()]);
        }
        self.process = Some(Process::start(&format!("{}-{}", self.name, self.lives), &self.directory, &mut command));
    }

    /// What it said of itself last.
    #[must_use]
    pub fn status(&self) -> Option<MemberStatus> {
        self.process().last_printed(read)
    }

    /// Whether it was started and hasn't been killed since.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Everything that this process has said of itself, oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<MemberStatus> {
        self.process().printed().lines().filter_map(read).collect()
    }

    /// Waits until it says of itself what `condition` wants.
    ///
    /// # Panics
    ///
    /// When it doesn't by the deadline.
    pub async fn says(&self, what: &str, condition: impl Fn(&MemberStatus) -> bool) -> MemberStatus {
        eventually(&format!("{} {what}", self.name), async || match self.status() {
            Some(status) if condition(&status) => Ok(status),
            other => Err(format!("{other:?}")),
        })
        .await
    }
}

fn read(line: &str) -> Option<MemberStatus> {
    serde_json::from_str(line).ok()
}
