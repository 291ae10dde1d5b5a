//! Arguments of both examples, and what they do besides banking.

use std::{
    io::{IsTerminal, Read, Write},
    process::ExitCode,
};

use clap::Args;
use stillframe_agent::{AgentConfig, AgentError, ClusterName, Coordinators, MemberName};
use stillframe_bank::MemberStatus;

/// What one member needs to know.
#[derive(Debug, Clone, Args)]
pub struct MemberArgs {
    /// The coordinator's URL; several replicas with commas between them.
    #[arg(long, env = "STILLFRAME_URL", default_value = "http://127.0.0.1:7700")]
    pub coordinator: Coordinators,
    /// The cluster to join.
    #[arg(long, default_value = "bank")]
    pub cluster: ClusterName,
    /// This member's stable name.
    #[arg(long)]
    pub member: MemberName,
    /// How many accounts this member holds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub accounts: u32,
    /// What each account holds at the beginning.
    #[arg(long, default_value_t = 1_000)]
    pub initial: u64,
    /// How many transfers to send a second, about.
    #[arg(long, default_value_t = 1_000)]
    pub transfers_per_second: u32,
    /// Print a line of JSON ten times a second.
    #[arg(long)]
    pub status: bool,
    /// End when standard input ends, so that no member outlives what started it.
    #[arg(long)]
    pub end_with_stdin: bool,
}

impl MemberArgs {
    /// The agent's settings, for a member that the others find at this address.
    #[must_use]
    pub fn config(&self, address: impl Into<String>) -> AgentConfig {
        AgentConfig::new(self.coordinator.clone(), self.cluster.clone(), self.member.clone()).advertise(address)
    }
}

/// Why a member ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent can't go on.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The captured state can't be read.
    #[error(transparent)]
    Restore(#[from] stillframe_agent::RestoreError),
    /// The transport can't be used.
    #[error("{what}: {source}")]
    Network {
        /// What was tried.
        what: String,
        /// What went wrong.
        source: std::io::Error,
    },
}

/// Logs to standard error, ends with standard input if that is asked for, and says what went wrong in one line.
pub fn run(name: &str, args: &MemberArgs, member: impl FnOnce() -> Result<(), Error>) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("STILLFRAME_LOG").unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours).with_env_filter(filter).init();
    if args.end_with_stdin {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
    }
    match member() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a status line. Whoever read the lines may be gone; that is no reason to end.
pub fn print(status: &MemberStatus) {
    if let Ok(line) = serde_json::to_string(status) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
