//! Registering, losing and regaining members.

use serde_json::json;
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

/// Grants the next incarnation of a name, and ends the one before. The same process asking again changes nothing but its address.
///
/// # Errors
/// [`Refusal::ClusterFull`].
pub fn register(facts: &Facts, occasion: &Occasion, registration: &Registration) -> Result<Decision, Refusal> {
    let mut draft = Draft::new(facts, occasion);
    let Registration { member: name, instance, address, lease } = registration;
    let now = facts.now;
    let lease_expires_at = now.checked_add(*lease).unwrap_or(now);
    if let Some(member) = draft.next.members.get_mut(name)
        && member.instance == *instance
    {
        let (was, moved, incarnation) = (member.state, member.address != *address, member.incarnation);
        member.state = Presence::Live;
        member.lease_expires_at = lease_expires_at;
        member.address.clone_from(address);
        if was == Presence::Lost || moved {
            draft.audit("member.returned", name, json!({ "incarnation": incarnation, "address": address }));
        }
        return Ok(draft.decide());
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
                return Err(Refusal::ClusterFull { cluster: facts.cluster.name.clone(), limit: MAX_MEMBERS });
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
    draft.audit("member.registered", name, json!({ "incarnation": incarnation, "address": address }));
    Ok(draft.decide())
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

/// Declares an incarnation lost, if the evidence still holds; else nothing changes.
#[must_use]
pub fn lost(facts: &Facts, occasion: &Occasion, name: &MemberName, incarnation: Incarnation, evidence: Evidence) -> Decision {
    let mut draft = Draft::new(facts, occasion);
    let Some(member) = draft.next.members.get_mut(name) else { return Decision::nothing(facts) };
    let holds = match evidence {
        Evidence::Closed { holder } => member.holder.is_none_or(|latest| latest == holder),
        Evidence::LeaseExpired => member.lease_expires_at <= facts.now,
    };
    if !holds || member.incarnation != incarnation || member.state == Presence::Lost {
        return Decision::nothing(facts);
    }
    member.state = Presence::Lost;
    let why = match evidence {
        Evidence::Closed { .. } => "its connection closed and it did not come back",
        Evidence::LeaseExpired => "its lease ran out",
    };
    draft.audit("member.lost", name, json!({ "incarnation": incarnation, "why": why }));
    draft.decide()
}

/// Takes back an incarnation that was declared lost and wasn't: no newer one exists, so it still has all its state.
///
/// # Errors
/// [`Refusal::UnknownMember`] and [`Refusal::Fenced`].
pub fn returned(facts: &Facts, occasion: &Occasion, name: &MemberName, incarnation: Incarnation) -> Result<Decision, Refusal> {
    let mut draft = Draft::new(facts, occasion);
    let Some(member) = draft.next.members.get_mut(name) else {
        return Err(Refusal::UnknownMember { cluster: facts.cluster.name.clone(), member: name.clone() });
    };
    if member.incarnation != incarnation {
        return Err(Refusal::Fenced { member: name.clone(), expected: member.incarnation, found: incarnation });
    }
    if member.state == Presence::Live {
        return Ok(Decision::nothing(facts));
    }
    member.state = Presence::Live;
    draft.audit("member.returned", name, json!({ "incarnation": incarnation }));
    Ok(draft.decide())
}
