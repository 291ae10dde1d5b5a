//! Schedules of periodic snapshots.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::{ClusterName, SnapshotId, name::ScheduleName};
use utoipa::{IntoParams, ToSchema};

use crate::duration::{DurationOrZero, HumanDuration};

/// The shortest interval of a schedule.
pub const MIN_EVERY: HumanDuration = HumanDuration::from_millis(50);

/// A slot that is decided so much after its time was missed, not late.
pub const LATE_AFTER: HumanDuration = HumanDuration::from_millis(60_000);

/// How many of the next slots a schedule shows.
pub const SHOWN_SLOTS: usize = 5;

/// How many of the next slots can be asked for.
pub const MAX_SLOTS: u32 = 100;

/// The longest cron expression, in bytes.
pub const MAX_CRON_BYTES: usize = 200;

/// What becomes of a slot at whose time a snapshot can't begin at once: no slot of the cluster is free, others wait, or the cluster's `min_pause`
/// isn't over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnOverlap {
    /// It takes no snapshot.
    #[default]
    Skip,
    /// Its snapshot waits its turn as `pending`; but no second one of the same schedule does.
    Queue,
}

/// What becomes of slots that were missed: nobody was there to decide them until a minute after their time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// They take no snapshot; the schedule goes on with the next slot.
    #[default]
    Skip,
    /// One snapshot is taken for all of them together, as soon as it can be.
    Once,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// Sets a schedule. Exactly one of `every` and `cron` says when its slots are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutSchedule {
    /// The interval between slots, at least 50 ms. A day is 24 hours, whatever the clocks do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "30s")]
    pub every: Option<HumanDuration>,
    /// A cron expression of five fields: minute, hour, day of the month, month, day of the week (or `@hourly`, `@daily`, ...), in the time of `time_zone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "30 2 * * *", max_length = 200)]
    pub cron: Option<String>,
    /// The IANA time zone that `cron` is read in.
    #[serde(default = "utc")]
    #[schema(default = "UTC", example = "Europe/Berlin")]
    pub time_zone: String,
    /// Each slot fires later by a part of this, always the same for a slot, and never as late as the next slot; `"0s"` for none.
    #[serde(default)]
    #[schema(value_type = String, default = "0s", example = "30s")]
    pub jitter: DurationOrZero,
    /// A slot that comes sooner than this after the beginning of the cluster's latest snapshot, whatever asked for that, is skipped; `"0s"` for none.
    #[serde(default)]
    #[schema(value_type = String, default = "0s")]
    pub min_pause: DurationOrZero,
    /// How long each snapshot may take; the cluster's `snapshot_timeout` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub timeout: Option<HumanDuration>,
    /// Labels of each snapshot: at most 32, keys and values of at most 256 bytes.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What becomes of a slot at whose time a snapshot can't begin at once.
    #[serde(default)]
    #[schema(inline, default = "skip")]
    pub on_overlap: OnOverlap,
    /// What becomes of slots that were missed.
    #[serde(default)]
    #[schema(inline, default = "skip")]
    pub misfire: Misfire,
}

impl PutSchedule {
    fn new(every: Option<HumanDuration>, cron: Option<String>) -> Self {
        Self {
            every,
            cron,
            time_zone: utc(),
            jitter: DurationOrZero::ZERO,
            min_pause: DurationOrZero::ZERO,
            timeout: None,
            labels: BTreeMap::new(),
            on_overlap: OnOverlap::default(),
            misfire: Misfire::default(),
        }
    }

    /// A slot every so often, everything else as it is when left out.
    #[must_use]
    pub fn every(every: HumanDuration) -> Self {
        Self::new(Some(every), None)
    }

    /// Slots by a cron expression in this time zone, everything else as it is when left out.
    #[must_use]
    pub fn cron(cron: impl Into<String>, time_zone: impl Into<String>) -> Self {
        Self { time_zone: time_zone.into(), ..Self::new(None, Some(cron.into())) }
    }
}

/// A schedule. Each slot fires at most once, over all replicas of the coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ScheduleName,
    /// Its cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// The interval between slots; null when `cron` says when they are.
    #[schema(value_type = Option<String>)]
    pub every: Option<HumanDuration>,
    /// When its slots are; null when they are at an interval.
    #[serde(default)]
    pub cron: Option<String>,
    /// The time zone that `cron` is read in.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// By how much a slot fires later, at most.
    #[serde(default)]
    #[schema(value_type = String)]
    pub jitter: DurationOrZero,
    /// How long after the beginning of the cluster's latest snapshot slots are skipped.
    #[serde(default)]
    #[schema(value_type = String)]
    pub min_pause: DurationOrZero,
    /// How long each snapshot may take.
    #[schema(value_type = Option<String>)]
    pub timeout: Option<HumanDuration>,
    /// Labels of each snapshot.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What becomes of a slot at whose time a snapshot can't begin at once.
    #[serde(default)]
    pub on_overlap: OnOverlap,
    /// What becomes of slots that were missed.
    #[serde(default)]
    pub misfire: Misfire,
    /// Whether it is paused just now.
    #[serde(default)]
    pub paused: bool,
    /// Until when it is paused; null when it isn't, or until it is resumed.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub paused_until: Option<Timestamp>,
    /// When the next slot fires, jitter included; null while it is paused without an end.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<Timestamp>,
    /// When the next five slots fire.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub next: Vec<Timestamp>,
    /// The last slot that was decided.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_slot_at: Option<Timestamp>,
    /// The last snapshot it took.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub last_snapshot: Option<SnapshotId>,
    /// Why the last slot took no snapshot, if it didn't.
    pub last_skip: Option<String>,
    /// How many slots went by that nobody was there to decide.
    #[serde(default)]
    pub missed: u64,
    /// The latest of them.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_missed_at: Option<Timestamp>,
    /// When it was first set.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Pauses a schedule: until a time, for a while, or until it is resumed. The body may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseSchedule {
    /// Until when: the first slot from then on fires.
    #[serde(default, deserialize_with = "crate::moment::optional", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// For how long, by the database's clock.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2h")]
    pub for_duration: Option<HumanDuration>,
}

/// How many of the next slots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct NextQuery {
    /// How many (1 to 100, 5 unless told).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

/// One of the next slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextSlot {
    /// The slot.
    #[schema(value_type = String, format = DateTime)]
    pub slot_at: Timestamp,
    /// When it fires: the slot, later by its part of the jitter.
    #[schema(value_type = String, format = DateTime)]
    pub fires_at: Timestamp,
}
