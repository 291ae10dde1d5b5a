//! Garbage collection: what would go from the archive and why, and having it go.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::{ClusterName, Epoch, SnapshotId};
use utoipa::{IntoParams, ToSchema};

use crate::{
    retention::{Keep, Retention},
    snapshot::SnapshotState,
};

/// How many orphans are listed in a plan or report; all are counted.
pub const MAX_LISTED: usize = 1_000;

/// What becomes of objects that nobody owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Orphans {
    /// They are reported, and stay.
    Report,
    /// They are deleted once they are older than the grace period.
    Delete,
}

impl FromStr for Orphans {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "report" => Ok(Self::Report),
            "delete" => Ok(Self::Delete),
            _ => Err(format!("{text:?} is not what becomes of orphans: expected report or delete")),
        }
    }
}

/// What to do about orphans. The coordinator's settings count where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GcOptions {
    /// Whether objects that nobody owns are reported or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphans: Option<Orphans>,
    /// Deletes them also when they are more than the coordinator's settings let go at once.
    #[serde(default)]
    pub ignore_breaker: bool,
}

/// Whether anything may be deleted from the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Collection {
    /// Whether it is suspended.
    pub suspended: bool,
    /// Why, when it is.
    pub reason: Option<String>,
    /// Since when it is as it is.
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: Timestamp,
}

/// A committed snapshot, and whether it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedSnapshot {
    /// The snapshot.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// Its epoch.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// The moment that it shows.
    #[schema(value_type = String, format = DateTime)]
    pub recording_at: Timestamp,
    /// Why it is kept; empty when it goes.
    pub keep: Vec<Keep>,
}

/// A snapshot of which nothing may stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedSweep {
    /// The snapshot.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// Aborted, deleting or deleted.
    pub state: SnapshotState,
    /// When its keys are looked through and whatever is there is deleted.
    #[schema(value_type = String, format = DateTime)]
    pub sweep_at: Timestamp,
}

/// An upload in pieces that may be unfinished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedUpload {
    /// The snapshot.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// The key of the object.
    pub key: String,
    /// When it was begun.
    #[schema(value_type = String, format = DateTime)]
    pub begun_at: Timestamp,
    /// When it is aborted: whoever was at it has given up by then.
    #[schema(value_type = String, format = DateTime)]
    pub abort_at: Timestamp,
}

/// Why nobody owns an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrphanReason {
    /// The database knows no such snapshot, and there is no manifest.
    UnknownSnapshot,
    /// The snapshot was aborted or deleted, and its sweeps are over.
    SnapshotEnded,
    /// The snapshot is committed, and its manifest doesn't name the object.
    NotInManifest,
    /// There is a manifest, so the snapshot was committed once, and the database knows nothing of it. Never deleted.
    UnknownCommitted,
    /// The key is none of an archive. Never deleted.
    ForeignKey,
}

impl OrphanReason {
    /// The reason's name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownSnapshot => "unknown_snapshot",
            Self::SnapshotEnded => "snapshot_ended",
            Self::NotInManifest => "not_in_manifest",
            Self::UnknownCommitted => "unknown_committed",
            Self::ForeignKey => "foreign_key",
        }
    }
}

impl fmt::Display for OrphanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An object that nobody owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Orphan {
    /// Its key.
    pub key: String,
    /// Its length.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    #[schema(value_type = String, format = DateTime)]
    pub last_modified: Timestamp,
    /// Why nobody owns it.
    pub because: OrphanReason,
    /// Whether it goes.
    pub goes: bool,
}

/// The objects of a cluster that nobody owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrphanReport {
    /// All objects of the cluster, owned or not.
    pub objects: u64,
    /// Those that nobody owns.
    pub orphans: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them go.
    pub go: u64,
    /// Why those that could go stay, when they do.
    pub withheld: Option<String>,
    /// The first 1,000 of them, by key.
    pub items: Vec<Orphan>,
}

/// What would go from a cluster's archive, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GcPlan {
    /// The cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// The database's clock when it was made.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Whether anything may be deleted. When not, nothing of this plan goes.
    pub collection: Collection,
    /// The cluster's retention.
    pub retention: Option<Retention>,
    /// Its committed snapshots, oldest first.
    pub snapshots: Vec<PlannedSnapshot>,
    /// Snapshots of which nothing may stay, 1,000 at most.
    pub sweeps: Vec<PlannedSweep>,
    /// Uploads in pieces of snapshots that have ended, 1,000 at most.
    pub uploads: Vec<PlannedUpload>,
    /// Objects that nobody owns.
    pub orphans: OrphanReport,
}

impl GcPlan {
    /// The committed snapshots that go.
    pub fn expiring(&self) -> impl Iterator<Item = &PlannedSnapshot> {
        self.snapshots.iter().filter(|snapshot| snapshot.keep.is_empty())
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GcReport {
    /// What was planned.
    pub plan: GcPlan,
    /// Committed snapshots that are being deleted for it; their objects go in the background.
    pub snapshots: u64,
    /// Objects of snapshots of which nothing may stay that are gone.
    pub swept_objects: u64,
    /// Uploads that were aborted.
    pub uploads: u64,
    /// Orphans that are gone.
    pub orphans: u64,
}
