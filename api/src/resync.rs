//! Resync: a catalog rebuilt from the archive alone, or brought up to what the archive proves.

use serde::{Deserialize, Serialize};
use stillframe_protocol::{ClusterName, Epoch, Generation, Incarnation, MemberName, SnapshotId};
use utoipa::ToSchema;

use crate::snapshot::SnapshotState;

/// Asks for a resync. The body may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResyncArchive {
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a resync did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResyncReport {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// How many manifests the archive has.
    pub manifests: u64,
    /// The clusters that were rebuilt, because the database didn't have them.
    pub rebuilt: Vec<RebuiltCluster>,
    /// The snapshots that were taken up.
    pub taken_up: Vec<TakenUpSnapshot>,
    /// What was found and not taken up.
    pub rejected: Vec<Rejected>,
    /// Committed snapshots of the database that have no manifest in the archive: they can't be verified, and probably not be restored.
    pub without_manifest: Vec<MissingManifest>,
}

/// A cluster that was rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RebuiltCluster {
    /// The cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// The folder of the archive that it is in.
    pub archive_prefix: Option<String>,
    /// Its members, as its snapshots have them.
    #[schema(value_type = Vec<String>)]
    pub members: Vec<MemberName>,
    /// What the archive can't tell and was put to a default: look at it.
    pub defaults: Vec<String>,
    /// New epochs are above it.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// New generations are above it.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// New incarnations are above it.
    #[schema(value_type = u64)]
    pub incarnation: Incarnation,
}

/// A snapshot that was taken up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TakenUpSnapshot {
    /// Its cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// The snapshot.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// Its epoch.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// What the database took it for; null when it didn't know it.
    pub was: Option<SnapshotState>,
}

/// What was found and not taken up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rejected {
    /// The folder of the archive.
    pub archive_prefix: Option<String>,
    /// The cluster, where it is about one.
    #[schema(value_type = Option<String>)]
    pub cluster: Option<ClusterName>,
    /// The snapshot, where it is about one.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub snapshot: Option<SnapshotId>,
    /// Everything that is wrong.
    pub problems: Vec<String>,
}

/// A committed snapshot without a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissingManifest {
    /// Its cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// The snapshot.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
}
