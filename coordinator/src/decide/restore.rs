//! Restores: all or nothing, one at a time.

use std::collections::BTreeSet;

use serde_json::json;
use stillframe_api::{
    cluster::ClusterPhase,
    restore::{RestorePhase, RestoreState},
    snapshot::{SnapshotState, Trigger},
};
use stillframe_protocol::{Generation, Incarnation, MemberName, RestoreId, SnapshotId};

use super::{
    Decision, Draft, Facts, Occasion, Refusal,
    facts::{HaltCause, Presence, RestoreFacts, RestoreMemberFacts, Standing},
    refusal::list,
    settle::{allocate_generation, halt, set_phase},
    snapshot,
};

/// Starts a restore to a committed snapshot.
///
/// # Errors
/// When there is no such snapshot, it isn't committed, a member of it was never registered, or another restore is under way.
pub fn start(facts: &Facts, occasion: &Occasion, id: SnapshotId, trigger: Trigger) -> Result<Decision, Refusal> {
    let cluster = &facts.cluster.name;
    let Some(snapshot) = facts.snapshot(id) else {
        return Err(Refusal::UnknownSnapshot { cluster: cluster.clone(), snapshot: id });
    };
    match snapshot.state {
        SnapshotState::Committed => {}
        state @ (SnapshotState::Pending
        | SnapshotState::Recording
        | SnapshotState::Committing
        | SnapshotState::Aborted
        | SnapshotState::Deleting
        | SnapshotState::Deleted) => return Err(Refusal::NotCommitted { snapshot: id, state }),
    }
    if let Some(restore) = &facts.restore {
        // Carried out a second time under one idempotency key.
        if restore.id == occasion.restore {
            return Ok(Decision::nothing(facts));
        }
        return Err(Refusal::RestoreUnderWay { cluster: cluster.clone(), restore: restore.id, state: restore.state });
    }
    let unknown: Vec<MemberName> = snapshot.view.keys().filter(|m| !facts.members.contains_key(*m)).cloned().collect();
    if !unknown.is_empty() {
        return Err(Refusal::MembersDiffer { cluster: cluster.clone(), snapshot: id, members: unknown });
    }
    let view = snapshot.view.keys().cloned().collect();
    let mut draft = Draft::new(facts, occasion);
    begin(&mut draft, id, &view, trigger);
    Ok(draft.decide())
}

/// Plans a restore: allocates its generation and holds the cluster.
pub(super) fn begin(draft: &mut Draft<'_>, snapshot: SnapshotId, view: &BTreeSet<MemberName>, trigger: Trigger) {
    let (now, id) = (draft.now(), draft.occasion.restore);
    let generation = allocate_generation(draft);
    draft.audit("restore.planned", id, json!({ "snapshot": snapshot, "generation": generation, "trigger": trigger }));
    draft.next.restore = Some(RestoreFacts {
        id,
        snapshot,
        generation,
        state: RestoreState::Planned,
        trigger,
        failure: None,
        members: view.iter().map(|name| (name.clone(), waiting(Incarnation(0)))).collect(),
        created_at: now,
        resumed_at: None,
        ended_at: None,
        deadline_at: now.checked_add(draft.occasion.restore_timeout).unwrap_or(jiff::Timestamp::MAX),
    });
    set_phase(draft, ClusterPhase::Restoring);
}

fn waiting(incarnation: Incarnation) -> RestoreMemberFacts {
    RestoreMemberFacts { incarnation, phase: RestorePhase::Waiting, bytes: 0, error: None }
}

/// Rule: a restore goes on as far as it can.
pub(super) fn advance(draft: &mut Draft<'_>) {
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
    describe(draft);
}

