//! Restores: putting a cluster back to a snapshot.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::{ClusterName, Generation, Incarnation, MemberName, RestoreId, SnapshotId};
use utoipa::ToSchema;

use crate::snapshot::Trigger;

/// Asks for a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRestore {
    /// The committed snapshot to go back to.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
}

/// Where a restore is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreState {
    /// Waits until every member of the snapshot is there.
    Planned,
    /// The members hold still, load and verify their parts.
    Preparing,
    /// The new generation is active (the commit point is passed); the members take up their parts.
    Resuming,
    /// Every member runs in the new generation.
    Completed,
    /// It was given up before the commit point; the generation is burned, nothing else changed.
    Failed,
}

impl RestoreState {
    /// Whether the restore is over, one way or the other.
    #[must_use]
    pub fn has_ended(self) -> bool {
        match self {
            Self::Planned | Self::Preparing | Self::Resuming => false,
            Self::Completed | Self::Failed => true,
        }
    }

    /// The state's name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Preparing => "preparing",
            Self::Resuming => "resuming",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// What a member has done for a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestorePhase {
    /// Nothing was heard of it yet.
    Waiting,
    /// Its part is loaded and verified.
    Prepared,
    /// It runs from its part.
    Running,
    /// It couldn't load its part.
    Failed,
}

/// One member's place in a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoreMember {
    /// The member.
    #[schema(value_type = String)]
    pub member: MemberName,
    /// The incarnation that takes up the part.
    #[schema(value_type = u64)]
    pub incarnation: Incarnation,
    /// What it has done.
    pub phase: RestorePhase,
    /// The bytes of its part, as stored.
    pub bytes: u64,
    /// What went wrong, with the key of the object.
    pub error: Option<String>,
}

/// A restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Restore {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: RestoreId,
    /// Its cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// The snapshot that the cluster is put back to.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// The generation it makes.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// Where it is in its life.
    pub state: RestoreState,
    /// What asked for it.
    pub trigger: Trigger,
    /// Why it failed, naming member and object.
    pub failure: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the new generation became active.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub resumed_at: Option<Timestamp>,
    /// When it was completed or failed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// When it is given up if the commit point isn't reached.
    #[schema(value_type = String, format = DateTime)]
    pub deadline_at: Timestamp,
    /// One entry a member of the snapshot.
    pub members: Vec<RestoreMember>,
}
