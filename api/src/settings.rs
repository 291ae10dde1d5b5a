//! Changing what a cluster, or a snapshot that is being taken, goes by, while it does.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    cluster::OnLoss,
    duration::{DurationOrZero, HumanDuration},
};

/// The most snapshots of a cluster that may be recording or committing at once.
pub const MAX_CONCURRENT: u32 = 16;

/// Changes settings of a cluster. A field that is left out stays as it is; what changes applies at once, also to snapshots that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateCluster {
    /// How many members must have registered before the cluster runs (1 to 10,000). A cluster that runs already goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000)]
    pub min_members: Option<u32>,
    /// How long a snapshot may take unless its request says otherwise. Applies to those that are pending, not to those that are recording:
    /// change these one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2m")]
    pub snapshot_timeout: Option<HumanDuration>,
    /// What to do when a member is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_loss: Option<OnLoss>,
    /// How many snapshots may be recording or committing at once (1 to 16). With fewer than are under way, those go on and none begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 16)]
    pub max_concurrent: Option<u32>,
    /// The least time between the beginnings of two snapshots; `"0s"` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "10s")]
    pub min_pause: Option<DurationOrZero>,
}

/// Changes a snapshot that is pending or recording. A field that is left out stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateSnapshot {
    /// How long it may take. Counted from when recording began; while it is pending, from when it could have begun at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "5m")]
    pub timeout: Option<HumanDuration>,
}
