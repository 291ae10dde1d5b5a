//! What a command prints: its result on standard output, everything else on standard error.
//!
//! A reader that goes away (`stillframe snapshot list bank | head -1`) is no error: what is left to print is dropped and the command
//! ends as it would have.

use std::{
    fmt::Display,
    io::{self, Write},
};

use serde::Serialize;

use crate::{error::CliError, text::printable};

/// Standard output, for people or for programs.
pub struct Output {
    json: bool,
    gone: bool,
    to: Box<dyn Write + Send>,
}

impl Output {
    /// Standard output; as JSON or as text.
    #[must_use]
    pub fn stdout(json: bool) -> Self {
        Self::to(json, Box::new(io::stdout()))
    }

    fn to(json: bool, to: Box<dyn Write + Send>) -> Self {
        Self { json, gone: false, to }
    }

    /// Whether programs read it.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a result: the value as one line of JSON, or the text.
    ///
    /// # Errors
    /// [`CliError::System`] when standard output takes no more, except that its reader went away.
    pub fn result<T: Serialize>(&mut self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), CliError> {
        let shown = if self.json {
            serde_json::to_string(value).map_err(|error| CliError::Failed(format!("could not write JSON: {error}")))?
        } else {
            printable(&text(value))
        };
        self.line(shown)
    }

    /// Prints a line of text, also with `--json`: the caller has made it JSON.
    ///
    /// # Errors
    /// As [`Output::result`].
    pub fn line(&mut self, line: impl Display) -> Result<(), CliError> {
        if self.gone {
            return Ok(());
        }
        match writeln!(self.to, "{line}").and_then(|()| self.to.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(())
            }
            other => other.map_err(CliError::system("write to standard output")),
        }
    }
}

/// Tells a person something on standard error. Nobody may be listening; that is fine.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{}", printable(&text.to_string()));
}

/// Prints an error on standard error: one JSON object with `--json`, else a line and perhaps a hint.
pub fn report(error: &CliError, json: bool) {
    if json {
        let _ = writeln!(io::stderr(), "{}", error.to_json());
        return;
    }
    note(format_args!("error: {}", error.message()));
    if let Some(hint) = error.hint() {
        note(format_args!("hint: {hint}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed(io::ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_error_and_gets_nothing_more() {
        let mut output = Output::to(false, Box::new(Closed(io::ErrorKind::BrokenPipe)));
        assert!(output.line("one").is_ok());
        assert!(output.gone);
        assert!(output.line("two").is_ok());
    }

    #[test]
    fn a_full_disk_is_an_error_that_says_where() {
        let mut output = Output::to(false, Box::new(Closed(io::ErrorKind::StorageFull)));
        let error = output.line("one").expect_err("it is full");
        assert!(error.to_string().contains("standard output"), "{error}");
    }
}
