//! Setting, pausing, resuming, triggering and deleting schedules.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stillframe_api::{
    schedule::{Misfire, OnOverlap},
    snapshot::Trigger,
};
use stillframe_protocol::name::ScheduleName;

use super::timing::{Timing, Unfit};
use crate::decide::{Decision, Draft, Facts, Occasion, Refusal, facts::ScheduleFacts, snapshot};

/// A schedule as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: ScheduleName,
    /// The interval between slots, in milliseconds; or
    pub every_ms: Option<u64>,
    /// the cron expression that names them,
    pub cron: Option<String>,
    /// in this time zone.
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
}

impl Wanted {
    fn clock(&self) -> (Option<u64>, Option<&str>) {
        (self.every_ms, self.cron.as_deref())
    }

    fn timing(&self, facts: &Facts, anchor: Timestamp) -> Result<Timing, Refusal> {
        let timing = Timing::new(&facts.cluster.name, &self.name, self.clock(), &self.time_zone, self.jitter_ms, anchor);
        timing.map_err(|Unfit { detail, hint }| Refusal::UnfitSchedule { detail, hint })
    }
}

/// What the audit says of a schedule's settings.
fn settings(schedule: &ScheduleFacts) -> Value {
    let ScheduleFacts { every_ms, cron, time_zone, jitter_ms, min_pause_ms, timeout_ms, labels, on_overlap, misfire, .. } =
        schedule;
    json!({
        "every_ms": every_ms, "cron": cron, "time_zone": time_zone, "jitter_ms": jitter_ms, "min_pause_ms": min_pause_ms,
        "timeout_ms": timeout_ms, "labels": labels, "on_overlap": on_overlap, "misfire": misfire,
    })
}

/// Sets a schedule. One whose times stay the same goes on with its next slot; else the first slot is later than now and than every slot that was
/// decided: at an interval, a whole one from now. A pause stays.
///
/// # Errors
/// [`Refusal::UnfitSchedule`].
pub fn set(facts: &Facts, occasion: &Occasion, wanted: &Wanted) -> Result<Decision, Refusal> {
    let known = facts.schedule.as_ref();
    let same =
        |known: &&ScheduleFacts| (known.every_ms, known.cron.as_deref()) == wanted.clock() && known.time_zone == wanted.time_zone;
    let (timing, next_slot) = match known.filter(same) {
        Some(known) => (wanted.timing(facts, known.next_slot())?, known.next_slot()),
        None => {
            let after = [known.and_then(|k| k.last_slot_at), known.and_then(|k| k.paused_until).map(just_before)];
            let after = after.into_iter().flatten().fold(facts.now, Timestamp::max);
            let timing = wanted.timing(facts, facts.now)?;
            let next = timing.slot_after(after).ok_or_else(never)?;
            (timing, next)
        }
    };
    let Wanted { name, every_ms, cron, time_zone, jitter_ms, min_pause_ms, timeout_ms, labels, on_overlap, misfire } =
        wanted.clone();
    let schedule = ScheduleFacts {
        name,
        every_ms,
        cron,
        time_zone,
        jitter_ms,
        min_pause_ms,
        timeout_ms,
        labels,
        on_overlap,
        misfire,
        paused: known.is_some_and(|k| k.paused),
        paused_until: known.and_then(|k| k.paused_until),
        next_at: timing.fires_at(next_slot),
        next_slot_at: Some(next_slot),
        last_slot_at: known.and_then(|k| k.last_slot_at),
        last_snapshot: known.and_then(|k| k.last_snapshot),
        last_skip: known.and_then(|k| k.last_skip.clone()),
        missed: known.map_or(0, |k| k.missed),
        last_missed_at: known.and_then(|k| k.last_missed_at),
        created_at: known.map_or(facts.now, |k| k.created_at),
    };
    if known == Some(&schedule) {
        return Ok(Decision::nothing(facts));
    }
    let mut draft = Draft::new(facts, occasion);
    draft.audit("schedule.set", &schedule.name, json!({ "before": known.map(settings), "after": settings(&schedule) }));
    draft.next.schedule = Some(schedule);
    Ok(draft.decide())
}

fn never() -> Refusal {
    let (detail, hint) = ("cron names no time that comes".to_owned(), "choose other times");
    Refusal::UnfitSchedule { detail, hint }
}

/// So that a slot at exactly this time is later.
fn just_before(at: Timestamp) -> Timestamp {
    at.checked_sub(SignedDuration::from_micros(1)).unwrap_or(at)
}

fn known(facts: &Facts) -> Result<&ScheduleFacts, Refusal> {
    facts.schedule.as_ref().ok_or_else(|| Refusal::UnknownSchedule { cluster: facts.cluster.name.clone() })
}

