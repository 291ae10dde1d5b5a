//! Schedules: each slot is decided once.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use stillframe_api::snapshot::Trigger;
use stillframe_protocol::SnapshotId;

use super::{Decision, Draft, Facts, Occasion, Refusal, snapshot};

/// A slot, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The slot.
    pub at: Timestamp,
    /// The snapshot it took.
    pub snapshot: Option<SnapshotId>,
    /// Why it took none.
    pub skip: Option<String>,
}

/// The first slot of the grid `from + n * every` that is later than both the last one and now. Slots missed in between are skipped, not made
/// up for.
#[must_use]
pub fn next_slot(from: Timestamp, every_ms: u64, now: Timestamp) -> Timestamp {
    let every = i128::from(every_ms.max(1));
    let late = now.as_millisecond() - from.as_millisecond();
    let steps = (i128::from(late).max(0) / every) + 1;
    let ahead = i64::try_from(steps * every).unwrap_or(i64::MAX);
    from.checked_add(SignedDuration::from_millis(ahead)).unwrap_or(Timestamp::MAX)
}

/// Decides the slot that is due, if one is: takes a snapshot, or says why not. The next slot is set in the same decision.
///
/// # Errors
/// [`Refusal::UnknownSchedule`] when the schedule is gone.
pub fn fire(facts: &Facts, occasion: &Occasion) -> Result<Option<(Decision, Slot)>, Refusal> {
    let Some(schedule) = &facts.schedule else {
        return Err(Refusal::UnknownSchedule { cluster: facts.cluster.name.clone() });
    };
    let at = schedule.next_at;
    if at > facts.now {
        return Ok(None);
    }
    let busy = facts.snapshots.iter().any(|s| !s.state.has_ended());
    let skip = match snapshot::can_be_taken(facts) {
        Err(refusal) => Some(refusal.to_string()),
        Ok(()) if busy => Some("a snapshot of the cluster was under way".to_owned()),
        Ok(()) => None,
    };
    let mut draft = Draft::new(facts, occasion);
    let taken = skip.is_none().then_some(occasion.snapshot);
    if let Some(id) = taken {
        let trigger = Trigger::Schedule { schedule: schedule.name.to_string() };
        let request = snapshot::Request { trigger, labels: Default::default(), timeout_ms: schedule.timeout_ms };
        snapshot::add(&mut draft, id, request);
    } else if schedule.last_skip != skip {
        // Only the first of a run of skipped slots: a schedule of 50 ms would bury the audit.
        draft.audit("schedule.skipped", &schedule.name, json!({ "slot": at, "why": skip }));
    }
    if let Some(next) = draft.next.schedule.as_mut() {
        next.next_at = next_slot(at, schedule.every_ms, facts.now);
        next.last_slot_at = Some(at);
        next.last_skip.clone_from(&skip);
        next.last_snapshot = taken.or(next.last_snapshot);
    }
    Ok(Some((draft.decide(), Slot { at, snapshot: taken, skip })))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_next_slot_is_on_the_grid_and_later_than_the_last_and_now(every in 1u64..100_000, late in -50_000i64..1_000_000) {
            let from = Timestamp::UNIX_EPOCH;
            let now = from.checked_add(SignedDuration::from_millis(late)).expect("a time");
            let next = next_slot(from, every, now);
            let ahead = next.as_millisecond();
            prop_assert!(next > from && next > now);
            prop_assert_eq!(ahead % i64::try_from(every).expect("small"), 0);
            // No slot in between is left out.
            prop_assert!(ahead - i64::try_from(every).expect("small") <= late.max(0));
        }
    }
}
