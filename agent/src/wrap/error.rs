//! Why something isn't wrapped or unwrapped. In each case nothing was changed.

use bytes::Bytes;
use stillframe_protocol::{FrameError, MemberId, MemberName, ReceiveError};

/// Why a message wasn't wrapped. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// The member doesn't run yet, or not any more.
    #[error(
        "the member doesn't run: wait for Action::Start or Action::Restore before the first message, and send nothing after Action::Ended"
    )]
    NotRunning {
        /// The message, handed back.
        message: Bytes,
    },
    /// No member of that name in the cluster.
    #[error("{to} is no member of the cluster: expected one of the peers")]
    UnknownMember {
        /// The name.
        to: MemberName,
    },
    /// The member is leaving: it takes in what was sent already, and nothing new.
    #[error("{to} is leaving, and is sent nothing new; choose another of the peers")]
    Leaving {
        /// The name.
        to: MemberName,
        /// The message, handed back.
        message: Bytes,
    },
    /// A message to oneself needs no wrapping, and wouldn't be part of any snapshot on its way.
    #[error("{to} is this member itself: deliver the message directly")]
    ToItself {
        /// The name.
        to: MemberName,
    },
    /// The message is larger than any may be.
    #[error("a message of {found} bytes is too large: at most {limit} bytes (Limits::max_message_bytes)")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// The message's length.
        found: usize,
    },
    /// The window is full, and so is the outbox behind it.
    #[error(
        "the window and the outbox to {to} are full ({messages} messages of {bytes} bytes wait): stop when wrap answers Room::Full, and go on at \
         Action::Ready; nothing is freed before the frames of {to} are unwrapped and on_timeout is called"
    )]
    OutboxFull {
        /// The member.
        to: MemberName,
        /// Messages that wait.
        messages: usize,
        /// Their bytes.
        bytes: u64,
        /// The message, handed back.
        message: Bytes,
    },
}

/// Why a frame wasn't unwrapped. Nothing was changed: drop the frame and go on, unless the variant says otherwise. A frame of a live member that is
/// dropped is repeated where the carrier is lossy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// It isn't wrapped at all.
    #[error("{length} bytes that no member has wrapped; something else sends to this address: drop them")]
    Garbage {
        /// How many bytes.
        length: usize,
    },
    /// It was wrapped by a member of another cluster.
    #[error(
        "a frame of another cluster, or of a cluster of the same name with another archive: check the other side's cluster, coordinator and address"
    )]
    ForeignCluster,
    /// It was wrapped, and damaged on the way, or by another version.
    #[error("a damaged frame, or one of another version of Stillframe: {0}; drop it")]
    Frame(#[from] FrameError),
    /// It is of an older generation, of another incarnation, for another member, or speaks of a channel that isn't open. Dropping it is right.
    #[error("{0}; drop it")]
    Refused(ReceiveError),
    /// Its sender isn't in this member's list of peers yet. It will repeat this frame.
    #[error("member number {from} isn't in the list of peers (yet); drop the frame, it is repeated")]
    UnknownMember {
        /// The sender's number.
        from: MemberId,
    },
    /// The member holds still, and more frames wait already than it takes.
    #[error(
        "the member holds still, and {frames} frames of {bytes} bytes wait already: give it this one again later, or drop it where the carrier is lossy"
    )]
    Holding {
        /// Frames that wait.
        frames: usize,
        /// Their bytes.
        bytes: u64,
        /// The frame, handed back.
        frame: Bytes,
    },
}
