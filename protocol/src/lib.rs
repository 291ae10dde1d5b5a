//! The algorithm of one process, the wire frame and the certificate: pure, no I/O, no clock, no randomness.
//!
//! | to find | look in |
//! | --- | --- |
//! | what may be called what | [`name`], [`ids`] |
//! | sets of sequence numbers | [`ranges`] |
//! | the frame and its bytes | [`frame`] |
//! | the rules: cut, record, close, abort, fence | [`participant`] |
//! | what proves a snapshot | [`certificate`] |
//! | where numbers go on after a restore | [`resumption`] |
//! | cycles of channels | [`topology`] |
//! | what has to hold of a channel at a cut | [`invariant`] |

pub mod certificate;
pub mod frame;
pub mod ids;
pub mod invariant;
pub mod name;
pub mod participant;
pub mod ranges;
pub mod resumption;
pub mod topology;

pub use certificate::{
    CertifiedSnapshot, Departed, Logged, PartCounters, Received, Recorded, Sent, ViewMember, Violation, verify,
};
pub use frame::{Frame, FrameBody, FrameError, Marker};
pub use ids::{Epoch, Generation, HoldId, Incarnation, MemberId, RestoreId, Seq, SnapshotId};
pub use name::{ClusterName, MemberName, NameError};
pub use participant::{
    Awaited, ChannelCounters, ChannelOrdering, ChannelState, Identity, Missing, Output, Participant, ReceiveError,
    SealedCounters, SendError, Unacknowledged,
};
pub use ranges::SeqRanges;
