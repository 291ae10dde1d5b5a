//! What an agent is doing, for live lines and logs.

use stillframe_protocol::{Epoch, Generation, Incarnation, SnapshotId};

/// What the agent is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// It looks for its coordinator.
    #[default]
    Registering,
    /// It holds still until the coordinator lets it run.
    Waiting,
    /// Messages are delivered.
    Running,
    /// It holds still; its part of a snapshot is being loaded, or is loaded.
    Preparing,
    /// It holds still because its lease ran out: the coordinator can't be reached.
    LeaseExpired,
    /// It has ended.
    Stopped,
}

/// What an agent is doing. Published a few times a second at most, and at each change of phase.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// The number of its registration; 0 before.
    pub incarnation: Incarnation,
    /// The generation it runs in; 0 before.
    pub generation: Generation,
    /// The newest epoch it has cut.
    pub epoch: Epoch,
    /// How many other members there are.
    pub peers: usize,
    /// Messages handed to the application in this generation.
    pub delivered: u64,
    /// Messages put on a channel in this generation.
    pub sent: u64,
    /// Messages that wait to be sent.
    pub unsent: u64,
    /// Frames that were refused (fenced, malformed).
    pub refused_frames: u64,
    /// Parts of snapshots reported.
    pub parts_reported: u64,
    /// The latest snapshot known to be committed.
    pub last_committed: Option<SnapshotId>,
}
