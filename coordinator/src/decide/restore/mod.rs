//! Restores: all or nothing, one at a time.
//!
//! | to find | look in |
//! | --- | --- |
//! | which snapshot to go back to, and under which names | [`target`], [`mapping`] |
//! | where the numbers of its channels go on | [`resumed`] |
//! | from planned to completed | [`advance`] |
//! | what members say, and trying again | [`words`] |
//! | giving up, falling back, cancelling | [`failure`] |

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde_json::json;
use stillframe_api::{
    cluster::ClusterPhase,
    restore::{RestorePhase, RestoreState, UnreadableSnapshot},
    snapshot::Trigger,
};
use stillframe_protocol::{Incarnation, MemberName, RestoreId, SnapshotId};

use super::{
    Draft, Facts,
    facts::{RestoreFacts, RestoreMemberFacts, RollbackFacts, Standing},
    settle::{allocate_generation, set_phase},
};

mod advance;
mod failure;
pub mod mapping;
pub mod resumed;
mod target;
mod words;

pub use failure::cancel;
pub use target::{Ask, Destination, Target, resolve, start};
pub use words::{Word, heard};

pub(super) use advance::{advance, plan_again_after_a_loss};
pub(super) use failure::deadline;
pub(super) use target::{latest_destination, older};

/// Everything that a restore goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) trigger: Trigger,
    pub(super) timeout_ms: Option<u64>,
    pub(super) fallback: u32,
    pub(super) retries: u32,
    /// The snapshots that were passed over already.
    pub(super) tried: Vec<UnreadableSnapshot>,
}

/// Plans a restore: allocates its generation and holds the cluster.
pub(super) fn begin(draft: &mut Draft<'_>, destination: Destination, terms: Terms) {
    let (now, id) = (draft.now(), draft.occasion.restore);
    let Destination { snapshot, view, mapping } = destination;
    let Terms { trigger, timeout_ms, fallback, retries, tried } = terms;
    let default_ms = u64::try_from(draft.occasion.restore_timeout.as_millis()).unwrap_or(u64::MAX);
    let timeout_ms = timeout_ms.unwrap_or(default_ms);
    let generation = allocate_generation(draft);
    draft.audit(
        "restore.planned",
        id,
        json!({ "snapshot": snapshot, "generation": generation, "trigger": trigger, "fallback": fallback, "mapping": mapping }),
    );
    if trigger == Trigger::Automatic {
        draft.next.rollbacks.push(RollbackFacts { created_at: now, went_through: false });
    }
    draft.next.cluster.rollback_at = None;
    draft.next.ended_restore = draft.next.restore.take();
    draft.next.restore = Some(RestoreFacts {
        id,
        snapshot,
        generation,
        state: RestoreState::Planned,
        trigger,
        failure: None,
        failure_reason: None,
        fallback,
        retries,
        timeout_ms,
        members: members(&view, &mapping),
        mapping,
        tried,
        retry_at: None,
        created_at: now,
        resumed_at: None,
        ended_at: None,
        deadline_at: deadline_at(draft, timeout_ms),
    });
    set_phase(draft, ClusterPhase::Restoring);
}

fn deadline_at(draft: &Draft<'_>, timeout_ms: u64) -> jiff::Timestamp {
    let timeout = SignedDuration::from_millis(i64::try_from(timeout_ms).unwrap_or(i64::MAX));
    draft.now().checked_add(timeout).unwrap_or(jiff::Timestamp::MAX)
}

/// Everybody's place at the beginning, by the names they have now.
fn members(view: &BTreeSet<MemberName>, mapping: &BTreeMap<MemberName, MemberName>) -> BTreeMap<MemberName, RestoreMemberFacts> {
    view.iter()
        .map(|part| match mapping.get(part).filter(|name| *name != part) {
            Some(name) => (name.clone(), RestoreMemberFacts { part: Some(part.clone()), ..waiting() }),
            None => (part.clone(), waiting()),
        })
        .collect()
}

fn waiting() -> RestoreMemberFacts {
    let (incarnation, phase) = (Incarnation(0), RestorePhase::Waiting);
    RestoreMemberFacts { part: None, incarnation, phase, bytes: 0, attempt: 0, error: None }
}

/// The incarnation that can take up a part now. One that was put out is on its way to its end.
fn there(facts: &Facts, name: &MemberName) -> Option<Incarnation> {
    let member = facts.members.get(name)?;
    (member.is_there() && member.standing != Standing::Excluded).then_some(member.incarnation)
}

/// Whether a restore of this id, not yet past its commit point, is under way.
fn is_before_commit(state: RestoreState) -> bool {
    match state {
        RestoreState::Planned | RestoreState::Preparing => true,
        RestoreState::Resuming | RestoreState::Completed | RestoreState::Failed => false,
    }
}

/// What is written down of a snapshot that proved unreadable.
fn note_unreadable(draft: &mut Draft<'_>, restore: RestoreId, snapshot: SnapshotId, member: &MemberName, detail: &str) {
    let found_at = draft.now();
    let found = super::facts::UnreadableFacts { restore, member: member.clone(), detail: detail.to_owned(), found_at };
    draft.next.unreadable.insert(snapshot, found);
    draft.audit_automatic("snapshot.unreadable", snapshot, json!({ "restore": restore, "member": member, "detail": detail }));
}
