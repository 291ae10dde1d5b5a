//! The certificate: the counters of all channels at the cut, and the check that proves a snapshot with them.
//!
//! The check needs nothing but the counters, so anyone can make it, years later, without trusting the run that took the snapshot. Why it suffices is
//! proved in `docs/protocol.md`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Generation, Incarnation, MemberId, Seq},
    invariant::{Inexact, check_channel, check_logged, in_flight},
    name::MemberName,
    participant::SealedCounters,
    ranges::SeqRanges,
};

/// How many messages a member had sent on one channel, at its cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The channel's receiver.
    pub to: MemberName,
    /// How many.
    pub messages: u64,
}

/// What a member had received on one channel, at its cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The channel's sender.
    pub from: MemberName,
    /// The numbers of the messages.
    pub ranges: SeqRanges,
}

/// What a member recorded on one channel: the channel's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The channel's sender.
    pub from: MemberName,
    /// The numbers of the messages.
    pub ranges: SeqRanges,
    /// The bytes of their payloads.
    pub bytes: u64,
}

/// What a member logged of one channel, at its cut: what it had sent and not yet seen acknowledged. What of it the receiver hadn't received is the
/// channel's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// The channel's receiver.
    pub to: MemberName,
    /// The numbers of the messages.
    pub ranges: SeqRanges,
    /// The bytes of their payloads.
    pub bytes: u64,
}

/// What one part says of its member's channels. A channel that isn't named counts 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartCounters {
    /// The member.
    pub member: MemberName,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The generation it lives in.
    pub generation: Generation,
    /// Of each outgoing channel.
    pub sent: Vec<Sent>,
    /// Of each incoming channel.
    pub received: Vec<Received>,
    /// Of each incoming channel.
    pub recorded: Vec<Recorded>,
    /// Of each outgoing channel; empty unless the cluster's channel state is sender-logged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logged: Vec<Logged>,
    /// The incarnations that the counters speak of, for those peers of which something is logged or which were replaced in the member's life.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<ViewMember>,
}

impl PartCounters {
    /// The counters of a sealed part with names instead of numbers. `None` if `name_of` doesn't know a member that is counted.
    pub fn from_sealed(
        member: MemberName,
        incarnation: Incarnation,
        generation: Generation,
        counters: &SealedCounters,
        name_of: impl Fn(MemberId) -> Option<MemberName>,
    ) -> Option<Self> {
        let sent = counters.sent.iter().map(|(&to, &messages)| Some(Sent { to: name_of(to)?, messages }));
        let received =
            counters.received.iter().map(|(&from, ranges)| Some(Received { from: name_of(from)?, ranges: ranges.clone() }));
        let recorded = counters
            .recorded
            .iter()
            .map(|(&from, (ranges, bytes))| Some(Recorded { from: name_of(from)?, ranges: ranges.clone(), bytes: *bytes }));
        let logged = counters
            .logged
            .iter()
            .map(|(&to, (ranges, bytes))| Some(Logged { to: name_of(to)?, ranges: ranges.clone(), bytes: *bytes }));
        let peers = counters.peers.iter().map(|(&peer, &incarnation)| Some(ViewMember { member: name_of(peer)?, incarnation }));
        Some(Self {
            member,
            incarnation,
            generation,
            sent: sent.collect::<Option<_>>()?,
            received: received.collect::<Option<_>>()?,
            recorded: recorded.collect::<Option<_>>()?,
            logged: logged.collect::<Option<_>>()?,
            peers: peers.collect::<Option<_>>()?,
        })
    }
}

/// One member of a snapshot's view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewMember {
    /// The member.
    pub member: MemberName,
    /// Its incarnation when the snapshot began.
    pub incarnation: Incarnation,
}

/// What a member that left counts at its end: a point behind its last event, which is its point in every later snapshot of its generation. It has no
/// state there, and nothing is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departed {
    /// The member.
    pub member: MemberName,
    /// The incarnation that left.
    pub incarnation: Incarnation,
    /// Of each outgoing channel.
    pub sent: Vec<Sent>,
    /// Of each incoming channel.
    pub received: Vec<Received>,
}

