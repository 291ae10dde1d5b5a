//! Which snapshot a restore goes back to, and who takes up its parts.

use std::collections::BTreeSet;

use stillframe_api::{
    restore::UnreadableSnapshot,
    snapshot::{SnapshotState, Trigger},
};
use stillframe_protocol::{MemberName, SnapshotId};

use super::{
    Terms, begin,
    mapping::{self, Mapping},
};
use crate::decide::{Decision, Draft, Facts, Occasion, Refusal, facts::UnreadableFacts};

/// Which snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// This one, whatever is known of it.
    Snapshot(SnapshotId),
    /// The one that a rollback goes back to.
    Latest,
}

/// What a restore is asked for with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// To which snapshot.
    pub target: Target,
    /// What asks.
    pub trigger: Trigger,
    /// How long each snapshot that is tried may take, in milliseconds; the coordinator's setting unless told.
    pub timeout_ms: Option<u64>,
    /// How many older snapshots may be tried.
    pub fallback: u32,
    /// How often each member may try again.
    pub retries: u32,
    /// Members of the snapshot that have other names now; with [`Target::Latest`] those that it was restored under, unless told.
    pub mapping: Mapping,
}

/// A snapshot to go back to, and who takes up its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its members.
    pub view: BTreeSet<MemberName>,
    /// Those that have other names now.
    pub mapping: Mapping,
}

/// Starts a restore to a committed snapshot. Members that aren't there are waited for, until the deadline.
///
/// # Errors
/// When there is no such snapshot, it isn't committed or known to be unreadable, the mapping doesn't fit it, or another restore is under way.
pub fn start(facts: &Facts, occasion: &Occasion, ask: Ask) -> Result<Decision, Refusal> {
    let (destination, passed) = resolve(facts, &ask)?;
    if let Some(restore) = &facts.restore {
        // Carried out a second time under one idempotency key.
        if restore.id == occasion.restore {
            return Ok(Decision::nothing(facts));
        }
        let cluster = facts.cluster.name.clone();
        return Err(Refusal::RestoreUnderWay { cluster, restore: restore.id, state: restore.state });
    }
    let mut draft = Draft::new(facts, occasion);
    let fallback = ask.fallback.saturating_sub(u32::try_from(passed.len()).unwrap_or(u32::MAX));
    let Ask { trigger, timeout_ms, retries, .. } = ask;
    begin(&mut draft, destination, Terms { trigger, timeout_ms, fallback, retries, tried: passed });
    Ok(draft.decide())
}

/// Where a restore would go, and which snapshot it passes over because that is known to be unreadable.
///
/// # Errors
/// As [`start`], except that another restore may be under way.
pub fn resolve(facts: &Facts, ask: &Ask) -> Result<(Destination, Vec<UnreadableSnapshot>), Refusal> {
    let (destination, passed) = match ask.target {
        Target::Snapshot(id) => (named(facts, id)?, Vec::new()),
        Target::Latest => latest(facts, ask.fallback)?,
    };
    let mapping = if ask.mapping.is_empty() { destination.mapping } else { ask.mapping.clone() };
    let Destination { snapshot, view, .. } = destination;
    mapping::check(&mapping, &view).map_err(|misfit| Refusal::MembersDiffer { snapshot, misfit })?;
    Ok((Destination { snapshot, view, mapping }, passed))
}

fn named(facts: &Facts, id: SnapshotId) -> Result<Destination, Refusal> {
    let Some(snapshot) = facts.snapshot(id) else {
        return Err(Refusal::UnknownSnapshot { cluster: facts.cluster.name.clone(), snapshot: id });
    };
    match snapshot.state {
        SnapshotState::Committed => {
            Ok(Destination { snapshot: id, view: snapshot.view.keys().cloned().collect(), mapping: Mapping::new() })
        }
        state @ (SnapshotState::Pending
        | SnapshotState::Recording
        | SnapshotState::Committing
        | SnapshotState::Aborted
        | SnapshotState::Deleting
        | SnapshotState::Deleted) => Err(Refusal::NotCommitted { cluster: facts.cluster.name.clone(), snapshot: id, state }),
    }
}

/// The latest committed snapshot; where that is known to be unreadable, the next older one, if that is allowed.
fn latest(facts: &Facts, fallback: u32) -> Result<(Destination, Vec<UnreadableSnapshot>), Refusal> {
    let cluster = &facts.cluster;
    let Some(snapshot) = cluster.latest_committed else {
        return Err(Refusal::NothingToRestore { cluster: cluster.name.clone() });
    };
    match facts.unreadable.get(&snapshot) {
        None => Ok((latest_destination(facts, snapshot), Vec::new())),
        Some(UnreadableFacts { member, detail, .. }) => {
            let (member, detail) = (member.clone(), detail.clone());
            match older(facts, &cluster.latest_mapping).filter(|_| fallback > 0) {
                Some(destination) => Ok((destination, vec![UnreadableSnapshot { snapshot, member, detail }])),
                None => Err(Refusal::SnapshotUnreadable { snapshot, detail }),
            }
        }
    }
}

/// The latest committed snapshot as a destination: its members by the names in it.
pub(in crate::decide) fn latest_destination(facts: &Facts, snapshot: SnapshotId) -> Destination {
    let mapping = facts.cluster.latest_mapping.clone();
    let part = |now: &MemberName| mapping.iter().find(|(_, name)| *name == now).map_or(now, |(part, _)| part).clone();
    Destination { snapshot, view: facts.latest_view.iter().map(part).collect(), mapping }
}

/// The next older snapshot, if its members fit the names of now.
pub(in crate::decide) fn older(facts: &Facts, mapping: &Mapping) -> Option<Destination> {
    let older = facts.older.as_ref()?;
    let view = older.view.clone();
    let mapping: Mapping =
        mapping.iter().filter(|(part, _)| view.contains(*part)).map(|(part, now)| (part.clone(), now.clone())).collect();
    mapping::check(&mapping, &view).ok()?;
    Some(Destination { snapshot: older.id, view, mapping })
}
