//! Starts a private server, shows each step with the time it took, and keeps it until Ctrl-C.
//!
//! `cargo run -p stillframe-private-postgres --example start [data directory]`; without a directory, a temporary one.

use std::time::Instant;

use stillframe_private_postgres::{Options, start};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = std::env::args_os().nth(1).map_or_else(Options::temporary, Options::kept);
    let began = Instant::now();
    let started = start(options, |step| println!("{:6.3} s  {step}", began.elapsed().as_secs_f64())).await;
    let server = match started {
        Ok(server) => server,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    println!("process {}\n{}", server.pid(), server.url());
    tokio::signal::ctrl_c().await?;
    server.stop().await?;
    println!("stopped");
    Ok(())
}
