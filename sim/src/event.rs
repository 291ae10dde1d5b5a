//! What can happen.

use stillframe_coordinator::decide::{Decision, Facts, Occasion};
use stillframe_protocol::{Epoch, Frame, Generation, Incarnation, MemberId, MemberName, RestoreId, SnapshotId};

use crate::{
    coordinator::command::Command,
    network::Way,
    words::{Ask, PartReport, Tell},
};

/// Something that happens at a moment of virtual time. What is addressed to a process happens only while that process lives.
#[derive(Debug)]
pub(crate) enum Event {
    /// A process begins.
    Start { slot: usize },
    /// Its application wants to send.
    Send { process: u64 },
    /// It tells what it received.
    Acknowledge { process: u64 },
    /// It transmits again what isn't acknowledged.
    Retransmit { process: u64 },
    /// It asks for its assignment, and repeats what the coordinator didn't take.
    Poll { process: u64 },
    /// It dials a peer again.
    Redial { process: u64, peer: MemberId },
    /// A call arrives.
    Dial {
        connection: u64,
        peer: MemberId,
        from: MemberId,
        from_incarnation: Incarnation,
        to_incarnation: Incarnation,
        generation: Generation,
    },
    /// A call is answered.
    Dialed { process: u64, peer: MemberId, connection: u64, taken: bool },
    /// A connection's end finds that it is gone.
    Broken { process: u64, connection: u64 },
    /// A frame arrives.
    Frame { process: u64, source: u64, via: Option<(u64, Way, u64)>, frame: Box<Frame> },
    /// Frames that were held back are brought again.
    Resume { process: u64, from: MemberId },
    /// Channels weren't aligned for too long.
    Unalign { process: u64, generation: Generation, epoch: Epoch },
    /// A part is in the archive.
    Uploaded { process: u64, generation: Generation, part: Box<PartReport> },
    /// A part was read, or not.
    Loaded { process: u64, restore: RestoreId, generation: Generation, attempt: u32, snapshot: SnapshotId, part: MemberName },
    /// The coordinator's answer arrives.
    Told { process: u64, asked_at: u64, tell: Tell },
    /// A member's question arrives.
    Asked { replica: usize, process: u64, slot: usize, asked_at: u64, ask: Ask },
    /// A replica hears of another's decision.
    News { replica: usize },
    /// A replica looks for what is due.
    Look { replica: usize },
    /// A replica writes what it decided on the facts it remembered.
    Write { replica: usize, command: Command, occasion: Box<Occasion>, before: Box<Facts>, decision: Box<Decision> },
    /// A replica verifies a certificate.
    Certify { replica: usize, snapshot: SnapshotId },
    /// A replica writes a manifest.
    Manifest { replica: usize, snapshot: SnapshotId },
    /// A replica decides something.
    Decide { replica: usize, command: Command },
    /// Somebody breaks something.
    Fault,
    /// Somebody breaks nothing any more, and puts right what doesn't right itself.
    Heal,
    /// Somebody looks whether everything is well again.
    Operator,
}
