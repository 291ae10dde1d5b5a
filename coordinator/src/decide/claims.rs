//! What agents say of themselves, as evidence that the database has lost transactions. Numbers are given out by committed transactions only, so an agent
//! that has a newer one than the catalog knows was told so by a transaction that isn't there any more.
//!
//! An agent is not the database, though: it may be mistaken, or lie. So its word is never taken for a number. It makes the catalog leap by the same stretch
//! as ever ([`resync::leap_over`]), and only where that stretch reaches what it says: a number beyond wasn't lost, it was made up. And the words of
//! agents make a cluster leap once in [`APART`] at most.

use jiff::SignedDuration;
use serde_json::json;
use stillframe_api::agent::{AssignmentQuery, Report, ReportEvent};
use stillframe_protocol::{Epoch, Generation, Incarnation, MemberName};

use super::{Decision, Draft, Facts, Occasion, resync};

/// How far apart two leaps are at least that rest on nothing but the words of agents. At one an hour, whoever makes up numbers all the time
/// uses up 2.4 million epochs and 240,000 members' numbers a day: those last for 49 years, all others for thousands.
pub const APART: SignedDuration = SignedDuration::from_hours(1);

/// The numbers that an agent says it was given. What it doesn't speak of is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The member.
    pub member: MemberName,
    /// The incarnation that speaks.
    pub incarnation: Incarnation,
    /// The generation that it speaks of.
    pub generation: Generation,
    /// The epoch that it speaks of.
    pub epoch: Epoch,
    /// The cluster's revision that it has heard of.
    pub revision: u64,
}

impl Claim {
    /// What a poll says.
    #[must_use]
    pub fn of_poll(member: &MemberName, query: &AssignmentQuery) -> Self {
        Self {
            member: member.clone(),
            incarnation: query.incarnation,
            generation: Generation(0),
            epoch: Epoch(0),
            revision: query.after.max(query.peers_after),
        }
    }

    /// What a report says.
    #[must_use]
    pub fn of_report(member: &MemberName, report: &Report) -> Self {
        let (generation, epoch) = match &report.event {
            ReportEvent::Part(part) => (part.generation, part.epoch),
            ReportEvent::Prepared { generation, .. }
            | ReportEvent::Loading { generation, .. }
            | ReportEvent::PrepareFailed { generation, .. }
            | ReportEvent::Running { generation }
            | ReportEvent::Leaving { generation }
            | ReportEvent::Drained { generation, .. }
            | ReportEvent::Left { generation, .. } => (*generation, Epoch(0)),
            ReportEvent::Progress { .. }
            | ReportEvent::Failed { .. }
            | ReportEvent::UploadBegun(_)
            | ReportEvent::UploadEnded(_) => (Generation(0), Epoch(0)),
        };
        Self { member: member.clone(), incarnation: report.incarnation, generation, epoch, revision: 0 }
    }
}

/// What a claim is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worth {
    /// It says nothing that the catalog doesn't know.
    Nothing,
    /// The catalog has lost transactions; why, in a sentence.
    Evidence(String),
    /// It says what can't have been given out by what was lost; why, in a sentence. It counts for nothing.
    Incredible(String),
}

/// Weighs a claim against the catalog.
#[must_use]
pub fn weigh(facts: &Facts, claim: &Claim) -> Worth {
    let cluster = &facts.cluster;
    let member = facts.members.get(&claim.member).map_or(Incarnation(0), |member| member.incarnation);
    let incarnation = member.max(facts.continuity.incarnation_floor);
    let numbers = [
        ("incarnation", claim.incarnation.0, incarnation.0, resync::INCARNATIONS),
        ("generation", claim.generation.0, cluster.last_generation.0, resync::GENERATIONS),
        ("epoch", claim.epoch.0, cluster.epoch.0, resync::EPOCHS),
        ("revision", claim.revision, cluster.revision, resync::REVISIONS),
    ];
    let newer = || numbers.into_iter().filter(|(_, said, known, _)| said > known);
    if let Some((what, said, known, most)) = newer().find(|(_, said, known, most)| *said > known.saturating_add(*most)) {
        return Worth::Incredible(format!(
            "{} says that it has {what} {said}: expected at most {known}, or {most} more if the database had lost transactions",
            claim.member
        ));
    }
    let Some((what, said, known, _)) = newer().next() else { return Worth::Nothing };
    if let Some(before) = facts.continuity.claimed_at.filter(|at| facts.now.duration_since(*at) < APART) {
        return Worth::Incredible(format!(
            "{} says that it has {what} {said}, and the database has {known}; but an agent's word was taken at {before}, and isn't again for {APART:#}",
            claim.member
        ));
    }
    Worth::Evidence(format!("{} says that it has {what} {said}, and the database has {known}", claim.member))
}

