//! Members that register, come, are lost and come back: one at a time, or many together. One that has only registered counts for nothing until it
//! asks for its assignment: its process may have died in between.

use serde_json::{Value, json};
use stillframe_api::cluster::MAX_MEMBERS;
use stillframe_protocol::{Epoch, Generation, Incarnation, MemberId, MemberName};
use uuid::Uuid;

use super::{
    Decision, Draft, Facts, Occasion, Refusal,
    facts::{MemberFacts, Presence, Standing},
    leave,
};

/// A process that wants to be a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Its name.
    pub member: MemberName,
    /// The random id of the process.
    pub instance: Uuid,
    /// Where its data plane listens.
    pub address: String,
    /// The lease's length.
    pub lease: jiff::SignedDuration,
}

/// What speaks for a member's loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// The connection of its last poll closed, at this replica, and it didn't come back within the grace period.
    Closed {
        /// The replica.
        holder: Uuid,
    },
    /// Its lease ran out.
    LeaseExpired,
}

/// A change of who is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A process wants to be a member.
    Register(Registration),
    /// An incarnation is gone.
    Lose(MemberName, Incarnation, Evidence),
    /// An incarnation asks for its assignment: it has come, or was declared lost and isn't.
    Arrive(MemberName, Incarnation),
    /// An incarnation leaves, or says something towards another's leaving.
    Leave(MemberName, Incarnation, leave::Step),
}

/// A change, and on whose behalf it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Who acts.
    pub actor: String,
    /// The request's id.
    pub request_id: Option<String>,
    /// What is to change.
    pub change: Change,
}

/// What a change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// This is the incarnation in force.
    Granted(MemberId, Incarnation),
    /// It was made.
    Made,
    /// It was true already, or its evidence doesn't hold.
    Nothing,
}

/// Carries out changes of one cluster one after the other, each on what those before it left; what follows by itself does so once, in the end.
/// One that is refused changes nothing and keeps none of the others back.
#[must_use]
pub fn together(facts: &Facts, occasion: &Occasion, asks: &[Ask]) -> (Decision, Vec<Result<Effect, Refusal>>) {
    let mut draft = Draft::new(facts, occasion);
    let effects: Vec<_> = asks.iter().map(|ask| apply(&mut draft, ask)).collect();
    let nothing = effects.iter().all(|effect| matches!(effect, Ok(Effect::Nothing) | Err(_)));
    let decision = if nothing { Decision::nothing(facts) } else { draft.decide() };
    (decision, effects)
}

/// Grants the next incarnation of a name, and ends the one before. The same process asking again changes nothing but its address.
///
/// # Errors
/// [`Refusal::ClusterFull`].
pub fn register(facts: &Facts, occasion: &Occasion, registration: &Registration) -> Result<Decision, Refusal> {
    alone(facts, occasion, Change::Register(registration.clone()))
}

/// Declares an incarnation lost, if the evidence still holds; else nothing changes.
#[must_use]
pub fn lost(facts: &Facts, occasion: &Occasion, name: &MemberName, incarnation: Incarnation, evidence: Evidence) -> Decision {
    let decision = alone(facts, occasion, Change::Lose(name.clone(), incarnation, evidence));
    decision.unwrap_or_else(|_| Decision::nothing(facts))
}

/// Takes note that an incarnation asks for its assignment: from now on the cluster counts on it. One that was declared lost and wasn't is taken
/// back: no newer one exists, so it still has all its state.
///
/// # Errors
/// [`Refusal::UnknownMember`] and [`Refusal::Fenced`].
pub fn arrived(facts: &Facts, occasion: &Occasion, name: &MemberName, incarnation: Incarnation) -> Result<Decision, Refusal> {
    alone(facts, occasion, Change::Arrive(name.clone(), incarnation))
}

fn alone(facts: &Facts, occasion: &Occasion, change: Change) -> Result<Decision, Refusal> {
    let ask = Ask { actor: occasion.actor.clone(), request_id: None, change };
    let (decision, effects) = together(facts, occasion, std::slice::from_ref(&ask));
    effects.into_iter().collect::<Result<Vec<_>, _>>().map(|_| decision)
}

