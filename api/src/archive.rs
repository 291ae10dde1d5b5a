//! The archive of a coordinator: which it is, and what its store was found to do.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_archive::Probe;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::HumanDuration;

/// A coordinator's archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArchiveInfo {
    /// The archive's id, to be found in its `format.json`.
    pub id: Uuid,
    /// Where it is (`file://...` or `s3://...`, never with credentials).
    pub url: String,
    /// The number of its format.
    pub format: u32,
    /// What this replica found its store to do; null until that was tried out.
    pub probe: Option<ArchiveProbe>,
}

/// What came of writers who each wanted to create the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreateIfAbsent {
    /// Exactly one of them did.
    Exclusive,
    /// Several were told that they did: the condition is ignored, or races. Nothing rests on it; it is a guard less.
    Ignored,
    /// The store refuses conditions. Nothing rests on them; it is a guard less.
    Unsupported,
}

impl CreateIfAbsent {
    /// Its name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        stillframe_archive::CreateIfAbsent::from(self).as_str()
    }
}

impl From<stillframe_archive::CreateIfAbsent> for CreateIfAbsent {
    fn from(found: stillframe_archive::CreateIfAbsent) -> Self {
        match found {
            stillframe_archive::CreateIfAbsent::Exclusive => Self::Exclusive,
            stillframe_archive::CreateIfAbsent::Ignored => Self::Ignored,
            stillframe_archive::CreateIfAbsent::Unsupported => Self::Unsupported,
        }
    }
}

impl From<CreateIfAbsent> for stillframe_archive::CreateIfAbsent {
    fn from(found: CreateIfAbsent) -> Self {
        match found {
            CreateIfAbsent::Exclusive => Self::Exclusive,
            CreateIfAbsent::Ignored => Self::Ignored,
            CreateIfAbsent::Unsupported => Self::Unsupported,
        }
    }
}

/// What a store was found to do. That it keeps what it acknowledges isn't among it: a coordinator serves no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArchiveProbe {
    /// When it was tried out, by the clock of the coordinator's machine.
    #[schema(value_type = String, format = DateTime)]
    pub probed_at: Timestamp,
    /// How long all of it took.
    #[schema(value_type = String)]
    pub took: HumanDuration,
    /// How long the put of 1 KiB took.
    #[schema(value_type = String)]
    pub put_took: HumanDuration,
    /// Several writers who wanted to create the same key.
    pub create_if_absent: CreateIfAbsent,
    /// Whether a listing shows what was just put, and doesn't show what was just deleted.
    pub list_is_current: bool,
    /// Whether objects can be put in pieces; without, no object of more than 8 MiB can be stored.
    pub multipart: bool,
    /// Whether objects can be deleted; without, nothing is ever collected.
    pub delete: bool,
}

impl From<Probe> for ArchiveProbe {
    fn from(found: Probe) -> Self {
        Self {
            probed_at: found.probed_at,
            took: HumanDuration::from_millis(found.took_ms),
            put_took: HumanDuration::from_millis(found.put_ms),
            create_if_absent: found.create_if_absent.into(),
            list_is_current: found.list_is_current,
            multipart: found.multipart,
            delete: found.delete,
        }
    }
}
