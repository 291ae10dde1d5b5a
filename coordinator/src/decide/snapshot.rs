//! Asking for, starting, aborting and committing snapshots.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use stillframe_api::{
    cluster::ClusterPhase,
    snapshot::{Abort, AbortReason, Channel, SnapshotState, Trigger},
};
use stillframe_archive::{ManifestDigest, inline_limit};
use stillframe_protocol::{CertifiedSnapshot, Incarnation, MemberName, SnapshotId, Violation};

use super::{
    Decision, Draft, Facts, Occasion, Refusal,
    blame::reasons,
    facts::{OUTCOMES, OutcomeFacts, Presence, SnapshotFacts},
    queue,
};

/// What a snapshot is asked for with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What asks.
    pub trigger: Trigger,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How long it may take, in milliseconds; the cluster's setting unless told.
    pub timeout_ms: Option<u64>,
}

/// Whether the cluster is in a state to be recorded.
///
/// # Errors
/// Why it isn't.
pub fn can_be_taken(facts: &Facts) -> Result<(), Refusal> {
    let cluster = &facts.cluster;
    match cluster.phase {
        ClusterPhase::Running => {}
        ClusterPhase::Restoring | ClusterPhase::Forming | ClusterPhase::Halted => {
            if let Some(restore) = &facts.restore {
                return Err(Refusal::RestoreUnderWay {
                    cluster: cluster.name.clone(),
                    restore: restore.id,
                    state: restore.state,
                });
            }
            let (phase, reason) = (cluster.phase, cluster.phase_reason.clone());
            return Err(Refusal::NotRunning { cluster: cluster.name.clone(), phase, reason });
        }
    }
    let members: Vec<MemberName> = facts.missing_members().map(|member| member.name.clone()).collect();
    if members.is_empty() { Ok(()) } else { Err(Refusal::MemberLost { cluster: cluster.name.clone(), members }) }
}

/// Whether a snapshot may be asked for: it can be taken, or there is room for it to wait.
///
/// # Errors
/// When the cluster isn't whole and running, or too many wait already.
pub(super) fn can_be_added(facts: &Facts) -> Result<(), Refusal> {
    can_be_taken(facts)?;
    let pending = queue::pending(facts).count();
    if pending < queue::MAX_PENDING {
        return Ok(());
    }
    Err(Refusal::TooManyPending { cluster: facts.cluster.name.clone(), pending })
}

/// Takes a snapshot, at once or as soon as there is a slot.
///
/// # Errors
/// When the cluster isn't whole and running, or too many wait already.
pub fn request(facts: &Facts, occasion: &Occasion, request: Request) -> Result<Decision, Refusal> {
    // Carried out a second time under one idempotency key.
    if facts.snapshot(occasion.snapshot).is_some() {
        return Ok(Decision::nothing(facts));
    }
    can_be_added(facts)?;
    let mut draft = Draft::new(facts, occasion);
    add(&mut draft, occasion.snapshot, request);
    Ok(draft.decide())
}

/// Takes a snapshot because the cluster needs one; one that waits already will do.
pub(super) fn request_automatic(draft: &mut Draft<'_>) {
    let waits = draft.next.snapshots.iter().any(|s| s.state == SnapshotState::Pending && s.trigger == Trigger::Automatic);
    if draft.automatic_used || waits {
        return;
    }
    draft.automatic_used = true;
    let request = Request { trigger: Trigger::Automatic, labels: BTreeMap::new(), timeout_ms: None };
    add(draft, draft.occasion.automatic, request);
}

