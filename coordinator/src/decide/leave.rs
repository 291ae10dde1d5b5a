//! Members that leave in good order: asked by an operator or by themselves, drained, counted for the last time, gone.
//!
//! 1. *Asked*: an operator wishes it. The application is told, and decides when it is ready.
//! 2. *Draining*: the application wants to leave. Its peers are told, and send it nothing new; it goes on otherwise, also with snapshots.
//! 3. *Drained*: every peer has said that it sends it nothing any more, and how much it has sent. Once all of that has come, the application hands over what it
//!    still has, and ends; its agent says what it counts at its end when all of that has arrived.
//! 4. *Left*: what it counts is kept, and certifies later snapshots of the generation, which are without it. It lingers until one of them is committed, so that
//!    it is there if the cluster has to be put back to one that it is in.
//!
//! The loss of a member before 4 is a loss like any other; a restore that it takes part in makes it a member as it was.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use stillframe_api::cluster::ClusterPhase;
use stillframe_protocol::{Departed, Generation, Incarnation, MemberName, Received, Sent};

use super::{
    Decision, Draft, Facts, Occasion, Refusal,
    facts::{DepartureFacts, DrainedFacts, LeaveWish, LeavingFacts, LeftFacts, MemberFacts, Standing},
    member::{Ask, Effect, audit},
    snapshot,
};

/// What a member says towards leaving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Its application wants to leave.
    Wants {
        /// The generation that it runs in.
        generation: Generation,
    },
    /// It sends another member, which is leaving, nothing any more.
    Drained {
        /// The generation that it runs in.
        generation: Generation,
        /// Who is leaving.
        member: MemberName,
        /// The incarnation that is.
        incarnation: Incarnation,
        /// How many messages it has sent it.
        sent: u64,
    },
    /// It has ended, and this is what it counts.
    Ended {
        /// The generation that it ran in.
        generation: Generation,
        /// Of each outgoing channel.
        sent: Vec<Sent>,
        /// Of each incoming channel.
        received: Vec<Received>,
    },
}

/// How far a member's leaving is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// An operator asked it to leave.
    Asked,
    /// It is leaving; not every peer has heard of it.
    Draining,
    /// Its peers send it nothing any more.
    Drained,
    /// It has left.
    Left,
}

/// How far this member's leaving is; nothing while it is to stay.
#[must_use]
pub fn stage(facts: &Facts, member: &MemberFacts) -> Option<Stage> {
    match (&member.standing, &member.leaving, member.leave_wish) {
        (Standing::Left, _, _) => Some(Stage::Left),
        (_, Some(leaving), _) if is_drained(facts, member, leaving) => Some(Stage::Drained),
        (_, Some(_), _) => Some(Stage::Draining),
        (_, None, Some(LeaveWish::Asked | LeaveWish::Forced)) => Some(Stage::Asked),
        (_, None, None) => None,
    }
}

/// Whether every other member that runs has said that it sends this one nothing any more.
fn is_drained(facts: &Facts, member: &MemberFacts, leaving: &LeavingFacts) -> bool {
    facts
        .belonging()
        .filter(|other| other.standing == Standing::Active && other.name != member.name)
        .all(|other| leaving.drained.get(&other.name).is_some_and(|drained| drained.incarnation == other.incarnation))
}

/// What each peer has sent a member that is leaving.
#[must_use]
pub fn sent_to(member: &MemberFacts) -> Vec<(MemberName, u64)> {
    let drained = member.leaving.as_ref().map(|leaving| leaving.drained.iter()).into_iter().flatten();
    drained.map(|(name, drained)| (name.clone(), drained.sent)).collect()
}

/// Whether an incarnation that has left is to stay a little longer: a snapshot that it is in is under way, or the cluster would be put back to one.
#[must_use]
pub fn lingers(facts: &Facts, member: &MemberFacts, incarnation: Incarnation) -> bool {
    member.incarnation == incarnation
        && member.has_left(facts.cluster.generation)
        && (facts.latest_view.contains(&member.name) || is_recorded(facts, &member.name, incarnation))
}

/// Whether a snapshot that is under way has this incarnation in its view.
fn is_recorded(facts: &Facts, name: &MemberName, incarnation: Incarnation) -> bool {
    facts.snapshots.iter().any(|snapshot| snapshot.is_under_way() && snapshot.view.get(name) == Some(&incarnation))
}

