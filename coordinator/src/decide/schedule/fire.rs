//! Deciding the slot that is due: take a snapshot, or say why not. The next slot is set in the same decision, so none is decided twice.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use stillframe_api::{
    schedule::{LATE_AFTER, Misfire, OnOverlap},
    snapshot::Trigger,
};

use super::{
    Slot, manage,
    timing::{Due, Timing},
};
use crate::decide::{Decision, Draft, Facts, Occasion, Refusal, facts::ScheduleFacts, queue, snapshot};

/// Decides the slot that is due, if one is. Of several, the latest: those before it were missed. The latest itself was missed when its time is
/// longer than [`LATE_AFTER`] ago; then the schedule's `misfire` says whether it fires all the same.
///
/// # Errors
/// [`Refusal::UnknownSchedule`] when the schedule is gone.
pub fn fire(facts: &Facts, occasion: &Occasion) -> Result<Option<(Decision, Option<Slot>)>, Refusal> {
    let Some(schedule) = &facts.schedule else {
        return Err(Refusal::UnknownSchedule { cluster: facts.cluster.name.clone() });
    };
    if schedule.paused || schedule.next_at > facts.now {
        return Ok(None);
    }
    let timing = match Timing::of(&facts.cluster.name, schedule) {
        Ok(timing) => timing,
        Err(unfit) => return Ok(Some((hold(facts, occasion, &unfit.to_string()), None))),
    };
    let Some(due) = timing.due(schedule.next_slot(), facts.now) else {
        return Ok(Some((hold(facts, occasion, "no slot comes any more"), None)));
    };
    let late = facts.now.duration_since(timing.fires_at(due.newest)) > SignedDuration::from_millis(LATE_AFTER.as_millis());
    let mut draft = Draft::new(facts, occasion);
    let skip = match (late, schedule.misfire) {
        (true, Misfire::Skip) => Some("it was missed: nobody was there to decide it at its time".to_owned()),
        (true, Misfire::Once) | (false, _) => why_not(facts, schedule),
    };
    let taken = skip.is_none().then_some(occasion.snapshot);
    if let Some(id) = taken {
        snapshot::add(&mut draft, id, manage::request(schedule));
    } else if schedule.last_skip != skip {
        // Only the first of a run of skipped slots: a schedule of 50 ms would bury the audit.
        draft.audit("schedule.skipped", &schedule.name, json!({ "slot": due.newest, "why": skip }));
    }
    let missed = note_missed(&mut draft, schedule, &due, late);
    if let Some(next) = draft.next.schedule.as_mut() {
        (next.next_slot_at, next.next_at) = (Some(due.next), timing.fires_at(due.next));
        next.paused_until = next.paused_until.filter(|until| *until > facts.now);
        next.last_slot_at = Some(due.newest);
        next.last_skip.clone_from(&skip);
        next.last_snapshot = taken.or(next.last_snapshot);
        next.missed = next.missed.saturating_add(missed);
    }
    let slot = Slot { at: due.newest, snapshot: taken, skip };
    Ok(Some((draft.decide(), Some(slot))))
}

/// Counts what was missed. An outage has a line in the audit; a slot of a very frequent schedule that went by between two looks hasn't.
fn note_missed(draft: &mut Draft<'_>, schedule: &ScheduleFacts, due: &Due, late: bool) -> u64 {
    let missed = due.before.saturating_add(u64::from(late));
    if missed == 0 {
        return 0;
    }
    let first = schedule.next_slot();
    if late || draft.now().duration_since(first) > SignedDuration::from_millis(LATE_AFTER.as_millis()) {
        let detail = json!({ "slots": missed, "first": first, "newest": due.newest, "misfire": schedule.misfire });
        draft.audit("schedule.missed", &schedule.name, detail);
    }
    if let Some(next) = draft.next.schedule.as_mut() {
        next.last_missed_at = Some(if late { due.newest } else { just_missed(schedule, due) });
    }
    missed
}

/// The latest slot that went by before the one that is decided, as well as it is known.
fn just_missed(schedule: &ScheduleFacts, due: &Due) -> Timestamp {
    let every = schedule.every_ms.map(|ms| SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX)));
    every.and_then(|every| due.newest.checked_sub(every).ok()).unwrap_or(schedule.next_slot())
}

/// Why the slot takes no snapshot, if it doesn't.
fn why_not(facts: &Facts, schedule: &ScheduleFacts) -> Option<String> {
    if let Err(refusal) = snapshot::can_be_taken(facts) {
        return Some(refusal.to_string());
    }
    let pause_over = queue::last_beginning(facts).map(|last| queue::after(last, schedule.min_pause_ms));
    if schedule.min_pause_ms > 0 && pause_over.is_some_and(|over| over > facts.now) {
        return Some("a snapshot of the cluster had begun within the schedule's min_pause".to_owned());
    }
    let waiting = queue::pending(facts).count();
    let overlap = if !queue::has_slot(facts) {
        "a snapshot of the cluster was under way"
    } else if waiting > 0 {
        "other snapshots of the cluster waited to begin"
    } else if !queue::may_begin(facts) {
        "the cluster's min_pause since the snapshot before wasn't over"
    } else {
        return None;
    };
    match schedule.on_overlap {
        OnOverlap::Skip => Some(overlap.to_owned()),
        OnOverlap::Queue => {
            let own = Trigger::Schedule { schedule: schedule.name.to_string() };
            if queue::pending(facts).any(|snapshot| snapshot.trigger == own) {
                Some("the snapshot of an earlier slot still waits to begin".to_owned())
            } else if waiting >= queue::MAX_PENDING {
                Some(format!("{waiting} snapshots of the cluster wait to begin, and no more may"))
            } else {
                None
            }
        }
    }
}

/// Pauses a schedule that can't go on, rather than trying it again and again: the names of time zones change with the release.
fn hold(facts: &Facts, occasion: &Occasion, why: &str) -> Decision {
    let mut draft = Draft::new(facts, occasion);
    if let Some(next) = draft.next.schedule.as_mut() {
        next.paused = true;
        next.last_skip = Some(format!("it was paused: {why}"));
        let name = next.name.clone();
        draft.audit_automatic("schedule.paused", name, json!({ "why": why }));
    }
    draft.decide()
}
