//! What a process has printed, in files, so that a full pipe never blocks it and its last words survive it.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
};

/// How much of a log is shown when a test fails, in bytes.
const TAIL_BYTES: u64 = 6_000;

/// One stream of one process, over all its lives.
#[derive(Debug, Clone)]
pub struct Log(PathBuf);

impl Log {
    /// A log in this file, which is made when it isn't there.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The file, for a process to append to.
    ///
    /// # Panics
    ///
    /// When it can't be opened.
    #[must_use]
    pub fn file(&self) -> File {
        let opened = OpenOptions::new().create(true).append(true).open(&self.0);
        opened.unwrap_or_else(|error| panic!("{}: {error}", self.0.display()))
    }

    /// The length now, in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        std::fs::metadata(&self.0).map_or(0, |file| file.len())
    }

    /// Whether nothing was printed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything printed from this byte on.
    #[must_use]
    pub fn since(&self, byte: u64) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(&self.0) {
            // A log that can't be read is an empty one: it is looked at again, or only shown.
            drop(file.seek(SeekFrom::Start(byte)).and_then(|_| file.read_to_end(&mut bytes)));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What a panic has said, over all the lives of the process.
    #[must_use]
    pub fn panic(&self) -> Option<String> {
        let said = self.since(0);
        let line = said.lines().position(|line| line.contains("panicked at"))?;
        Some(said.lines().skip(line).take(5).collect::<Vec<_>>().join("\n"))
    }

    /// The last few lines.
    #[must_use]
    pub fn tail(&self) -> String {
        let from = self.len().saturating_sub(TAIL_BYTES);
        let text = self.since(from);
        match text.split_once('\n') {
            Some((_, whole_lines)) if from > 0 => format!("[...]\n{whole_lines}"),
            Some(_) | None => text,
        }
    }

    /// The last whole line printed from this byte on that `read` can make something of.
    #[must_use]
    pub fn last<T>(&self, byte: u64, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.since(byte);
        let whole = &text[..=text.rfind('\n')?];
        whole.lines().rev().find_map(read)
    }
}
