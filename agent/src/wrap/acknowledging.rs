//! When to acknowledge what came in: soon, and not for each message.

use std::time::{Duration, Instant};

use crate::config::Limits;

/// Messages after which an acknowledgement isn't put off any more.
const AFTER_MESSAGES: u64 = 256;

/// How long an acknowledgement is put off at most; less than any sensible time of retransmission.
const AFTER: Duration = Duration::from_millis(10);

/// What came in since the last acknowledgement.
#[derive(Debug, Default)]
pub(super) struct Acknowledging {
    at: Option<Instant>,
    messages: u64,
    bytes: u64,
}

impl Acknowledging {
    /// A frame came in that wants an answer.
    pub(super) fn came_in(&mut self) {
        if self.at.is_none() {
            self.at = Some(Instant::now() + AFTER);
        }
    }

    /// A message was delivered.
    pub(super) fn delivered(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }

    /// When it is due.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Whether it is due; then it counts as done.
    pub(super) fn take_due(&mut self, now: Instant, limits: &Limits) -> bool {
        let much = self.messages >= AFTER_MESSAGES.min(limits.window_messages / 4).max(1)
            || self.bytes >= (limits.window_bytes / 4).max(1);
        let due = self.at.is_some_and(|at| much || now >= at);
        if due {
            *self = Self::default();
        }
        due
    }
}