pub(super) fn add(draft: &mut Draft<'_>, id: SnapshotId, request: Request) {
    let now = draft.now();
    let Request { trigger, labels, timeout_ms } = request;
    let own_timeout = timeout_ms.is_some();
    let timeout_ms = timeout_ms.unwrap_or(draft.next.cluster.snapshot_timeout_ms);
    draft.audit("snapshot.requested", id, json!({ "trigger": trigger, "timeout_ms": timeout_ms }));
    draft.next.snapshots.push(SnapshotFacts {
        id,
        epoch: None,
        generation: draft.next.cluster.generation,
        state: SnapshotState::Pending,
        abort: None,
        trigger,
        labels,
        timeout_ms,
        own_timeout,
        begins_at: None,
        inline_limit: 0,
        view: BTreeMap::new(),
        view_members: 0,
        created_at: now,
        recording_at: None,
        committing_at: None,
        ended_at: None,
        deadline_at: queue::after(now, timeout_ms),
        archive_error: None,
        messages_in_flight: None,
        sweep_at: None,
        sweeps: 0,
        reported: BTreeSet::new(),
        progress: BTreeMap::new(),
    });
}

/// Rule: while there is a slot, no pause to be kept, and the cluster is whole, the oldest that waits is recorded. Here its view is frozen, and
/// its time begins.
pub(super) fn start_pending(draft: &mut Draft<'_>) {
    loop {
        if !queue::may_begin(&draft.next) || can_be_taken(&draft.next).is_err() {
            return;
        }
        let Some(index) = draft.next.snapshots.iter().position(|s| s.state == SnapshotState::Pending) else { return };
        let generation = draft.next.cluster.generation;
        let view: BTreeMap<MemberName, Incarnation> =
            draft.next.belonging().filter(|m| m.runs_in(generation)).map(|m| (m.name.clone(), m.incarnation)).collect();
        draft.next.cluster.epoch = draft.next.cluster.epoch.next();
        let (now, epoch) = (draft.now(), draft.next.cluster.epoch);
        let snapshot = &mut draft.next.snapshots[index];
        snapshot.state = SnapshotState::Recording;
        snapshot.epoch = Some(epoch);
        snapshot.generation = generation;
        snapshot.inline_limit = inline_limit(view.len() as u64);
        snapshot.view_members = u32::try_from(view.len()).unwrap_or(u32::MAX);
        snapshot.view = view;
        snapshot.recording_at = Some(now);
        snapshot.deadline_at = queue::after(now, snapshot.timeout_ms);
        let (id, members) = (snapshot.id, snapshot.view_members);
        draft.audit_automatic("snapshot.recording", id, json!({ "epoch": epoch, "generation": generation, "members": members }));
    }
}

/// Ends a snapshot that is pending or recording.
pub(super) fn give_up(draft: &mut Draft<'_>, id: SnapshotId, abort: Abort) {
    let now = draft.now();
    let Some(snapshot) = draft.snapshot_mut(id) else { return };
    match snapshot.state {
        SnapshotState::Pending | SnapshotState::Recording => {}
        SnapshotState::Committing
        | SnapshotState::Committed
        | SnapshotState::Aborted
        | SnapshotState::Deleting
        | SnapshotState::Deleted => return,
    }
    snapshot.state = SnapshotState::Aborted;
    snapshot.abort = Some(abort.clone());
    snapshot.ended_at = Some(now);
    let epoch = snapshot.epoch;
    if let (Some(epoch), Some(recording_at)) = (epoch, snapshot.recording_at) {
        snapshot.sweep_at = Some(now);
        add_outcome(draft, OutcomeFacts { id, epoch, committed: false, recording_at });
    }
    draft.audit("snapshot.aborted", id, json!({ "epoch": epoch, "abort": abort }));
}

pub(super) fn add_outcome(draft: &mut Draft<'_>, outcome: OutcomeFacts) {
    let outcomes = &mut draft.next.outcomes;
    outcomes.push(outcome);
    keep_in_sight(outcomes);
}

/// Leaves, in order, the newest [`OUTCOMES`] of all and the newest [`OUTCOMES`] of those that were committed: however many are aborted, a member hears of every
/// snapshot that was committed with its part. (Without its part none is, and it has at most `max_concurrent` under way.)
pub fn keep_in_sight(outcomes: &mut Vec<OutcomeFacts>) {
    outcomes.sort_by_key(|outcome| outcome.epoch);
    let (mut newer, mut newer_committed) = (outcomes.len(), outcomes.iter().filter(|outcome| outcome.committed).count());
    outcomes.retain(|outcome| {
        newer -= 1;
        newer_committed -= usize::from(outcome.committed);
        newer < OUTCOMES || (outcome.committed && newer_committed < OUTCOMES)
    });
}

