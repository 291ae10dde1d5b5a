//! Why a participant refuses something.

use crate::{
    ids::{Epoch, Generation, Incarnation, MemberId, Seq},
    participant::ChannelOrdering,
};

/// A message that can't be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The handshake of the channel isn't complete. The message isn't sent and has no number: keep it until
    /// [`Output::Opened`](super::Output::Opened) and send it then.
    #[error("the channel to member {to} isn't open: keep the message until it is")]
    NotOpen {
        /// The member.
        to: MemberId,
    },
}

/// A frame that wasn't taken. The driver counts these by variant; none of them delivers anything.
///
/// "Fenced" means: nothing at all was changed, no epoch was cut. "Cut" means: the frame was authentic, so the epochs it told of were cut, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// Fenced: the frame is of an older generation. Its sender was rolled back or replaced.
    #[error("frame from member {from} is of generation {found}: expected {expected}; it was sent before a restore")]
    OldGeneration {
        /// The sender.
        from: MemberId,
        /// Ours.
        expected: Generation,
        /// The frame's.
        found: Generation,
    },
    /// Fenced: the frame is of a newer generation. Hold everything (this frame too, where the transport doesn't repeat it) and ask the coordinator.
    #[error("frame from member {from} is of generation {found}, newer than {expected}: this process may have been replaced")]
    NewerGeneration {
        /// The sender.
        from: MemberId,
        /// Ours.
        expected: Generation,
        /// The frame's.
        found: Generation,
    },
    /// Fenced: the frame comes from another incarnation of the member than the one we speak to, or is for another incarnation of ours.
    #[error("frame from member {from} names incarnation {found} of member {of}: expected {expected}")]
    WrongIncarnation {
        /// The sender.
        from: MemberId,
        /// The member whose incarnation doesn't fit: the sender, or this one.
        of: MemberId,
        /// The incarnation that we know.
        expected: Incarnation,
        /// The frame's.
        found: Incarnation,
    },
    /// Fenced: the frame is for another member. The transport is connected to the wrong place.
    #[error("frame from member {from} is for member {found}: this is member {expected}")]
    NotForMe {
        /// The sender.
        from: MemberId,
        /// This member.
        expected: MemberId,
        /// Whom the frame is for.
        found: MemberId,
    },
    /// Fenced: data or a marker before the open, or an answer on a channel that we didn't open.
    #[error("frame from member {from} speaks of a channel that isn't open: expected an open first")]
    UnknownChannel {
        /// The sender.
        from: MemberId,
    },
    /// Fenced: the channel was opened with another ordering before; it keeps the first one.
    #[error("member {from} opened its channel again as {found:?}: it is {expected:?}")]
    OrderingChanged {
        /// The sender.
        from: MemberId,
        /// The ordering of the channel.
        expected: ChannelOrdering,
        /// The ordering of the new open.
        found: ChannelOrdering,
    },
    /// Fenced: an aligned member takes only fifo channels. Configure the channel as fifo, or the cluster with another channel state.
    #[error("member {from} opened an unordered channel: expected fifo, as channels are aligned here")]
    NotFifo {
        /// The sender.
        from: MemberId,
    },
    /// Held: the frame comes from behind a cut that isn't made here yet, because other channels haven't brought their markers. Keep it, and take
    /// nothing more from its connection, until [`Output::Resume`](super::Output::Resume) names the member; then bring it again. If the connection
    /// breaks meanwhile, drop it.
    #[error(
        "frame from member {from} is of epoch {epoch}, and only {cut} is cut: it is held back until the other channels are aligned"
    )]
    Held {
        /// The sender.
        from: MemberId,
        /// The frame's epoch.
        epoch: Epoch,
        /// The newest epoch that is cut.
        cut: Epoch,
    },
    /// Fenced: an answer claims messages that weren't sent. The two ends don't continue from the same snapshot.
    #[error(
        "member {from} acknowledges message {found}: only {sent} were sent; both ends have to continue from the same snapshot"
    )]
    NotSent {
        /// The sender of the frame.
        from: MemberId,
        /// How many messages were sent.
        sent: u64,
        /// The number that was acknowledged.
        found: Seq,
    },
    /// Cut; then the open epochs were aborted ([`Output::Violated`](super::Output::Violated)): a gap or a step back on a fifo channel. Nothing more is
    /// delivered on it until it is opened again; break the connection so that its sender does that.
    #[error("fifo channel from member {from} brought message {found}: expected {expected}; reconnect it")]
    Fifo {
        /// The channel's sender.
        from: MemberId,
        /// The number that should have come.
        expected: Seq,
        /// The number that came, or that a marker stood before.
        found: Seq,
    },
    /// Cut; then the epoch of the marker was aborted ([`Output::Violated`](super::Output::Violated)): a marker contradicts an earlier one, or what was
    /// received before the cut. The frame's message, if it has one, is not delivered (its sender retains it).
    #[error("marker from member {from} says that {found} messages were sent: expected {expected}")]
    MarkerContradicts {
        /// The channel's sender.
        from: MemberId,
        /// What is known already.
        expected: u64,
        /// What the marker says.
        found: u64,
    },
    /// Cut: message 0, or one that would leave more holes in the received set than a frame can acknowledge. Treated as lost; its sender
    /// retransmits it.
    #[error("message {seq} from member {from} was dropped: there are too many holes before it")]
    TooScattered {
        /// The channel's sender.
        from: MemberId,
        /// The message.
        seq: Seq,
    },
}