fn apply(draft: &mut Draft<'_>, ask: &Ask) -> Result<Effect, Refusal> {
    match &ask.change {
        Change::Register(registration) => grant(draft, ask, registration),
        Change::Lose(name, incarnation, evidence) => Ok(lose(draft, ask, name, *incarnation, *evidence)),
        Change::Arrive(name, incarnation) => arrive(draft, ask, name, *incarnation),
        Change::Leave(name, incarnation, step) => leave::apply(draft, ask, name, *incarnation, step),
    }
}

pub(super) fn audit(draft: &mut Draft<'_>, ask: &Ask, action: &'static str, name: &MemberName, detail: Value) {
    draft.audit_for(ask.actor.clone(), ask.request_id.clone(), action, name, detail);
}

fn grant(draft: &mut Draft<'_>, ask: &Ask, registration: &Registration) -> Result<Effect, Refusal> {
    let Registration { member: name, instance, address, lease } = registration;
    let now = draft.now();
    let lease_expires_at = now.checked_add(*lease).unwrap_or(now);
    if let Some(member) = draft.next.members.get_mut(name)
        && member.instance == *instance
    {
        let (was, moved, incarnation) = (member.state, member.address != *address, member.incarnation);
        let member_id = member.member_id;
        member.state = Presence::Live;
        member.lease_expires_at = lease_expires_at;
        member.address.clone_from(address);
        if was == Presence::Lost || moved {
            audit(draft, ask, "member.returned", name, json!({ "incarnation": incarnation, "address": address }));
        }
        return Ok(Effect::Granted(member_id, incarnation));
    }
    let floor = draft.next.continuity.incarnation_floor;
    let known = draft.next.members.get(name);
    // Who left and comes back isn't asked again what it has done.
    let leave_wish = known.filter(|known| known.standing != Standing::Left).and_then(|known| known.leave_wish);
    let left = known.and_then(|known| known.left);
    let (member_id, incarnation, standing) = match known {
        Some(member) => {
            let standing = match member.standing {
                Standing::Active | Standing::Replacing => Standing::Replacing,
                Standing::Waiting | Standing::Excluded | Standing::Left => Standing::Waiting,
            };
            (member.member_id, member.incarnation.max(floor).next(), standing)
        }
        None => {
            if draft.next.members.len() >= MAX_MEMBERS as usize {
                return Err(Refusal::ClusterFull { cluster: draft.next.cluster.name.clone(), limit: MAX_MEMBERS });
            }
            draft.next.cluster.last_member_id += 1;
            (MemberId(draft.next.cluster.last_member_id), floor.next(), Standing::Waiting)
        }
    };
    draft.next.members.insert(
        name.clone(),
        MemberFacts {
            name: name.clone(),
            member_id,
            incarnation,
            instance: *instance,
            address: address.clone(),
            state: Presence::Live,
            standing,
            seen: false,
            generation: Generation(0),
            epoch: Epoch(0),
            restore: None,
            registered_at: now,
            holder: None,
            lease_expires_at,
            leave_wish,
            leaving: None,
            left,
        },
    );
    audit(draft, ask, "member.registered", name, json!({ "incarnation": incarnation, "address": address }));
    Ok(Effect::Granted(member_id, incarnation))
}

fn lose(draft: &mut Draft<'_>, ask: &Ask, name: &MemberName, incarnation: Incarnation, evidence: Evidence) -> Effect {
    let now = draft.now();
    let Some(member) = draft.next.members.get_mut(name) else { return Effect::Nothing };
    let holds = match evidence {
        Evidence::Closed { holder } => member.holder.is_none_or(|latest| latest == holder),
        Evidence::LeaseExpired => member.lease_expires_at <= now,
    };
    if !holds || member.incarnation != incarnation || member.state == Presence::Lost {
        return Effect::Nothing;
    }
    member.state = Presence::Lost;
    let why = match evidence {
        Evidence::Closed { .. } => "its connection closed and it did not come back",
        Evidence::LeaseExpired => "its lease ran out",
    };
    // Nobody waits for one that has left.
    let action = if member.standing == Standing::Left { "member.ended" } else { "member.lost" };
    audit(draft, ask, action, name, json!({ "incarnation": incarnation, "why": why }));
    Effect::Made
}

