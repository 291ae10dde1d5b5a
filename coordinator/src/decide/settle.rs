//! What follows by itself from any change: the rules of a cluster's life, as levels rather than events. Every decision ends here, so a rule
//! holds however its premise came about.

use serde_json::json;
use stillframe_api::{
    cluster::{ClusterPhase, OnLoss},
    snapshot::SnapshotState,
};
use stillframe_protocol::{Generation, MemberName};

use super::{
    alignment,
    decision::Draft,
    facts::{HaltCause, Presence, Standing},
    queue,
    refusal::{are, list, were},
    restore, rollback, snapshot,
};

/// Applies every rule.
pub fn settle(draft: &mut Draft<'_>) {
    snapshot::abort_broken(draft);
    alignment::abort_cycles(draft);
    form(draft);
    restore::advance(draft);
    take_heart(draft);
    react_to_loss(draft);
    restore::advance(draft);
    join(draft);
    describe(draft);
    snapshot::abort_superseded(draft);
    snapshot::start_pending(draft);
    queue::plan(draft);
}

/// A forming cluster runs once `min_members` are there. One that registered and was never heard of again isn't.
fn form(draft: &mut Draft<'_>) {
    let cluster = &draft.next.cluster;
    let there = draft.next.belonging().filter(|member| member.is_there()).count();
    if cluster.phase == ClusterPhase::Forming && there >= cluster.min_members as usize {
        start_generation(draft);
    }
}

/// Starts a new generation from the application's initial state, with every member that is there.
fn start_generation(draft: &mut Draft<'_>) {
    let generation = allocate_generation(draft);
    let epoch = draft.next.cluster.epoch;
    draft.next.cluster.enter(generation);
    set_phase(draft, ClusterPhase::Running);
    for member in draft.next.members.values_mut() {
        match member.standing {
            Standing::Excluded => {}
            // It was no member of this generation.
            Standing::Left => member.standing = Standing::Excluded,
            Standing::Waiting | Standing::Active | Standing::Replacing if member.is_there() => {
                member.standing = Standing::Active;
                (member.generation, member.epoch, member.restore, member.leaving) = (generation, epoch, None, None);
            }
            Standing::Waiting | Standing::Active | Standing::Replacing => {}
        }
    }
    let cluster = draft.next.cluster.name.clone();
    draft.audit_automatic("cluster.running", cluster, json!({ "generation": generation, "from": "initial state" }));
    snapshot::request_automatic(draft);
}

/// A generation number that was never used and never will be again.
pub(super) fn allocate_generation(draft: &mut Draft<'_>) -> Generation {
    let cluster = &mut draft.next.cluster;
    cluster.last_generation = cluster.last_generation.next();
    cluster.last_generation
}

pub(super) fn set_phase(draft: &mut Draft<'_>, phase: ClusterPhase) {
    let cluster = &mut draft.next.cluster;
    (cluster.phase, cluster.phase_reason, cluster.halt) = (phase, None, None);
}

pub(super) fn halt(draft: &mut Draft<'_>, cause: HaltCause, reason: String) {
    set_phase(draft, ClusterPhase::Halted);
    let cluster = &mut draft.next.cluster;
    (cluster.halt, cluster.phase_reason) = (Some(cause), Some(reason.clone()));
    let name = cluster.name.clone();
    draft.audit_automatic("cluster.halted", name, json!({ "reason": reason }));
}

/// Whether there is a snapshot to go back to, or one that is certain to be committed.
fn has_fallback(draft: &Draft<'_>) -> bool {
    let next = &draft.next;
    next.cluster.latest_committed.is_some()
        || next.snapshots.iter().any(|s| s.state == SnapshotState::Committing && s.generation == next.cluster.generation)
}

/// A cluster that halted because of a loss goes on when nothing is missing after all, or when it is to be put back and can be; one that has
/// no snapshot also starts afresh when everybody did. One that was put back too often isn't put back by itself any more, however long ago that was.
fn take_heart(draft: &mut Draft<'_>) {
    let (no_snapshot, at_limit) = match draft.next.cluster.halt {
        Some(HaltCause::NoSnapshot) => (true, false),
        Some(HaltCause::OnLoss) => (false, false),
        Some(HaltCause::RollbackLimit) => (false, true),
        Some(HaltCause::RestoreFailed | HaltCause::Resynced) | None => return,
    };
    let may_go_back = || !at_limit && has_fallback(draft) && on_loss(draft) == OnLoss::RestoreLatest;
    if no_snapshot && everybody_started_again(draft) {
        start_generation(draft);
    } else if draft.next.missing_members().next().is_none() || may_go_back() {
        set_phase(draft, ClusterPhase::Running);
        let cluster = draft.next.cluster.name.clone();
        draft.audit_automatic("cluster.running", cluster, json!({ "generation": draft.next.cluster.generation }));
    }
}

