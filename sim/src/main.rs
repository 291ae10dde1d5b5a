//! `cargo sim`: runs seed after seed, in virtual time, until one fails or all are done.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use clap::Parser;
use stillframe_sim::{Options, Stats, run};

/// Runs many participants and the coordinator's decisions in virtual time, seed after seed. Exit code 0: everything held; 1: something didn't,
/// and its seed, the end of its trace and the command that replays it are printed; 2: bad arguments.
#[derive(Debug, Parser)]
#[command(name = "sim")]
struct Cli {
    /// How many seeds
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Print everything that happens
    #[arg(long)]
    trace: bool,
    /// Go on after a seed that fails
    #[arg(long)]
    keep_going: bool,
    /// Print what the seeds came to as JSON
    #[arg(long)]
    json: bool,
}

/// How many lines of a failed run's trace are printed.
const TAIL: usize = 60;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut stats = Stats::default();
    let mut failed: Vec<u64> = Vec::new();
    let progress = std::io::stderr().is_terminal();
    for seed in cli.from..cli.from.saturating_add(cli.seeds) {
        match run(seed, Options { mutant: None, trace: cli.trace }) {
            Ok(run) => stats += &run.stats,
            Err(failure) => {
                failed.push(seed);
                for line in failure.tail.iter().skip(failure.tail.len().saturating_sub(if cli.trace { 0 } else { TAIL })) {
                    eprintln!("{line}");
                }
                eprintln!("{failure}");
                if !cli.keep_going {
                    break;
                }
            }
        }
        let done = seed - cli.from + 1;
        if done.is_multiple_of(500) {
            // A line over itself on a terminal, else a line each.
            let end = if progress { '\r' } else { '\n' };
            eprint!("{done} of {} seeds{end}", cli.seeds);
        }
    }
    let told = if cli.json {
        format!("{}\n", serde_json::json!({ "from": cli.from, "failed": failed, "stats": stats }))
    } else {
        table(&stats, &failed)
    };
    // Whoever reads may have seen enough.
    let _ = std::io::stdout().write_all(told.as_bytes());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the seeds came to, for people.
fn table(stats: &Stats, failed: &[u64]) -> String {
    let mut lines = Vec::new();
    macro_rules! line { ($($what:tt)+) => { lines.push(format!($($what)+)) } }
    line!(
        "{} seeds held, {} failed{}",
        stats.seeds,
        failed.len(),
        if failed.is_empty() { String::new() } else { format!(": {failed:?}") }
    );
    line!(
        "{:.1} virtual hours, {} events, {} messages delivered, {} recorded, {} logged, {} frames held back",
        stats.virtual_us as f64 / 3.6e9,
        stats.events,
        stats.delivered,
        stats.recorded,
        stats.logged,
        stats.held_frames
    );
    line!("{} frames refused, {} of them fenced", stats.refused_frames, stats.fenced_frames);
    line!("{} decisions, {} overtaken and taken again", stats.decisions, stats.overtaken_decisions);
    line!(
        "{} snapshots committed ({} with messages in flight), {} aborted, {} at once at most",
        stats.committed,
        stats.committed_in_flight,
        stats.all_aborted(),
        stats.most_at_once
    );
    for (reason, times) in &stats.aborted {
        line!("  {times:>8} {reason}");
    }
    line!(
        "{} restores ({} to another snapshot than the latest), {} members resumed, {} joined, {} left",
        stats.restores,
        stats.restores_to_older,
        stats.resumed_members,
        stats.joins,
        stats.leaves
    );
    for (reason, times) in &stats.failed_restores {
        line!("  {times:>8} failed: {reason}");
    }
    line!("{:.1} s from the last fault until all was well, at most", stats.slowest_recovery_us as f64 / 1e6);
    line!("{} faults", stats.all_faults());
    for (kind, times) in &stats.faults {
        line!("  {times:>8} {kind}");
    }
    lines.push(String::new());
    lines.join("\n")
}
