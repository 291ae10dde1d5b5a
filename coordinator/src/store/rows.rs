//! What is read for answers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use stillframe_api::waiting::UnderWay;
use stillframe_protocol::{ClusterName, Incarnation, MemberId, MemberName, RestoreId};

use crate::decide::facts::{
    ClusterFacts, CollectionState, LeaveWish, LeavingFacts, Presence, RestoreFacts, ScheduleFacts, SnapshotFacts, Standing,
};

/// A cluster, with how many members are there.
#[derive(Debug, Clone, Deserialize)]
pub struct ClusterRow {
    /// The cluster.
    #[serde(flatten)]
    pub facts: ClusterFacts,
    /// How many members are live.
    pub live_members: u32,
    /// How many are lost.
    pub lost_members: u32,
    /// The snapshots that take a slot.
    pub under_way: Vec<UnderWay>,
    /// How many snapshots wait.
    pub pending: u32,
    /// The restore that is under way.
    pub restore: Option<RestoreId>,
}

/// A member, with its lease.
#[derive(Debug, Clone, Deserialize)]
pub struct MemberRow {
    /// Its name.
    pub name: MemberName,
    /// Its number.
    pub member_id: MemberId,
    /// Its latest registration.
    pub incarnation: Incarnation,
    /// Whether it is there.
    pub state: Presence,
    /// Where its data plane listens.
    pub address: String,
    /// When this incarnation registered.
    pub registered_at: Timestamp,
    /// When its lease was renewed.
    pub last_seen_at: Timestamp,
    /// When it runs out.
    pub lease_expires_at: Timestamp,
    /// What it is to the cluster.
    pub standing: Standing,
    /// Whether an operator has asked it to leave.
    pub leave_wish: Option<LeaveWish>,
    /// Whether it is leaving.
    pub leaving: Option<LeavingFacts>,
}

/// A part, as much as answers say of it.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct PartSummary {
    /// The bytes of its objects, as stored.
    pub bytes: u64,
    /// When it was reported.
    pub reported_at: Timestamp,
}

/// A snapshot, with what its members have done.
#[derive(Debug, Clone)]
pub struct SnapshotRow {
    /// The database's clock.
    pub now: Timestamp,
    /// Its cluster.
    pub cluster: ClusterName,
    /// The snapshot.
    pub facts: SnapshotFacts,
    /// The bytes of all parts.
    pub bytes: u64,
    /// Its parts; empty in lists.
    pub parts: BTreeMap<MemberName, PartSummary>,
}

/// Whether anything may be deleted from the archive.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CollectionRow {
    /// Whether it may.
    #[serde(flatten)]
    pub state: CollectionState,
    /// Since when.
    pub changed_at: Timestamp,
}

/// A restore.
#[derive(Debug, Clone, Deserialize)]
pub struct RestoreRow {
    /// Its cluster.
    pub cluster: ClusterName,
    /// The bytes of the parts of its snapshot, as stored, by the names in the snapshot.
    pub part_bytes: BTreeMap<MemberName, u64>,
    /// The restore.
    #[serde(flatten)]
    pub facts: RestoreFacts,
}

/// A schedule.
#[derive(Debug, Clone, Deserialize)]
pub struct ScheduleRow {
    /// Its cluster.
    pub cluster: ClusterName,
    /// The database's clock.
    pub now: Timestamp,
    /// The schedule.
    #[serde(flatten)]
    pub facts: ScheduleFacts,
}
