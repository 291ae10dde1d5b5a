//! One member process.

use std::{io::Read, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, ValueEnum};
use stillframe_agent::{AgentConfig, AgentError, Application, ClusterName, Coordinators, MemberName};

use crate::{counter::Counter, source::Source, splitter::Splitter};

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Reads the files.
    Source,
    /// Cuts text into words.
    Splitter,
    /// Counts words.
    Counter,
}

/// What one member needs to know.
#[derive(Debug, Clone, Args)]
pub struct MemberArgs {
    /// The coordinator's URL; several replicas with commas between them.
    #[arg(long)]
    pub url: Coordinators,
    /// The cluster to join.
    #[arg(long)]
    pub cluster: ClusterName,
    /// This member's stable name.
    #[arg(long)]
    pub member: MemberName,
    /// What this member does.
    #[arg(long)]
    pub role: Role,
    /// The source.
    #[arg(long)]
    pub source: MemberName,
    /// The splitters.
    #[arg(long, required = true)]
    pub splitter: Vec<MemberName>,
    /// The counters.
    #[arg(long, required = true)]
    pub counter: Vec<MemberName>,
    /// The folder for the results of the counters.
    #[arg(long)]
    pub results: PathBuf,
    /// Milliseconds between two chunks.
    #[arg(long, default_value_t = 0)]
    pub pace_ms: u64,
    /// The files to read.
    pub files: Vec<PathBuf>,
}

/// Runs one member until its standard input ends.
#[must_use]
pub fn run(args: MemberArgs) -> ExitCode {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let result = match args.role {
        Role::Source => {
            run_application(&args, Source::new(args.files.clone(), args.splitter.clone(), Duration::from_millis(args.pace_ms)))
        }
        Role::Splitter => run_application(&args, Splitter::new(args.source.clone(), args.counter.clone())),
        Role::Counter => {
            run_application(&args, Counter::new(args.splitter.len(), args.results.join(format!("{}.json", args.member))))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wordcount: {}: {error}", args.member);
            ExitCode::FAILURE
        }
    }
}

fn run_application(args: &MemberArgs, application: impl Application) -> Result<(), AgentError> {
    let config = AgentConfig::new(args.url.clone(), args.cluster.clone(), args.member.clone());
    stillframe_agent::run_blocking(config, application)
}
