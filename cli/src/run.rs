//! From the command line to the exit code.

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, error::ErrorKind};
use tokio::runtime::{Builder, Runtime};

use crate::{
    args::{Cli, Command},
    commands, demo,
    error::CliError,
    exit::Exit,
    logging::LogArgs,
    output::{self, Output},
};

/// Does what the process's command line says. Whatever is wrong is told in one message on standard error, and in the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let Cli { json, log, command, url: _ } = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) => return no_command(&error, words.iter().any(|word| word == "--json")).into(),
    };
    if let Command::DemoMember(member) = command {
        return match log.start("warn") {
            Ok(()) => stillframe_bank::run_member(member),
            Err(error) => ended(Err(error), json).into(),
        };
    }
    ended(carry_out(command, &log, &mut Output::stdout(json)), json).into()
}

/// Help and version are printed; anything else is a usage error.
fn no_command(error: &clap::Error, json: bool) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nobody may be reading; that is fine.
            let _ = error.print();
            Exit::Ok
        }
        _ if json => ended(Err(CliError::usage(one_line(error))), json),
        _ => {
            let _ = error.print();
            Exit::Usage
        }
    }
}

/// What clap has to say, without its usage and its pointer to `--help`.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let end = text.find("\n\nUsage:").or_else(|| text.find("\n\nFor more information")).unwrap_or(text.len());
    let words: Vec<&str> = text[..end].trim_start_matches("error: ").split_whitespace().collect();
    words.join(" ")
}

fn ended(result: Result<Exit, CliError>, json: bool) -> Exit {
    result.unwrap_or_else(|error| {
        output::report(&error, json);
        error.exit()
    })
}

/// Only commands with servers or many objects to read need more than one thread.
fn carry_out(command: Command, log: &LogArgs, out: &mut Output) -> Result<Exit, CliError> {
    let done = |()| Exit::Ok;
    match command {
        Command::Demo(args) => {
            log.start("warn")?;
            runtime(Builder::new_multi_thread())?.block_on(demo::run(args, out))
        }
        Command::Dev(args) => {
            log.start("warn")?;
            runtime(Builder::new_multi_thread())?.block_on(commands::dev::run(args, out)).map(done)
        }
        Command::Coordinator(args) => {
            let settings = args.settle()?;
            settings.log(log).start("info,sqlx=warn")?;
            runtime(Builder::new_multi_thread())?.block_on(commands::coordinator::run(settings, out)).map(done)
        }
        Command::Cluster { command } => {
            log.start("warn")?;
            runtime(Builder::new_current_thread())?.block_on(commands::cluster::run(command, out)).map(done)
        }
        Command::Member { command } => {
            log.start("warn")?;
            runtime(Builder::new_current_thread())?.block_on(commands::member::run(command, out)).map(done)
        }
        Command::Snapshot { command } => {
            log.start("warn")?;
            runtime(Builder::new_multi_thread())?.block_on(commands::snapshot::run(command, out)).map(done)
        }
        Command::Restore { command } => {
            log.start("warn")?;
            runtime(Builder::new_current_thread())?.block_on(commands::restore::run(command, out)).map(done)
        }
        Command::Schedule { command } => {
            log.start("warn")?;
            runtime(Builder::new_current_thread())?.block_on(commands::schedule::run(command, out)).map(done)
        }
        Command::Archive { command } => {
            log.start("warn")?;
            runtime(Builder::new_current_thread())?.block_on(commands::archive::run(command, out)).map(done)
        }
        Command::Audit { command } => {
            log.start("warn")?;
            runtime(Builder::new_current_thread())?.block_on(commands::audit::run(command, out)).map(done)
        }
        Command::Retention { command } => {
            log.start("warn")?;
            runtime(Builder::new_current_thread())?.block_on(commands::retention::run(command, out)).map(done)
        }
        Command::Gc { command } => {
            log.start("warn")?;
            runtime(Builder::new_current_thread())?.block_on(commands::gc::run(command, out)).map(done)
        }
        Command::Hold { command } => {
            log.start("warn")?;
            runtime(Builder::new_current_thread())?.block_on(commands::hold::run(command, out)).map(done)
        }
        Command::Completions { shell } => commands::completions::run(shell, out).map(done),
        // `main` has carried it out: it brings a runtime of its own.
        Command::DemoMember(_) => Ok(Exit::Ok),
    }
}

fn runtime(mut builder: Builder) -> Result<Runtime, CliError> {
    builder.enable_all().build().map_err(CliError::system("start an async runtime"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clap_says_fits_on_one_line() {
        let error = Cli::try_parse_from(["stillframe", "snapshot", "show", "7"]).expect_err("7 is no id");
        let line = one_line(&error);
        assert!(line.starts_with("invalid value '7'") && line.contains("snapshot list") && !line.contains('\n'), "{line}");
        assert!(!line.contains("Usage:") && !line.contains("--help"), "{line}");
    }
}
