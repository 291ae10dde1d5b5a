//! `stillframe completions`: completion scripts for shells.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{args::Cli, error::CliError, output::Output};

/// Prints the script.
///
/// # Errors
/// [`CliError::System`] when standard output takes no more.
pub fn run(shell: Shell, out: &mut Output) -> Result<(), CliError> {
    // Into memory first: the generator panics when it can't write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stillframe", &mut script);
    out.line(String::from_utf8_lossy(&script).trim_end())
}
