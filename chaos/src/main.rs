//! `cargo chaos`: breaks everything at random, heals it, and checks that nothing was lost.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use stillframe_chaos::{Options, plan::Shape};
use stillframe_e2e::process::node;

/// Breaks everything at random, heals it, and checks that nothing was lost. Exit code 0: no violation; 1: a violation, whose evidence is
/// kept; 2: bad arguments.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Cli {
    /// For how long rounds are begun, in minutes
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// What everything is drawn from; a random number unless told
    #[arg(long)]
    seed: Option<u64>,
    /// How many rounds at most
    #[arg(long, default_value_t = u32::MAX)]
    rounds: u32,
    /// For how long a round injects faults, in seconds
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=600))]
    window: u64,
    /// Where logs, database and timeline are kept; a new directory in the system's place for temporary files unless told
    #[arg(long)]
    evidence: Option<PathBuf>,
    /// Keep them also when there is no violation
    #[arg(long)]
    keep: bool,
    /// Print the counts, the violations, the evidence's directory and the command to replay as one line of JSON in the end, and nothing else
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    if node::is_one() {
        return node::main();
    }
    let cli = Cli::parse();
    match chaos(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

fn chaos(cli: &Cli) -> std::io::Result<bool> {
    let seed = cli.seed.unwrap_or_else(|| fastrand::u64(..));
    let directory = match &cli.evidence {
        Some(directory) => {
            std::fs::create_dir_all(directory)?;
            directory.clone()
        }
        None => stillframe_chaos::run::new_directory(seed)?,
    };
    let options = Options {
        program: stillframe_chaos::run::pinned(&std::env::current_exe()?, &directory)?,
        seed,
        time: Duration::try_from_secs_f64(cli.minutes * 60.0).unwrap_or(Duration::ZERO),
        rounds: cli.rounds,
        shape: Shape { window: Duration::from_secs(cli.window), ..Shape::default() },
        directory: directory.clone(),
        quiet: cli.json,
    };
    // One thread: the processes end with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let summary = runtime.block_on(stillframe_chaos::run(&options))?;
    let fine = summary.violations.is_empty();
    let mut replay = format!("cargo chaos --minutes {} --seed {seed}", cli.minutes);
    if cli.window != 12 {
        replay = format!("{replay} --window {}", cli.window);
    }
    let kept = !fine || cli.keep;
    if kept {
        std::fs::write(directory.join("summary.txt"), format!("{summary}\nreplay: {replay}\n"))?;
    } else {
        std::fs::remove_dir_all(&directory)?;
    }
    if cli.json {
        let mut line = summary.json();
        line["replay"] = replay.into();
        line["evidence"] = kept.then(|| directory.display().to_string()).into();
        println!("{line}");
        return Ok(fine);
    }
    println!("\n{summary}\n");
    if kept {
        println!("evidence: {}", directory.display());
    }
    println!("replay: {replay}");
    Ok(fine)
}