/// Rule: a snapshot that needs the part of an incarnation that is gone can't be completed. One that has the part isn't harmed.
pub(super) fn abort_broken(draft: &mut Draft<'_>) {
    let now = draft.now();
    let gone = |snapshot: &SnapshotFacts, next: &Facts| {
        let mut view = snapshot.view.iter().filter(|(name, _)| !snapshot.reported.contains(*name));
        view.find_map(|(name, incarnation)| {
            let latest = next.members.get(name)?;
            let gone = latest.incarnation != *incarnation || latest.state == Presence::Lost;
            gone.then(|| reasons::gone(snapshot, *incarnation, latest, now))
        })
    };
    let recording = draft.next.snapshots.iter().filter(|snapshot| snapshot.state == SnapshotState::Recording);
    let broken: Vec<_> = recording.filter_map(|s| gone(s, &draft.next).map(|abort| (s.id, abort))).collect();
    for (id, abort) in broken {
        give_up(draft, id, abort);
    }
}

/// Rule: while the cluster is being restored, nothing is recorded and nothing waits to be.
pub(super) fn abort_superseded(draft: &mut Draft<'_>) {
    let Some(restore) = draft.next.restore.as_ref().filter(|r| !r.state.has_ended()) else { return };
    let now = draft.now();
    let open = draft.next.snapshots.iter().filter(|s| !s.state.has_ended());
    let superseded: Vec<_> = open.map(|s| (s.id, reasons::superseded(s, restore, now))).collect();
    for (id, abort) in superseded {
        give_up(draft, id, abort);
    }
}

/// Aborts a snapshot because somebody asked. One that is aborted already stays as it is.
///
/// # Errors
/// When there is no such snapshot, or it goes only forward now.
pub fn abort(facts: &Facts, occasion: &Occasion, id: SnapshotId, why: Option<String>) -> Result<Decision, Refusal> {
    let Some(snapshot) = facts.snapshot(id) else {
        return Err(Refusal::UnknownSnapshot { cluster: facts.cluster.name.clone(), snapshot: id });
    };
    match snapshot.state {
        SnapshotState::Pending | SnapshotState::Recording => {}
        SnapshotState::Aborted => return Ok(Decision::nothing(facts)),
        state @ (SnapshotState::Committing | SnapshotState::Committed | SnapshotState::Deleting | SnapshotState::Deleted) => {
            return Err(Refusal::SnapshotEnded { snapshot: id, state });
        }
    }
    let mut draft = Draft::new(facts, occasion);
    give_up(&mut draft, id, reasons::requested(snapshot, why, facts.now));
    Ok(draft.decide())
}

/// A member's word that it can't complete its part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Who says so.
    pub member: MemberName,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Why.
    pub reason: AbortReason,
    /// Why, in a sentence.
    pub detail: String,
    /// The channel to blame.
    pub channel: Option<Channel>,
}

/// Aborts a snapshot for a member that can't complete its part. Nothing changes when the part isn't waited for (any more).
#[must_use]
pub fn failed(facts: &Facts, occasion: &Occasion, failure: Failure) -> Decision {
    let (id, member, incarnation) = (failure.snapshot, &failure.member, failure.incarnation);
    let waited_for = facts.snapshot(id).filter(|s| {
        s.state == SnapshotState::Recording && s.view.get(member) == Some(&incarnation) && !s.reported.contains(member)
    });
    let Some(snapshot) = waited_for else { return Decision::nothing(facts) };
    let mut draft = Draft::new(facts, occasion);
    give_up(&mut draft, id, reasons::failed(snapshot, failure, facts.now));
    draft.decide()
}

