//! The parts of a snapshot as their members take them up: where the numbers of each channel go on, and which logged messages have arrived. A member
//! reads its own objects only, so what it has to know of its peers' parts is told here.

use std::collections::{BTreeMap, BTreeSet};

use stillframe_api::agent::Arrived;
use stillframe_archive::Part;
use stillframe_protocol::{
    MemberName, SeqRanges,
    resumption::{BothEnds, Resumption, resumption},
};

use super::mapping::{self, Mapping};

/// A part as it is taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumedPart {
    /// The part, with the counters that its channels go on with.
    pub part: Part,
    /// The logged messages that are passed over, because their receivers have them.
    pub arrived: Vec<Arrived>,
}

/// A snapshot that can't be taken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("channel {from} -> {to} can't go on: {why}")]
pub struct Unresumable {
    /// The channel's sender.
    from: MemberName,
    /// The channel's receiver.
    to: MemberName,
    /// Why.
    why: BothEnds,
}

/// What both ends say of a channel.
#[derive(Default)]
struct Ends<'a> {
    received: Option<&'a SeqRanges>,
    recorded: Option<&'a SeqRanges>,
    logged: Option<&'a SeqRanges>,
}

/// By sender and receiver.
type Channels = BTreeMap<(MemberName, MemberName), Resumption>;

/// The parts of a snapshot, all of them, as their members take them up. Takes `O(n log n)` for n counters. Where no sender has logged anything, the
/// counters stay as they are.
///
/// # Errors
/// [`Unresumable`] for a channel that both ends claim.
pub fn resume(parts: Vec<Part>) -> Result<BTreeMap<MemberName, ResumedPart>, Unresumable> {
    let channels = channels(&parts)?;
    let view: BTreeSet<MemberName> = parts.iter().map(|part| part.member.clone()).collect();
    Ok(parts.into_iter().map(|part| (part.member.clone(), resumed(part, &channels, &view))).collect())
}

fn channels(parts: &[Part]) -> Result<Channels, Unresumable> {
    let mut ends: BTreeMap<(&MemberName, &MemberName), Ends<'_>> = BTreeMap::new();
    for part in parts {
        let me = &part.member;
        part.received.iter().for_each(|r| ends.entry((&r.from, me)).or_default().received = Some(&r.ranges));
        part.recorded.iter().for_each(|r| ends.entry((&r.from, me)).or_default().recorded = Some(&r.ranges));
        part.logged.iter().for_each(|l| ends.entry((me, &l.to)).or_default().logged = Some(&l.ranges));
    }
    let none = SeqRanges::new();
    let of = |ends: Ends<'_>| {
        let [received, recorded, logged] = [ends.received, ends.recorded, ends.logged].map(|set| set.unwrap_or(&none));
        resumption(received, recorded, logged)
    };
    let channel = |((from, to), ends): ((&MemberName, &MemberName), Ends<'_>)| match of(ends) {
        Ok(resumption) => Ok(((from.clone(), to.clone()), resumption)),
        Err(why) => Err(Unresumable { from: from.clone(), to: to.clone(), why }),
    };
    ends.into_iter().map(channel).collect()
}

fn resumed(mut part: Part, channels: &Channels, view: &BTreeSet<MemberName>) -> ResumedPart {
    let me = part.member.clone();
    // What it counts of members that aren't in the snapshot, because they had left, is of a past that ends here; and they had received what is logged for them.
    part.sent.retain(|sent| view.contains(&sent.to));
    part.received.retain(|received| view.contains(&received.from));
    part.recorded.retain(|recorded| view.contains(&recorded.from));
    for channel in &mut part.sent {
        // What nobody has received, recorded or logged wasn't sent.
        channel.messages = channels.get(&(me.clone(), channel.to.clone())).map_or(0, |resumption| resumption.sent);
    }
    for channel in &mut part.received {
        if let Some(resumption) = channels.get(&(channel.from.clone(), me.clone())) {
            channel.ranges.clone_from(&resumption.received);
        }
    }
    let arrived = part.logged.iter().filter_map(|logged| {
        let resent = channels.get(&(me.clone(), logged.to.clone())).map(|resumption| &resumption.resent)?;
        let ranges = if view.contains(&logged.to) { logged.ranges.minus(resent) } else { logged.ranges.clone() };
        (!ranges.is_empty()).then(|| Arrived { to: logged.to.clone(), ranges })
    });
    let arrived = arrived.collect();
    ResumedPart { part, arrived }
}