/// Those of the members that left whom a certificate needs: they aren't in the view, and a part still counts a channel with them. (A member that has
/// heard that a peer left forgets their channels, which are drained, and counts them no more.)
#[must_use]
pub fn needed(view: &[ViewMember], parts: &[PartCounters], departed: Vec<Departed>) -> Vec<Departed> {
    let counted: BTreeSet<&MemberName> = parts
        .iter()
        .flat_map(|part| {
            let sent = part.sent.iter().filter(|sent| sent.messages > 0).map(|sent| &sent.to);
            let received = part.received.iter().filter(|received| !received.ranges.is_empty()).map(|received| &received.from);
            let recorded = part.recorded.iter().filter(|recorded| !recorded.ranges.is_empty()).map(|recorded| &recorded.from);
            let logged = part.logged.iter().filter(|logged| !logged.ranges.is_empty()).map(|logged| &logged.to);
            sent.chain(received).chain(recorded).chain(logged)
        })
        .collect();
    let is_viewed = |name: &MemberName| view.iter().any(|member| member.member == *name);
    departed.into_iter().filter(|gone| counted.contains(&gone.member) && !is_viewed(&gone.member)).collect()
}

/// Why counters don't prove a snapshot. A snapshot with any of these must not be committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// V1: a receive inside the cut whose send is outside.
    #[error("{from} -> {to}: message {seq} was received inside the cut, but only {sent} were sent inside it")]
    Orphan {
        /// The channel's sender.
        from: MemberName,
        /// The channel's receiver.
        to: MemberName,
        /// The largest such message.
        seq: Seq,
        /// What the sender reports.
        sent: u64,
    },
    /// V2: a send inside the cut that is in neither state.
    #[error("{from} -> {to}: {count} of {sent} messages are neither received nor recorded, the first of them {first}")]
    Missing {
        /// The channel's sender.
        from: MemberName,
        /// The channel's receiver.
        to: MemberName,
        /// The smallest such message.
        first: Seq,
        /// How many there are.
        count: u64,
        /// What the sender reports.
        sent: u64,
    },
    /// V2: a message that is in the receiver's state and in the channel's.
    #[error("{from} -> {to}: message {seq} was received inside the cut and recorded as well")]
    Twice {
        /// The channel's sender.
        from: MemberName,
        /// The channel's receiver.
        to: MemberName,
        /// The smallest such message.
        seq: Seq,
    },
    /// V2: a message in the channel's state, or logged for it, whose send is outside the cut.
    #[error("{from} -> {to}: message {seq} was recorded or logged, but only {sent} were sent inside the cut")]
    NotSent {
        /// The channel's sender.
        from: MemberName,
        /// The channel's receiver.
        to: MemberName,
        /// The largest such message.
        seq: Seq,
        /// What the sender reports.
        sent: u64,
    },
    /// V3: a part of another generation.
    #[error("part of {member} is of generation {found}: expected {expected}")]
    Generation {
        /// The member.
        member: MemberName,
        /// The snapshot's.
        expected: Generation,
        /// The part's.
        found: Generation,
    },
    /// V3: a part of another incarnation than the view's.
    #[error("part of {member} is of incarnation {found}: expected {expected}")]
    Incarnation {
        /// The member.
        member: MemberName,
        /// The view's.
        expected: Incarnation,
        /// The part's.
        found: Incarnation,
    },
    /// V3: a part whose counters speak of the channels with another incarnation of a peer than the view's.
    #[error("{member} counts its channels with incarnation {found} of {peer}: expected {expected}")]
    Peer {
        /// The member whose part it is.
        member: MemberName,
        /// The member at the other end.
        peer: MemberName,
        /// The view's.
        expected: Incarnation,
        /// That of the part.
        found: Incarnation,
    },
    /// V3: a member of the view without a part.
    #[error("{member} is in the view, but has no part")]
    NoPart {
        /// The member.
        member: MemberName,
    },
    /// V3: a part whose member isn't in the view.
    #[error("{member} has a part, but isn't in the view")]
    View {
        /// The member.
        member: MemberName,
    },
    /// A channel from or to a member outside the view that isn't empty.
    #[error("{from} -> {to} isn't empty, but {outside} isn't in the view")]
    OutsideView {
        /// The channel's sender.
        from: MemberName,
        /// The channel's receiver.
        to: MemberName,
        /// The one that isn't in the view.
        outside: MemberName,
    },
    /// Something is reported twice.
    #[error("{what} of {of} is reported twice")]
    DuplicateEntry {
        /// `part`, `view entry`, `sent`, `received`, `recorded` or `logged`.
        what: &'static str,
        /// A member, or a channel `a -> b`.
        of: String,
    },
}

/// A snapshot whose counters prove it: the cut is consistent and the channel states are exact. Only [`verify`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertifiedSnapshot {
    channels: u64,
    messages_in_flight: u64,
    in_flight_bytes: u64,
}

