//! Cycles of channels. A member that aligns waits for the markers of all its channels before it puts its own, so in a cycle all wait for ever.

use std::collections::BTreeMap;

use stillframe_api::snapshot::SnapshotState;
use stillframe_archive::Part;
use stillframe_protocol::{MemberName, topology::find_cycle};

use super::{
    Decision, Draft, Facts, Occasion,
    blame::reasons,
    facts::SnapshotFacts,
    restore::mapping::{Mapping, apply},
    snapshot::give_up,
};

/// A cycle as it is read: "p1 -> p2 -> p1".
#[must_use]
pub fn round(cycle: &[MemberName]) -> String {
    let members = cycle.iter().chain(cycle.first()).map(MemberName::as_str);
    members.collect::<Vec<_>>().join(" -> ")
}

/// A cycle that the channels of a snapshot form, by the names that its members have now. A channel counts when something was ever sent on it.
#[must_use]
pub fn cycle_of(parts: &[Part], mapping: &Mapping) -> Option<Vec<MemberName>> {
    let mut channels: BTreeMap<&MemberName, Vec<&MemberName>> = BTreeMap::new();
    for part in parts {
        let me = &part.member;
        let to = part.sent.iter().filter(|sent| sent.messages > 0).map(|sent| &sent.to);
        channels.entry(me).or_default().extend(to);
        for received in part.received.iter().filter(|received| !received.ranges.is_empty()) {
            channels.entry(&received.from).or_default().push(me);
        }
    }
    let cycle = find_cycle(channels.into_iter().flat_map(|(from, to)| to.into_iter().map(move |to| (from, to))))?;
    Some(cycle.into_iter().map(|member| apply(mapping, member).clone()).collect())
}

/// The cycle in which members of a snapshot wait for each other. Whoever said that it waits for a channel goes on doing so until that brings a
/// marker, and its sender puts none before it has cut: so words of different times may be put together.
fn waits_for_itself(snapshot: &SnapshotFacts) -> Option<Vec<MemberName>> {
    let waiting = snapshot.progress.iter().filter(|(member, _)| !snapshot.reported.contains(*member));
    find_cycle(waiting.flat_map(|(to, progress)| progress.missing.iter().map(move |missing| (&missing.from, to))))
        .map(|cycle| cycle.into_iter().cloned().collect())
}

/// Whether a snapshot of the cluster may come to wait for itself.
#[must_use]
pub fn may_hold(facts: &Facts) -> bool {
    facts.cluster.channels_in_force.waits_for_ever()
}

/// Decides on what members said that they wait for.
#[must_use]
pub fn heard(facts: &Facts, occasion: &Occasion) -> Decision {
    if facts.snapshots.iter().all(|snapshot| waits_for_itself(snapshot).is_none()) {
        return Decision::nothing(facts);
    }
    Draft::new(facts, occasion).decide()
}

/// Rule: an aligned snapshot whose members wait for each other in a cycle never ends by itself. It is aborted at once.
pub(super) fn abort_cycles(draft: &mut Draft<'_>) {
    if !may_hold(&draft.next) {
        return;
    }
    let recording = draft.next.snapshots.iter().filter(|snapshot| snapshot.state == SnapshotState::Recording);
    let (now, has_fallback) = (draft.now(), draft.next.cluster.latest_committed.is_some());
    let held: Vec<_> = recording
        .filter_map(|snapshot| {
            let cycle = waits_for_itself(snapshot)?;
            Some((snapshot.id, reasons::cycle(snapshot, &cycle, has_fallback, now)))
        })
        .collect();
    for (id, abort) in held {
        give_up(draft, id, abort);
    }
}
