//! Other names: a part that one member left is taken up by another. Every name in it is changed, all over, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use stillframe_archive::Part;
use stillframe_protocol::MemberName;

/// Names in the snapshot, and the names that take their place. Those that aren't in it stay.
pub type Mapping = BTreeMap<MemberName, MemberName>;

/// Why a mapping doesn't fit a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It renames a member that the snapshot doesn't have.
    #[error("it renames {0}, which is no member of the snapshot")]
    NoSuchMember(MemberName),
    /// Two parts would be taken up under one name.
    #[error("the parts of {one} and {other} would both be taken up by {name}")]
    Collision {
        /// The name.
        name: MemberName,
        /// A member of the snapshot.
        one: MemberName,
        /// Another.
        other: MemberName,
    },
}

/// Whether every part gets a name of its own, and every name that is changed is there.
///
/// # Errors
/// [`Misfit`].
pub fn check(mapping: &Mapping, view: &BTreeSet<MemberName>) -> Result<(), Misfit> {
    if let Some(unknown) = mapping.keys().find(|part| !view.contains(*part)) {
        return Err(Misfit::NoSuchMember(unknown.clone()));
    }
    check_names(mapping, view)
}

/// Whether every part gets a name of its own; names that the view doesn't have don't matter.
///
/// # Errors
/// [`Misfit::Collision`].
pub fn check_names(mapping: &Mapping, view: &BTreeSet<MemberName>) -> Result<(), Misfit> {
    let mut taken: BTreeMap<&MemberName, &MemberName> = BTreeMap::new();
    for part in view {
        let name = apply(mapping, part);
        if let Some(other) = taken.insert(name, part) {
            return Err(Misfit::Collision { name: name.clone(), one: other.clone(), other: part.clone() });
        }
    }
    Ok(())
}

/// A member's name now.
#[must_use]
pub fn apply<'a>(mapping: &'a Mapping, part: &'a MemberName) -> &'a MemberName {
    mapping.get(part).unwrap_or(part)
}

/// A part under the names of now: its own, and those of every channel. The objects stay as they are; what is inside of them is renamed by
/// whoever reads it.
#[must_use]
pub fn rename(mapping: &Mapping, part: Part) -> Part {
    let Part { member, incarnation, objects, mut sent, mut received, mut recorded, mut logged, mut peers } = part;
    for channel in &mut sent {
        channel.to = apply(mapping, &channel.to).clone();
    }
    for channel in &mut received {
        channel.from = apply(mapping, &channel.from).clone();
    }
    for channel in &mut recorded {
        channel.from = apply(mapping, &channel.from).clone();
    }
    for channel in &mut logged {
        channel.to = apply(mapping, &channel.to).clone();
    }
    for peer in &mut peers {
        peer.member = apply(mapping, &peer.member).clone();
    }
    Part { member: apply(mapping, &member).clone(), incarnation, objects, sent, received, recorded, logged, peers }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_protocol::{
        Generation, Incarnation, PartCounters, Received, Recorded, Sent, SeqRanges, ViewMember, certificate,
    };

    use super::*;

    fn name(text: &str) -> MemberName {
        MemberName::new(text).expect("a name")
    }

    fn names(texts: &[&str]) -> BTreeSet<MemberName> {
        texts.iter().map(|text| name(text)).collect()
    }

    fn mapping(pairs: &[(&str, &str)]) -> Mapping {
        pairs.iter().map(|(part, now)| (name(part), name(now))).collect()
    }

    #[test]
    fn a_mapping_has_to_rename_members_of_the_snapshot_to_names_of_their_own() {
        let view = names(&["p1", "p2"]);
        assert_eq!(check(&mapping(&[("p1", "q1")]), &view), Ok(()));
        assert_eq!(check(&mapping(&[("p1", "p2"), ("p2", "p1")]), &view), Ok(()), "they may change places");
        assert_eq!(check(&mapping(&[("p3", "q3")]), &view), Err(Misfit::NoSuchMember(name("p3"))));
        for pairs in [&[("p1", "q"), ("p2", "q")][..], &[("p1", "p2")]] {
            assert!(matches!(check(&mapping(pairs), &view), Err(Misfit::Collision { .. })), "{pairs:?}");
        }
    }

    proptest! {
        /// Whatever is certified stays certified under other names: every channel is renamed at both of its ends, and none twice.
        #[test]
        fn a_certified_snapshot_is_certified_under_other_names_too(
            channels in prop::collection::btree_map((0usize..4, 0usize..4), (0u64..20, 0u64..20), 0..10),
            renamed in prop::sample::subsequence((0usize..4).collect::<Vec<_>>(), 0..=4),
            shift in 0usize..4,
        ) {
            let old = |n: usize| name(&format!("p{n}"));
            // A permutation of the chosen ones, so that names are also reused.
            let mapping: Mapping = renamed.iter().enumerate()
                .map(|(at, n)| (old(*n), if shift == 0 { name(&format!("q{n}")) } else { old(renamed[(at + shift) % renamed.len()]) }))
                .collect();
            let view: BTreeSet<MemberName> = (0..4).map(old).collect();
            prop_assert_eq!(check(&mapping, &view), Ok(()));
            let ranges = |from: u64, to: u64| { let mut ranges = SeqRanges::default(); (from..=to).for_each(|seq| { ranges.insert(stillframe_protocol::Seq(seq)); }); ranges };
            let part = |n: usize| Part {
                member: old(n), incarnation: Incarnation(1), objects: Vec::new(),
                sent: channels.iter().filter(|((from, _), _)| *from == n)
                    .map(|((_, to), (received, recorded))| Sent { to: old(*to), messages: received + recorded }).collect(),
                received: channels.iter().filter(|((_, to), _)| *to == n)
                    .map(|((from, _), (received, _))| Received { from: old(*from), ranges: ranges(1, *received) }).collect(),
                recorded: channels.iter().filter(|((_, to), _)| *to == n)
                    .map(|((from, _), (received, recorded))| Recorded { from: old(*from), ranges: ranges(received + 1, received + recorded), bytes: 0 })
                    .collect(),
                logged: Vec::new(), peers: Vec::new(),
            };
            let counters = |part: Part| part.counters(Generation(1));
            let verify = |parts: Vec<PartCounters>| {
                let view: Vec<ViewMember> = parts.iter().map(|p| ViewMember { member: p.member.clone(), incarnation: p.incarnation }).collect();
                certificate::verify(Generation(1), &view, &parts).map(|certified| certified.messages_in_flight())
            };
            let before = verify((0..4).map(|n| counters(part(n))).collect());
            let after = verify((0..4).map(|n| counters(rename(&mapping, part(n)))).collect());
            prop_assert!(before.is_ok(), "{:?}", before);
            prop_assert_eq!(before, after);
        }
    }
}
