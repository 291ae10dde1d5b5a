//! Changing what a cluster, or a snapshot that is being taken, goes by, while it does.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::{
    channel_state::{Alignment, ChannelState},
    cluster::OnLoss,
    duration::{DurationOrZero, HumanDuration},
};

/// The most snapshots of a cluster that may be recording or committing at once.
pub const MAX_CONCURRENT: u32 = 16;

/// Changes settings of a cluster. A field that is left out stays as it is; what changes applies at once, also to snapshots that wait. Only
/// `channel_state`, `alignment` and `aligned_timeout` take effect with the next generation, which a restore makes: until then `in_force` is what the members go by.
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
    /// How it is put back by itself; what is left out of it stays, too. A cluster that has halted at the limit goes on when `limit` or `window` allow
    /// for it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<UpdateRollback>,
    /// Who puts the messages under way at a cut into a snapshot, from the next generation on. `sender_logged` excludes `aligned`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_state: Option<ChannelState>,
    /// Whether members hold channels back so that there are none, from the next generation on. Refused where the channels of the latest committed
    /// snapshot form a cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alignment: Option<Alignment>,
    /// With `aligned`, from the next generation on: after so long a member stops waiting, cuts, and records what the channels still bring; null for
    /// as long as it takes.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2s")]
    pub aligned_timeout: Option<Option<HumanDuration>>,
}

/// Tells a null from a field that is left out.
fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Changes how a cluster is put back by itself. A field that is left out stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRollback {
    /// So many rollbacks that went through may begin within `window`; the next loss halts the cluster. 0 for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1000)]
    pub limit: Option<u32>,
    /// Over which time they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "10m")]
    pub window: Option<HumanDuration>,
    /// The next rollback begins no sooner than so long after the last one began; twice as long after each more in the window, 1 min at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "1s")]
    pub backoff: Option<HumanDuration>,
    /// How many older committed snapshots an automatic rollback may try when the latest proves unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 16)]
    pub fallback: Option<u32>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_that_is_null_is_told_from_one_that_is_left_out() {
        let read = |json: &str| serde_json::from_str::<UpdateCluster>(json).expect("changes").aligned_timeout;
        let two = "2s".parse().expect("a duration");
        for (json, expected) in
            [("{}", None), (r#"{"aligned_timeout":null}"#, Some(None)), (r#"{"aligned_timeout":"2s"}"#, Some(Some(two)))]
        {
            assert_eq!(read(json), expected, "{json}");
            let changes = UpdateCluster { aligned_timeout: expected, ..UpdateCluster::default() };
            assert_eq!(serde_json::to_string(&changes).expect("JSON"), json);
        }
    }
}