fn arrive(draft: &mut Draft<'_>, ask: &Ask, name: &MemberName, incarnation: Incarnation) -> Result<Effect, Refusal> {
    let Some(member) = draft.next.members.get_mut(name) else {
        return Err(Refusal::UnknownMember { cluster: draft.next.cluster.name.clone(), member: name.clone() });
    };
    if member.incarnation != incarnation {
        return Err(Refusal::Fenced { member: name.clone(), expected: member.incarnation, found: incarnation });
    }
    let action = match (member.state, member.seen) {
        (Presence::Live, true) => return Ok(Effect::Nothing),
        (Presence::Live, false) => "member.arrived",
        (Presence::Lost, _) => "member.returned",
    };
    (member.state, member.seen) = (Presence::Live, true);
    audit(draft, ask, action, name, json!({ "incarnation": incarnation }));
    Ok(Effect::Made)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use stillframe_api::{
        cluster::{ClusterPhase, OnLoss},
        snapshot::SnapshotState,
    };

    use super::*;
    use crate::decide::world::{World, name};

    fn ask(change: Change) -> Ask {
        let (actor, request_id) = ("member".to_owned(), Some(format!("{change:?}")));
        Ask { actor, request_id, change }
    }

    fn registration(n: usize, instance: u128) -> Ask {
        let (instance, lease) = (Uuid::from_u128(instance), jiff::SignedDuration::from_secs(5));
        ask(Change::Register(Registration { member: name(n), instance, address: "127.0.0.1:1".to_owned(), lease }))
    }

    fn arrival(n: usize, incarnation: u64) -> Ask {
        ask(Change::Arrive(name(n), Incarnation(incarnation)))
    }

    fn loss(n: usize, incarnation: u64) -> Ask {
        ask(Change::Lose(name(n), Incarnation(incarnation), Evidence::Closed { holder: Uuid::nil() }))
    }

    fn decide(facts: &Facts, asks: &[Ask]) -> (Decision, Vec<Result<Effect, Refusal>>) {
        together(facts, &World::new(1, OnLoss::Halt).occasion(), asks)
    }

    #[test]
    fn each_of_many_registrations_has_a_number_an_incarnation_and_a_line_of_the_audit_of_its_own() {
        let world = World::new(300, OnLoss::RestoreLatest);
        let asks: Vec<Ask> = (0..300).map(|n| registration(n, n as u128)).collect();
        let (decision, effects) = decide(&world.facts, &asks);
        let numbers: BTreeSet<MemberId> = effects
            .iter()
            .map(|effect| match effect {
                Ok(Effect::Granted(member_id, Incarnation(1))) => *member_id,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!((numbers.len(), decision.next.members.len()), (300, 300));
        let requests: BTreeSet<_> = decision.audit.iter().map(|line| line.request_id.clone()).collect();
        assert_eq!((requests.len(), decision.audit.len()), (300, 300));
        assert_eq!(decision.next.cluster.version, world.facts.cluster.version + 1);
        let arrivals: Vec<Ask> = (0..300).map(|n| arrival(n, 1)).collect();
        assert_eq!(decide(&decision.next, &arrivals).0.next.cluster.phase, ClusterPhase::Running);
    }

    #[test]
    fn one_that_is_refused_changes_nothing_and_keeps_none_of_the_others_back() {
        let world = World::new(2, OnLoss::RestoreLatest);
        let asks = [registration(0, 1), arrival(9, 1), arrival(0, 7), registration(1, 2), arrival(0, 1)];
        let (decision, effects) = decide(&world.facts, &asks);
        assert!(matches!(effects[1], Err(Refusal::UnknownMember { .. })), "{effects:?}");
        assert!(matches!(effects[2], Err(Refusal::Fenced { .. })), "{effects:?}");
        assert!(effects.iter().enumerate().all(|(n, effect)| effect.is_ok() || n == 1 || n == 2), "{effects:?}");
        assert_eq!(decision.next.members.len(), 2);
        assert!(decision.next.members[&name(0)].is_there() && !decision.next.members[&name(1)].is_there());
        let refused = decide(&decision.next, &[arrival(9, 1)]);
        assert_eq!((refused.0.next, refused.0.audit.len()), (decision.next, 0));
    }

    #[test]
    fn of_two_processes_that_register_under_one_name_together_the_later_is_in_force() {
        let world = World::new(1, OnLoss::RestoreLatest);
        let (decision, effects) = decide(&world.facts, &[registration(0, 1), registration(0, 2), registration(0, 1)]);
        let incarnations: Vec<u64> = effects
            .iter()
            .map(|effect| match effect {
                Ok(Effect::Granted(_, incarnation)) => incarnation.0,
                other => panic!("{other:?}"),
            })
            .collect();
        // The first one asked again after it was replaced: it is a process like any other.
        assert_eq!(incarnations, [1, 2, 3]);
        assert_eq!(decision.next.members[&name(0)].instance, Uuid::from_u128(1));
    }

    #[test]
    fn a_process_that_registers_and_is_never_heard_of_again_forms_no_cluster() {
        let mut world = World::new(2, OnLoss::RestoreLatest);
        world.register(0);
        world.register_only(1);
        assert_eq!(world.facts.cluster.phase, ClusterPhase::Forming);
        world.lose(1);
        assert_eq!(world.facts.cluster.phase, ClusterPhase::Forming);
        world.register_only(1);
        world.arrive(1, 2);
        assert_eq!(world.facts.cluster.phase, ClusterPhase::Running);
    }

    #[test]
    fn a_process_that_registers_and_is_never_heard_of_again_harms_no_running_cluster() {
        let mut world = World::new(2, OnLoss::RestoreLatest);
        world.register(0);
        world.register(1);
        world.report_all();
        world.commit(false);
        world.register_only(2);
        world.request().expect("the cluster is whole");
        world.lose(2);
        assert_eq!((world.facts.cluster.phase, world.facts.restore.is_some()), (ClusterPhase::Running, false));
        assert_eq!(world.facts.missing_members().count(), 0);
        world.report(0);
        world.report(1);
        world.commit(false);
        assert_eq!(world.all.values().filter(|s| s.state == SnapshotState::Committed).count(), 2);
    }

    #[test]
    fn a_process_that_replaces_one_that_ran_and_is_never_heard_of_again_is_waited_for() {
        let mut world = World::new(1, OnLoss::RestoreLatest);
        world.register(0);
        world.register_only(0);
        assert_eq!(world.facts.cluster.phase, ClusterPhase::Halted, "nothing was committed yet");
        world.arrive(0, 2);
        assert_eq!((world.facts.cluster.phase, world.facts.cluster.generation), (ClusterPhase::Running, Generation(2)));
    }

    proptest! {
        /// What follows by itself may come about in another order; who is there, and as whom, doesn't.
        #[test]
        fn carried_out_together_they_come_to_the_same_as_one_after_the_other(
            changes in prop::collection::vec((0usize..4, 1u64..4, 0u8..3), 1..20)
        ) {
            let asks: Vec<Ask> = changes.into_iter().map(|(n, number, kind)| match kind {
                0 => registration(n, u128::from(number)),
                1 => arrival(n, number),
                _ => loss(n, number),
            }).collect();
            let world = World::new(2, OnLoss::RestoreLatest);
            let (decision, effects) = decide(&world.facts, &asks);
            let mut facts = world.facts.clone();
            let mut alone = Vec::new();
            for ask in &asks {
                let (decision, effect) = decide(&facts, std::slice::from_ref(ask));
                alone.extend(effect);
                facts = decision.next;
            }
            prop_assert_eq!(effects, alone);
            let who = |facts: &Facts| -> Vec<_> {
                facts.members.values().map(|m| (m.member_id, m.incarnation, m.instance, m.state, m.seen)).collect()
            };
            prop_assert_eq!(who(&decision.next), who(&facts));
        }
    }
}
