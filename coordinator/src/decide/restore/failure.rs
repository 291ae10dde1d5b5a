//! Giving up before the commit point: falling back to an older snapshot, failing, cancelling, running out of time.

use jiff::SignedDuration;
use serde_json::json;
use stillframe_api::{
    cluster::{ClusterPhase, OnLoss},
    restore::{RestoreFailure, RestorePhase, RestoreState, UnreadableSnapshot},
    snapshot::Trigger,
};
use stillframe_protocol::{Generation, MemberName, RestoreId};

use super::{advance::plan_for, is_before_commit, note_unreadable, target::older, there};
use crate::decide::{
    Decision, Draft, Facts, Occasion, Refusal,
    facts::{HaltCause, RestoreFacts},
    refusal::list,
    settle::{halt, set_phase},
    snapshot,
};

/// The snapshot proved unreadable: the next older one is tried if that is allowed, else the restore fails.
pub(super) fn unreadable(draft: &mut Draft<'_>, member: &MemberName, detail: &str) {
    let Some(RestoreFacts { id, snapshot, fallback, mapping, .. }) = draft.next.restore.clone() else { return };
    note_unreadable(draft, id, snapshot, member, detail);
    if let Some(restore) = draft.next.restore.as_mut() {
        let (member, detail) = (member.clone(), detail.to_owned());
        restore.tried.push(UnreadableSnapshot { snapshot, member, detail });
    }
    let Some(destination) = older(&draft.next, &mapping).filter(|_| fallback > 0) else {
        return fail(draft, RestoreFailure::Unreadable, format!("{member}: {detail}"));
    };
    let to = destination.snapshot;
    plan_for(draft, destination);
    // What is older than that one isn't known yet.
    draft.next.older = None;
    let Some(restore) = draft.next.restore.as_mut() else { return };
    restore.fallback = fallback.saturating_sub(1);
    let (generation, left) = (restore.generation, restore.fallback);
    draft.audit_automatic(
        "restore.fell_back",
        id,
        json!({ "from": snapshot, "to": to, "generation": generation, "member": member, "detail": detail, "fallback": left }),
    );
}

/// Gives a restore up before its commit point. The old generation goes on if it is whole. Else an automatic rollback that failed for a reason
/// that may pass is begun anew later; after any other failure the cluster halts.
pub(super) fn fail(draft: &mut Draft<'_>, reason: RestoreFailure, detail: String) {
    let now = draft.now();
    let Some(restore) = draft.next.restore.as_mut() else { return };
    restore.state = RestoreState::Failed;
    restore.ended_at = Some(now);
    restore.retry_at = None;
    restore.failure = Some(detail.clone());
    restore.failure_reason = Some(reason);
    let (id, generation, snapshot) = (restore.id, restore.generation, restore.snapshot);
    let automatic = restore.trigger == Trigger::Automatic && draft.next.cluster.on_loss == OnLoss::RestoreLatest;
    draft.audit("restore.failed", id, json!({ "generation": generation, "failure_reason": reason, "detail": detail }));
    if draft.next.cluster.generation == Generation(0) {
        return set_phase(draft, ClusterPhase::Forming);
    }
    if draft.next.missing_members().next().is_none() {
        set_phase(draft, ClusterPhase::Running);
        match reason {
            // So that there is something to go back to soon.
            RestoreFailure::Unreadable => snapshot::request_automatic(draft),
            RestoreFailure::Unavailable
            | RestoreFailure::MemberFailed
            | RestoreFailure::DeadlineExceeded
            | RestoreFailure::Cancelled => {}
        }
        return;
    }
    let may_pass = match reason {
        RestoreFailure::Unavailable | RestoreFailure::DeadlineExceeded => true,
        RestoreFailure::Unreadable | RestoreFailure::MemberFailed | RestoreFailure::Cancelled => false,
    };
    if automatic && may_pass {
        return set_phase(draft, ClusterPhase::Running);
    }
    let name = &draft.next.cluster.name;
    let next = match reason {
        RestoreFailure::Unreadable => format!(
            "restore an older snapshot (`stillframe snapshot list {name} --status committed`, then `stillframe restore start {name} SNAPSHOT`), or \
             have older ones tried (`stillframe cluster resume {name} --fallback 3`)"
        ),
        RestoreFailure::Unavailable | RestoreFailure::MemberFailed | RestoreFailure::DeadlineExceeded => {
            format!("when that is mended, `stillframe cluster resume {name}` tries again")
        }
        RestoreFailure::Cancelled => format!("`stillframe cluster resume {name}` goes on"),
    };
    let was = match reason {
        RestoreFailure::Cancelled => "was cancelled",
        RestoreFailure::Unreadable
        | RestoreFailure::Unavailable
        | RestoreFailure::MemberFailed
        | RestoreFailure::DeadlineExceeded => "failed",
    };
    halt(draft, HaltCause::RestoreFailed, format!("the restore to snapshot {snapshot} {was}: {detail}; {next}"));
}

/// Fails the restore whose deadline has passed before its commit point.
pub(in crate::decide) fn deadline(draft: &mut Draft<'_>) {
    let now = draft.now();
    let Some(restore) = draft.next.restore.as_ref().filter(|restore| restore.deadline_at <= now) else { return };
    let (waited_for, was): (Vec<&MemberName>, _) = match restore.state {
        RestoreState::Planned => {
            (restore.members.keys().filter(|name| there(&draft.next, name).is_none()).collect(), "was not there")
        }
        RestoreState::Preparing => {
            let unprepared = restore.members.iter().filter(|(_, m)| m.phase != RestorePhase::Prepared);
            (unprepared.map(|(name, _)| name).collect(), "was not prepared")
        }
        RestoreState::Resuming | RestoreState::Completed | RestoreState::Failed => return,
    };
    let waited_for: Vec<MemberName> = waited_for.into_iter().cloned().collect();
    let error = waited_for.iter().find_map(|name| Some((name, restore.members.get(name)?.error.clone()?)));
    let error = error.map_or_else(String::new, |(name, error)| format!("; {name}: {error}"));
    let timeout = SignedDuration::from_millis(i64::try_from(restore.timeout_ms).unwrap_or(i64::MAX));
    let detail = format!("{} {was} within {timeout:#}{error}", list(&waited_for));
    fail(draft, RestoreFailure::DeadlineExceeded, detail);
}

/// Gives a restore up because somebody asked. `known` is the restore as it is stored, ended or not; one that was cancelled stays so.
///
/// # Errors
/// [`Refusal::RestoreEnded`] from the commit point on, and when it has ended otherwise.
pub fn cancel(
    facts: &Facts,
    occasion: &Occasion,
    id: RestoreId,
    known: &RestoreFacts,
    why: Option<&str>,
) -> Result<Decision, Refusal> {
    let restore = facts.restore.as_ref().filter(|restore| restore.id == id).unwrap_or(known);
    if restore.failure_reason == Some(RestoreFailure::Cancelled) {
        return Ok(Decision::nothing(facts));
    }
    // What isn't under way has ended, whatever was known of it.
    let under_way = facts.restore.as_ref().is_some_and(|restore| restore.id == id);
    if !under_way || !is_before_commit(restore.state) {
        return Err(Refusal::RestoreEnded { restore: id, state: restore.state });
    }
    let mut draft = Draft::new(facts, occasion);
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    fail(&mut draft, RestoreFailure::Cancelled, format!("its cancellation was asked for{why}"));
    Ok(draft.decide())
}
