//! Registering, losing and regaining members: one at a time, or many together.

use serde_json::{Value, json};
use stillframe_api::cluster::MAX_MEMBERS;
use stillframe_protocol::{Epoch, Generation, Incarnation, MemberId, MemberName};
use uuid::Uuid;

use super::{
    Decision, Draft, Facts, Occasion, Refusal,
    facts::{MemberFacts, Presence, Standing},
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
    /// An incarnation that was declared lost isn't.
    Return(MemberName, Incarnation),
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

/// Takes back an incarnation that was declared lost and wasn't: no newer one exists, so it still has all its state.
///
/// # Errors
/// [`Refusal::UnknownMember`] and [`Refusal::Fenced`].
pub fn returned(facts: &Facts, occasion: &Occasion, name: &MemberName, incarnation: Incarnation) -> Result<Decision, Refusal> {
    alone(facts, occasion, Change::Return(name.clone(), incarnation))
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
        Change::Return(name, incarnation) => take_back(draft, ask, name, *incarnation),
    }
}

fn audit(draft: &mut Draft<'_>, ask: &Ask, action: &'static str, name: &MemberName, detail: Value) {
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
    let (member_id, incarnation, standing) = match draft.next.members.get(name) {
        Some(member) => {
            let standing = match member.standing {
                Standing::Active | Standing::Replacing => Standing::Replacing,
                Standing::Waiting | Standing::Excluded => Standing::Waiting,
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
            generation: Generation(0),
            epoch: Epoch(0),
            restore: None,
            registered_at: now,
            holder: None,
            lease_expires_at,
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
    audit(draft, ask, "member.lost", name, json!({ "incarnation": incarnation, "why": why }));
    Effect::Made
}

fn take_back(draft: &mut Draft<'_>, ask: &Ask, name: &MemberName, incarnation: Incarnation) -> Result<Effect, Refusal> {
    let Some(member) = draft.next.members.get_mut(name) else {
        return Err(Refusal::UnknownMember { cluster: draft.next.cluster.name.clone(), member: name.clone() });
    };
    if member.incarnation != incarnation {
        return Err(Refusal::Fenced { member: name.clone(), expected: member.incarnation, found: incarnation });
    }
    if member.state == Presence::Live {
        return Ok(Effect::Nothing);
    }
    member.state = Presence::Live;
    audit(draft, ask, "member.returned", name, json!({ "incarnation": incarnation }));
    Ok(Effect::Made)
}
