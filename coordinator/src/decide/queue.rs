//! The snapshots that are pending: in which order they begin, when they may, and what they wait for.

use jiff::{SignedDuration, Timestamp};
use stillframe_api::{
    cluster::ClusterPhase,
    snapshot::SnapshotState,
    waiting::{UnderWay, WaitsFor},
};
use stillframe_protocol::{MemberName, SnapshotId};

use super::{Draft, Facts, facts::SnapshotFacts, refusal::phase_name};

/// How many snapshots may be pending.
pub const MAX_PENDING: usize = stillframe_api::waiting::MAX_PENDING as usize;

/// Those that are pending, in the order in which they begin.
pub fn pending(facts: &Facts) -> impl Iterator<Item = &SnapshotFacts> {
    facts.snapshots.iter().filter(|snapshot| snapshot.state == SnapshotState::Pending)
}

/// The place of a snapshot among those that are pending, from 1.
#[must_use]
pub fn position(facts: &Facts, id: SnapshotId) -> Option<u32> {
    pending(facts).position(|snapshot| snapshot.id == id).and_then(|place| u32::try_from(place + 1).ok())
}

/// Whether a slot is free, by the cluster's `max_concurrent`.
#[must_use]
pub fn has_slot(facts: &Facts) -> bool {
    facts.snapshots.iter().filter(|snapshot| snapshot.is_under_way()).count() < facts.cluster.max_concurrent as usize
}

/// When a snapshot of the cluster last began to be recorded, whatever became of it.
#[must_use]
pub fn last_beginning(facts: &Facts) -> Option<Timestamp> {
    let ended = facts.outcomes.iter().map(|outcome| outcome.recording_at);
    facts.snapshots.iter().filter_map(|snapshot| snapshot.recording_at).chain(ended).max()
}

/// When the cluster's `min_pause` is over for the one in this place, counted from 0: each before it begins a pause earlier.
fn pause_over(facts: &Facts, place: usize) -> Option<Timestamp> {
    let pause = facts.cluster.min_pause_ms;
    let last = last_beginning(facts).filter(|_| pause > 0)?;
    let pauses = pause.saturating_mul(place as u64 + 1);
    Some(last.checked_add(SignedDuration::from_millis(i64::try_from(pauses).unwrap_or(i64::MAX))).unwrap_or(Timestamp::MAX))
}

/// Whether the first that is pending may begin, as far as slots and pauses go.
#[must_use]
pub fn may_begin(facts: &Facts) -> bool {
    has_slot(facts) && pause_over(facts, 0).is_none_or(|over| over <= facts.now)
}

/// Rule: whoever is pending knows when it may begin at the earliest, and gives up its timeout after that. The wait for `min_pause` isn't counted
/// against it.
pub(super) fn plan(draft: &mut Draft<'_>) {
    let now = draft.now();
    let planned: Vec<(SnapshotId, Timestamp)> = pending(&draft.next)
        .enumerate()
        .map(|(place, snapshot)| {
            let over = pause_over(&draft.next, place);
            (snapshot.id, over.map_or(snapshot.created_at, |over| over.max(snapshot.created_at)))
        })
        .collect();
    for (id, begins_at) in planned {
        let Some(snapshot) = draft.snapshot_mut(id) else { continue };
        if snapshot.begins_at != Some(begins_at) {
            // One that may begin earlier than it was told still has its whole time from now on.
            let known = snapshot.begins_at.is_some();
            snapshot.begins_at = Some(begins_at);
            snapshot.deadline_at = after(if known { begins_at.max(now) } else { begins_at }, snapshot.timeout_ms);
        }
    }
}

/// A time so many milliseconds later.
pub(super) fn after(from: Timestamp, ms: u64) -> Timestamp {
    let ms = SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
    from.checked_add(ms).unwrap_or(Timestamp::MAX)
}

/// A time so many milliseconds earlier.
pub(super) fn before(to: Timestamp, ms: u64) -> Timestamp {
    let ms = SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
    to.checked_sub(ms).unwrap_or(Timestamp::MIN)
}

/// Those that take a slot.
#[must_use]
pub fn under_way(facts: &Facts) -> Vec<UnderWay> {
    facts.snapshots.iter().filter_map(SnapshotFacts::under_way).collect()
}

/// The members without which nothing can be recorded.
fn lost(facts: &Facts) -> Vec<MemberName> {
    facts.missing_members().map(|member| member.name.clone()).collect()
}

/// What a pending snapshot waits for. Nothing when it isn't pending, or is about to begin.
#[must_use]
pub fn waits_for(facts: &Facts, id: SnapshotId) -> Option<WaitsFor> {
    let place = pending(facts).position(|snapshot| snapshot.id == id)?;
    let (cluster, lost, held_by) = (&facts.cluster, lost(facts), under_way(facts));
    if cluster.phase != ClusterPhase::Running {
        let reason = cluster.phase_reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        return Some(WaitsFor::Cluster { reason: format!("the cluster is {}{reason}", phase_name(cluster.phase)) });
    }
    if !lost.is_empty() {
        return Some(WaitsFor::Members { lost });
    }
    if !has_slot(facts) {
        let committing = held_by.iter().all(|holder| holder.state == SnapshotState::Committing);
        return Some(if committing { WaitsFor::Archive { held_by } } else { WaitsFor::Slot { held_by } });
    }
    let over = pause_over(facts, place).filter(|over| *over > facts.now);
    over.map(|until| WaitsFor::MinPause { until })
}
