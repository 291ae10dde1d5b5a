//! When to acknowledge what came in: soon, and not for each message.

use std::time::{Duration, Instant};

use super::{Live, channel::Incoming};
use crate::application::Application;

/// Messages of one channel after which an acknowledgement isn't put off any more.
const ACK_AFTER_MESSAGES: u64 = 256;

/// How long the acknowledgement of messages is put off at most.
const ACK_AFTER: Duration = Duration::from_millis(20);

/// How long the acknowledgement of markers alone is put off: nobody waits for it, and a marker round of an idle cluster should cost no second round.
const ACK_MARKERS_AFTER: Duration = Duration::from_secs(1);

impl Live {
    /// A frame came in that wants an answer.
    pub(super) fn acknowledge_later(&mut self, is_message: bool) {
        let put_off = if is_message { ACK_AFTER } else { ACK_MARKERS_AFTER };
        if self.ack_at.is_none() || (is_message && !self.ack_is_for_messages) {
            self.ack_at = Some(Instant::now() + put_off);
            self.ack_is_for_messages = is_message;
        }
    }

    /// Acknowledges what came in, if that was put off long enough.
    pub(super) fn acknowledge_if_due(&mut self, now: Instant, app: &mut dyn Application) {
        let Some(at) = self.ack_at else { return };
        let messages = ACK_AFTER_MESSAGES.min(self.limits.window_messages / 4);
        let much = |end: &Incoming| end.messages > 0 && (end.messages >= messages || end.bytes >= self.limits.window_bytes / 4);
        if now >= at || self.incoming.values().any(much) {
            self.acknowledge(app);
        }
    }

    /// Acknowledges what came in.
    pub(super) fn acknowledge(&mut self, app: &mut dyn Application) {
        self.ack_at = None;
        for end in self.incoming.values_mut() {
            (end.messages, end.bytes) = (0, 0);
        }
        self.participant.acknowledge();
        self.settle(app);
    }
}
