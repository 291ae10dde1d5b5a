//! Workloads and their report. Speed is shown as ratios of figures measured side by side in one run; a figure without its run says little.
//!
//! | to find | look in |
//! | --- | --- |
//! | trigger-to-committed beside the floor | [`floor`] |
//! | throughput with and without snapshots | [`overhead`] |
//! | trigger-to-committed behind a queue | [`backpressure`] |
//! | 10, 100 and 1,000 members | [`scale`] |
//! | what wrapping a message costs | [`wrap`] |
//! | Postgres, coordinator, archive and member processes | [`stage`] |
//! | what a member does | [`member`] |
//! | percentiles, and what members count | [`figures`], [`counter`] |

mod backpressure;
mod counter;
mod figures;
mod floor;
mod member;
mod overhead;
mod scale;
mod stage;
mod wrap;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures Stillframe on this machine.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trigger-to-committed with tiny state at 2, 4, 8 and 16 member processes, beside the least that a durable snapshot can cost: one
    /// Postgres commit and two durable object puts.
    Floor(floor::FloorArgs),
    /// Message throughput of a busy pair with snapshots every second, every 100 ms, and off.
    Overhead(overhead::OverheadArgs),
    /// Trigger-to-committed with 100, 1,000 and 10,000 messages queued in front of a receiver that handles 100 a second, with markers and with channels
    /// that their senders log.
    Backpressure(backpressure::BackpressureArgs),
    /// Trigger-to-committed and the idle cost of a replica with 10, 100 and 1,000 registered members, light stand-ins for agents.
    Scale(scale::ScaleArgs),
    /// Nanoseconds for a wrap and an unwrap of a 100-byte message on one core, and over TCP beside bare framing.
    Wrap(wrap::WrapArgs),
    /// A coordinator in a process of its own; the workloads start it.
    #[command(hide = true)]
    Coordinator(scale::CoordinatorArgs),
    /// One member process; the workloads start these.
    #[command(hide = true)]
    Member(member::MemberArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("STILLFRAME_LOG").unwrap_or_else(|_| "warn".into());
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours).with_env_filter(filter).init();
    let done = match cli.command {
        Command::Member(args) => member::run(args).map_err(anyhow::Error::from),
        Command::Wrap(args) => wrap::run(&args),
        Command::Floor(args) => runtime().and_then(|runtime| runtime.block_on(floor::run(args))),
        Command::Backpressure(args) => runtime().and_then(|runtime| runtime.block_on(backpressure::run(args))),
        Command::Scale(args) => runtime().and_then(|runtime| runtime.block_on(scale::run(args))),
        Command::Coordinator(args) => runtime().and_then(|runtime| runtime.block_on(scale::serve(args))),
        Command::Overhead(args) => runtime().and_then(|runtime| runtime.block_on(overhead::run(args))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stillframe-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
