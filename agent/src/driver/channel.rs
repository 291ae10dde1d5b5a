//! The two ends of channels as the driver sees them: what waits to be sent, and the connections.

use std::time::{Duration, Instant};

use stillframe_protocol::{Incarnation, Unacknowledged};
use tokio::task::AbortHandle;

use super::outbox::Outbox;
use crate::{config::Limits, link::Connection};
use stillframe_api::backoff::Backoff;

/// The sending end of a channel me -> peer.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) outbox: Outbox,
    /// `Room::Full` was answered, so `on_ready` is owed.
    pub(super) full: bool,
    pub(super) link: OutgoingLink,
    pub(super) backoff: Backoff,
    /// Which process was dialled last, and where.
    pub(super) dialed: Option<(Incarnation, String)>,
    /// The largest message that the peer takes, as far as it has said so.
    pub(super) max_message_bytes: usize,
    /// Since when it can't be connected.
    pub(super) failing_since: Option<Instant>,
}

/// How far the connection of a sending end is.
#[derive(Debug)]
pub(super) enum OutgoingLink {
    /// Nothing was to be sent yet.
    Unused,
    /// It is being dialled.
    Dialing { attempt: u64, _call: AbortOnDrop },
    /// It is there; the participant knows whether the channel is open.
    Up(Connection),
    /// It broke, or couldn't be made: dialled again then.
    Down { retry_at: Instant },
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            outbox: Outbox::default(),
            full: false,
            link: OutgoingLink::Unused,
            backoff: Backoff::new(Duration::from_millis(5), Duration::from_secs(1)),
            failing_since: None,
            dialed: None,
            max_message_bytes: usize::MAX,
        }
    }

    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.link {
            OutgoingLink::Up(connection) => Some(connection),
            OutgoingLink::Unused | OutgoingLink::Dialing { .. } | OutgoingLink::Down { .. } => None,
        }
    }

    /// Whether so much is under way or waiting that the application should stop.
    pub(super) fn is_full(&self, limits: &Limits, sent: Unacknowledged) -> bool {
        self.outbox.is_full(limits, sent)
    }

    /// Whether so little is left that the application may go on.
    pub(super) fn is_ready(&self, limits: &Limits, sent: Unacknowledged) -> bool {
        self.outbox.is_ready(limits, sent)
    }
}

/// Whether the window takes one more message of this length. One is always let through, however large.
pub(crate) fn window_takes(limits: &Limits, sent: Unacknowledged, length: usize) -> bool {
    sent.messages == 0 || (sent.messages < limits.window_messages && sent.bytes + length as u64 <= limits.window_bytes)
}

/// The receiving end of a channel peer -> me.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) connection: Connection,
    /// Messages and bytes since the last acknowledgement.
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// A task that ends with its owner.
#[derive(Debug)]
pub(crate) struct AbortOnDrop(pub(crate) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