/// How long to pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Until it is resumed.
    UntilResumed,
    /// Until then.
    Until(Timestamp),
    /// For so long from now.
    For(SignedDuration),
}

/// Pauses a schedule. With an end, its next slot is the first from then on; slots in between are none.
///
/// # Errors
/// [`Refusal::UnknownSchedule`], and [`Refusal::UnfitSchedule`] for an end that is past.
pub fn pause(facts: &Facts, occasion: &Occasion, pause: Pause) -> Result<Decision, Refusal> {
    let schedule = known(facts)?;
    let until = match pause {
        Pause::UntilResumed => None,
        Pause::Until(until) => Some(until),
        Pause::For(duration) => Some(facts.now.checked_add(duration).unwrap_or(Timestamp::MAX)),
    };
    if let Some(until) = until.filter(|until| *until <= facts.now) {
        let detail = format!("until must be later than now, found {until}");
        return Err(Refusal::UnfitSchedule { detail, hint: "give a later time, or for instead" });
    }
    let mut paused = ScheduleFacts { paused: until.is_none(), paused_until: until, ..schedule.clone() };
    if let Some(until) = until {
        go_on_after(facts, &mut paused, just_before(until))?;
    }
    let mut draft = Draft::new(facts, occasion);
    draft.audit("schedule.paused", &schedule.name, json!({ "until": until }));
    draft.next.schedule = Some(paused);
    Ok(draft.decide())
}

/// Ends a pause: the next slot is the first later than now. One that isn't paused goes on as it is.
///
/// # Errors
/// [`Refusal::UnknownSchedule`].
pub fn resume(facts: &Facts, occasion: &Occasion) -> Result<Decision, Refusal> {
    let schedule = known(facts)?;
    if !schedule.is_paused(facts.now) {
        return Ok(Decision::nothing(facts));
    }
    let mut resumed = ScheduleFacts { paused: false, paused_until: None, ..schedule.clone() };
    go_on_after(facts, &mut resumed, facts.now)?;
    let mut draft = Draft::new(facts, occasion);
    draft.audit("schedule.resumed", &schedule.name, json!({ "next": resumed.next_at }));
    draft.next.schedule = Some(resumed);
    Ok(draft.decide())
}

/// Makes the first slot later than `after`, and than the last that was decided, the next.
fn go_on_after(facts: &Facts, schedule: &mut ScheduleFacts, after: Timestamp) -> Result<(), Refusal> {
    let timing = Timing::of(&facts.cluster.name, schedule);
    let timing = timing.map_err(|Unfit { detail, hint }| Refusal::UnfitSchedule { detail, hint })?;
    let next = timing.slot_after(schedule.last_slot_at.map_or(after, |last| last.max(after))).ok_or_else(never)?;
    (schedule.next_slot_at, schedule.next_at) = (Some(next), timing.fires_at(next));
    Ok(())
}

/// Takes a snapshot as the schedule would, now; also while it is paused. It takes no slot.
///
/// # Errors
/// [`Refusal::UnknownSchedule`], and those of [`snapshot::request`].
pub fn trigger(facts: &Facts, occasion: &Occasion) -> Result<Decision, Refusal> {
    let schedule = known(facts)?;
    // Carried out a second time under one idempotency key.
    if facts.snapshot(occasion.snapshot).is_some() {
        return Ok(Decision::nothing(facts));
    }
    snapshot::can_be_added(facts)?;
    let mut draft = Draft::new(facts, occasion);
    draft.audit("schedule.triggered", &schedule.name, json!({ "snapshot": occasion.snapshot }));
    snapshot::add(&mut draft, occasion.snapshot, request(schedule));
    if let Some(next) = draft.next.schedule.as_mut() {
        next.last_snapshot = Some(occasion.snapshot);
    }
    Ok(draft.decide())
}

/// What a schedule asks for a snapshot with.
pub(super) fn request(schedule: &ScheduleFacts) -> snapshot::Request {
    let trigger = Trigger::Schedule { schedule: schedule.name.to_string() };
    snapshot::Request { trigger, labels: schedule.labels.clone(), timeout_ms: schedule.timeout_ms }
}

/// Deletes a schedule. Its snapshots stay, also one that waits.
///
/// # Errors
/// [`Refusal::UnknownSchedule`].
pub fn delete(facts: &Facts, occasion: &Occasion) -> Result<Decision, Refusal> {
    let schedule = known(facts)?;
    let mut draft = Draft::new(facts, occasion);
    draft.audit("schedule.deleted", &schedule.name, settings(schedule));
    draft.next.schedule = None;
    Ok(draft.decide())
}
