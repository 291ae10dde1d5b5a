//! One member of the shop: `receipts --member s1 --table postgres:///receipts`.

use std::{
    io::{IsTerminal, Read},
    process::ExitCode,
};

use clap::Parser;
use stillframe_agent::{AgentConfig, run_blocking};
use stillframe_receipts::{Shop, ShopArgs, Table};

/// One member of the shop: sends orders to the others, and writes receipts for theirs into a Postgres table.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    shop: ShopArgs,
    /// End when standard input ends, so that no member outlives what started it.
    #[arg(long)]
    end_with_stdin: bool,
}

fn main() -> ExitCode {
    let Cli { shop, end_with_stdin } = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("STILLFRAME_LOG").unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours).with_env_filter(filter).init();
    if end_with_stdin {
        std::thread::spawn(|| {
            // However it ends.
            drop(std::io::stdin().read_to_end(&mut Vec::new()));
            std::process::exit(0);
        });
    }
    let table = match Table::open(shop.table, shop.member.clone()) {
        Ok(table) => table,
        Err(error) => {
            eprintln!("receipts: no thread for the table: {error}");
            return ExitCode::FAILURE;
        }
    };
    let config = AgentConfig::new(shop.coordinator, shop.cluster, shop.member);
    match run_blocking(config, Shop::new(shop.orders, table)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("receipts: {error}");
            ExitCode::FAILURE
        }
    }
}
