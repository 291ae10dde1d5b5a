//! A cluster's own row.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_api::{
    cluster::{ClusterPhase, OnLoss},
    retention::Retention,
};
use stillframe_protocol::{ClusterName, Epoch, Generation, MemberName, SnapshotId};
use uuid::Uuid;

use super::ChannelFacts;

/// Why a cluster is halted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltCause {
    /// A member was lost, and the cluster's settings say to halt.
    OnLoss,
    /// A member was lost, and there is no committed snapshot to go back to.
    NoSnapshot,
    /// A restore failed, and the old generation can't go on.
    RestoreFailed,
    /// It was put back too often within its window.
    RollbackLimit,
    /// The database had lost it, and it was rebuilt from the archive: nothing runs that a restore didn't start.
    Resynced,
}

/// The cluster's own row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// Its name.
    pub name: ClusterName,
    /// How many members must have registered before it runs.
    pub min_members: u32,
    /// How long a snapshot may take, in milliseconds.
    pub snapshot_timeout_ms: u64,
    /// What happens when a member is lost.
    pub on_loss: OnLoss,
    /// The folder of the coordinator's archive that holds its snapshots.
    pub archive_prefix: Option<String>,
    /// How many snapshots may be recording or committing at once.
    pub max_concurrent: u32,
    /// The least time between the beginnings of two snapshots, in milliseconds.
    pub min_pause_ms: u64,
    /// How the messages under way at a cut are to get into its snapshots, from the next generation on.
    #[serde(flatten)]
    pub channels: ChannelFacts,
    /// What the members of the active generation go by, all of them.
    #[serde(default)]
    pub channels_in_force: ChannelFacts,
    /// Where it is in its life.
    pub phase: ClusterPhase,
    /// Why, when there is something to say.
    pub phase_reason: Option<String>,
    /// Why it is halted; set exactly then.
    pub halt: Option<HaltCause>,
    /// The active generation; 0 until it has run.
    pub generation: Generation,
    /// The newest generation allocated, burned ones included.
    pub last_generation: Generation,
    /// The newest epoch allocated.
    pub epoch: Epoch,
    /// Raised by each change that agents must know.
    pub revision: u64,
    /// Raised by each transition: facts of the newest version are the facts.
    pub version: u64,
    /// Random, another with each version: facts of one version and stamp are the same facts, whatever the database has lost. Rules leave it alone.
    pub stamp: Uuid,
    /// The revision at which the peer list last changed.
    pub peers_revision: u64,
    /// The newest member number given.
    pub last_member_id: u32,
    /// The snapshot that a rollback goes back to.
    pub latest_committed: Option<SnapshotId>,
    /// Which committed snapshots are kept; all of them without it.
    pub retention: Option<Retention>,
    /// Members of that snapshot that have other names since it was restored: name in the snapshot, name now.
    #[serde(default)]
    pub latest_mapping: BTreeMap<MemberName, MemberName>,
    /// How many rollbacks that went through may begin within the window; 0 for any number.
    pub rollback_limit: u32,
    /// The window, in milliseconds.
    pub rollback_window_ms: u64,
    /// The pause after the first rollback within the window, in milliseconds.
    pub rollback_backoff_ms: u64,
    /// How many older snapshots an automatic rollback may try.
    pub restore_fallback: u32,
    /// When the rollback that is due, but put off, begins.
    #[serde(default)]
    pub rollback_at: Option<Timestamp>,
    /// Rollbacks of before aren't counted: an operator had the cluster go on.
    #[serde(default)]
    pub rollbacks_since: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
}

impl ClusterFacts {
    /// Makes a generation the active one: what is wanted of its channels is in force from here on.
    pub(in crate::decide) fn enter(&mut self, generation: Generation) {
        self.generation = generation;
        self.channels_in_force = self.channels;
    }
}
