//! What happened when: lines on standard output and in a file.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// The program: rounds, checks.
    Run,
    /// A fault begins or ends.
    Fault,
    /// An operator asks.
    Ask,
    /// The cluster changes.
    Cluster,
    /// Something that mustn't be.
    Violation,
}

impl Voice {
    fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Fault => "fault",
            Self::Ask => "ask",
            Self::Cluster => "cluster",
            Self::Violation => "VIOLATION",
        }
    }
}

/// The timeline of a run.
#[derive(Debug)]
pub struct Timeline {
    begun: Instant,
    quiet: bool,
    file: Mutex<File>,
}

impl Timeline {
    /// A timeline that begins now, kept in this file, and printed unless it is quiet.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn new(file: &Path, quiet: bool) -> std::io::Result<Self> {
        Ok(Self { begun: Instant::now(), quiet, file: Mutex::new(File::create(file)?) })
    }

    /// Adds a line.
    pub fn say(&self, voice: Voice, what: impl AsRef<str>) {
        let line = format!("{:9.3} s  {:9} {}", self.begun.elapsed().as_secs_f64(), voice.as_str(), what.as_ref());
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A timeline that can't be written any more is no reason to end: the checks are what counts.
        drop(writeln!(file, "{line}"));
        if !self.quiet {
            drop(writeln!(std::io::stdout(), "{line}"));
        }
    }
}
