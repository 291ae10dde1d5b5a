//! Snapshots, and how they ended.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_api::{
    agent::MissingChannel,
    settings::MAX_CONCURRENT,
    snapshot::{Abort, SnapshotState, Trigger},
    waiting::UnderWay,
};
use stillframe_protocol::{Epoch, Generation, Incarnation, MemberName, SnapshotId};

/// The latest word of a member on what it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressFacts {
    /// The channels that aren't closed.
    pub missing: Vec<MissingChannel>,
    /// When it was said.
    pub at: Timestamp,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFacts {
    /// Its id.
    pub id: SnapshotId,
    /// Its epoch; none while it is pending.
    pub epoch: Option<Epoch>,
    /// The generation it is taken in.
    pub generation: Generation,
    /// Where it is in its life.
    pub state: SnapshotState,
    /// Why it was aborted.
    pub abort: Option<Abort>,
    /// What asked for it.
    pub trigger: Trigger,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
    /// Whether its request named that; else it follows the cluster's setting while it is pending.
    pub own_timeout: bool,
    /// When the cluster's `min_pause` lets it begin, at the earliest; planned while it is pending.
    pub begins_at: Option<Timestamp>,
    /// Objects of at most so many bytes travel inline.
    pub inline_limit: u64,
    /// The members and incarnations it is of; frozen once it is recorded.
    pub view: BTreeMap<MemberName, Incarnation>,
    /// How many they are.
    pub view_members: u32,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When recording began.
    pub recording_at: Option<Timestamp>,
    /// When the certificate held.
    pub committing_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When it is aborted if it is still pending or recording then.
    pub deadline_at: Timestamp,
    /// While it is committing: what the archive last said against its manifest.
    pub archive_error: Option<String>,
    /// How many messages were in flight at the cut.
    pub messages_in_flight: Option<u64>,
    /// When what it left in the archive is to be deleted.
    pub sweep_at: Option<Timestamp>,
    /// How often that was done.
    #[serde(default)]
    pub sweeps: u32,
    /// The members whose parts are there. Read only.
    #[serde(default, skip_serializing)]
    pub reported: BTreeSet<MemberName>,
    /// What members said they wait for. Read only.
    #[serde(default, skip_serializing)]
    pub progress: BTreeMap<MemberName, ProgressFacts>,
}

impl SnapshotFacts {
    /// Whether it takes a slot.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(self.state, SnapshotState::Recording | SnapshotState::Committing)
    }

    /// As those who wait for its slot need to know it; nothing unless it takes one.
    #[must_use]
    pub fn under_way(&self) -> Option<UnderWay> {
        let since = match self.state {
            SnapshotState::Recording => self.recording_at,
            SnapshotState::Committing => self.committing_at,
            SnapshotState::Pending
            | SnapshotState::Committed
            | SnapshotState::Aborted
            | SnapshotState::Deleting
            | SnapshotState::Deleted => return None,
        };
        let (snapshot, since) = (self.id, since.unwrap_or(self.created_at));
        Some(UnderWay { snapshot, state: self.state, since, archive_error: self.archive_error.clone() })
    }

    /// Whether every member of the view has reported its part.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.view.keys().all(|member| self.reported.contains(member))
    }
}

/// How a snapshot that was recorded ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeFacts {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Whether it was committed.
    pub committed: bool,
    /// When its recording began.
    pub recording_at: Timestamp,
}

/// How many outcomes are kept in sight of the agents, and how many of committed snapshots: as many as can be under way at once.
pub const OUTCOMES: usize = MAX_CONCURRENT as usize;
