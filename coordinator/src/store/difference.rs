//! What a decision changes: the difference between the facts before and after. Every store writes this, each in its own way.

use stillframe_protocol::{HoldId, SnapshotId, name::ScheduleName};

use super::Outcome;
use crate::decide::{
    Facts,
    facts::{ClusterFacts, ContinuityFacts, DepartureFacts, HoldFacts, MemberFacts, RestoreFacts, ScheduleFacts, SnapshotFacts},
};

/// A snapshot before and after.
pub(super) type Change<'a> = (&'a SnapshotFacts, &'a SnapshotFacts);

/// What becomes of the schedule that was asked about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ScheduleChange<'a> {
    /// Nothing.
    None,
    /// It is made, or changed.
    Put(&'a ScheduleFacts),
    /// It is deleted.
    Delete(&'a ScheduleName),
}

/// What is to be written besides the cluster's own row, the slot and the audit. What isn't in it stays as it is: nothing but schedules and holds is
/// ever removed.
#[derive(Debug)]
pub(super) struct Difference<'a> {
    /// Members that are new or changed.
    pub(super) members: Vec<&'a MemberFacts>,
    /// Those of them with a new lease. The others' is left alone, for it may have been renewed since.
    pub(super) granted: Vec<&'a MemberFacts>,
    /// What members that leave count at their end.
    pub(super) departures: &'a [DepartureFacts],
    /// Snapshots that are new.
    pub(super) made: Vec<&'a SnapshotFacts>,
    /// Snapshots that changed.
    pub(super) changed: Vec<Change<'a>>,
    /// Restores that are new or changed. One that ended before the next began comes first: two are never under way at once.
    pub(super) restores: Vec<&'a RestoreFacts>,
    /// Snapshots that aren't unreadable any more.
    pub(super) readable: Vec<SnapshotId>,
    /// Whether anything about unreadable snapshots changed: then all of what is known after is written.
    pub(super) unreadable: bool,
    /// Holds that are new.
    pub(super) held: Vec<&'a HoldFacts>,
    /// Holds that are gone.
    pub(super) released: Vec<HoldId>,
    /// The schedule.
    pub(super) schedule: ScheduleChange<'a>,
    /// Where the cluster's numbers go on, if that changed.
    pub(super) continuity: Option<&'a ContinuityFacts>,
}

impl<'a> Difference<'a> {
    /// Between these facts.
    pub(super) fn between(before: &'a Facts, next: &'a Facts) -> Self {
        let members: Vec<&MemberFacts> = next.members.values().filter(|m| before.members.get(&m.name) != Some(*m)).collect();
        let lease = |m: &MemberFacts| (m.incarnation, m.lease_expires_at);
        let granted = |m: &&MemberFacts| before.members.get(&m.name).is_none_or(|old| lease(old) != lease(m));
        let granted = members.iter().copied().filter(granted).collect();
        let (made, changed) = snapshots(before, next);
        let new = |restore: &&RestoreFacts| before.restore.as_ref() != Some(*restore);
        let restores = next.ended_restore.iter().chain(&next.restore).filter(new).collect();
        let readable = before.unreadable.keys().filter(|id| !next.unreadable.contains_key(id)).copied().collect();
        let holds = |facts: &'a Facts| facts.kept.as_ref().map(|kept| kept.holds.as_slice()).unwrap_or_default();
        let held = holds(next).iter().filter(|hold| !holds(before).contains(hold)).collect();
        let released = holds(before).iter().filter(|hold| !holds(next).contains(hold)).map(|hold| hold.id).collect();
        let schedule = match (&before.schedule, &next.schedule) {
            (known, Some(schedule)) if known.as_ref() != Some(schedule) => ScheduleChange::Put(schedule),
            (Some(gone), None) => ScheduleChange::Delete(&gone.name),
            (Some(_) | None, Some(_) | None) => ScheduleChange::None,
        };
        Self {
            members,
            granted,
            departures: &next.departures,
            made,
            changed,
            restores,
            readable,
            unreadable: before.unreadable != next.unreadable,
            held,
            released,
            schedule,
            continuity: (before.continuity != next.continuity).then_some(&next.continuity),
        }
    }
}

/// The snapshots that are new, and those that changed with what they were.
pub(super) fn snapshots<'a>(before: &'a Facts, next: &'a Facts) -> (Vec<&'a SnapshotFacts>, Vec<Change<'a>>) {
    let (mut made, mut changed) = (Vec::new(), Vec::new());
    for snapshot in &next.snapshots {
        match before.snapshot(snapshot.id) {
            None => made.push(snapshot),
            Some(old) if old != snapshot => changed.push((old, snapshot)),
            Some(_) => {}
        }
    }
    (made, changed)
}

/// Whether an outcome leaves everything as it is.
pub(super) fn is_nothing(before: &Facts, outcome: &Outcome) -> bool {
    before == &outcome.decision.next && outcome.decision.audit.is_empty() && outcome.slot.is_none()
}

/// Whether a decision on remembered facts is about nothing but snapshots and the cluster's own counters and phase, which is what
/// [`transact_remembered`](super::Store::transact_remembered) writes.
pub(super) fn is_only_about_snapshots(before: &Facts, next: &Facts) -> bool {
    let (old, new) = (&before.cluster, &next.cluster);
    // Everything that it writes of the cluster's row; what is left has to be the same.
    let written = ClusterFacts {
        phase: new.phase,
        phase_reason: new.phase_reason.clone(),
        halt: new.halt,
        generation: new.generation,
        last_generation: new.last_generation,
        epoch: new.epoch,
        revision: new.revision,
        version: new.version,
        stamp: new.stamp,
        peers_revision: new.peers_revision,
        last_member_id: new.last_member_id,
        latest_committed: new.latest_committed,
        latest_mapping: new.latest_mapping.clone(),
        ..old.clone()
    };
    written == *new
        && before.members == next.members
        && before.restore == next.restore
        && before.ended_restore == next.ended_restore
        && before.unreadable == next.unreadable
        && before.schedule == next.schedule
        && before.continuity == next.continuity
        && before.kept == next.kept
}
