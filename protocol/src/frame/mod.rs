//! The frame: what one member sends to another, and its bytes.
//!
//! The layout is documented in `docs/protocol.md`; [`Frame::encode`] and [`Frame::decode`] are its only implementation. One frame has exactly one
//! encoding: overlong numbers, unsorted markers and trailing bytes are refused.

mod codec;
mod varint;

use bytes::Bytes;

use crate::{
    ids::{Epoch, Generation, Incarnation, MemberId, Seq},
    participant::ChannelOrdering,
    ranges::SeqRanges,
};

/// The most markers that one frame can carry.
pub const MAX_MARKERS: usize = 1024;

/// The most ranges of sequence numbers that one frame can carry.
pub const MAX_RANGES: usize = 4096;

/// `(e, S)`: "I have cut epoch e, and had sent S messages on this channel".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Marker {
    /// The epoch that the sender has cut.
    pub epoch: Epoch,
    /// How many messages the sender had sent on this channel at that cut.
    pub sent: u64,
}

/// What one member sends to another. For [`FrameBody::Ack`] and [`FrameBody::Accept`], `from` is the receiver of the channel and `to` its sender
/// (they speak of the channel `to -> from`); all others speak of `from -> to`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The generation that the sender lives in.
    pub generation: Generation,
    /// The member that sends the frame.
    pub from: MemberId,
    /// The incarnation of the member that sends the frame.
    pub from_incarnation: Incarnation,
    /// The member that the frame is for.
    pub to: MemberId,
    /// The incarnation that the frame is for.
    pub to_incarnation: Incarnation,
    /// Data: the newest epoch that the sender had cut when it *first* sent the message. All others: the newest epoch that the sender has cut.
    pub epoch: Epoch,
    /// Markers of the channel `from -> to`, by strictly ascending epoch, at most [`MAX_MARKERS`].
    pub markers: Vec<Marker>,
    /// What the frame is for.
    pub body: FrameBody,
}

/// What a frame is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FrameBody {
    /// A message of the application.
    Data {
        /// Its number on the channel, from 1.
        seq: Seq,
        /// The application's bytes.
        payload: Bytes,
    },
    /// Nothing but the markers.
    Marker,
    /// From the receiver of a channel to its sender: this is what I have, you needn't keep it.
    Ack {
        /// The messages that were delivered.
        received: SeqRanges,
        /// The newest epoch whose marker is known.
        markers_through: Epoch,
    },
    /// From the sender of a channel to its receiver: opens or re-opens the channel.
    Open {
        /// The order that the transport keeps.
        ordering: ChannelOrdering,
    },
    /// The answer to [`FrameBody::Open`]: the channel may be used; transmit what isn't in `received` again.
    Accept {
        /// The messages that were delivered.
        received: SeqRanges,
        /// The newest epoch whose marker is known.
        markers_through: Epoch,
    },
}

/// Bytes that aren't a frame. Nothing was changed by them; they came from something else than a member of this version, or were damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end before the frame does.
    #[error("frame is cut short: expected more than {length} bytes")]
    CutShort {
        /// How many bytes there were.
        length: usize,
    },
    /// The first byte names another version of the format.
    #[error("frame version {found} is unknown: expected {expected}; both members need the same version of Stillframe")]
    Version {
        /// The version of this build.
        expected: u8,
        /// The version that was found.
        found: u8,
    },
    /// The first byte names no kind of frame.
    #[error("frame kind {found} is unknown")]
    Kind {
        /// The kind that was found.
        found: u8,
    },
    /// A number is longer than it needs to be, or larger than its field.
    #[error("frame holds a malformed number at byte {at}")]
    Number {
        /// Where the number begins.
        at: usize,
    },
    /// A list is longer than allowed.
    #[error("frame holds {found} {what}: expected at most {limit}")]
    TooMany {
        /// `markers` or `ranges`.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What the frame claims.
        found: u64,
    },
    /// Markers aren't sorted by epoch, or an older marker counts more messages than a newer one.
    #[error("frame holds markers out of order")]
    Markers,
    /// Ranges overflow.
    #[error("frame holds malformed ranges")]
    Ranges,
    /// The ordering of an open is unknown.
    #[error("channel ordering {found} is unknown: expected 0 (fifo) or 1 (unordered)")]
    Ordering {
        /// What was found.
        found: u8,
    },
    /// There are bytes behind the end of a frame that has no payload.
    #[error("frame is followed by {bytes} bytes that don't belong to it")]
    Trailing {
        /// How many.
        bytes: usize,
    },
}
