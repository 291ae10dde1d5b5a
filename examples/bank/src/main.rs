//! One member of the bank: `bank --coordinator http://127.0.0.1:7700 --cluster bank --member p1`.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use stillframe_bank::MemberArgs;

/// One member of the bank: holds accounts and transfers money to the other members at random.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    member: MemberArgs,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("STILLFRAME_LOG").unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours).with_env_filter(filter).init();
    stillframe_bank::run_member(cli.member)
}