fn describe(draft: &mut Draft<'_>) {
    let Some(restore) = draft.next.restore.as_ref().filter(|restore| !restore.state.has_ended()) else { return };
    let away: Vec<MemberName> = restore.members.keys().filter(|m| !draft.next.is_live(m)).cloned().collect();
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
    let next = &mut draft.next;
    let Some(restore) = next.restore.as_mut() else { return false };
    let there = |name: &MemberName| next.members.get(name).filter(|m| m.state == Presence::Live).map(|m| m.incarnation);
    if !restore.members.keys().all(|name| there(name).is_some()) {
        return false;
    }
    for (name, member) in &mut restore.members {
        *member = waiting(there(name).unwrap_or_default());
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
    let same = |name: &MemberName, member: &RestoreMemberFacts| {
        next.members.get(name).is_some_and(|m| m.incarnation == member.incarnation && m.state == Presence::Live)
    };
    let Some(member) = restore.members.iter().find(|(name, member)| !same(name, member)).map(|(name, _)| name.clone()) else {
        return false;
    };
    let id = restore.id;
    let generation = allocate_generation(draft);
    if let Some(restore) = draft.next.restore.as_mut() {
        restore.state = RestoreState::Planned;
        restore.generation = generation;
        for member in restore.members.values_mut() {
            *member = waiting(Incarnation(0));
        }
    }
    draft.audit_automatic("restore.planned", id, json!({ "generation": generation, "again_because_of": member }));
    true
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
    next.cluster.generation = restore.generation;
    next.cluster.latest_committed = Some(restore.snapshot);
    next.latest_view = restore.members.keys().cloned().collect();
    for member in next.members.values_mut() {
        if restore.members.contains_key(&member.name) {
            member.standing = Standing::Active;
            (member.generation, member.epoch, member.restore) = (restore.generation, next.cluster.epoch, Some(restore.id));
        } else if member.standing != Standing::Waiting {
            member.standing = Standing::Excluded;
        }
    }
    let (id, generation) = (restore.id, restore.generation);
    draft.audit_automatic("restore.resuming", id, json!({ "generation": generation }));
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

/// Gives a restore up before its commit point. The old generation goes on if it is whole, else the cluster halts.
fn fail(draft: &mut Draft<'_>, detail: String) {
    let now = draft.now();
    let Some(restore) = draft.next.restore.as_mut() else { return };
    restore.state = RestoreState::Failed;
    restore.ended_at = Some(now);
    restore.failure = Some(detail.clone());
    let (id, generation, snapshot) = (restore.id, restore.generation, restore.snapshot);
    draft.audit("restore.failed", id, json!({ "generation": generation, "detail": detail }));
    let whole = draft.next.missing_members().next().is_none();
    match (draft.next.cluster.generation, whole) {
        (Generation(0), _) => set_phase(draft, ClusterPhase::Forming),
        (_, true) => set_phase(draft, ClusterPhase::Running),
        (_, false) => {
            let reason = format!(
                "the restore to snapshot {snapshot} failed: {detail}; restore an older snapshot (`stillframe snapshot list`, `stillframe \
                 restore start`)"
            );
            halt(draft, HaltCause::RestoreFailed, reason);
        }
    }
}

/// Fails the restore whose deadline has passed before its commit point.
pub(super) fn deadline(draft: &mut Draft<'_>) {
    let now = draft.now();
    let Some(restore) = draft.next.restore.as_ref().filter(|restore| restore.deadline_at <= now) else { return };
    let waited_for: Vec<MemberName> = match restore.state {
        RestoreState::Planned => restore.members.keys().filter(|name| !draft.next.is_live(name)).cloned().collect(),
        RestoreState::Preparing => {
            restore.members.iter().filter(|(_, m)| m.phase != RestorePhase::Prepared).map(|(name, _)| name.clone()).collect()
        }
        RestoreState::Resuming | RestoreState::Completed | RestoreState::Failed => return,
    };
    let was = match restore.state {
        RestoreState::Planned => "was not there",
        RestoreState::Preparing | RestoreState::Resuming | RestoreState::Completed | RestoreState::Failed => "was not prepared",
    };
    let detail = format!("{} {was} within {:#}", list(&waited_for), draft.occasion.restore_timeout);
    fail(draft, detail);
}

/// What a member says of its part of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Loaded and verified.
    Prepared {
        /// The restore.
        restore: RestoreId,
        /// The generation it was prepared for.
        generation: Generation,
        /// The bytes loaded.
        bytes: u64,
    },
    /// Can't be loaded.
    PrepareFailed {
        /// The restore.
        restore: RestoreId,
        /// The generation it was prepared for.
        generation: Generation,
        /// What is wrong.
        detail: String,
    },
    /// The member runs in this generation.
    Running {
        /// The generation.
        generation: Generation,
    },
}

/// Takes the words of members, in order. Those of other incarnations, generations or restores change nothing.
#[must_use]
pub fn heard(facts: &Facts, occasion: &Occasion, words: &[(MemberName, Incarnation, Word)]) -> Decision {
    let mut draft = Draft::new(facts, occasion);
    for (name, incarnation, word) in words {
        let Some(restore) = draft.next.restore.as_mut() else { continue };
        let (state, current) = (restore.state, (restore.id, restore.generation));
        let Some(member) = restore.members.get_mut(name).filter(|member| member.incarnation == *incarnation) else { continue };
        match (word, state) {
            (Word::Prepared { restore, generation, bytes }, RestoreState::Preparing) if (*restore, *generation) == current => {
                member.phase = RestorePhase::Prepared;
                member.bytes = *bytes;
            }
            (Word::PrepareFailed { restore, generation, detail }, RestoreState::Preparing)
                if (*restore, *generation) == current =>
            {
                member.phase = RestorePhase::Failed;
                member.error = Some(detail.clone());
                fail(&mut draft, format!("{name}: {detail}"));
            }
            (Word::Running { generation }, RestoreState::Resuming) if *generation == current.1 => {
                member.phase = RestorePhase::Running;
            }
            (Word::Prepared { .. } | Word::PrepareFailed { .. } | Word::Running { .. }, _) => {}
        }
    }
    draft.decide()
}
