//! Schedules of periodic snapshots.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::{ClusterName, SnapshotId, name::ScheduleName};
use utoipa::ToSchema;

use crate::duration::HumanDuration;

/// The shortest interval of a schedule.
pub const MIN_EVERY: HumanDuration = HumanDuration::from_millis(50);

/// Sets a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutSchedule {
    /// The interval between slots, at least 50 ms.
    #[schema(value_type = String, example = "30s")]
    pub every: HumanDuration,
    /// How long each snapshot may take; the cluster's `snapshot_timeout` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub timeout: Option<HumanDuration>,
}

/// A schedule. Each slot fires at most once; a slot that comes while a snapshot of the cluster is under way, or while the cluster isn't
/// running, is skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ScheduleName,
    /// Its cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// The interval between slots.
    #[schema(value_type = String)]
    pub every: HumanDuration,
    /// How long each snapshot may take.
    #[schema(value_type = Option<String>)]
    pub timeout: Option<HumanDuration>,
    /// The next slot.
    #[schema(value_type = String, format = DateTime)]
    pub next_at: Timestamp,
    /// The last slot that was decided.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_slot_at: Option<Timestamp>,
    /// The snapshot of the last slot that took one.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub last_snapshot: Option<SnapshotId>,
    /// Why the last slot was skipped, if it was.
    pub last_skip: Option<String>,
    /// When it was first set.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}
