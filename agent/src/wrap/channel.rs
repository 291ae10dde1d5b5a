//! The sending end of a channel: what waits to be sent, and when what was sent is transmitted again.

use std::time::{Duration, Instant};

use stillframe_protocol::{Awaited, ChannelOrdering, Epoch, Incarnation, MemberId, Participant, Seq};

use super::Carrier;
use crate::driver::outbox::Outbox;

/// How long an open waits for its answer before it is repeated, on a carrier that repeats nothing else: the other process may not have been there.
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// However often it was in vain, things are repeated after this.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The sending end of a channel me -> peer.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) outbox: Outbox,
    /// `Room::Full` was answered, so `Action::Ready` is owed.
    pub(super) full: bool,
    /// The incarnation that it was opened to; none if it wasn't yet.
    pub(super) opened_to: Option<Incarnation>,
    /// The newest message.
    pub(super) sent: Seq,
    retry: Retry,
}

/// When to transmit again, and what: only what was sent before the timer was set, so that what was sent just now isn't.
#[derive(Debug)]
struct Retry {
    at: Option<Instant>,
    wait: Duration,
    through: Seq,
    markers_through: Epoch,
    /// What was awaited when things were last repeated: as long as that gets through, the waits don't become longer.
    repeated: Awaited,
}

/// How long to wait at first.
fn first_wait(carrier: Carrier) -> Duration {
    carrier.retransmit_after().unwrap_or(OPEN_AGAIN_AFTER)
}

impl Channel {
    pub(super) fn new(carrier: Carrier) -> Self {
        let retry = Retry {
            at: None,
            wait: first_wait(carrier),
            through: Seq(0),
            markers_through: Epoch(0),
            repeated: Awaited::default(),
        };
        Self { outbox: Outbox::default(), full: false, opened_to: None, sent: Seq(0), retry }
    }

    /// When to look at it again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry.at
    }

    /// Opens it, to this incarnation.
    pub(super) fn open(
        &mut self,
        peer: MemberId,
        to: Incarnation,
        participant: &mut Participant,
        carrier: Carrier,
        now: Instant,
    ) {
        if self.opened_to != Some(to) {
            self.opened_to = Some(to);
            self.retry.wait = first_wait(carrier);
        }
        participant.open(peer, to, carrier.ordering());
        self.retry.at = Some(now + self.retry.wait);
    }

    /// Sets the timer for what has just been sent, if it isn't set. On a reliable carrier nothing is repeated.
    pub(super) fn arm(&mut self, carrier: Carrier, epoch: Epoch, now: impl FnOnce() -> Instant) {
        if self.retry.at.is_none() && carrier.retransmit_after().is_some() {
            self.retry.at = Some(now() + self.retry.wait);
            (self.retry.through, self.retry.markers_through) = (self.sent, epoch);
        }
    }

    /// The peer answered an open: from here on the timer is for messages and markers.
    pub(super) fn opened(&mut self, carrier: Carrier, epoch: Epoch, now: Instant) {
        (self.retry.at, self.retry.wait) = (None, first_wait(carrier));
        self.arm(carrier, epoch, || now);
    }

    /// Its time has come: repeats what is still awaited.
    pub(super) fn retry(&mut self, peer: MemberId, participant: &mut Participant, carrier: Carrier, now: Instant) {
        let Some(to) = self.opened_to else {
            self.retry.at = None;
            return;
        };
        if !participant.is_open(peer) {
            self.retry.wait = (self.retry.wait * 2).min(MAX_WAIT);
            return self.open(peer, to, participant, carrier, now);
        }
        let awaited = participant.awaited(peer);
        if carrier.retransmit_after().is_none() || awaited.is_nothing() {
            (self.retry.at, self.retry.wait) = (None, first_wait(carrier));
            return;
        }
        let old = awaited.message.is_some_and(|seq| seq <= self.retry.through)
            || awaited.marker.is_some_and(|epoch| epoch <= self.retry.markers_through);
        let in_vain = old && awaited == self.retry.repeated;
        self.retry.wait = if in_vain { (self.retry.wait * 2).min(MAX_WAIT) } else { first_wait(carrier) };
        if old {
            self.retry.repeated = awaited;
            match carrier.ordering() {
                ChannelOrdering::Unordered => participant.retransmit_through(peer, self.retry.through),
                // A gap can't be filled: the answer to an open says what is missing, and all from there on is sent again.
                ChannelOrdering::Fifo => return self.open(peer, to, participant, carrier, now),
            }
        }
        self.retry.at = Some(now + self.retry.wait);
        (self.retry.through, self.retry.markers_through) = (self.sent, participant.epoch());
    }
}
