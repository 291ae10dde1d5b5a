//! Automatic rollbacks: how a cluster is put back by itself after the loss of a member, and how it goes on after that was given up.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::duration::HumanDuration;

/// How many rollbacks a cluster may have within its window, unless told.
pub const DEFAULT_ROLLBACK_LIMIT: u32 = 5;

/// The window, unless told.
pub const DEFAULT_ROLLBACK_WINDOW: HumanDuration = HumanDuration::from_millis(600_000);

/// The pause after the first rollback within the window, unless told.
pub const DEFAULT_ROLLBACK_BACKOFF: HumanDuration = HumanDuration::from_millis(1_000);

/// How a cluster is put back by itself (`on_loss: restore_latest`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackSettings {
    /// So many rollbacks that went through may begin within `window`; the next loss halts the cluster. 0 for any number.
    #[schema(default = 5, maximum = 1000)]
    pub limit: u32,
    /// Over which time they are counted.
    #[schema(value_type = String, default = "10m")]
    pub window: HumanDuration,
    /// The next rollback begins no sooner than so long after the last one began; twice as long after each more in the window, 1 min at most.
    /// The first is not put off.
    #[schema(value_type = String, default = "1s")]
    pub backoff: HumanDuration,
    /// How many older committed snapshots an automatic rollback may try when the latest proves unreadable.
    #[schema(default = 0, maximum = 16)]
    pub fallback: u32,
}

impl Default for RollbackSettings {
    fn default() -> Self {
        Self { limit: DEFAULT_ROLLBACK_LIMIT, window: DEFAULT_ROLLBACK_WINDOW, backoff: DEFAULT_ROLLBACK_BACKOFF, fallback: 0 }
    }
}

/// Has a halted cluster go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeCluster {
    /// How many older committed snapshots may be tried when the latest proves unreadable, or is known to be.
    #[serde(default)]
    #[schema(maximum = 16)]
    pub fallback: u32,
}
