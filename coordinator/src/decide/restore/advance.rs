//! From planned to completed, as far as it can go by itself.

use serde_json::json;
use stillframe_api::{
    cluster::ClusterPhase,
    restore::{RestorePhase, RestoreState},
    snapshot::Trigger,
};
use stillframe_protocol::MemberName;

use super::{members, there};
use crate::decide::{
    Draft,
    facts::{RestoreMemberFacts, Standing},
    refusal::list,
    settle::{allocate_generation, set_phase},
    snapshot,
};

/// Rule: a restore goes on as far as it can.
pub(in crate::decide) fn advance(draft: &mut Draft<'_>) {
    // Four states before the last: so many steps at most.
    for _ in 0..4 {
        let Some(state) = draft.next.restore.as_ref().map(|restore| restore.state) else { return };
        let moved = match state {
            RestoreState::Planned => prepare(draft),
            RestoreState::Preparing => plan_again(draft) || activate(draft),
            RestoreState::Resuming => complete(draft),
            RestoreState::Completed | RestoreState::Failed => false,
        };
        if !moved {
            break;
        }
    }
    try_again(draft);
    describe(draft);
}

fn describe(draft: &mut Draft<'_>) {
    let Some(restore) = draft.next.restore.as_ref().filter(|restore| !restore.state.has_ended()) else { return };
    let away: Vec<MemberName> = restore.members.keys().filter(|m| there(&draft.next, m).is_none()).cloned().collect();
    let (id, snapshot) = (restore.id, restore.snapshot);
    draft.next.cluster.phase_reason = Some(match restore.state {
        RestoreState::Planned => format!("restore {id} to snapshot {snapshot} waits for {}", list(&away)),
        RestoreState::Preparing | RestoreState::Resuming | RestoreState::Completed | RestoreState::Failed => {
            format!("restore {id} to snapshot {snapshot} is {}", restore.state.as_str())
        }
    });
}

/// `planned -> preparing`, once everybody is there.
fn prepare(draft: &mut Draft<'_>) -> bool {
    let Some(restore) = draft.next.restore.as_ref() else { return false };
    let incarnations: Vec<_> = restore.members.keys().map_while(|name| there(&draft.next, name)).collect();
    if incarnations.len() < restore.members.len() {
        return false;
    }
    let Some(restore) = draft.next.restore.as_mut() else { return false };
    for (member, incarnation) in restore.members.values_mut().zip(incarnations) {
        *member = RestoreMemberFacts { part: member.part.take(), incarnation, ..super::waiting() };
    }
    restore.state = RestoreState::Preparing;
    let (id, generation) = (restore.id, restore.generation);
    draft.audit_automatic("restore.preparing", id, json!({ "generation": generation }));
    true
}

/// `preparing -> planned`, when somebody was lost or replaced meanwhile: with a fresh generation, so that what was prepared for the burned
/// one counts for nothing.
fn plan_again(draft: &mut Draft<'_>) -> bool {
    let next = &draft.next;
    let Some(restore) = &next.restore else { return false };
    let same = |name: &MemberName, member: &RestoreMemberFacts| there(next, name) == Some(member.incarnation);
    let Some(member) = restore.members.iter().find(|(name, member)| !same(name, member)).map(|(name, _)| name.clone()) else {
        return false;
    };
    again(draft, &json!({ "again_because_of": member }));
    true
}

/// Transactions may have been lost, and one of them may have been the commit point of the restore under way: its generation may be in use already.
pub(in crate::decide) fn plan_again_after_a_loss(draft: &mut Draft<'_>) {
    match draft.next.restore.as_ref().map(|restore| restore.state) {
        Some(RestoreState::Planned | RestoreState::Preparing) => {
            again(draft, &json!({ "why": "its generation may have become active in transactions that were lost" }));
        }
        Some(RestoreState::Resuming | RestoreState::Completed | RestoreState::Failed) | None => {}
    }
}

/// Back to `planned`, with a generation that was never used.
fn again(draft: &mut Draft<'_>, because: &serde_json::Value) {
    let Some(id) = draft.next.restore.as_ref().map(|restore| restore.id) else { return };
    let generation = allocate_generation(draft);
    if let Some(restore) = draft.next.restore.as_mut() {
        restore.state = RestoreState::Planned;
        restore.generation = generation;
        restore.retry_at = None;
        for member in restore.members.values_mut() {
            *member = RestoreMemberFacts { part: member.part.take(), ..super::waiting() };
        }
    }
    let mut detail = because.clone();
    detail["generation"] = json!(generation);
    draft.audit_automatic("restore.planned", id, detail);
}

