//! Messages that were handed over and can't be sent yet: the channel isn't open, or its window is full. They belong to the member's own state.

use std::collections::VecDeque;

use bytes::Bytes;
use stillframe_protocol::Unacknowledged;

use crate::config::Limits;

/// A bounded queue of messages to one member.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    messages: VecDeque<Bytes>,
    bytes: u64,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether one more message fits.
    pub(crate) fn has_room(&self, max_messages: usize, max_bytes: u64, message: &Bytes) -> bool {
        self.is_empty() || (self.len() < max_messages && self.bytes + message.len() as u64 <= max_bytes)
    }

    /// Whether so much is under way or waiting that the application should stop.
    pub(crate) fn is_full(&self, limits: &Limits, sent: Unacknowledged) -> bool {
        sent.messages + self.len() as u64 >= limits.window_messages || sent.bytes + self.bytes >= limits.window_bytes
    }

    /// Whether so little is left that the application may go on.
    pub(crate) fn is_ready(&self, limits: &Limits, sent: Unacknowledged) -> bool {
        sent.messages + self.len() as u64 <= limits.window_messages / 2 && sent.bytes + self.bytes <= limits.window_bytes / 2
    }

    pub(crate) fn push(&mut self, message: Bytes) {
        self.bytes += message.len() as u64;
        self.messages.push_back(message);
    }

    pub(crate) fn front(&self) -> Option<&Bytes> {
        self.messages.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len() as u64;
        Some(message)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.messages.iter()
    }
}