impl CertifiedSnapshot {
    /// How many channels had been used.
    #[must_use]
    pub fn channels(&self) -> u64 {
        self.channels
    }

    /// How many messages the channel states hold.
    #[must_use]
    pub fn messages_in_flight(&self) -> u64 {
        self.messages_in_flight
    }

    /// How many bytes of payload the channel states hold, as reported. Of logged messages it counts also those that turn out to be received.
    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }
}

/// What both ends report of one channel.
#[derive(Default)]
struct Channel<'a> {
    sent: Option<u64>,
    received: Option<&'a SeqRanges>,
    recorded: Option<(&'a SeqRanges, u64)>,
    logged: Option<&'a Logged>,
}

/// Checks V1, V2 and V3 over the union of what both ends of every channel report (absent = 0). Takes `O(n log n)` for n entries and ranges in all.
///
/// # Errors
/// Everything that is wrong. Nothing about the snapshot is proved then.
pub fn verify(generation: Generation, view: &[ViewMember], parts: &[PartCounters]) -> Result<CertifiedSnapshot, Vec<Violation>> {
    verify_with(generation, view, parts, &[])
}

/// As [`verify`], with the members that left the generation before the snapshot began. A channel with one of them is checked by V1 and V2 as any other where
/// the part of the member of the view counts it; where it doesn't, its end there was closed when all of it had been received.
///
/// # Errors
/// Everything that is wrong. Nothing about the snapshot is proved then.
pub fn verify_with(
    generation: Generation,
    view: &[ViewMember],
    parts: &[PartCounters],
    departed: &[Departed],
) -> Result<CertifiedSnapshot, Vec<Violation>> {
    let mut violations = Vec::new();
    let mut members = check_view(generation, view, parts, &mut violations);
    let mut channels = gather(parts, &mut violations);
    let gone = check_departed(&members, parts, departed, &mut violations);
    for one in gone.values() {
        // Only what a part counts: the channels among those that left, and those that were closed, are of the past.
        for sent in &one.sent {
            channels.entry((&one.member, &sent.to)).and_modify(|channel| channel.sent = Some(sent.messages));
        }
        for received in &one.received {
            let ranges = &received.ranges;
            channels.entry((&received.from, &one.member)).and_modify(|channel| channel.received = Some(ranges));
        }
    }
    members.extend(gone.values().map(|gone| (&gone.member, gone.incarnation)));
    let mut certified = CertifiedSnapshot { channels: 0, messages_in_flight: 0, in_flight_bytes: 0 };
    let none = SeqRanges::new();
    for (&(from, to), channel) in &channels {
        let sent = channel.sent.unwrap_or(0);
        let received = channel.received.unwrap_or(&none);
        let (recorded, bytes) = channel.recorded.unwrap_or((&none, 0));
        let (logged, logged_bytes) = channel.logged.map_or((&none, 0), |log| (&log.ranges, log.bytes));
        if sent == 0 && received.is_empty() && recorded.is_empty() && logged.is_empty() {
            continue;
        }
        let outside = [from, to].into_iter().find(|member| !members.contains_key(member));
        if let Some(outside) = outside {
            violations.push(Violation::OutsideView { from: from.clone(), to: to.clone(), outside: outside.clone() });
            continue;
        }
        let in_flight = recorded.union(&in_flight(received, logged));
        let inexact = match (recorded.is_empty(), logged.is_empty()) {
            (_, true) => check_channel(sent, received, recorded),
            (true, false) => check_logged(sent, received, logged),
            // Both ends claim the channel: then each message has to be at one of them.
            (false, false) => {
                let both = recorded.first_common(logged).map(|seq| Inexact::Twice { seq: Seq(seq) });
                check_channel(sent, received, &in_flight).into_iter().chain(both).collect()
            }
        };
        violations.extend(inexact.into_iter().map(|inexact| named(from, to, inexact)));
        certified.channels += 1;
        certified.messages_in_flight = certified.messages_in_flight.saturating_add(in_flight.len());
        certified.in_flight_bytes = certified.in_flight_bytes.saturating_add(bytes).saturating_add(logged_bytes);
    }
    if violations.is_empty() { Ok(certified) } else { Err(violations) }
}

