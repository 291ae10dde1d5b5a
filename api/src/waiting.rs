//! What a snapshot that is pending waits for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::{MemberName, SnapshotId};
use utoipa::ToSchema;

use crate::snapshot::SnapshotState;

/// How many snapshots of a cluster may be pending.
pub const MAX_PENDING: u32 = 16;

/// A snapshot that takes one of the cluster's `max_concurrent` slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnderWay {
    /// The snapshot.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// `recording` or `committing`.
    pub state: SnapshotState,
    /// Since when it is in that state.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// What the archive last said against its manifest, while it is committing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_error: Option<String>,
}

/// What the first of the pending snapshots waits for; those behind it wait for it besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WaitsFor {
    /// Every slot is taken.
    Slot {
        /// By these.
        held_by: Vec<UnderWay>,
    },
    /// Every slot is taken, and by snapshots that have all their parts: only the archive has to take their manifests.
    Archive {
        /// By these.
        held_by: Vec<UnderWay>,
    },
    /// The cluster's `min_pause` since the beginning of the snapshot before isn't over.
    MinPause {
        /// When it is.
        #[schema(value_type = String, format = DateTime)]
        until: Timestamp,
    },
    /// Members are lost, and all of them are needed.
    Members {
        /// These.
        #[schema(value_type = Vec<String>)]
        lost: Vec<MemberName>,
    },
    /// The cluster isn't running.
    Cluster {
        /// Its phase, and why.
        reason: String,
    },
}
