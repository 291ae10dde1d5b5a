//! Clusters and their members.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::{ClusterName, Epoch, Generation, Incarnation, MemberId, MemberName, RestoreId, SnapshotId};
use utoipa::{IntoParams, ToSchema};

use crate::{
    channel_state::{Alignment, ChannelSettings, ChannelState},
    duration::{DurationOrZero, HumanDuration},
    rollback::RollbackSettings,
    waiting::UnderWay,
};

/// The largest cluster.
pub const MAX_MEMBERS: u32 = 10_000;

/// How long a snapshot may take unless the cluster or the request says otherwise.
pub const DEFAULT_SNAPSHOT_TIMEOUT: HumanDuration = HumanDuration::from_millis(60_000);

/// What to do when a member is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLoss {
    /// Put the cluster back to its latest committed snapshot as soon as the member is back.
    #[default]
    RestoreLatest,
    /// Halt the cluster until its members were started again and an operator has it go on, or starts a restore.
    Halt,
}

/// Where a cluster is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClusterPhase {
    /// Waits until `min_members` have registered.
    Forming,
    /// Its members process messages; snapshots can be taken.
    Running,
    /// It is being put back to a snapshot.
    Restoring,
    /// Needs an operator; `phase_reason` says why.
    Halted,
}

fn default_timeout() -> HumanDuration {
    DEFAULT_SNAPSHOT_TIMEOUT
}

fn default_concurrent() -> u32 {
    1
}

/// Settings of a new cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCluster {
    /// The cluster's name.
    #[schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$", example = "bank")]
    pub name: ClusterName,
    /// How many members must have registered before the cluster runs (1 to 10,000).
    #[schema(minimum = 1, maximum = 10_000, example = 4)]
    pub min_members: u32,
    /// How long a snapshot may take before it is aborted, unless its request says otherwise.
    #[serde(default = "default_timeout")]
    #[schema(value_type = String, example = "60s", default = "1m")]
    pub snapshot_timeout: HumanDuration,
    /// What to do when a member is lost.
    #[serde(default)]
    #[schema(inline, default = "restore_latest")]
    pub on_loss: OnLoss,
    /// A folder of the coordinator's archive that is to hold this cluster's snapshots, as an archive of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "team-a/bank")]
    pub archive_prefix: Option<String>,
    /// How many snapshots may be recording or committing at once (1 to 16).
    #[serde(default = "default_concurrent")]
    #[schema(minimum = 1, maximum = 16, default = 1)]
    pub max_concurrent: u32,
    /// The least time between the beginnings of two snapshots, whatever asked for them; `"0s"` for none.
    #[serde(default)]
    #[schema(value_type = String, example = "10s", default = "0s")]
    pub min_pause: DurationOrZero,
    /// How it is put back by itself.
    #[serde(default)]
    pub rollback: RollbackSettings,
    /// Who puts the messages under way at a cut into a snapshot. `sender_logged` excludes `aligned`.
    #[serde(default)]
    #[schema(inline, default = "marker")]
    pub channel_state: ChannelState,
    /// Whether members hold channels back so that there are none. Channels that form a cycle can't be aligned.
    #[serde(default)]
    #[schema(inline, default = "unaligned")]
    pub alignment: Alignment,
    /// With `aligned`: after so long a member stops waiting, cuts, and records what the channels still bring. Left out or null for as long as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2s")]
    pub aligned_timeout: Option<HumanDuration>,
}

impl CreateCluster {
    /// A cluster of this name that runs from so many members on, everything else as it is when left out.
    #[must_use]
    pub fn new(name: ClusterName, min_members: u32) -> Self {
        Self {
            name,
            min_members,
            snapshot_timeout: default_timeout(),
            on_loss: OnLoss::default(),
            archive_prefix: None,
            max_concurrent: default_concurrent(),
            min_pause: DurationOrZero::ZERO,
            rollback: RollbackSettings::default(),
            channel_state: ChannelState::default(),
            alignment: Alignment::default(),
            aligned_timeout: None,
        }
    }