/// V3. Returns the members of the view, with their incarnations.
fn check_view<'a>(
    generation: Generation,
    view: &'a [ViewMember],
    parts: &[PartCounters],
    violations: &mut Vec<Violation>,
) -> BTreeMap<&'a MemberName, Incarnation> {
    let mut expected = BTreeMap::new();
    for member in view {
        if expected.insert(&member.member, member.incarnation).is_some() {
            violations.push(Violation::DuplicateEntry { what: "view entry", of: member.member.to_string() });
        }
    }
    let mut reported = BTreeSet::new();
    for part in parts {
        let member = &part.member;
        if !reported.insert(member) {
            violations.push(Violation::DuplicateEntry { what: "part", of: member.to_string() });
        }
        if part.generation != generation {
            violations.push(Violation::Generation { member: member.clone(), expected: generation, found: part.generation });
        }
        match expected.get(member) {
            None => violations.push(Violation::View { member: member.clone() }),
            Some(&incarnation) if incarnation != part.incarnation => {
                violations.push(Violation::Incarnation {
                    member: member.clone(),
                    expected: incarnation,
                    found: part.incarnation,
                });
            }
            Some(_) => {}
        }
    }
    for (part, peer) in parts.iter().flat_map(|part| part.peers.iter().map(move |peer| (part, peer))) {
        // What another incarnation received, or didn't, is not in this snapshot.
        if let Some(&incarnation) = expected.get(&peer.member).filter(|&&incarnation| incarnation != peer.incarnation) {
            violations.push(Violation::Peer {
                member: part.member.clone(),
                peer: peer.member.clone(),
                expected: incarnation,
                found: peer.incarnation,
            });
        }
    }
    let without = expected.keys().filter(|member| !reported.contains(*member));
    violations.extend(without.map(|&member| Violation::NoPart { member: member.clone() }));
    expected
}

/// V3 for those that left. Returns them by name.
fn check_departed<'a>(
    view: &BTreeMap<&MemberName, Incarnation>,
    parts: &[PartCounters],
    departed: &'a [Departed],
    violations: &mut Vec<Violation>,
) -> BTreeMap<&'a MemberName, &'a Departed> {
    let mut gone = BTreeMap::new();
    for one in departed {
        if view.contains_key(&one.member) || gone.insert(&one.member, one).is_some() {
            violations.push(Violation::DuplicateEntry { what: "view entry", of: one.member.to_string() });
        }
    }
    for (part, peer) in parts.iter().flat_map(|part| part.peers.iter().map(move |peer| (part, peer))) {
        if let Some(left) = gone.get(&peer.member).filter(|left| left.incarnation != peer.incarnation) {
            let (member, expected) = (part.member.clone(), left.incarnation);
            violations.push(Violation::Peer { member, peer: peer.member.clone(), expected, found: peer.incarnation });
        }
    }
    gone
}

/// Puts the reports of both ends of each channel together.
fn gather<'a>(
    parts: &'a [PartCounters],
    violations: &mut Vec<Violation>,
) -> BTreeMap<(&'a MemberName, &'a MemberName), Channel<'a>> {
    let mut channels: BTreeMap<_, Channel<'_>> = BTreeMap::new();
    let mut twice = |what, from: &MemberName, to: &MemberName| {
        violations.push(Violation::DuplicateEntry { what, of: format!("{from} -> {to}") });
    };
    for part in parts {
        let me = &part.member;
        for sent in &part.sent {
            if channels.entry((me, &sent.to)).or_default().sent.replace(sent.messages).is_some() {
                twice("sent", me, &sent.to);
            }
        }
        for received in &part.received {
            if channels.entry((&received.from, me)).or_default().received.replace(&received.ranges).is_some() {
                twice("received", &received.from, me);
            }
        }
        for recorded in &part.recorded {
            let entry = (&recorded.ranges, recorded.bytes);
            if channels.entry((&recorded.from, me)).or_default().recorded.replace(entry).is_some() {
                twice("recorded", &recorded.from, me);
            }
        }
        for logged in &part.logged {
            if channels.entry((me, &logged.to)).or_default().logged.replace(logged).is_some() {
                twice("logged", me, &logged.to);
            }
        }
    }
    channels
}

fn named(from: &MemberName, to: &MemberName, inexact: Inexact) -> Violation {
    let (from, to) = (from.clone(), to.clone());
    match inexact {
        Inexact::Orphan { seq, sent } => Violation::Orphan { from, to, seq, sent },
        Inexact::NotSent { seq, sent } => Violation::NotSent { from, to, seq, sent },
        Inexact::Twice { seq } => Violation::Twice { from, to, seq },
        Inexact::Missing { first, count, sent } => Violation::Missing { from, to, first, count, sent },
    }
}