/// Those that have left the active generation and whose channels their peers may forget: no snapshot that is under way needs them.
pub fn departed(facts: &Facts) -> impl Iterator<Item = (&MemberFacts, LeftFacts)> {
    let of_now = |left: &LeftFacts| left.generation == facts.cluster.generation;
    let left = facts.members.values().filter_map(move |member| Some((member, member.left.filter(of_now)?)));
    left.filter(|(member, left)| !is_recorded(facts, &member.name, left.incarnation))
}

/// Whether anybody has left the active generation, so that parts may count channels with members that are in no view.
#[must_use]
pub fn somebody_left(facts: &Facts, generation: Generation) -> bool {
    facts.members.values().any(|member| member.left.is_some_and(|left| left.generation == generation))
}

/// Has an operator's wish told to a member. Asking again changes nothing; asking with force may.
///
/// # Errors
/// When there is no such member, or too few would stay.
pub fn ask(facts: &Facts, occasion: &Occasion, name: &MemberName, force: bool) -> Result<Decision, Refusal> {
    let member = known(facts, name)?;
    let wish = if force { LeaveWish::Forced } else { LeaveWish::Asked };
    let is_asked = member.leave_wish == Some(wish) || member.leave_wish == Some(LeaveWish::Forced);
    if member.standing == Standing::Left || member.leaving.is_some() || is_asked {
        return Ok(Decision::nothing(facts));
    }
    if !force {
        enough_stay(facts, name)?;
    }
    let mut draft = Draft::new(facts, occasion);
    if let Some(member) = draft.next.members.get_mut(name) {
        member.leave_wish = Some(wish);
    }
    draft.audit("member.asked_to_leave", name, json!({ "incarnation": member.incarnation, "force": force }));
    Ok(draft.decide())
}

/// Takes an operator's wish back, while the application hasn't acted on it.
///
/// # Errors
/// When there is no such member, or it is leaving or has left.
pub fn take_back(facts: &Facts, occasion: &Occasion, name: &MemberName) -> Result<Decision, Refusal> {
    let member = known(facts, name)?;
    if let Some(leaving) = &member.leaving {
        return Err(Refusal::IsLeaving { member: name.clone(), since: leaving.since });
    }
    if member.standing == Standing::Left || member.leave_wish.is_none() {
        return Ok(Decision::nothing(facts));
    }
    let mut draft = Draft::new(facts, occasion);
    if let Some(member) = draft.next.members.get_mut(name) {
        member.leave_wish = None;
    }
    draft.audit("member.asked_to_stay", name, json!({ "incarnation": member.incarnation }));
    Ok(draft.decide())
}

fn known<'a>(facts: &'a Facts, name: &MemberName) -> Result<&'a MemberFacts, Refusal> {
    let unknown = || Refusal::UnknownMember { cluster: facts.cluster.name.clone(), member: name.clone() };
    facts.members.get(name).filter(|member| member.standing != Standing::Excluded).ok_or_else(unknown)
}

/// Of those that are, or are about to be, members, as many as it takes have to stay.
fn enough_stay(facts: &Facts, name: &MemberName) -> Result<(), Refusal> {
    let stays = |member: &&MemberFacts| member.name != *name && member.leaving.is_none() && member.leave_wish.is_none();
    let (staying, cluster) = (facts.belonging().filter(stays).count(), &facts.cluster);
    if staying >= cluster.min_members as usize {
        return Ok(());
    }
    let (member, min_members) = (name.clone(), cluster.min_members);
    Err(Refusal::TooFewStay { cluster: cluster.name.clone(), member, staying, min_members })
}