/// While preparing: whoever couldn't load its part for a reason that may pass is asked again, once the pause is over.
fn try_again(draft: &mut Draft<'_>) {
    let now = draft.now();
    let Some(restore) = draft.next.restore.as_mut() else { return };
    if restore.state != RestoreState::Preparing || restore.retry_at.is_none_or(|at| at > now) {
        return;
    }
    restore.retry_at = None;
    for member in restore.members.values_mut().filter(|member| member.phase == RestorePhase::Retrying) {
        member.attempt = member.attempt.saturating_add(1);
        (member.phase, member.bytes) = (RestorePhase::Waiting, 0);
    }
}

/// `preparing -> resuming`, once everybody is prepared: the commit point. The new generation is active, whoever isn't in the snapshot is
/// out, and rollbacks go to this snapshot until a newer one is committed.
fn activate(draft: &mut Draft<'_>) -> bool {
    let now = draft.now();
    let next = &mut draft.next;
    let Some(restore) = next.restore.as_mut() else { return false };
    if !restore.members.values().all(|member| member.phase == RestorePhase::Prepared) {
        return false;
    }
    restore.state = RestoreState::Resuming;
    restore.resumed_at = Some(now);
    next.cluster.enter(restore.generation);
    next.cluster.latest_committed = Some(restore.snapshot);
    next.cluster.latest_mapping = restore.mapping.clone();
    next.latest_view = restore.members.keys().cloned().collect();
    // All of it was read just now: somebody may have put the objects back.
    next.unreadable.remove(&restore.snapshot);
    for member in next.members.values_mut() {
        if restore.members.contains_key(&member.name) {
            // Who was leaving, or had left since the snapshot, is a member as it was in it.
            (member.standing, member.leaving) = (Standing::Active, None);
            (member.generation, member.epoch, member.restore) = (restore.generation, next.cluster.epoch, Some(restore.id));
        } else if member.standing != Standing::Waiting {
            (member.standing, member.leaving) = (Standing::Excluded, None);
        }
    }
    if restore.trigger == Trigger::Automatic
        && let Some(rollback) = next.rollbacks.last_mut()
    {
        rollback.went_through = true;
    }
    let (id, generation, snapshot) = (restore.id, restore.generation, restore.snapshot);
    draft.audit_automatic("restore.resuming", id, json!({ "generation": generation, "snapshot": snapshot }));
    true
}

/// `resuming -> completed`: everybody runs, or somebody was lost again, which is then an ordinary loss.
fn complete(draft: &mut Draft<'_>) -> bool {
    let now = draft.now();
    let next = &mut draft.next;
    let Some(restore) = next.restore.as_mut() else { return false };
    let generation = restore.generation;
    let lost = restore.members.keys().find(|name| !next.members.get(*name).is_some_and(|m| m.runs_in(generation))).cloned();
    let all_run = restore.members.values().all(|member| member.phase == RestorePhase::Running);
    if lost.is_none() && !all_run {
        return false;
    }
    restore.state = RestoreState::Completed;
    restore.ended_at = Some(now);
    if !all_run && let Some(lost) = &lost {
        restore.failure = Some(format!("{lost} was lost after the commit point; that is handled as any other loss"));
    }
    let id = restore.id;
    draft.audit_automatic("restore.completed", id, json!({ "generation": generation, "lost": lost }));
    set_phase(draft, ClusterPhase::Running);
    snapshot::request_automatic(draft);
    true
}

/// Everybody's places anew, for another snapshot.
pub(super) fn plan_for(draft: &mut Draft<'_>, destination: super::Destination) {
    let generation = allocate_generation(draft);
    let Some(timeout_ms) = draft.next.restore.as_ref().map(|restore| restore.timeout_ms) else { return };
    let deadline_at = super::deadline_at(draft, timeout_ms);
    let Some(restore) = draft.next.restore.as_mut() else { return };
    restore.members = members(&destination.view, &destination.mapping);
    restore.mapping = destination.mapping;
    restore.snapshot = destination.snapshot;
    restore.state = RestoreState::Planned;
    restore.generation = generation;
    restore.deadline_at = deadline_at;
    restore.retry_at = None;
}
