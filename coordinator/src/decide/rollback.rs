//! Putting a cluster back by itself after a loss: when, how often, and when to stop; and going on after a halt.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use stillframe_api::{
    cluster::ClusterPhase,
    restore::{DEFAULT_RETRIES, UnreadableSnapshot},
    snapshot::{SnapshotState, Trigger},
};
use stillframe_protocol::Generation;

use super::{
    Decision, Draft, Facts, Occasion, Refusal,
    facts::{ClusterFacts, HaltCause, RollbackFacts, SnapshotFacts, UnreadableFacts},
    restore::{self, Ask, Target, Terms, latest_destination, older},
    settle::{halt, set_phase},
    snapshot,
};

/// The longest that a rollback is put off.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// Whether a rollback may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Now,
    At(Timestamp),
    /// So many went through already.
    Never(usize),
}

/// The first rollback within the window begins at once, each further one later; after so many that went through there is no other.
fn turn(cluster: &ClusterFacts, rollbacks: &[RollbackFacts], now: Timestamp) -> Turn {
    let went_through = rollbacks.iter().filter(|rollback| rollback.went_through).count();
    if cluster.rollback_limit > 0 && went_through >= cluster.rollback_limit as usize {
        return Turn::Never(went_through);
    }
    let Some(last) = rollbacks.last() else { return Turn::Now };
    let doublings = u32::try_from(rollbacks.len()).unwrap_or(u32::MAX).saturating_sub(1).min(20);
    let backoff = SignedDuration::from_millis(i64::try_from(cluster.rollback_backoff_ms).unwrap_or(i64::MAX));
    let pause = backoff.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    match last.created_at.checked_add(pause) {
        Ok(at) if at > now => Turn::At(at),
        Ok(_) | Err(_) => Turn::Now,
    }
}

/// After a change of the limit or the window: a cluster that has halted at its limit goes on if that allows for it now.
pub(super) fn count_anew(draft: &mut Draft<'_>) {
    let now = draft.now();
    let next = &mut draft.next;
    let window = SignedDuration::from_millis(i64::try_from(next.cluster.rollback_window_ms).unwrap_or(i64::MAX));
    // A wider window than they were read for is for the next loss to count by.
    let since = now.checked_sub(window).unwrap_or(Timestamp::MIN);
    next.rollbacks.retain(|rollback| rollback.created_at > since);
    let at_limit = next.cluster.halt == Some(HaltCause::RollbackLimit);
    if at_limit && !matches!(turn(&next.cluster, &next.rollbacks, now), Turn::Never(_)) {
        set_phase(draft, ClusterPhase::Running);
        let (name, generation) = (draft.next.cluster.name.clone(), draft.next.cluster.generation);
        draft.audit_automatic("cluster.running", name, json!({ "generation": generation }));
    }
}

/// A snapshot that has all its parts, which a rollback lets through first: that takes milliseconds, and loses less. One that the archive holds up is waited for
/// until its deadline, for which there may be others.
pub(super) fn let_through(facts: &Facts, now: Timestamp) -> Option<&SnapshotFacts> {
    facts.snapshots.iter().find(|s| match s.state {
        SnapshotState::Committing => s.archive_error.is_none() || s.deadline_at > now,
        SnapshotState::Recording => s.is_complete(),
        SnapshotState::Pending
        | SnapshotState::Committed
        | SnapshotState::Aborted
        | SnapshotState::Deleting
        | SnapshotState::Deleted => false,
    })
}

/// Starts the automatic restore once everybody of the latest committed snapshot is there, and it is time.
pub(super) fn roll_back(draft: &mut Draft<'_>) {
    let now = draft.now();
    let next = &draft.next;
    let Some(snapshot) = next.cluster.latest_committed else { return };
    // The archive may have a later one to go back to, which the database has lost.
    if next.continuity.behind.is_some() {
        return;
    }
    if !next.latest_view.iter().all(|member| next.is_there(member)) {
        return;
    }
    if let Some(first) = let_through(next, now) {
        draft.next.cluster.rollback_at = first.archive_error.as_ref().map(|_| first.deadline_at);
        return;
    }
    match turn(&next.cluster, &next.rollbacks, now) {
        Turn::Now => {}
        Turn::At(at) => {
            draft.next.cluster.rollback_at = Some(at);
            return;
        }
        Turn::Never(times) => {
            let window = SignedDuration::from_millis(i64::try_from(next.cluster.rollback_window_ms).unwrap_or(i64::MAX));
            let reason = format!(
                "a member was lost again after the cluster had been put back {times} times within {window:#}, which is its limit: find out why \
                 members are lost, then have it go on (`stillframe cluster resume {}`)",
                next.cluster.name
            );
            return halt(draft, HaltCause::RollbackLimit, reason);
        }
    }
    let fallback = next.cluster.restore_fallback;
    let terms =
        |fallback, tried| Terms { trigger: Trigger::Automatic, timeout_ms: None, fallback, retries: DEFAULT_RETRIES, tried };
    let Some(UnreadableFacts { member, detail, .. }) = next.unreadable.get(&snapshot).cloned() else {
        let destination = latest_destination(next, snapshot);
        return restore::begin(draft, destination, terms(fallback, Vec::new()));
    };
    // It isn't chosen again: what proved unreadable once would cost another pause for nothing.
    match older(next, &next.cluster.latest_mapping).filter(|_| fallback > 0) {
        Some(destination) => {
            let tried = vec![UnreadableSnapshot { snapshot, member, detail }];
            restore::begin(draft, destination, terms(fallback.saturating_sub(1), tried));
        }
        None => {
            let reason = format!(
                "a member was lost, and snapshot {snapshot}, to which the cluster would go back, can't be read: {detail}; restore an older \
                 snapshot (`stillframe snapshot list {name} --status committed`, then `stillframe restore start {name} SNAPSHOT`), or have older \
                 ones tried (`stillframe cluster resume {name} --fallback 3`)",
                name = next.cluster.name
            );
            halt(draft, HaltCause::RestoreFailed, reason);
        }
    }
}

