//! The abort for each reason: who or what is to blame, since when, and what was still missing.

use jiff::Timestamp;
use stillframe_api::{
    snapshot::{Abort, AbortReason, Channel, SnapshotState},
    waiting::{UnderWay, WaitsFor},
};
use stillframe_protocol::{Incarnation, MemberName, Violation};

use super::{MAX_LINES, OpenChannel, missing_lines, named, open_channels, seconds, setting, since};
use crate::decide::{
    Facts, alignment,
    facts::{MemberFacts, RestoreFacts, SnapshotFacts},
    queue,
    refusal::are,
    snapshot::Failure,
};

/// The deadline of a snapshot has passed.
#[must_use]
pub fn deadline(facts: &Facts, snapshot: &SnapshotFacts) -> Abort {
    if snapshot.epoch.is_none() { waited_in_vain(facts, snapshot) } else { not_complete(snapshot, facts.now) }
}

/// The blame goes to a member that was never heard of, else to the channel that was waited for longest, else to a member that was storing.
fn not_complete(snapshot: &SnapshotFacts, now: Timestamp) -> Abort {
    let waiting: Vec<&MemberName> = snapshot.view.keys().filter(|m| !snapshot.reported.contains(*m)).collect();
    let timeout = setting(snapshot.timeout_ms);
    let detail = match waiting.len() {
        0 => format!("all parts are there, but the certificate was not verified within {timeout}"),
        1 => format!(
            "the part of {} was not there within {timeout}; {} of {} were",
            named(&waiting),
            snapshot.view.len() - 1,
            snapshot.view.len()
        ),
        n => format!(
            "the parts of {} were not there within {timeout}; {} of {} were",
            named(&waiting),
            snapshot.view.len() - n,
            snapshot.view.len()
        ),
    };
    let silent = waiting.iter().find(|m| !snapshot.progress.contains_key(**m)).copied();
    let longest = if silent.is_some() { None } else { open_channels(snapshot).min_by_key(|open| open.since) };
    let member = match (silent, &longest) {
        (Some(silent), _) => Some(silent.clone()),
        (None, Some(open)) => Some(open.channel.to.clone()),
        (None, None) => waiting.first().map(|m| (*m).clone()),
    };
    let since = longest.as_ref().map(|open| open.since).or_else(|| member.as_ref().and(snapshot.recording_at));
    let messages_missing = longest.as_ref().and_then(|open| open.messages_missing);
    Abort {
        reason: AbortReason::DeadlineExceeded,
        detail,
        member,
        channel: longest.map(|open| open.channel),
        since,
        messages_missing,
        missing: missing_lines(snapshot, now),
    }
}

/// It was pending to the end: the blame goes to what held it up.
fn waited_in_vain(facts: &Facts, snapshot: &SnapshotFacts) -> Abort {
    let timeout = setting(snapshot.timeout_ms);
    let ahead = queue::position(facts, snapshot.id).map_or(0, |position| position.saturating_sub(1));
    let queue = if ahead == 0 { String::new() } else { format!(", behind {ahead} more") };
    let mut member = None;
    let (what, why, since) = match queue::waits_for(facts, snapshot.id) {
        Some(WaitsFor::Slot { held_by } | WaitsFor::Archive { held_by }) => {
            let longest = held_by.iter().min_by_key(|holder| holder.since).map(|holder| holder.since);
            ("for a slot", holders(&held_by, facts.now), longest)
        }
        Some(WaitsFor::Members { lost }) => {
            member = lost.first().cloned();
            ("for every member to be there", are(&lost, "lost"), None)
        }
        Some(WaitsFor::Cluster { reason }) => ("for the cluster to run", reason, None),
        Some(WaitsFor::MinPause { until }) => ("for the cluster's min_pause", format!("it is over at {until}"), None),
        None => ("for a slot", "it was its turn only now".to_owned(), None),
    };
    Abort {
        reason: AbortReason::DeadlineExceeded,
        detail: format!("it waited {timeout} {what}{queue}: {why}"),
        member,
        channel: None,
        since: since.or(snapshot.begins_at),
        messages_missing: None,
        missing: Vec::new(),
    }
}

