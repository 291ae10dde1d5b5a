//! Restores: putting a cluster back to a snapshot.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::{ClusterName, Generation, Incarnation, MemberName, RestoreId, SnapshotId};
use utoipa::ToSchema;

use crate::{duration::HumanDuration, snapshot::Trigger};

/// How often a member tries again to load its part, unless told.
pub const DEFAULT_RETRIES: u32 = 3;

/// The most that `retries` may be.
pub const MAX_RETRIES: u32 = 100;

/// The most that `fallback` may be.
pub const MAX_FALLBACK: u32 = 16;

/// Asks for a restore: to exactly one of `snapshot`, `latest` and `before`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRestore {
    /// The committed snapshot to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub snapshot: Option<SnapshotId>,
    /// Go back to the snapshot that a rollback would go to: the cluster's `latest_committed`.
    #[serde(default)]
    pub latest: bool,
    /// Go back to the newest committed snapshot all parts of which were there at this time: nothing in it is of later.
    #[serde(default, deserialize_with = "crate::moment::optional", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-03-01T14:00:00Z")]
    pub before: Option<Timestamp>,
    /// Answer with the plan, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// How long each snapshot that is tried may take to the commit point; the coordinator's setting unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "1m")]
    pub timeout: Option<HumanDuration>,
    /// How many older committed snapshots may be tried, one after the other, when the chosen one proves unreadable.
    #[serde(default)]
    #[schema(maximum = 16)]
    pub fallback: u32,
    /// How often each member tries again when it can't load its part for a reason that may pass; 3 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 100)]
    pub retries: Option<u32>,
    /// Members of the snapshot whose parts are taken up under other names: `{"<name in the snapshot>": "<name now>"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub mapping: BTreeMap<MemberName, MemberName>,
}

impl StartRestore {
    /// To this snapshot, with every default.
    #[must_use]
    pub fn to(snapshot: SnapshotId) -> Self {
        Self { snapshot: Some(snapshot), ..Self::default() }
    }

    /// To the snapshot that a rollback would go to.
    #[must_use]
    pub fn to_latest() -> Self {
        Self { latest: true, ..Self::default() }
    }
}

/// Gives a restore up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRestore {
    /// Why, for the audit and for `failure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024)]
    pub why: Option<String>,
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

/// Why a restore failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreFailure {
    /// An object of the snapshot is missing, or isn't what was recorded: trying again won't help, another snapshot will.
    Unreadable,
    /// The archive couldn't be reached, however often it was tried: the snapshot itself may be sound.
    Unavailable,
    /// A member can't load parts: its temporary directory, its credentials or its settings.
    MemberFailed,
    /// The commit point wasn't reached by the deadline.
    DeadlineExceeded,
    /// Somebody asked for it.
    Cancelled,
}

impl RestoreFailure {
    /// The reason's name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Unavailable => "unavailable",
            Self::MemberFailed => "member_failed",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A snapshot that proved unreadable while a restore tried it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnreadableSnapshot {
    /// The snapshot.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// The member that found out.
    #[schema(value_type = String)]
    pub member: MemberName,
    /// What is wrong, with the key of the object, what was expected and what was found.
    pub detail: String,
}

/// What a member has done for a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestorePhase {
    /// Nothing was heard of it yet.
    Waiting,
    /// It loads its part; `loaded_bytes` says how far it is.
    Loading,
    /// It couldn't load its part for a reason that may pass, and will be asked to try again.
    Retrying,
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
    /// The member of the snapshot whose part it takes up; another name only with a mapping.
    #[schema(value_type = String)]
    pub part: MemberName,
    /// What it has done.
    pub phase: RestorePhase,
    /// The bytes of its part, as stored.
    pub bytes: u64,
    /// How many of them it has loaded, as far as it has said; large parts only, until it is prepared.
    pub loaded_bytes: u64,
    /// How often it has tried again.
    pub retries: u32,
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
    /// Why it failed, as a word; set exactly when it has failed.
    pub failure_reason: Option<RestoreFailure>,
    /// How many more older snapshots may be tried if this one proves unreadable.
    pub fallback: u32,
    /// How often each member tries again when it can't load its part for a reason that may pass.
    pub retries: u32,
    /// Members of the snapshot whose parts are taken up under other names.
    #[schema(value_type = BTreeMap<String, String>)]
    pub mapping: BTreeMap<MemberName, MemberName>,
    /// The snapshots that were tried before this one, or this one, and proved unreadable.
    pub unreadable: Vec<UnreadableSnapshot>,
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