/// A part under the names of now, as [`mapping::rename`].
#[must_use]
pub fn rename(mapping: &Mapping, resumed: ResumedPart) -> ResumedPart {
    let ResumedPart { part, mut arrived } = resumed;
    for channel in &mut arrived {
        channel.to = mapping::apply(mapping, &channel.to).clone();
    }
    ResumedPart { part: mapping::rename(mapping, part), arrived }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_protocol::{Generation, Incarnation, Logged, Received, Sent, Seq, ViewMember, certificate};

    use super::*;

    fn name(n: usize) -> MemberName {
        MemberName::new(format!("p{n}")).expect("a name")
    }

    fn ranges(of: impl Iterator<Item = u64>) -> SeqRanges {
        of.map(Seq).collect()
    }

    /// Of each message of each channel among three members: whether it was received, and whether it was logged; what wasn't received was.
    type Fates = BTreeMap<(usize, usize), Vec<(bool, bool)>>;

    fn parts(fates: &Fates) -> Vec<Part> {
        let of = |fates: &[(bool, bool)], is: fn(&(bool, bool)) -> bool| {
            ranges((1u64..).zip(fates).filter(|(_, fate)| is(fate)).map(|(n, _)| n))
        };
        let part = |me: usize| Part {
            member: name(me),
            incarnation: Incarnation(1),
            objects: Vec::new(),
            sent: fates
                .iter()
                .filter(|((from, _), _)| *from == me)
                .map(|((_, to), fates)| Sent { to: name(*to), messages: fates.len() as u64 })
                .collect(),
            received: fates
                .iter()
                .filter(|((_, to), _)| *to == me)
                .map(|((from, _), fates)| Received { from: name(*from), ranges: of(fates, |fate| fate.0) })
                .collect(),
            recorded: Vec::new(),
            logged: fates
                .iter()
                .filter(|((from, _), _)| *from == me)
                .map(|((_, to), fates)| Logged { to: name(*to), ranges: of(fates, |fate| fate.1 || !fate.0), bytes: 0 })
                .collect(),
            peers: Vec::new(),
        };
        (0..3).map(part).collect()
    }

    fn certified(parts: &[Part]) -> bool {
        let view: Vec<ViewMember> =
            parts.iter().map(|p| ViewMember { member: p.member.clone(), incarnation: p.incarnation }).collect();
        let counters: Vec<_> = parts.iter().map(|part| part.counters(Generation(1))).collect();
        certificate::verify(Generation(1), &view, &counters).is_ok()
    }

    proptest! {
        #[test]
        fn both_ends_of_every_channel_go_on_alike_and_what_had_not_arrived_is_sent_again_once(
            fates in prop::collection::btree_map((0usize..3, 0usize..3), prop::collection::vec(any::<(bool, bool)>(), 0..9), 0..9),
            shift in 0usize..3,
        ) {
            let before = parts(&fates);
            prop_assert!(certified(&before));
            let mapping: Mapping = (0..3).map(|n| (name(n), name((n + shift) % 3))).collect();
            let resumed: Vec<ResumedPart> = resume(before).expect("one end claims each").into_values().map(|part| rename(&mapping, part)).collect();
            let of = |n: usize| resumed.iter().find(|resumed| resumed.part.member == name((n + shift) % 3)).expect("a part");
            for ((from, to), fates) in &fates {
                let (p, q) = (of(*from), of(*to));
                let sent = p.part.sent.iter().find(|s| s.to == q.part.member).expect("counted").messages;
                let received = &q.part.received.iter().find(|r| r.from == p.part.member).expect("counted").ranges;
                prop_assert_eq!(received, &SeqRanges::prefix(sent));
                let had = fates.iter().filter(|fate| fate.0).count() as u64;
                prop_assert_eq!(sent, had);
                let logged = &p.part.logged.iter().find(|l| l.to == q.part.member).expect("logged").ranges;
                let arrived = p.arrived.iter().find(|a| a.to == q.part.member).map(|a| a.ranges.clone()).unwrap_or_default();
                let again = logged.minus(&arrived);
                let missed = ranges((1u64..).zip(fates).filter(|(_, fate)| !fate.0).map(|(n, _)| n));
                prop_assert_eq!(again, missed);
            }
            // As the counters of a cut in which nothing is under way, which the next generation begins with.
            let mut next: Vec<Part> = resumed.into_iter().map(|resumed| resumed.part).collect();
            next.iter_mut().for_each(|part| part.logged.clear());
            prop_assert!(certified(&next));
        }
    }

    #[test]
    fn without_logs_the_counters_stay_as_they_are() {
        let recorded = stillframe_protocol::Recorded { from: name(0), ranges: ranges(3..=5), bytes: 9 };
        let mut parts = parts(&Fates::from([((0, 1), vec![(true, false); 2])]));
        parts[0].sent[0].messages = 5;
        parts[0].logged.clear();
        parts[1].recorded = vec![recorded];
        assert!(certified(&parts));
        let resumed = resume(parts.clone()).expect("one end claims each");
        assert!(resumed.values().all(|resumed| resumed.arrived.is_empty()));
        assert_eq!(resumed.into_values().map(|resumed| resumed.part).collect::<Vec<_>>(), parts);
    }
}
