//! Names of clusters, members and schedules.
//!
//! They end up in object keys, URLs and metric labels, so one rule holds for all of them:
//! `[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?`, and no `..`.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The longest name, in bytes (names are ASCII).
pub const MAX_NAME_BYTES: usize = 64;

/// The rule of names as a regular expression, for schemas. `..` is refused besides.
pub const NAME_PATTERN: &str = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$";

/// A name that breaks the rule. Nothing was changed; pass another name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} name {found:?} is not allowed: expected 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning and ending with a letter or digit, without '..'"
)]
pub struct NameError {
    what: &'static str,
    found: String,
}

fn check(what: &'static str, name: &str) -> Result<(), NameError> {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    let fine = (1..=MAX_NAME_BYTES).contains(&bytes.len())
        && bytes.iter().all(|b| alphanumeric(b) || matches!(b, b'.' | b'_' | b'-'))
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && !name.contains("..");
    if fine { Ok(()) } else { Err(NameError { what, found: name.chars().take(100).collect() }) }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// [`NameError`] when the name breaks the rule of this module.
            pub fn new(name: impl AsRef<str>) -> Result<Self, NameError> {
                let name = name.as_ref();
                check($what, name)?;
                Ok(Self(name.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    };
}

name! {
    /// The name of a cluster, unique in a coordinator's database.
    ClusterName, "cluster"
}
name! {
    /// The stable name of a member, unique in its cluster.
    MemberName, "member"
}
name! {
    /// The name of a schedule, unique in its cluster.
    ScheduleName, "schedule"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_keys_and_metrics_are_taken() {
        for name in ["a", "p1", "a.b-c_d", "0", &"x".repeat(64)] {
            assert_eq!(MemberName::new(name).map(|n| n.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn names_that_break_keys_are_refused_with_what_was_expected() {
        for name in ["", "A", "a/b", "-a", "a-", "a..b", ".", "ä", &"x".repeat(65)] {
            let error = ClusterName::new(name).expect_err(name);
            assert!(error.to_string().starts_with("cluster name"), "{error}");
        }
    }
}
