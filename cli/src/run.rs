//! From the command line to the exit code.

use std::{ffi::OsString, process::ExitCode};

use clap::{
    Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
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
        Err(error) => return no_command(error, &words).into(),
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
fn no_command(error: clap::Error, words: &[OsString]) -> Exit {
    let json = words.iter().any(|word| word == "--json");
    if let Some(message) = negative(&error, words) {
        return ended(Err(CliError::usage(message)), json);
    }
    let error = in_order(error);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nobody may be reading; that is fine.
            let _ = error.print();
            Exit::Ok
        }
        _ if json => ended(Err(CliError::usage(one_line(&error))), json),
        _ => {
            let _ = error.print();
            Exit::Usage
        }
    }
}

/// A negative value, which clap takes for an option and gives advice about that doesn't help.
fn negative(error: &clap::Error, words: &[OsString]) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let is_negative = |word: &str| word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).take_while(|word| word != "--").collect();
    let at = words.iter().position(|word| is_negative(word))?;
    let option = words.get(at.checked_sub(1)?).filter(|word| word.starts_with("--"));
    let of = option.map_or_else(String::new, |option| format!("{option}: "));
    let found = words[at].chars().take(100).collect::<String>();
    Some(format!(
        "{of}nothing here is negative: expected a number, or a duration such as \"30s\" (1ms to 366 days), found {found}"
    ))
}

/// What is missing in the order in which it is given: clap names alternatives before the arguments that go before them.
fn in_order(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::MissingRequiredArgument
        && let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg)
    {
        let mut missing = missing.clone();
        missing.sort_by_key(|argument| argument.contains('|'));
        error.insert(ContextKind::InvalidArg, ContextValue::Strings(missing));
    }
    error
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
    fn what_is_missing_is_named_in_the_order_in_which_it_is_given() {
        for (words, order) in [
            (&["restore", "start"][..], "<CLUSTER> <SNAPSHOT|--latest|--before <TIME>>"),
            (&["snapshot", "verify", "--archive", "x"], "<CLUSTER> <SNAPSHOT|--all>"),
            (&["schedule", "set"], "<CLUSTER> <NAME> <--every <DURATION>|--cron <EXPRESSION>>"),
        ] {
            let error = Cli::try_parse_from([&["stillframe"], words].concat()).expect_err("something is missing");
            let error = in_order(error);
            assert!(one_line(&error).ends_with(order), "{error}");
            let text = error.to_string();
            let usage = text.lines().find(|line| line.starts_with("Usage:")).expect("the usage");
            assert!(usage.ends_with(order), "{error}");
        }
    }

    #[test]
    fn a_negative_value_is_told_what_was_expected() {
        let words: Vec<OsString> = ["stillframe", "snapshot", "take", "bank", "--timeout", "-5s"].map(Into::into).into();
        let error = Cli::try_parse_from(&words).expect_err("it is negative");
        let message = negative(&error, &words).expect("it is told so");
        for says in ["--timeout", "\"30s\"", "found -5s"] {
            assert!(message.contains(says), "{message}");
        }
        let words: Vec<OsString> = ["stillframe", "snapshot", "take", "bank", "--tmeout", "5s"].map(Into::into).into();
        assert_eq!(negative(&Cli::try_parse_from(&words).expect_err("no such option"), &words), None);
    }

    #[test]
    fn what_clap_says_fits_on_one_line() {
        let error = Cli::try_parse_from(["stillframe", "snapshot", "show", "7"]).expect_err("7 is no id");
        let line = one_line(&error);
        assert!(line.starts_with("invalid value '7'") && line.contains("snapshot list") && !line.contains('\n'), "{line}");
        assert!(!line.contains("Usage:") && !line.contains("--help"), "{line}");
    }
}