    /// How the messages under way at a cut are to get into its snapshots.
    #[must_use]
    pub fn channels(&self) -> ChannelSettings {
        let Self { channel_state, alignment, aligned_timeout, .. } = self;
        ChannelSettings { channel_state: *channel_state, alignment: *alignment, aligned_timeout: *aligned_timeout }
    }
}

/// A cluster as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// The cluster's name.
    #[schema(value_type = String)]
    pub name: ClusterName,
    /// Where it is in its life.
    pub phase: ClusterPhase,
    /// Why it is in this phase, when there is something to say.
    pub phase_reason: Option<String>,
    /// The generation its members run in; 0 until it has run.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// The newest epoch that was allocated; 0 when none was.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// Raised by each change that agents must know.
    pub revision: u64,
    /// How many members must have registered before the cluster runs.
    pub min_members: u32,
    /// How many members are live.
    pub live_members: u32,
    /// How many members are suspect or lost.
    pub lost_members: u32,
    /// How long a snapshot may take.
    #[schema(value_type = String)]
    pub snapshot_timeout: HumanDuration,
    /// What happens when a member is lost.
    pub on_loss: OnLoss,
    /// The folder of the coordinator's archive that holds this cluster's snapshots.
    pub archive_prefix: Option<String>,
    /// How many snapshots may be recording or committing at once.
    #[serde(default = "default_concurrent")]
    pub max_concurrent: u32,
    /// The least time between the beginnings of two snapshots; `"0s"` for none.
    #[serde(default)]
    #[schema(value_type = String)]
    pub min_pause: DurationOrZero,
    /// The snapshots that are recording or committing now.
    #[serde(default)]
    pub under_way: Vec<UnderWay>,
    /// How many snapshots wait to begin.
    #[serde(default)]
    pub pending: u32,
    /// How it is put back by itself.
    pub rollback: RollbackSettings,
    /// Who is to put the messages under way at a cut into a snapshot, from the next generation on.
    #[serde(default)]
    pub channel_state: ChannelState,
    /// Whether members are to hold channels back so that there are none, from the next generation on.
    #[serde(default)]
    pub alignment: Alignment,
    /// With `aligned`: after how long a member is to stop waiting; null for never.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub aligned_timeout: Option<HumanDuration>,
    /// What the members of the active generation go by; null until the cluster has run.
    #[serde(default)]
    pub in_force: Option<ChannelSettings>,
    /// The latest committed snapshot.
    #[schema(value_type = Option<String>)]
    pub latest_committed: Option<SnapshotId>,
    /// The restore that is under way.
    #[schema(value_type = Option<String>)]
    pub restore: Option<RestoreId>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Whether a member is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// Its lease is held.
    Live,
    /// Its connection closed; it is lost unless it comes back within the grace period.
    Suspect,
    /// It didn't come back, or its lease ran out.
    Lost,
    /// It is leaving: it runs, and its peers send it nothing new.
    Leaving,
    /// It has left in good order.
    Left,
}

/// Asks a member to leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveRequest {
    /// Also if fewer than `min_members` would stay.
    #[serde(default)]
    pub force: bool,
}

/// A member as the coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Its name.
    #[schema(value_type = String)]
    pub name: MemberName,
    /// Its number in the cluster.
    #[schema(value_type = u32)]
    pub member_id: MemberId,
    /// The number of its latest registration.
    #[schema(value_type = u64)]
    pub incarnation: Incarnation,
    /// Whether it is there.
    pub state: MemberState,
    /// Whether an operator has asked it to leave.
    #[serde(default)]
    pub asked_to_leave: bool,
    /// Where its data plane listens, `host:port`.
    pub address: String,
    /// When this incarnation registered.
    #[schema(value_type = String, format = DateTime)]
    pub registered_at: Timestamp,
    /// When its lease was last renewed.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen_at: Timestamp,
    /// When its lease runs out unless renewed.
    #[schema(value_type = String, format = DateTime)]
    pub lease_expires_at: Timestamp,
}

/// Which page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// How many items at most (1 to 500, 50 unless told).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::bounded::limit")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
