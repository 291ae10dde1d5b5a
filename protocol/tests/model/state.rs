//! What one state of the cluster is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use stillframe_protocol::{Epoch, Generation, Incarnation, Participant, SealedCounters, SeqRanges};

use super::network::Network;

/// A state of the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub members: Vec<Arc<Member>>,
    pub network: Arc<Network>,
    pub incarnations: Vec<Incarnation>,
    pub generation: Generation,
    /// The newest epoch that is allocated.
    pub newest: Epoch,
    pub snapshots: Arc<BTreeMap<Epoch, Snapshot>>,
    /// What the members that haven't gone over to the newest generation begin from, and the newest epoch of that moment.
    pub restoring: Arc<BTreeMap<usize, (Epoch, Captured)>>,
    pub left: Left,
    /// What is wrong, once something is. Nothing happens after it.
    pub wrong: Option<Wrong>,
}

/// How often what is bounded may still happen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Left {
    /// By channel.
    pub messages: Vec<u8>,
    pub aborts: u8,
    pub disconnects: u8,
    pub losses: u8,
    pub repeats: u8,
    pub retransmissions: u8,
    pub lies: u8,
    pub crashes: u8,
    pub restores: u8,
    pub unaligns: u8,
}

/// One member: its participant, and what its application saw. The checks use only the latter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    pub participant: Participant,
    /// The epoch that it began with.
    pub base: Epoch,
    pub seen: Captured,
    /// By epoch that is cut and neither sealed nor aborted.
    pub captured: BTreeMap<Epoch, Captured>,
    pub aborted: BTreeSet<Epoch>,
    /// It saw a frame of a newer generation, and holds everything.
    pub holds: bool,
    /// The newest epoch of which the coordinator told it. Only of an aligned member, for all others have cut it then.
    pub told: Epoch,
    /// It went over to recording once, because an alignment took too long.
    pub unaligned: bool,
}

/// An incarnation of a member.
pub type Peer = (usize, Incarnation);

/// What an application saw, by peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Captured {
    pub sent: BTreeMap<Peer, u64>,
    pub received: BTreeMap<Peer, SeqRanges>,
    /// Since the cut.
    pub recorded: BTreeMap<Peer, SeqRanges>,
    /// At the cut.
    pub logged: BTreeMap<Peer, SeqRanges>,
    /// How many messages the application gave for each peer, those included that wait to be sent.
    pub given: BTreeMap<Peer, u64>,
    /// Which messages of each peer's application were taken, by the sender's numbers: those of the channel, unless a log was sent again.
    pub taken: BTreeMap<Peer, SeqRanges>,
    /// What waits to be sent, by the application's numbers, in its order.
    pub unsent: BTreeMap<Peer, Vec<u64>>,
}

/// What is said of the newest incarnation of each peer.
pub fn newest<T>(of: &BTreeMap<Peer, T>) -> BTreeMap<usize, (Incarnation, &T)> {
    of.iter().map(|(&(peer, incarnation), value)| (peer, (incarnation, value))).collect()
}

/// A snapshot that the coordinator allocated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Snapshot {
    pub generation: Generation,
    pub view: Vec<Incarnation>,
    pub parts: BTreeMap<usize, (SealedCounters, Captured)>,
    pub phase: Phase,
}

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    Recording,
    Committed,
    Aborted,
}

/// A promise that isn't kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wrong {
    pub promise: Promise,
    pub why: String,
}

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Promise {
    Certificate,
    Exact,
    Delivery,
    Part,
    Aborted,
    Fence,
    Transport,
    Aligned,
}

impl Promise {
    /// That it isn't kept.
    pub fn broken(self, why: impl Into<String>) -> Wrong {
        Wrong { promise: self, why: why.into() }
    }
}