/// Whether no incarnation of the active generation is left, and enough new ones are there: then nothing can be lost by starting afresh.
fn everybody_started_again(draft: &Draft<'_>) -> bool {
    let mut live = 0;
    for member in draft.next.belonging() {
        match (member.standing, member.state) {
            (Standing::Active, _) | (Standing::Replacing, Presence::Lost) => return false,
            (Standing::Waiting | Standing::Replacing, Presence::Live) if member.seen => live += 1,
            // It would be left behind in the generation before.
            (Standing::Replacing, Presence::Live) => return false,
            (Standing::Waiting, Presence::Live | Presence::Lost) | (Standing::Excluded | Standing::Left, _) => {}
        }
    }
    !has_fallback(draft) && live >= draft.next.cluster.min_members
}

fn on_loss(draft: &Draft<'_>) -> OnLoss {
    draft.next.cluster.on_loss
}

fn missing(draft: &Draft<'_>) -> Vec<MemberName> {
    draft.next.missing_members().map(|member| member.name.clone()).collect()
}

/// A running cluster that isn't whole is halted, started afresh, or put back as soon as everybody that takes is there.
fn react_to_loss(draft: &mut Draft<'_>) {
    draft.next.cluster.rollback_at = None;
    if draft.next.cluster.phase != ClusterPhase::Running {
        return;
    }
    let missing = missing(draft);
    if missing.is_empty() {
        return;
    }
    let lost = were(&missing, "lost");
    if !has_fallback(draft) {
        if everybody_started_again(draft) {
            start_generation(draft);
            return;
        }
        let reason = format!(
            "{lost} before the first snapshot was committed, so there is nothing to go back to: start every member again, and the \
             cluster starts afresh"
        );
        return halt(draft, HaltCause::NoSnapshot, reason);
    }
    match on_loss(draft) {
        OnLoss::Halt => {
            let reason = format!(
                "{lost}, and on_loss is halt: start {} again, then have the cluster go on (`stillframe cluster resume {}`)",
                list(&missing),
                draft.next.cluster.name
            );
            halt(draft, HaltCause::OnLoss, reason);
        }
        OnLoss::RestoreLatest => rollback::roll_back(draft),
    }
}

/// Whoever waited joins the running generation, at the newest epoch: snapshots under way don't concern it.
fn join(draft: &mut Draft<'_>) {
    let (generation, epoch) = (draft.next.cluster.generation, draft.next.cluster.epoch);
    if draft.next.cluster.phase != ClusterPhase::Running {
        return;
    }
    let mut joined = Vec::new();
    for member in draft.next.members.values_mut() {
        if member.standing == Standing::Waiting && member.is_there() {
            member.standing = Standing::Active;
            (member.generation, member.epoch, member.restore) = (generation, epoch, None);
            joined.push(member.name.clone());
        }
    }
    if joined.is_empty() {
        return;
    }
    for member in joined {
        draft.audit_automatic("member.joined", member, json!({ "generation": generation, "epoch": epoch }));
    }
    snapshot::request_automatic(draft);
}

/// Says why a running cluster takes no snapshots.
fn describe(draft: &mut Draft<'_>) {
    if draft.next.cluster.phase != ClusterPhase::Running {
        return;
    }
    let (missing, now) = (missing(draft), draft.now());
    draft.next.cluster.phase_reason = if missing.is_empty() {
        None
    } else {
        let next = &draft.next;
        let all_there = next.latest_view.iter().all(|member| next.is_there(member));
        let first = rollback::let_through(next, now).filter(|_| all_there).map(|first| (first.id, &first.archive_error));
        let when = match (next.cluster.rollback_at, first) {
            _ if next.continuity.behind.is_some() => {
                "once the archive was looked through for what the database has lost of it".to_owned()
            }
            (Some(at), Some((id, Some(error)))) => format!(
                "once snapshot {id} is committed, which has all its parts and waits for the archive ({error}); without it at {at}"
            ),
            (_, Some((id, _))) => format!("once snapshot {id} is committed, which has all its parts"),
            (Some(at), None) => format!("at {at}, not sooner, because it was put back a short while ago"),
            (None, None) => "when all members are there".to_owned(),
        };
        Some(format!("{}; the cluster is put back to its latest snapshot {when}", are(&missing, "lost")))
    };
}
