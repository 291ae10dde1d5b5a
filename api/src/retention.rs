//! What is kept: a cluster's retention, and holds on snapshots.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::{ClusterName, HoldId, RestoreId, SnapshotId};
use utoipa::ToSchema;

use crate::duration::HumanDuration;

/// The largest count of a rule, and the largest floor.
pub const MAX_COUNT: u32 = 100_000;

/// The longest owner of a hold, in bytes.
pub const MAX_OWNER_BYTES: usize = 256;

/// The longest reason of a hold, in bytes.
pub const MAX_REASON_BYTES: usize = 1024;

/// How many holds a snapshot may have, expired ones included.
pub const MAX_HOLDS: usize = 100;

fn one() -> u32 {
    1
}

/// Which committed snapshots of a cluster are kept: those that any one rule keeps. At least one rule must be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Keeps the newest so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100000)]
    pub keep_last: Option<u32>,
    /// Keeps those that are no older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "7d")]
    pub keep_for: Option<HumanDuration>,
    /// Keeps the newest of each of the last so many hours (in UTC) that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100000)]
    pub hourly: Option<u32>,
    /// Keeps the newest of each of the last so many days (in UTC) that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100000)]
    pub daily: Option<u32>,
    /// Keeps the newest of each of the last so many weeks (Monday to Sunday, in UTC) that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100000)]
    pub weekly: Option<u32>,
    /// Never keeps fewer than so many, whatever the rules say: the newest.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 100000, default = 1)]
    pub floor: u32,
}

impl Retention {
    /// No rule at all, which is refused; to begin with.
    #[must_use]
    pub fn empty() -> Self {
        Self { keep_last: None, keep_for: None, hourly: None, daily: None, weekly: None, floor: one() }
    }

    /// Whether it is one that can be set.
    ///
    /// # Errors
    /// What was expected and found.
    pub fn check(&self) -> Result<(), String> {
        let counts = [
            ("keep_last", self.keep_last),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("floor", Some(self.floor)),
        ];
        for (field, count) in counts {
            if let Some(count) = count.filter(|count| !(1..=MAX_COUNT).contains(count)) {
                return Err(format!("{field} must be 1 to {MAX_COUNT}, found {count}"));
            }
        }
        if self.keep_for.is_none() && counts[..4].iter().all(|(_, count)| count.is_none()) {
            return Err(
                "a retention needs at least one of keep_last, keep_for, hourly, daily and weekly; to keep everything, delete \
                        the retention"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |count: Option<u32>, what: &str| count.map(|n| format!("{n} {what}"));
        let rules = [
            self.keep_last.map(|n| format!("the last {n}")),
            self.keep_for.map(|age| format!("those of the last {age}")),
            counted(self.hourly, "hourly"),
            counted(self.daily, "daily"),
            counted(self.weekly, "weekly"),
        ];
        let rules: Vec<String> = rules.into_iter().flatten().collect();
        write!(f, "{}; never fewer than {}", rules.join(", "), self.floor)
    }
}

/// A cluster's retention; null when everything is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterRetention {
    /// The cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// What is kept; null: everything.
    pub retention: Option<Retention>,
}

/// Why a committed snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Keep {
    /// The cluster has no retention: everything is kept.
    NoRetention,
    /// It is one of the newest (`keep_last`).
    Last,
    /// It is young enough (`keep_for`).
    Age,
    /// It is the newest of its hour (`hourly`).
    Hourly {
        /// When the hour began.
        #[schema(value_type = String, format = DateTime)]
        of: Timestamp,
    },
    /// It is the newest of its day (`daily`).
    Daily {
        /// When the day began.
        #[schema(value_type = String, format = DateTime)]
        of: Timestamp,
    },
    /// It is the newest of its week (`weekly`).
    Weekly {
        /// When the week began.
        #[schema(value_type = String, format = DateTime)]
        of: Timestamp,
    },
    /// Fewer would be left than the floor allows.
    Floor,
    /// Somebody holds it.
    Held {
        /// The hold.
        #[schema(value_type = String, format = Uuid)]
        hold: HoldId,
        /// Who holds it.
        owner: String,
        /// Why.
        reason: String,
    },
    /// It is the one that a rollback of the cluster goes back to.
    LatestCommitted,
    /// A restore of the cluster is under way: nothing goes until it has ended.
    RestoreUnderWay {
        /// The restore.
        #[schema(value_type = String, format = Uuid)]
        restore: RestoreId,
    },
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRetention => f.write_str("no retention"),
            Self::Last => f.write_str("last"),
            Self::Age => f.write_str("age"),
            Self::Hourly { of } => write!(f, "hourly {}", of.strftime("%Y-%m-%d %H:00")),
            Self::Daily { of } => write!(f, "daily {}", of.strftime("%Y-%m-%d")),
            Self::Weekly { of } => write!(f, "weekly {}", of.strftime("%G-W%V")),
            Self::Floor => f.write_str("floor"),
            Self::Held { owner, reason, .. } => write!(f, "held by {owner} ({reason})"),
            Self::LatestCommitted => f.write_str("latest committed"),
            Self::RestoreUnderWay { restore } => write!(f, "restore {restore}"),
        }
    }
}

/// Holds a snapshot: no retention and no request deletes it until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateHold {
    /// Who holds it: 1 to 256 bytes.
    pub owner: String,
    /// Why: 1 to 1024 bytes.
    pub reason: String,
    /// For how long, by the database's clock; until it is removed unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "90d")]
    pub expires_in: Option<HumanDuration>,
}

/// A hold on a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hold {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: HoldId,
    /// What is held.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// Who holds it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it holds nothing any more; null: not until it is removed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_without_a_rule_or_out_of_bounds_is_refused() {
        let with = |change: fn(&mut Retention)| {
            let mut retention = Retention::empty();
            change(&mut retention);
            retention.check()
        };
        assert!(Retention::empty().check().expect_err("no rule").contains("keep_last"));
        assert!(with(|r| r.keep_last = Some(0)).expect_err("0").contains("keep_last must be 1 to 100000"));
        assert!(with(|r| (r.daily, r.floor) = (Some(7), 0)).expect_err("0").contains("floor"));
        assert_eq!(with(|r| r.weekly = Some(MAX_COUNT)), Ok(()));
    }

    #[test]
    fn the_floor_is_one_unless_told() {
        let read: Retention = serde_json::from_str(r#"{"keep_for":"7d"}"#).expect("a retention");
        assert_eq!(read.floor, 1);
        assert!(serde_json::from_str::<Retention>(r#"{"keep_fro":"7d"}"#).is_err());
        assert_eq!(read.to_string(), "those of the last 168h; never fewer than 1");
    }
}
