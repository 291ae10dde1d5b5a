//! The receiver's end of a channel: what was delivered.

use crate::{
    frame::MAX_RANGES,
    ids::{Epoch, Incarnation, Seq},
    participant::ChannelOrdering,
    ranges::SeqRanges,
};

/// Whether a fifo channel still keeps its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Order {
    /// Opened once: the next message is exactly the next number.
    Strict,
    /// Opened again: what the broken connection still brings repeats messages, which are dropped. A gap is an error as ever.
    Resumed,
    /// It had a gap or a step back. Nothing is delivered until it is opened again.
    Broken,
}

/// The receiver's end of a channel that its sender opened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Incoming {
    pub(super) peer_incarnation: Incarnation,
    pub(super) ordering: ChannelOrdering,
    pub(super) order: Order,
    pub(super) received: SeqRanges,
    /// The newest epoch whose marker is known.
    pub(super) markers_through: Epoch,
    /// The newest epoch that its sender is known to have cut, all that it sent before being received. Only aligned channels use it.
    pub(super) reached: Epoch,
    /// Whether something came in since the last acknowledgement.
    pub(super) ack_due: bool,
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is new.
    New,
    /// It was delivered before.
    Repeated,
    /// It breaks the order: this number should have come.
    OutOfOrder { expected: Seq },
    /// It can't be acknowledged: treat it as lost.
    TooScattered,
}

impl Incoming {
    pub(super) fn new(peer_incarnation: Incarnation, ordering: ChannelOrdering, received: SeqRanges) -> Self {
        Self {
            peer_incarnation,
            ordering,
            order: Order::Strict,
            received,
            markers_through: Epoch(0),
            reached: Epoch(0),
            ack_due: false,
        }
    }

    /// The number that a fifo channel has to bring next.
    pub(super) fn expected(&self) -> Seq {
        Seq(self.received.contiguous()).next()
    }

    /// What this message is. Changes nothing: a message is taken in by [`Incoming::take`].
    pub(super) fn arrival(&self, seq: Seq) -> Arrival {
        match self.ordering {
            ChannelOrdering::Fifo => {
                let expected = self.expected();
                match self.order {
                    Order::Strict | Order::Resumed if seq == expected => Arrival::New,
                    Order::Resumed if seq < expected && seq.0 > 0 => Arrival::Repeated,
                    Order::Strict | Order::Resumed | Order::Broken => Arrival::OutOfOrder { expected },
                }
            }
            ChannelOrdering::Unordered => {
                if self.received.contains(seq) {
                    Arrival::Repeated
                } else if seq.0 == 0 || (self.received.pairs().len() >= MAX_RANGES && self.stands_alone(seq)) {
                    Arrival::TooScattered
                } else {
                    Arrival::New
                }
            }
        }
    }

    fn stands_alone(&self, seq: Seq) -> bool {
        !self.received.contains(seq.next()) && !self.received.contains(Seq(seq.0.saturating_sub(1)))
    }

    pub(super) fn take(&mut self, seq: Seq) {
        self.received.insert(seq);
    }
}
