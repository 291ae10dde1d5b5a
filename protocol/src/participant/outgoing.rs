//! The sender's end of a channel: what was sent and isn't acknowledged, and the markers that the receiver may not know yet.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    frame::{MAX_MARKERS, Marker},
    ids::{Epoch, Incarnation, Seq},
    participant::{Awaited, ChannelOrdering, Unacknowledged},
    ranges::SeqRanges,
};

/// How far the handshake of a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Link {
    /// An open is under way: nothing but it may be transmitted.
    Opening,
    /// The channel may be used.
    Open,
    /// The transport is gone: nothing may be transmitted until the next open.
    Down,
}

/// A message that isn't acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Message {
    /// The newest epoch that was cut when it was sent first.
    pub(super) epoch: Epoch,
    pub(super) payload: Bytes,
}

/// The sender's end of a channel that was opened in this incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Outgoing {
    pub(super) peer_incarnation: Incarnation,
    pub(super) ordering: ChannelOrdering,
    pub(super) link: Link,
    sent: u64,
    /// The messages after `sent - retained.len()`, in order. `None`: acknowledged while an older one isn't yet.
    retained: VecDeque<Option<Message>>,
    unacknowledged: Unacknowledged,
    /// By ascending epoch. A marker `(e, S)` stands between the messages S and S + 1, so its place needs no other record.
    markers: VecDeque<Marker>,
    /// Whether the newest markers wait for the next message (only in a participant without the rule that they go ahead; see `rules`).
    pub(super) markers_held_back: bool,
}

/// One thing to transmit again.
pub(super) enum Again {
    Markers(Vec<Marker>),
    Message(Seq, Message),
}

impl Outgoing {
    pub(super) fn new(peer_incarnation: Incarnation, ordering: ChannelOrdering, sent: u64) -> Self {
        Self {
            peer_incarnation,
            ordering,
            link: Link::Opening,
            sent,
            retained: VecDeque::new(),
            unacknowledged: Unacknowledged::default(),
            markers: VecDeque::new(),
            markers_held_back: false,
        }
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn unacknowledged(&self) -> Unacknowledged {
        self.unacknowledged
    }

    /// What the receiver hasn't acknowledged for longest. (The oldest retained message is never a gap: those in front are dropped.)
    pub(super) fn awaited(&self) -> Awaited {
        let message = (!self.retained.is_empty()).then(|| Seq(self.sent + 1 - self.retained.len() as u64));
        Awaited { message, marker: self.markers.front().map(|marker| marker.epoch) }
    }

    /// The markers that the receiver may not know yet.
    pub(super) fn markers(&self) -> Vec<Marker> {
        self.markers.iter().copied().collect()
    }

    /// The markers that go with a message: on an unordered channel each frame carries them all, on a fifo channel they went ahead.
    pub(super) fn markers_with_data(&self) -> Vec<Marker> {
        match self.ordering {
            ChannelOrdering::Fifo => Vec::new(),
            ChannelOrdering::Unordered => self.markers(),
        }
    }

    /// What isn't acknowledged, in its order.
    pub(super) fn retained(&self) -> Vec<(Seq, Bytes)> {
        let first = self.sent + 1 - self.retained.len() as u64;
        let payload = |slot: &Option<Message>| slot.as_ref().map(|message| message.payload.clone());
        self.retained.iter().zip(first..).filter_map(|(slot, seq)| Some((Seq(seq), payload(slot)?))).collect()
    }

    /// Numbers a message and retains it.
    pub(super) fn push(&mut self, epoch: Epoch, payload: Bytes) -> Seq {
        self.sent += 1;
        self.unacknowledged.messages += 1;
        self.unacknowledged.bytes += payload.len() as u64;
        self.retained.push_back(Some(Message { epoch, payload }));
        Seq(self.sent)
    }

    /// Takes down the marker of an epoch that is being cut. Beyond [`MAX_MARKERS`] that a peer didn't acknowledge the oldest is given up: its snapshot
    /// can't be completed through that peer, and is ended by its deadline.
    pub(super) fn mark(&mut self, epoch: Epoch) {
        if self.markers.len() >= MAX_MARKERS {
            self.markers.pop_front();
        }
        self.markers.push_back(Marker { epoch, sent: self.sent });
    }

    /// Nobody needs this marker any more.
    pub(super) fn unmark(&mut self, epoch: Epoch) {
        self.markers.retain(|marker| marker.epoch != epoch);
    }

    /// Drops what isn't acknowledged (only in a participant without the rule that it is retained).
    pub(super) fn forget(&mut self) {
        self.retained.clear();
        self.unacknowledged = Unacknowledged::default();
    }

    /// Lets the markers count what was sent since (only in a participant without that rule).
    pub(super) fn recount_markers(&mut self, from: Epoch) {
        let sent = self.sent;
        self.markers.iter_mut().filter(|marker| marker.epoch >= from).for_each(|marker| marker.sent = sent);
    }

    /// Drops what the receiver has. True if that made room.
    pub(super) fn acknowledged(&mut self, received: &SeqRanges, markers_through: Epoch) -> bool {
        while self.markers.front().is_some_and(|marker| marker.epoch <= markers_through) {
            self.markers.pop_front();
        }
        let before = self.unacknowledged.messages;
        let first = self.sent + 1 - self.retained.len() as u64;
        for range in received.iter() {
            for seq in (*range.start()).max(first)..=(*range.end()).min(self.sent) {
                // The window bounds `retained`, so the index fits.
                let slot = self.retained.get_mut((seq - first) as usize).and_then(Option::take);
                if let Some(message) = slot {
                    self.unacknowledged.messages -= 1;
                    self.unacknowledged.bytes -= message.payload.len() as u64;
                }
            }
        }
        while self.retained.front().is_some_and(Option::is_none) {
            self.retained.pop_front();
        }
        self.unacknowledged.messages < before
    }

    /// All messages up to `through` that aren't acknowledged, and the markers, in their order: a marker `(e, S)` behind message S and ahead of the next.
    /// On an unordered channel the markers ride on the messages, and stand alone only if there are none.
    pub(super) fn again(&self, through: Seq) -> Vec<Again> {
        let first = self.sent + 1 - self.retained.len() as u64;
        let messages = self.retained.iter().enumerate().map(|(n, slot)| (first + n as u64, slot));
        let messages = messages.take_while(|(seq, _)| *seq <= through.0).filter_map(|(seq, slot)| Some((seq, slot.clone()?)));
        let mut all = Vec::with_capacity(self.retained.len() + 1);
        let mut markers = self.markers.iter().copied().peekable();
        match self.ordering {
            ChannelOrdering::Fifo => {
                for (seq, message) in messages {
                    let ahead: Vec<Marker> = std::iter::from_fn(|| markers.next_if(|marker| marker.sent < seq)).collect();
                    if !ahead.is_empty() {
                        all.push(Again::Markers(ahead));
                    }
                    all.push(Again::Message(Seq(seq), message));
                }
                if markers.peek().is_some() {
                    all.push(Again::Markers(markers.collect()));
                }
            }
            ChannelOrdering::Unordered => {
                all.extend(messages.map(|(seq, message)| Again::Message(Seq(seq), message)));
                if all.is_empty() && markers.peek().is_some() {
                    all.push(Again::Markers(markers.collect()));
                }
            }
        }
        all
    }
}