/// Has a halted cluster go on: in its generation where that is whole, else from its latest committed snapshot. Rollbacks are counted anew. A
/// cluster that isn't halted any more stays as it is.
///
/// # Errors
/// When it is neither halted nor beyond, or there is nothing to go back to.
pub fn resume(facts: &Facts, occasion: &Occasion, fallback: u32) -> Result<Decision, Refusal> {
    let cluster = &facts.cluster;
    match cluster.phase {
        ClusterPhase::Halted => {}
        ClusterPhase::Running | ClusterPhase::Restoring => return Ok(Decision::nothing(facts)),
        ClusterPhase::Forming => {
            let (phase, reason) = (cluster.phase, cluster.phase_reason.clone());
            return Err(Refusal::NotHalted { cluster: cluster.name.clone(), phase, reason });
        }
    }
    let whole = cluster.generation > Generation(0) && facts.missing_members().next().is_none();
    let mut draft = Draft::new(facts, occasion);
    let line = json!({ "was": cluster.phase_reason, "whole": whole, "fallback": fallback });
    draft.audit("cluster.resumed", &cluster.name, line);
    draft.next.cluster.rollbacks_since = Some(facts.now);
    draft.next.rollbacks.clear();
    if whole {
        set_phase(&mut draft, ClusterPhase::Running);
        snapshot::request_automatic(&mut draft);
        return Ok(draft.decide());
    }
    let ask = Ask {
        target: Target::Latest,
        trigger: Trigger::Request,
        timeout_ms: None,
        fallback,
        retries: DEFAULT_RETRIES,
        mapping: restore::mapping::Mapping::new(),
    };
    let (destination, tried) = restore::resolve(facts, &ask)?;
    let fallback = fallback.saturating_sub(u32::try_from(tried.len()).unwrap_or(u32::MAX));
    let terms = Terms { trigger: Trigger::Request, timeout_ms: None, fallback, retries: DEFAULT_RETRIES, tried };
    restore::begin(&mut draft, destination, terms);
    Ok(draft.decide())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(limit: u32) -> ClusterFacts {
        let mut cluster = crate::decide::world::World::new(1, stillframe_api::cluster::OnLoss::RestoreLatest).facts.cluster;
        (cluster.rollback_limit, cluster.rollback_backoff_ms) = (limit, 1_000);
        cluster
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn rollbacks(seconds: &[i64]) -> Vec<RollbackFacts> {
        seconds.iter().map(|second| RollbackFacts { created_at: at(*second), went_through: true }).collect()
    }

    #[test]
    fn the_first_rollback_begins_at_once_and_each_further_one_waits_twice_as_long() {
        let cluster = cluster(0);
        assert_eq!(turn(&cluster, &[], at(100)), Turn::Now);
        for (before, earliest) in
            [(&[100][..], 101), (&[90, 100], 102), (&[80, 90, 100], 104), (&[0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100], 160)]
        {
            assert_eq!(turn(&cluster, &rollbacks(before), at(100)), Turn::At(at(earliest)), "{before:?}");
            assert_eq!(turn(&cluster, &rollbacks(before), at(earliest)), Turn::Now, "{before:?}");
        }
    }

    #[test]
    fn only_rollbacks_that_went_through_count_towards_the_limit() {
        let cluster = cluster(2);
        let mut before = rollbacks(&[1, 2, 3]);
        assert_eq!(turn(&cluster, &before, at(1_000)), Turn::Never(3));
        (before[0].went_through, before[1].went_through) = (false, false);
        assert_eq!(turn(&cluster, &before, at(1_000)), Turn::Now);
    }
}
