//! What happened, line by line: the last part of it for whoever looks for a cause, and a hash of all of it.

use std::{collections::VecDeque, fmt, fmt::Write as _, io::Write as _};

/// How many lines are kept.
const KEPT: usize = 400;

/// The trace of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    kept: VecDeque<String>,
    lines: u64,
    hash: u64,
    print: bool,
}

impl Trace {
    pub(crate) fn new(print: bool) -> Self {
        Self { kept: VecDeque::with_capacity(KEPT), lines: 0, hash: 0xcbf2_9ce4_8422_2325, print }
    }

    pub(crate) fn line(&mut self, now_us: u64, what: fmt::Arguments<'_>) {
        let mut line = if self.kept.len() == KEPT { self.kept.pop_front().unwrap_or_default() } else { String::new() };
        line.clear();
        // Writing to a string can't fail.
        let _ = write!(line, "{:>4}.{:06} {what}", now_us / 1_000_000, now_us % 1_000_000);
        // FNV-1a.
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        if self.print {
            // Whoever reads may have seen enough.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
        self.kept.push_back(line);
    }

    /// The hash of all lines.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    /// The last lines.
    pub(crate) fn into_tail(self) -> Vec<String> {
        self.kept.into()
    }
}