/// Carries out what a member says. What is of another generation, or of no interest any more, changes nothing.
pub(super) fn apply(
    draft: &mut Draft<'_>,
    asked: &Ask,
    name: &MemberName,
    incarnation: Incarnation,
    step: &Step,
) -> Result<Effect, Refusal> {
    let Some(member) = draft.next.members.get(name) else {
        return Err(Refusal::UnknownMember { cluster: draft.next.cluster.name.clone(), member: name.clone() });
    };
    if member.incarnation != incarnation {
        return Err(Refusal::Fenced { member: name.clone(), expected: member.incarnation, found: incarnation });
    }
    let cluster = &draft.next.cluster;
    // What is said while the cluster is put back may be undone by that; it is said again.
    let is_calm = cluster.phase == ClusterPhase::Running && draft.next.restore.is_none();
    let (Step::Wants { generation } | Step::Drained { generation, .. } | Step::Ended { generation, .. }) = step;
    if *generation != cluster.generation || !is_calm {
        return Ok(Effect::Nothing);
    }
    if member.has_left(*generation) {
        return Ok(Effect::Made);
    }
    if !member.runs_in(*generation) {
        return Ok(Effect::Nothing);
    }
    match step {
        Step::Wants { .. } => want(draft, asked, name, incarnation),
        Step::Drained { member, incarnation: of, sent, .. } => {
            Ok(drained(draft, name, DrainedFacts { incarnation, sent: *sent }, member, *of))
        }
        Step::Ended { generation, sent, received } => end(
            draft,
            asked,
            *generation,
            Departed { member: name.clone(), incarnation, sent: sent.clone(), received: received.clone() },
        ),
    }
}

fn want(draft: &mut Draft<'_>, asked: &Ask, name: &MemberName, incarnation: Incarnation) -> Result<Effect, Refusal> {
    let Some(member) = draft.next.members.get(name) else { return Ok(Effect::Nothing) };
    if member.leaving.is_some() {
        return Ok(Effect::Made);
    }
    let wish = member.leave_wish;
    if wish != Some(LeaveWish::Forced) {
        enough_stay(&draft.next, name)?;
    }
    let since = draft.now();
    if let Some(member) = draft.next.members.get_mut(name) {
        member.leaving = Some(LeavingFacts { since, drained: BTreeMap::new() });
    }
    audit(draft, asked, "member.leaving", name, json!({ "incarnation": incarnation, "asked": wish.is_some() }));
    Ok(Effect::Made)
}

fn drained(draft: &mut Draft<'_>, by: &MemberName, word: DrainedFacts, of: &MemberName, incarnation: Incarnation) -> Effect {
    let member = draft.next.members.get_mut(of).filter(|member| member.incarnation == incarnation && member.name != *by);
    match member.and_then(|member| member.leaving.as_mut()) {
        Some(leaving) => {
            leaving.drained.insert(by.clone(), word);
            Effect::Made
        }
        None => Effect::Nothing,
    }
}

fn end(draft: &mut Draft<'_>, asked: &Ask, generation: Generation, counters: Departed) -> Result<Effect, Refusal> {
    let name = counters.member.clone();
    let Some(member) = draft.next.members.get(&name) else { return Ok(Effect::Nothing) };
    let Some(leaving) = member.leaving.as_ref().filter(|leaving| is_drained(&draft.next, member, leaving)) else {
        return Ok(Effect::Nothing);
    };
    for (from, drained) in &leaving.drained {
        let received = counters.received.iter().find(|received| received.from == *from).map(|received| &received.ranges);
        let exact = received.map_or(drained.sent == 0, |ranges| ranges.covers(drained.sent) && ranges.max() <= drained.sent);
        if !exact {
            let (from, found) = (from.clone(), received.map_or(0, stillframe_protocol::SeqRanges::len));
            return Err(Refusal::NotDrained { member: name, from, expected: drained.sent, found });
        }
    }
    let (left_at, incarnation) = (draft.now(), counters.incarnation);
    let total: u64 = counters.sent.iter().map(|sent| sent.messages).fold(0, u64::saturating_add);
    let peers: BTreeSet<&MemberName> =
        counters.sent.iter().map(|sent| &sent.to).chain(counters.received.iter().map(|received| &received.from)).collect();
    let detail = json!({ "incarnation": incarnation, "generation": generation, "peers": peers.len(), "sent": total });
    draft.next.departures.push(DepartureFacts { generation, left_at, counters });
    if let Some(member) = draft.next.members.get_mut(&name) {
        member.standing = Standing::Left;
        (member.leaving, member.leave_wish) = (None, None);
        member.left = Some(LeftFacts { incarnation, generation });
    }
    audit(draft, asked, "member.left", &name, detail);
    // So that there is soon something to go back to that it isn't in.
    snapshot::request_automatic(draft);
    Ok(Effect::Made)
}
