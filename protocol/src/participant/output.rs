//! What a participant asks its driver to do.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    frame::Frame,
    ids::{Epoch, Generation, Incarnation, MemberId, Seq},
    ranges::SeqRanges,
};

/// What the driver has to do. Outputs are carried out strictly in the order in which [`Participant::poll`](super::Participant::poll) gives them:
/// a cut is exact because a capture stands between the right two deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output {
    /// Capture the application's state now. One capture serves all of `first..=last`; an epoch within that was aborted before needs none, and its
    /// [`Output::Sealed`] never comes.
    Capture {
        /// The oldest epoch that this capture is for.
        first: Epoch,
        /// The newest epoch that this capture is for.
        last: Epoch,
    },
    /// Keep this message as part of the channel's state in each of the epochs. Comes right before its [`Output::Deliver`].
    Record {
        /// The epochs that it is recorded for, ascending, never empty.
        epochs: Vec<Epoch>,
        /// The sender.
        from: MemberId,
        /// Its number on the channel.
        seq: Seq,
        /// The application's bytes.
        payload: Bytes,
    },
    /// Keep these messages as the sender's half of the state of the channel me -> `to` in each of the epochs: at the cut they were sent and not seen
    /// acknowledged. Comes right after the [`Output::Capture`] of the epochs, at most once a channel; only with
    /// [`ChannelState::SenderLogged`](super::ChannelState::SenderLogged). The payloads are shared with the participant, not copied; the window bounds them.
    Log {
        /// The epochs that they are logged for, ascending, never empty.
        epochs: Vec<Epoch>,
        /// The channel's receiver.
        to: MemberId,
        /// Their numbers, ascending, and the application's bytes; never empty.
        messages: Vec<(Seq, Bytes)>,
    },
    /// Hand this message to the application. "Delivered" and "processed" have to be the same point.
    Deliver {
        /// The sender.
        from: MemberId,
        /// Its number on the channel.
        seq: Seq,
        /// The application's bytes.
        payload: Bytes,
    },
    /// Give this frame to the transport. On a fifo channel the frames of one channel stay in the order in which they come out here.
    Transmit {
        /// The member it is for.
        to: MemberId,
        /// The frame.
        frame: Frame,
    },
    /// The channel me -> `to` may be used.
    Opened {
        /// The channel's receiver.
        to: MemberId,
    },
    /// Messages on me -> `to` were acknowledged: there is room in the window again.
    Acknowledged {
        /// The channel's receiver.
        to: MemberId,
    },
    /// Bring the frames from this member again that were refused as [`ReceiveError::Held`](super::ReceiveError::Held), then the rest of its
    /// connections. Only with [`ChannelState::Aligned`](super::ChannelState::Aligned).
    Resume {
        /// The member.
        from: MemberId,
    },
    /// This member's part of the epoch is complete: all incoming channels are closed, or the outgoing ones are logged.
    Sealed {
        /// The epoch.
        epoch: Epoch,
        /// The part's counters.
        counters: Box<SealedCounters>,
    },
    /// The channel `from` -> me broke its promise: a gap or a step back on a fifo channel, or a marker that contradicts the messages. What was open was
    /// aborted here; a fifo channel delivers nothing more until it is opened again.
    Violated {
        /// The channel's sender.
        from: MemberId,
        /// The epochs that were aborted here.
        epochs: Vec<Epoch>,
        /// The number that should have come next.
        expected: Seq,
        /// The number that came, or that a marker stood before.
        found: Seq,
    },
    /// A newer incarnation of `from` opened its channel: it begins anew. Epochs that waited for the old incarnation can't be sealed; they were aborted here.
    Replaced {
        /// The channel's sender.
        from: MemberId,
        /// Its new incarnation.
        incarnation: Incarnation,
        /// The epochs that were aborted here.
        epochs: Vec<Epoch>,
    },
    /// A frame of a newer generation came in: hold everything and ask the coordinator; this process may be the one that was replaced. The frame wasn't
    /// taken. Said once for each newer generation.
    NewerGeneration {
        /// The newer generation.
        generation: Generation,
    },
}

/// The counters of a sealed part. Absent members count 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SealedCounters {
    /// How many messages had been sent on each outgoing channel, at the cut.
    pub sent: BTreeMap<MemberId, u64>,
    /// What had been received on each incoming channel, at the cut.
    pub received: BTreeMap<MemberId, SeqRanges>,
    /// What was recorded on each incoming channel between the cut and its closing, and the bytes of its payloads.
    pub recorded: BTreeMap<MemberId, (SeqRanges, u64)>,
    /// What was logged of each outgoing channel, at the cut.
    /// What was logged of each outgoing channel, at the cut, and the bytes of its payloads.
    pub logged: BTreeMap<MemberId, (SeqRanges, u64)>,
    /// The incarnations that the counters speak of, for each peer of which something is logged or which was replaced in this member's life. (Of other peers
    /// the counters themselves show whether both ends mean the same.)
    pub peers: BTreeMap<MemberId, Incarnation>,
}

/// What an epoch still waits for on one incoming channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The channel's sender.
    pub from: MemberId,
    /// How many messages were received; once `expected` is known, how many of those.
    pub received: u64,
    /// How many there have to be: the S of the marker, once it is known.
    pub expected: Option<u64>,
}

/// What a channel's sender retains until it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Unacknowledged {
    /// Messages.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// What the receiver of a channel hasn't acknowledged for longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Awaited {
    /// The oldest such message.
    pub message: Option<Seq>,
    /// The epoch of the oldest such marker.
    pub marker: Option<Epoch>,
}

impl Awaited {
    /// Whether everything is acknowledged.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.message.is_none() && self.marker.is_none()
    }
}
