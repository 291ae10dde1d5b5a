//! Schedules.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_api::schedule::{Misfire, OnOverlap};
use stillframe_protocol::{SnapshotId, name::ScheduleName};

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleFacts {
    /// Its name.
    pub name: ScheduleName,
    /// The interval between slots, in milliseconds; or
    pub every_ms: Option<u64>,
    /// the cron expression that names them.
    pub cron: Option<String>,
    /// The time zone that it is read in.
    pub time_zone: String,
    /// By how much a slot fires later at most, in milliseconds.
    pub jitter_ms: u64,
    /// How long after the beginning of the cluster's latest snapshot slots are skipped, in milliseconds.
    pub min_pause_ms: u64,
    /// How long each snapshot may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Labels of each snapshot.
    pub labels: BTreeMap<String, String>,
    /// What becomes of a slot at whose time a snapshot can't begin at once.
    pub on_overlap: OnOverlap,
    /// What becomes of slots that were missed.
    pub misfire: Misfire,
    /// Whether it is paused until it is resumed.
    pub paused: bool,
    /// Until when it is paused; its next slot is the first from then on.
    pub paused_until: Option<Timestamp>,
    /// When the next slot fires.
    pub next_at: Timestamp,
    /// The next slot, when it is earlier than that.
    pub next_slot_at: Option<Timestamp>,
    /// The last slot that was decided.
    pub last_slot_at: Option<Timestamp>,
    /// The last snapshot it took.
    pub last_snapshot: Option<SnapshotId>,
    /// Why the last slot was skipped.
    pub last_skip: Option<String>,
    /// How many slots went by that nobody was there to decide.
    pub missed: u64,
    /// The latest of them.
    pub last_missed_at: Option<Timestamp>,
    /// When it was first set.
    pub created_at: Timestamp,
}

impl ScheduleFacts {
    /// The next slot. Without jitter that is when it fires, also where a replica of an earlier release has set it.
    #[must_use]
    pub fn next_slot(&self) -> Timestamp {
        if self.jitter_ms == 0 { self.next_at } else { self.next_slot_at.unwrap_or(self.next_at) }
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self, now: Timestamp) -> bool {
        self.paused || self.paused_until.is_some_and(|until| until > now)
    }
}
