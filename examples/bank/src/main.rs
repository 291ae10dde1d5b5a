//! One member of the bank: `bank --coordinator http://127.0.0.1:7700 --cluster bank --member p1`.

use std::process::ExitCode;

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
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("warn").init();
    stillframe_bank::run_member(cli.member)
}
