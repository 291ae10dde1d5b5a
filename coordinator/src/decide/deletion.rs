//! Deleting snapshots: decided here, before anything is taken out of the archive. `committed | aborted -> deleting -> deleted`.
//!
//! An aborted snapshot stays `aborted`, so that its reason stays in sight; what it left in the archive goes all the same. Everything that goes is
//! swept twice: at once, and again after the longest that an upload can last, for one may have been under way.

use jiff::SignedDuration;
use serde_json::json;
use stillframe_api::{retention::Keep, snapshot::SnapshotState};
use stillframe_protocol::SnapshotId;

use super::{
    Decision, Draft, Facts, Occasion, Refusal,
    facts::CollectionState,
    retention::{self, Needed},
};

/// Deletes a snapshot because somebody asked. One that is being deleted, or is, stays as it is.
///
/// # Errors
/// When there is no such snapshot, it hasn't ended, something needs it, or nothing may be deleted for now.
pub fn request(facts: &Facts, occasion: &Occasion, id: SnapshotId) -> Result<Decision, Refusal> {
    let cluster = &facts.cluster;
    let Some(snapshot) = facts.snapshot(id) else {
        return Err(Refusal::UnknownSnapshot { cluster: cluster.name.clone(), snapshot: id });
    };
    match snapshot.state {
        SnapshotState::Deleting | SnapshotState::Deleted => return Ok(Decision::nothing(facts)),
        state @ (SnapshotState::Pending | SnapshotState::Recording | SnapshotState::Committing) => {
            return Err(Refusal::SnapshotOpen { snapshot: id, state });
        }
        SnapshotState::Aborted | SnapshotState::Committed => {}
    }
    check_collection(facts)?;
    if snapshot.state == SnapshotState::Committed {
        let needed = needed_by(facts, id);
        if !needed.is_empty() {
            return Err(Refusal::SnapshotNeeded { snapshot: id, by: needed });
        }
    }
    Ok(mark(facts, occasion, id, "request"))
}

/// Deletes a committed snapshot that the cluster's retention lets go. Nothing changes when it doesn't, or not any more.
#[must_use]
pub fn expire(facts: &Facts, occasion: &Occasion, id: SnapshotId) -> Decision {
    let committed = facts.snapshot(id).is_some_and(|snapshot| snapshot.state == SnapshotState::Committed);
    let goes = retention::verdicts(facts).iter().any(|verdict| verdict.snapshot == id && verdict.keep.is_empty());
    if !committed || !goes || check_collection(facts).is_err() {
        return Decision::nothing(facts);
    }
    mark(facts, occasion, id, "retention")
}

/// Whether anything may be deleted.
///
/// # Errors
/// Why not.
pub fn check_collection(facts: &Facts) -> Result<(), Refusal> {
    match facts.kept.as_ref().map(|kept| &kept.collection) {
        None | Some(CollectionState::Confirmed) => Ok(()),
        Some(CollectionState::Suspended { reason }) => Err(Refusal::CollectionSuspended { reason: reason.clone() }),
    }
}

fn needed_by(facts: &Facts, id: SnapshotId) -> Vec<Keep> {
    let restore = facts.restore.as_ref().filter(|restore| !restore.state.has_ended()).map(|restore| restore.id);
    let needed = Needed { latest: facts.cluster.latest_committed, restore };
    let kept = facts.kept.as_ref();
    let committed = kept.and_then(|kept| kept.committed.iter().find(|committed| committed.id == id).map(|c| (kept, c)));
    committed.map(|(kept, committed)| retention::standing(committed, kept, needed, facts.now)).unwrap_or_default()
}

fn mark(facts: &Facts, occasion: &Occasion, id: SnapshotId, because: &str) -> Decision {
    let mut draft = Draft::new(facts, occasion);
    let now = draft.now();
    if let Some(snapshot) = draft.snapshot_mut(id) {
        let was = snapshot.state;
        snapshot.state = SnapshotState::Deleting;
        (snapshot.sweep_at, snapshot.sweeps) = (Some(now), 0);
        let epoch = snapshot.epoch;
        draft.audit("snapshot.deleting", id, json!({ "epoch": epoch, "was": was, "because": because }));
    }
    draft.decide()
}

/// What a sweep of a snapshot's keys found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Objects that are gone.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Unfinished uploads that were aborted.
    pub uploads: u64,
}

/// Takes note that nothing of a snapshot is left in the archive: what was `deleting` is `deleted`, and everything is swept once more
/// `again_in`. Nothing changes when no sweep is due, as when another replica was first.
#[must_use]
pub fn swept(facts: &Facts, occasion: &Occasion, id: SnapshotId, swept: Swept, again_in: SignedDuration) -> Decision {
    let due = facts.snapshot(id).filter(|snapshot| snapshot.sweep_at.is_some_and(|due| due <= facts.now));
    let Some(state) = due.map(|snapshot| snapshot.state) else { return Decision::nothing(facts) };
    let next = match state {
        SnapshotState::Deleting | SnapshotState::Deleted => SnapshotState::Deleted,
        SnapshotState::Aborted => SnapshotState::Aborted,
        SnapshotState::Pending | SnapshotState::Recording | SnapshotState::Committing | SnapshotState::Committed => {
            return Decision::nothing(facts);
        }
    };
    let mut draft = Draft::new(facts, occasion);
    let again_at = draft.now().checked_add(again_in).unwrap_or(jiff::Timestamp::MAX);
    if let Some(snapshot) = draft.snapshot_mut(id) {
        snapshot.state = next;
        snapshot.sweep_at = (snapshot.sweeps == 0).then_some(again_at);
        snapshot.sweeps = snapshot.sweeps.saturating_add(1);
    }
    let detail = json!({ "objects": swept.objects, "bytes": swept.bytes, "uploads": swept.uploads });
    if next != state {
        draft.audit("snapshot.deleted", id, detail);
    } else if swept != Swept::default() {
        draft.audit("snapshot.swept", id, detail);
    }
    draft.decide()
}
