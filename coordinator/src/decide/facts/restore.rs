//! Restores, and what they may go back to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_api::{
    restore::{RestoreFailure, RestorePhase, RestoreState, UnreadableSnapshot},
    snapshot::Trigger,
};
use stillframe_protocol::{Generation, Incarnation, MemberName, RestoreId, SnapshotId};

/// A committed snapshot that a restore may fall back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OlderFacts {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its members.
    pub view: BTreeSet<MemberName>,
}

/// What a restore found wrong with a committed snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableFacts {
    /// The restore that found out.
    pub restore: RestoreId,
    /// The member that found out.
    pub member: MemberName,
    /// What is wrong, with the key of the object.
    pub detail: String,
    /// When it was found.
    pub found_at: Timestamp,
}

/// An automatic restore of the recent past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackFacts {
    /// When it was begun.
    pub created_at: Timestamp,
    /// Whether it reached its commit point.
    pub went_through: bool,
}

/// A member's place in a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreMemberFacts {
    /// The member of the snapshot whose part it takes up, where that had another name.
    #[serde(default)]
    pub part: Option<MemberName>,
    /// The incarnation that takes up the part; 0 until the member is there.
    pub incarnation: Incarnation,
    /// What it has done.
    pub phase: RestorePhase,
    /// The bytes of its part that it has loaded, as stored.
    pub bytes: u64,
    /// How often it was asked to try again.
    #[serde(default)]
    pub attempt: u32,
    /// What went wrong.
    pub error: Option<String>,
}

/// A restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreFacts {
    /// Its id.
    pub id: RestoreId,
    /// The snapshot it goes back to.
    pub snapshot: SnapshotId,
    /// The generation it makes.
    pub generation: Generation,
    /// Where it is in its life.
    pub state: RestoreState,
    /// What asked for it.
    pub trigger: Trigger,
    /// Why it failed.
    pub failure: Option<String>,
    /// Why it failed, as a word.
    pub failure_reason: Option<RestoreFailure>,
    /// How many more older snapshots may be tried.
    pub fallback: u32,
    /// How often each member may try again.
    pub retries: u32,
    /// How long each snapshot that is tried may take, in milliseconds.
    pub timeout_ms: u64,
    /// Members of the snapshot that have other names now.
    pub mapping: BTreeMap<MemberName, MemberName>,
    /// The snapshots that were tried and proved unreadable.
    pub tried: Vec<UnreadableSnapshot>,
    /// When the members that couldn't load their parts are asked to try again.
    pub retry_at: Option<Timestamp>,
    /// The members of the snapshot, by the names they have now.
    pub members: BTreeMap<MemberName, RestoreMemberFacts>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the new generation became active.
    pub resumed_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When it is given up if the commit point isn't reached.
    pub deadline_at: Timestamp,
}
