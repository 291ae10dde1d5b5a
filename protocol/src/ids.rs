//! Numbers and identifiers. Each is a type of its own, so that none can be taken for another.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Visitor},
};
use uuid::Uuid;

macro_rules! number {
    ($(#[$doc:meta])* $type:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub $inner);

        impl $type {
            /// The number that comes after this one. Saturates at the type's maximum, which no system lives to see.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// The number itself.
            #[must_use]
            pub fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// The cluster-wide number of a snapshot: allocated by the coordinator in one total order, from 1, never reused. 0 is "none yet".
    Epoch(u64)
}
number! {
    /// The cluster-wide number that each restore raises. 0 is "not running yet"; the first running generation is 1.
    Generation(u64)
}
number! {
    /// The number of one registration of a member, from 1; it only grows.
    Incarnation(u64)
}
number! {
    /// The number of a message on its channel, from 1.
    Seq(u64)
}
number! {
    /// The number of a member name within its cluster, given at its first registration and never reused. Frames carry it instead of the name.
    MemberId(u32)
}

/// Text that is no id. Nothing was changed; pass another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no id: expected a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057")]
pub struct IdError {
    found: String,
}

/// Reads an id that is written as text.
struct Written;

impl Visitor<'_> for Written {
    type Value = Uuid;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a UUID such as \"01890a5d-ac96-774b-bcce-b302099a8057\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Uuid, E> {
        uuid(text).map_err(E::custom)
    }
}

fn uuid(text: &str) -> Result<Uuid, IdError> {
    text.parse().map_err(|_| IdError { found: text.chars().take(100).collect() })
}

macro_rules! id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(pub Uuid);

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let uuid =
                    if deserializer.is_human_readable() { deserializer.deserialize_str(Written) } else { Uuid::deserialize(deserializer) };
                uuid.map(Self)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $type {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                uuid(text).map(Self)
            }
        }
    };
}

id! {
    /// The id of a snapshot, a UUIDv7 (RFC 9562).
    SnapshotId
}
id! {
    /// The id of a restore, a UUIDv7 (RFC 9562).
    RestoreId
}
id! {
    /// The id of a hold on a snapshot, a UUIDv7 (RFC 9562).
    HoldId
}
