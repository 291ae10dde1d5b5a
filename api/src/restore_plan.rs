//! What a restore would do, without doing it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::{ClusterName, Epoch, Generation, Incarnation, MemberName, RestoreId, SnapshotId};
use utoipa::ToSchema;

use crate::cluster::ClusterPhase;

/// How many snapshots a plan names as lost at most.
pub const MAX_LOST_SNAPSHOTS: usize = 500;

/// What a restore would do. Nothing was changed, and nothing is reserved: it is true of the moment it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestorePlan {
    /// The cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// Its phase now.
    pub phase: ClusterPhase,
    /// The snapshot that it would go back to.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// The snapshot's epoch.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// The generation that the snapshot was taken in.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// When all its parts were there.
    #[schema(value_type = String, format = DateTime)]
    pub taken_at: Timestamp,
    /// The bytes to be loaded, as stored.
    pub bytes: u64,
    /// One entry a member of the snapshot, under the name that would take up its part.
    pub members: Vec<PlannedMember>,
    /// The members that would have to leave, because they aren't in the snapshot.
    #[schema(value_type = Vec<String>)]
    pub leaving: Vec<MemberName>,
    /// What is missing from the archive, or isn't as recorded, as far as existence and length show it.
    pub unreadable: Vec<PlannedObject>,
    /// Why the archive couldn't be asked, if it couldn't.
    pub unavailable: Option<String>,
    /// What would be lost.
    pub lost: Lost,
    /// The restore that is under way, which has to end first.
    #[schema(value_type = Option<String>)]
    pub under_way: Option<RestoreId>,
    /// Whether it could begin now and, as far as can be seen, would succeed: every member is there, nothing is unreadable or unavailable, and no
    /// restore is under way.
    pub ready: bool,
}

/// Whether a member could take up its part now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlannedPresence {
    /// It is there.
    Live,
    /// It isn't; the restore would wait for it until its deadline.
    Away,
    /// No member of that name has registered, or it was put out by an earlier restore; the restore would wait for it until its deadline.
    Missing,
}

/// One member's place in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedMember {
    /// The member.
    #[schema(value_type = String)]
    pub member: MemberName,
    /// The member of the snapshot whose part it would take up.
    #[schema(value_type = String)]
    pub part: MemberName,
    /// Whether it is there.
    pub presence: PlannedPresence,
    /// Its incarnation, if it has registered.
    #[schema(value_type = Option<u64>)]
    pub incarnation: Option<Incarnation>,
    /// The bytes of the part, as stored.
    pub bytes: u64,
}

/// An object that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedObject {
    /// The member of the snapshot whose part it belongs to.
    #[schema(value_type = String)]
    pub part: MemberName,
    /// Its key.
    pub key: String,
    /// What was expected and what was found.
    pub detail: String,
}

/// What a restore would lose: everything since its snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lost {
    /// How much time, in milliseconds.
    pub since_ms: u64,
    /// The committed snapshots of later epochs, newest first. They stay in the archive and can be restored by their ids.
    pub snapshots: Vec<LostSnapshot>,
    /// Whether there are more than are named.
    pub more: bool,
}

/// A snapshot that a restore would leave behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LostSnapshot {
    /// The snapshot.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// Its epoch.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// When it was committed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub committed_at: Option<Timestamp>,
}
