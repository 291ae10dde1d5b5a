//! What may be deleted, and what stands against it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::{Epoch, HoldId, SnapshotId};

/// Whether anything may be deleted from the archive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CollectionState {
    /// It may: the catalog is known to be whole.
    #[default]
    Confirmed,
    /// It may not: the catalog may know less than the archive.
    Suspended {
        /// Why.
        reason: String,
    },
}

/// A committed snapshot, as much as says whether it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedFacts {
    /// Its id.
    pub id: SnapshotId,
    /// Its epoch.
    pub epoch: Epoch,
    /// When recording began: the moment that it shows.
    pub recording_at: Timestamp,
}

/// A hold on a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldFacts {
    /// Its id.
    pub id: HoldId,
    /// What is held.
    pub snapshot: SnapshotId,
    /// Who holds it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it holds nothing any more.
    pub expires_at: Option<Timestamp>,
}

/// What may be deleted, and what stands against it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct KeptFacts {
    /// Whether anything may be deleted.
    pub collection: CollectionState,
    /// The committed snapshots, oldest first.
    pub committed: Vec<CommittedFacts>,
    /// The holds on the cluster's snapshots, expired ones included.
    pub holds: Vec<HoldFacts>,
}