fn holders(held_by: &[UnderWay], now: Timestamp) -> String {
    let line = |holder: &UnderWay| {
        let UnderWay { snapshot, state, since: from, archive_error } = holder;
        let waited = seconds(since(*from, now));
        let archive = match (state, archive_error) {
            (SnapshotState::Committing, Some(error)) => format!(", for the archive doesn't take its manifest: {error}"),
            (SnapshotState::Committing, None) => ", for the archive hasn't taken its manifest".to_owned(),
            _ => String::new(),
        };
        format!("snapshot {snapshot} has been {state} for {waited}{archive}")
    };
    held_by.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// An incarnation is gone whose part isn't there.
#[must_use]
pub fn gone(snapshot: &SnapshotFacts, incarnation: Incarnation, latest: &MemberFacts, now: Timestamp) -> Abort {
    let name = &latest.name;
    let (reason, detail, since) = if incarnation == latest.incarnation {
        (AbortReason::MemberLost, format!("incarnation {incarnation} of {name} was lost before its part was there"), now)
    } else {
        let by = latest.incarnation;
        let detail = format!("incarnation {incarnation} of {name} was replaced by incarnation {by} before its part was there");
        (AbortReason::MembershipChanged, detail, latest.registered_at)
    };
    Abort {
        reason,
        detail,
        member: Some(name.clone()),
        channel: None,
        since: Some(since),
        messages_missing: None,
        missing: missing_lines(snapshot, now),
    }
}

/// A member said that it can't complete its part.
#[must_use]
pub fn failed(snapshot: &SnapshotFacts, failure: Failure, now: Timestamp) -> Abort {
    let Failure { member, reason, detail, channel, .. } = failure;
    let reason = match reason {
        AbortReason::SpoolOverflow
        | AbortReason::FifoViolation
        | AbortReason::StoreUnavailable
        | AbortReason::MembershipChanged => reason,
        AbortReason::MemberFailed
        | AbortReason::DeadlineExceeded
        | AbortReason::MemberLost
        | AbortReason::CertificateRejected
        | AbortReason::SupersededByRestore
        | AbortReason::Requested
        | AbortReason::AlignmentCycle => AbortReason::MemberFailed,
    };
    let open = channel.as_ref().and_then(|channel| open_channels(snapshot).find(|open| open.channel == *channel));
    Abort {
        reason,
        detail,
        member: Some(member),
        channel,
        since: open.as_ref().map(|open| open.since).or(snapshot.recording_at),
        messages_missing: open.and_then(|open: OpenChannel| open.messages_missing),
        missing: missing_lines(snapshot, now),
    }
}

/// The parts don't prove a consistent cut.
#[must_use]
pub fn rejected(facts: &Facts, snapshot: &SnapshotFacts, violations: &[Violation]) -> Abort {
    let missing: Vec<String> = violations.iter().take(MAX_LINES).map(ToString::to_string).collect();
    let outsiders = !violations.is_empty() && violations.iter().all(|v| matches!(v, Violation::OutsideView { .. }));
    // One that left and is back: a part may still count the channels with the incarnation before.
    let is_back = |name: &MemberName| {
        let left = facts.members.get(name).and_then(|member| member.left).filter(|left| left.generation == snapshot.generation);
        left.is_some_and(|left| snapshot.view.get(name).is_some_and(|incarnation| *incarnation > left.incarnation))
    };
    let of_one_back = |violation: &Violation| match violation {
        Violation::Orphan { from, to, .. }
        | Violation::Missing { from, to, .. }
        | Violation::Twice { from, to, .. }
        | Violation::NotSent { from, to, .. }
        | Violation::OutsideView { from, to, .. } => [from, to].into_iter().find(|name| is_back(name)).cloned(),
        Violation::Peer { peer, .. } => Some(peer).filter(|name| is_back(name)).cloned(),
        Violation::Generation { .. }
        | Violation::Incarnation { .. }
        | Violation::NoPart { .. }
        | Violation::View { .. }
        | Violation::DuplicateEntry { .. } => None,
    };
    let back: Option<Vec<MemberName>> = violations.iter().map(of_one_back).collect();
    let back = back.and_then(|back| back.into_iter().next());
    let blamed = violations.first();
    let member = blamed.and_then(|violation| match violation {
        Violation::Orphan { to, .. }
        | Violation::Missing { to, .. }
        | Violation::Twice { to, .. }
        | Violation::NotSent { to, .. } => Some(to.clone()),
        Violation::Generation { member, .. }
        | Violation::Incarnation { member, .. }
        | Violation::NoPart { member }
        | Violation::View { member } => Some(member.clone()),
        Violation::Peer { peer, .. } => Some(peer.clone()),
        Violation::OutsideView { outside, .. } => Some(outside.clone()),
        Violation::DuplicateEntry { .. } => None,
    });
    let channel = blamed.and_then(|violation| match violation {
        Violation::Orphan { from, to, .. }
        | Violation::Missing { from, to, .. }
        | Violation::Twice { from, to, .. }
        | Violation::NotSent { from, to, .. }
        | Violation::OutsideView { from, to, .. } => Some(Channel { from: from.clone(), to: to.clone() }),
        Violation::Generation { .. }
        | Violation::Incarnation { .. }
        | Violation::Peer { .. }
        | Violation::NoPart { .. }
        | Violation::View { .. }
        | Violation::DuplicateEntry { .. } => None,
    });
    let messages_missing = blamed.and_then(|violation| match violation {
        Violation::Missing { count, .. } => Some(*count),
        Violation::Orphan { .. }
        | Violation::Twice { .. }
        | Violation::NotSent { .. }
        | Violation::Generation { .. }
        | Violation::Incarnation { .. }
        | Violation::Peer { .. }
        | Violation::NoPart { .. }
        | Violation::View { .. }
        | Violation::OutsideView { .. }
        | Violation::DuplicateEntry { .. } => None,
    });
    let n = violations.len();
    let violations = if n == 1 { "1 violation".to_owned() } else { format!("{n} violations") };
    let (reason, detail) = if outsiders {
        let detail = format!("messages went to or from a member that is not in the snapshot's view ({violations})");
        (AbortReason::MembershipChanged, detail)
    } else if let Some(back) = &back {
        let detail = format!("{back} left and came back, and not every member had heard of that at its cut ({violations})");
        (AbortReason::MembershipChanged, detail)
    } else {
        (AbortReason::CertificateRejected, format!("the counters don't prove a consistent cut ({violations})"))
    };
    Abort { reason, detail, member, channel, since: snapshot.recording_at, messages_missing, missing }
}

/// The members of an aligned snapshot wait for each other. The blame goes to the first channel of the cycle.
#[must_use]
pub fn cycle(snapshot: &SnapshotFacts, cycle: &[MemberName], has_fallback: bool, now: Timestamp) -> Abort {
    let channel = match cycle {
        [only] => Some(Channel { from: only.clone(), to: only.clone() }),
        [from, to, ..] => Some(Channel { from: from.clone(), to: to.clone() }),
        [] => None,
    };
    let open = channel.as_ref().and_then(|channel| open_channels(snapshot).find(|open| open.channel == *channel));
    let then = if has_fallback {
        "restore it to its latest snapshot (`stillframe restore start --latest`)"
    } else {
        "start all its members again, for there is no snapshot to go back to"
    };
    Abort {
        reason: AbortReason::AlignmentCycle,
        detail: format!(
            "the channels {} form a cycle, in which every member waits for the marker of the one before: set the cluster's alignment to unaligned, \
             or give it an aligned_timeout (`stillframe cluster update`), then {then}",
            alignment::round(cycle)
        ),
        member: channel.as_ref().map(|channel| channel.to.clone()),
        channel,
        since: open.map(|open| open.since).or(snapshot.recording_at),
        messages_missing: None,
        missing: missing_lines(snapshot, now),
    }
}

/// A restore of the cluster began.
#[must_use]
pub fn superseded(snapshot: &SnapshotFacts, restore: &RestoreFacts, now: Timestamp) -> Abort {
    let back_to = restore.snapshot;
    Abort {
        reason: AbortReason::SupersededByRestore,
        detail: format!("restore {} of the cluster, to snapshot {back_to}, began", restore.id),
        member: None,
        channel: None,
        since: Some(restore.created_at),
        messages_missing: None,
        missing: missing_lines(snapshot, now),
    }
}

/// Somebody asked for the abort.
#[must_use]
pub fn requested(snapshot: &SnapshotFacts, why: Option<String>, now: Timestamp) -> Abort {
    Abort {
        reason: AbortReason::Requested,
        detail: why.unwrap_or_else(|| "its abort was asked for".to_owned()),
        member: None,
        channel: None,
        since: Some(now),
        messages_missing: None,
        missing: missing_lines(snapshot, now),
    }
}