/// Aborts every snapshot of the cluster whose deadline has passed while it was pending or recording.
#[must_use]
pub fn deadlines(facts: &Facts, occasion: &Occasion) -> Decision {
    let mut draft = Draft::new(facts, occasion);
    let due =
        |s: &&SnapshotFacts| matches!(s.state, SnapshotState::Pending | SnapshotState::Recording) && s.deadline_at <= facts.now;
    for snapshot in facts.snapshots.iter().filter(due) {
        give_up(&mut draft, snapshot.id, reasons::deadline(facts, snapshot));
    }
    super::restore::deadline(&mut draft);
    draft.decide()
}

/// What the verifier said of a complete set of parts. Only [`stillframe_protocol::certificate::verify`] makes the good one.
pub type Verdict = Result<CertifiedSnapshot, Vec<Violation>>;

/// Turns a snapshot whose parts are all there to `committing`, from where it goes only forward, or aborts it when its certificate doesn't
/// hold. Nothing changes when it isn't recorded any more.
#[must_use]
pub fn certified(facts: &Facts, occasion: &Occasion, id: SnapshotId, verdict: &Verdict) -> Decision {
    let Some(complete) = facts.snapshot(id).filter(|s| s.state == SnapshotState::Recording && s.is_complete()) else {
        return Decision::nothing(facts);
    };
    let mut draft = Draft::new(facts, occasion);
    match verdict {
        Ok(certificate) => {
            let now = draft.now();
            let in_flight = certificate.messages_in_flight();
            if let Some(snapshot) = draft.snapshot_mut(id) {
                snapshot.state = SnapshotState::Committing;
                snapshot.committing_at = Some(now);
                snapshot.messages_in_flight = Some(in_flight);
            }
            draft.audit(
                "snapshot.committing",
                id,
                json!({ "channels": certificate.channels(), "messages_in_flight": in_flight }),
            );
        }
        Err(violations) => give_up(&mut draft, id, reasons::rejected(facts, complete, violations)),
    }
    draft.decide()
}

/// Notes what the archive says against the manifest of a snapshot that is committing, so that everybody can be told. It goes on being tried.
#[must_use]
pub fn held_up(facts: &Facts, occasion: &Occasion, id: SnapshotId, error: &str) -> Decision {
    let is_news = |s: &&SnapshotFacts| s.state == SnapshotState::Committing && s.archive_error.as_deref() != Some(error);
    if facts.snapshot(id).filter(is_news).is_none() {
        return Decision::nothing(facts);
    }
    let mut draft = Draft::new(facts, occasion);
    if let Some(snapshot) = draft.snapshot_mut(id) {
        snapshot.archive_error = Some(error.to_owned());
    }
    draft.decide()
}

/// Ends a snapshot whose manifest is in the archive: it can be restored from now on. Nothing changes unless it is `committing`.
#[must_use]
pub fn committed(facts: &Facts, occasion: &Occasion, id: SnapshotId, manifest: &ManifestDigest) -> Decision {
    let Some(snapshot) = facts.snapshot(id).filter(|s| s.state == SnapshotState::Committing) else {
        return Decision::nothing(facts);
    };
    let (Some(epoch), Some(recording_at), generation) = (snapshot.epoch, snapshot.recording_at, snapshot.generation) else {
        return Decision::nothing(facts);
    };
    let view = snapshot.view.keys().cloned().collect();
    let mut draft = Draft::new(facts, occasion);
    let now = draft.now();
    if let Some(snapshot) = draft.snapshot_mut(id) {
        snapshot.state = SnapshotState::Committed;
        snapshot.ended_at = Some(now);
        snapshot.archive_error = None;
    }
    // A restore in between leaves this one on an abandoned branch: it can be restored by its id, but no rollback goes to it.
    let latest = draft.next.cluster.latest_committed;
    let newer = draft.next.outcomes.iter().any(|o| Some(o.id) == latest && o.epoch > epoch);
    if generation == draft.next.cluster.generation && !newer {
        draft.next.cluster.latest_committed = Some(id);
        draft.next.cluster.latest_mapping = BTreeMap::new();
        draft.next.latest_view = view;
    }
    add_outcome(&mut draft, OutcomeFacts { id, epoch, committed: true, recording_at });
    draft.audit("snapshot.committed", id, json!({ "epoch": epoch, "manifest": manifest }));
    draft.decide()
}
