//! `wordcount run FILES...` counts the words of files on several processes, through a coordinator that `stillframe dev` starts.

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use stillframe_wordcount::{Counts, job, job::JobArgs, member, member::MemberArgs, words};

/// Counts words on several processes that can be killed at any moment.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole job: start the members, start again what dies, print the counts.
    Run(JobArgs),
    /// Count the same files in one plain pass, to compare with.
    Plain {
        /// How many words to print.
        #[arg(long, default_value_t = 20)]
        top: usize,
        /// Print all counts as one JSON object.
        #[arg(long)]
        json: bool,
        /// The text files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// One member process; `run` starts these.
    #[command(hide = true)]
    Member(MemberArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("STILLFRAME_LOG").unwrap_or_else(|_| "warn".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours).with_env_filter(filter).init();
    let (counts, top, json) = match cli.command {
        Command::Member(args) => return member::run(args),
        Command::Run(args) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let counts =
                runtime.map_err(|e| e.to_string()).and_then(|rt| rt.block_on(job::run(&args)).map_err(|e| e.to_string()));
            (counts, args.top, args.json)
        }
        Command::Plain { top, json, files } => (words::count_files(&files).map_err(|e| e.to_string()), top, json),
    };
    match counts {
        Ok(counts) => print(&counts, top, json),
        Err(error) => {
            eprintln!("wordcount: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(counts: &Counts, top: usize, json: bool) -> ExitCode {
    if json {
        return match serde_json::to_string(counts) {
            Ok(text) => {
                println!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("wordcount: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    for (word, count) in sorted.into_iter().take(top) {
        println!("{count:>10}  {word}");
    }
    println!("{:>10}  words in all, {} different", counts.values().sum::<u64>(), counts.len());
    ExitCode::SUCCESS
}
