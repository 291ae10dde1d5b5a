//! The log: on standard error, as text or as lines of JSON.

use std::io;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use crate::error::CliError;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// What to log, and how. Every command takes these.
#[derive(Debug, Clone, Default, Args)]
pub struct LogArgs {
    /// What to log: a level (error, warn, info, debug, trace) or a filter such as "info,stillframe_coordinator=debug"
    #[arg(long = "log", env = "STILLFRAME_LOG", value_name = "FILTER", global = true, help_heading = "Global options")]
    pub log_filter: Option<String>,
    /// How log lines look
    #[arg(long, env = "STILLFRAME_LOG_FORMAT", value_name = "FORMAT", global = true, help_heading = "Global options")]
    pub log_format: Option<LogFormat>,
}

impl LogArgs {
    /// Starts logging; `default_filter` says what when nobody else does. Only the first call of a process counts.
    ///
    /// # Errors
    /// [`CliError::Usage`] when the filter can't be read.
    pub fn start(&self, default_filter: &str) -> Result<(), CliError> {
        let text = self.log_filter.as_deref().filter(|text| !text.is_empty()).unwrap_or(default_filter);
        let filter = EnvFilter::builder().parse(text).map_err(|error| {
            CliError::usage(format!(
                "{text:?} is no log filter ({error}): expected a level such as \"info\", or \"warn,stillframe_coordinator=debug\""
            ))
        })?;
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
        // A second start in one process (a test, a program around this library) keeps the first one's.
        let _ = match self.log_format.unwrap_or_default() {
            LogFormat::Text => builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
            LogFormat::Json => builder.json().flatten_event(true).try_init(),
        };
        Ok(())
    }
}