/// Leaps, if the claim is evidence; else changes nothing.
#[must_use]
pub fn heed(facts: &Facts, occasion: &Occasion, claim: &Claim) -> Decision {
    let why = match weigh(facts, claim) {
        Worth::Nothing | Worth::Incredible(_) => return Decision::nothing(facts),
        Worth::Evidence(why) => why,
    };
    let mut facts = facts.clone();
    facts.continuity.evidence = Some(why.clone());
    let mut draft = Draft::new(&facts, occasion);
    draft.next.continuity.claimed_at = Some(facts.now);
    draft.audit("member.knew_more", &claim.member, json!({ "why": why }));
    draft.decide()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_api::cluster::OnLoss;

    use super::{super::world::World, *};

    fn running() -> World {
        let mut world = World::new(2, OnLoss::RestoreLatest);
        (0..2).for_each(|n| world.register(n));
        world.report_all();
        world.commit(false);
        world
    }

    fn claim(incarnation: u64, generation: u64, epoch: u64, revision: u64) -> Claim {
        Claim {
            member: MemberName::new("p1").expect("a name"),
            incarnation: Incarnation(incarnation),
            generation: Generation(generation),
            epoch: Epoch(epoch),
            revision,
        }
    }

    fn heeds(world: &mut World, claim: &Claim) -> bool {
        let before = world.facts.cluster.version;
        world.decide(|facts, occasion| Ok(heed(facts, occasion, claim))).expect("no refusal");
        world.facts.cluster.version != before
    }

    #[test]
    fn an_agent_that_has_a_newer_number_than_the_catalog_makes_it_leap_above_that_number() {
        let known = running().facts;
        let (generation, epoch, revision) = (known.cluster.last_generation.0, known.cluster.epoch.0, known.cluster.revision);
        for claim in [
            claim(2, 0, 0, 0),
            claim(1, generation + 1, 0, 0),
            claim(1, generation, epoch + 1, 0),
            claim(1, 0, 0, revision + 1),
            claim(
                1 + resync::INCARNATIONS,
                generation + resync::GENERATIONS,
                epoch + resync::EPOCHS,
                revision + resync::REVISIONS,
            ),
        ] {
            let mut world = running();
            assert!(heeds(&mut world, &claim), "{claim:?}");
            let facts = &world.facts;
            assert!(facts.continuity.behind.is_some());
            assert!(facts.continuity.incarnation_floor >= claim.incarnation && facts.cluster.last_generation >= claim.generation);
            assert!(facts.cluster.epoch >= claim.epoch && facts.cluster.revision >= claim.revision);
            assert_eq!(weigh(facts, &claim), Worth::Nothing, "it says nothing new any more");
            // The process whose registration was lost is fenced; the next one has a number that nobody has had.
            world.register(1);
            assert!(world.facts.members[&claim.member].incarnation > claim.incarnation);
        }
    }

    #[test]
    fn an_agent_that_says_what_the_catalog_knows_or_knew_changes_nothing() {
        let mut world = running();
        world.register(1);
        let cluster = world.facts.cluster.clone();
        for claim in
            [claim(1, 1, 1, 1), claim(2, cluster.last_generation.0, cluster.epoch.0, cluster.revision), claim(0, 0, 0, 0)]
        {
            assert!(!heeds(&mut world, &claim), "{claim:?}");
        }
    }

    #[test]
    fn a_member_that_the_catalog_does_not_know_registered_in_what_was_lost() {
        let mut world = running();
        let stranger = Claim { member: MemberName::new("p7").expect("a name"), ..claim(1, 0, 0, 0) };
        assert!(heeds(&mut world, &stranger));
        assert_eq!(weigh(&world.facts, &stranger), Worth::Nothing);
    }

    proptest! {
        /// However many agents make up whatever numbers, in whatever order: each hour raises numbers by one stretch at most.
        #[test]
        fn numbers_that_are_made_up_blow_nothing_up(
            claims in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), 0u8..64, 0i64..600_000), 1..40),
        ) {
            let mut world = running();
            let first = world.facts.clone();
            let mut passed = 0i64;
            for (incarnation, generation, epoch, revision, shift, pause_ms) in claims {
                // Large and small ones.
                let claim = claim(incarnation >> shift, generation >> shift, epoch >> shift, revision >> shift);
                heeds(&mut world, &claim);
                world.advance(pause_ms);
                passed += pause_ms;
            }
            let leaps = u64::try_from(SignedDuration::from_millis(passed).as_hours() + 1).expect("a count");
            let (was, is) = (&first.cluster, &world.facts.cluster);
            prop_assert!(is.epoch.0 <= was.epoch.0 + leaps * (resync::EPOCHS + 1));
            prop_assert!(is.last_generation.0 <= was.last_generation.0 + leaps * (resync::GENERATIONS + 1));
            prop_assert!(world.facts.continuity.incarnation_floor.0 <= 1 + leaps * (resync::INCARNATIONS + 1));
            prop_assert!(u64::from(is.last_member_id) <= u64::from(was.last_member_id) + leaps * u64::from(stillframe_api::cluster::MAX_MEMBERS));
        }
    }
}
