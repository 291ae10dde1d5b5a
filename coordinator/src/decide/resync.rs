//! Taking up what the archive proves into a catalog that doesn't know it: one that is empty, or one that has lost its last transactions.
//!
//! Numbers that may have been given out are never given out again: the catalog leaps over a stretch that is wider than what can have been lost. What
//! the archive proves committed is committed, whatever became of it here, for the manifest is written only after that was decided.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::json;
use stillframe_api::{
    cluster::MAX_MEMBERS,
    snapshot::{SnapshotState, Trigger},
};
use stillframe_archive::{Floors, inline_limit};
use stillframe_protocol::{Epoch, Generation, Incarnation, MemberId, MemberName, SnapshotId};
use uuid::Uuid;

use super::{
    Decision, Draft, Facts, Occasion,
    facts::{HaltCause, MemberFacts, OutcomeFacts, Presence, SnapshotFacts, Standing},
    settle::halt,
    snapshot::add_outcome,
};

/// How many epochs are leapt over: a snapshot every 50 ms for more than an hour, none of them committed.
pub const EPOCHS: u64 = 100_000;

/// How many generations.
pub const GENERATIONS: u64 = 1_000;

/// How many incarnations of each member.
pub const INCARNATIONS: u64 = 1_000;

/// How far revisions and versions leap, which nothing but the catalog counts with.
pub(super) const REVISIONS: u64 = 1_000_000_000;

/// The floors of a catalog that goes on after these numbers were seen.
#[must_use]
pub fn above(seen: Floors) -> Floors {
    Floors {
        epoch: Epoch(seen.epoch.0.saturating_add(EPOCHS)),
        generation: Generation(seen.generation.0.saturating_add(GENERATIONS)),
        incarnation: Incarnation(seen.incarnation.0.saturating_add(INCARNATIONS)),
        member_id: seen.member_id.saturating_add(MAX_MEMBERS),
    }
}

/// What the archive shows of a cluster as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// The highest numbers, in manifests and in floors of before.
    pub floors: Floors,
    /// The generation of the newest snapshot that is proved.
    pub generation: Generation,
    /// The members of the newest snapshot that is proved.
    pub latest_view: BTreeSet<MemberName>,
    /// Every member, with its newest incarnation.
    pub members: BTreeMap<MemberName, Incarnation>,
}

/// Whether nothing ever happened in the cluster, as far as the catalog knows.
fn is_untouched(facts: &Facts) -> bool {
    facts.cluster.last_generation == Generation(0)
        && facts.members.is_empty()
        && facts.snapshots.is_empty()
        && facts.outcomes.is_empty()
}

/// What the archive shows that the catalog can't have forgotten if it had lost nothing; nothing when it has lost nothing.
fn forgotten(facts: &Facts, shown: &Shown) -> Option<String> {
    let (cluster, floors) = (&facts.cluster, &shown.floors);
    if floors.epoch > cluster.epoch {
        return Some(format!("the archive shows epoch {}, and the database has {}", floors.epoch, cluster.epoch));
    }
    if floors.generation > cluster.last_generation {
        return Some(format!(
            "the archive shows generation {}, and the database has {}",
            floors.generation, cluster.last_generation
        ));
    }
    let floor = facts.continuity.incarnation_floor;
    shown.members.iter().find_map(|(name, seen)| {
        let known = facts.members.get(name).map_or(Incarnation(0), |member| member.incarnation).max(floor);
        (*seen > known).then(|| format!("the archive shows incarnation {seen} of {name}, and the database has {known}"))
    })
}

/// Whether [`begin`] has anything to do, so that floors are to be written to the archive first.
#[must_use]
pub fn is_needed(facts: Option<&Facts>, shown: &Shown) -> bool {
    facts.is_none_or(|facts| is_untouched(facts) || forgotten(facts, shown).is_some())
}

/// Prepares a cluster for taking its snapshots up. One in which nothing ever happened is rebuilt: it has the members that the archive shows, all of
/// them lost, and waits for an operator's restore. One that has forgotten something leaps.
#[must_use]
pub fn begin(facts: &Facts, occasion: &Occasion, shown: &Shown) -> Decision {
    if is_untouched(facts) {
        return rebuild(facts, occasion, shown);
    }
    let mut facts = facts.clone();
    match forgotten(&facts, shown) {
        Some(why) => facts.continuity.evidence = Some(why),
        None => return Decision::nothing(&facts),
    }
    let mut draft = Draft::new(&facts, occasion);
    raise(&mut draft.next, above(shown.floors));
    add_members(&mut draft, shown);
    draft.decide()
}

fn rebuild(facts: &Facts, occasion: &Occasion, shown: &Shown) -> Decision {
    let mut draft = Draft::new(facts, occasion);
    let floors = above(shown.floors);
    raise(&mut draft.next, floors);
    draft.leap();
    draft.next.cluster.generation = shown.generation;
    add_members(&mut draft, shown);
    let name = draft.next.cluster.name.clone();
    draft.audit(
        "cluster.rebuilt",
        name,
        json!({ "why": "it was found in the archive, and not in the database", "floors": floors }),
    );
    let name = &draft.next.cluster.name;
    let reason = format!(
        "rebuilt from the archive: start its members, look at its snapshots (`stillframe snapshot list {name}`), then restore one of them \
         (`stillframe restore start {name} --latest`)"
    );
    halt(&mut draft, HaltCause::Resynced, reason);
    draft.decide()
}

/// Brings counters to these numbers, unless they are higher already.
fn raise(next: &mut Facts, floors: Floors) {
    let cluster = &mut next.cluster;
    cluster.epoch = cluster.epoch.max(floors.epoch);
    cluster.last_generation = cluster.last_generation.max(floors.generation);
    cluster.last_member_id = cluster.last_member_id.max(floors.member_id);
    let floor = &mut next.continuity.incarnation_floor;
    *floor = (*floor).max(floors.incarnation);
}

/// Leaps over every number that transactions which were lost may have given out.
pub(super) fn leap_over(next: &mut Facts) {
    let known = Floors {
        epoch: next.cluster.epoch,
        generation: next.cluster.last_generation,
        incarnation: next
            .members
            .values()
            .map(|m| m.incarnation)
            .max()
            .unwrap_or_default()
            .max(next.continuity.incarnation_floor),
        member_id: next.cluster.last_member_id,
    };
    raise(next, above(known));
}

/// Members that the archive shows and the catalog doesn't know: lost, and fenced by the next incarnation that registers.
fn add_members(draft: &mut Draft<'_>, shown: &Shown) {
    let now = draft.now();
    let (generation, floor) = (draft.next.cluster.generation, draft.next.continuity.incarnation_floor);
    for name in shown.members.keys() {
        if draft.next.members.contains_key(name) || draft.next.members.len() >= MAX_MEMBERS as usize {
            continue;
        }
        draft.next.cluster.last_member_id += 1;
        let active = shown.latest_view.contains(name);
        let member = MemberFacts {
            name: name.clone(),
            member_id: MemberId(draft.next.cluster.last_member_id),
            // Not the one that was seen: a process that runs on must stop and begin anew, for nobody knows what it has missed.
            incarnation: floor.max(Incarnation(1)),
            instance: Uuid::nil(),
            address: "unknown:1".to_owned(),
            state: Presence::Lost,
            standing: if active { Standing::Active } else { Standing::Waiting },
            seen: true,
            generation: if active { generation } else { Generation(0) },
            epoch: draft.next.cluster.epoch,
            restore: None,
            registered_at: now,
            holder: None,
            lease_expires_at: now,
            leave_wish: None,
            leaving: None,
            left: None,
        };
        draft.next.members.insert(name.clone(), member);
    }
}

/// A snapshot that the archive proves committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The generation it was taken in.
    pub generation: Generation,
    /// When recording began.
    pub started_at: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its members, with the incarnations that took part.
    pub view: BTreeMap<MemberName, Incarnation>,
    /// Messages in flight at the cut.
    pub messages_in_flight: u64,
}

/// Whether a snapshot that the archive has in this state here is to be taken up.
#[must_use]
pub fn is_to_be_taken_up(known: Option<SnapshotState>) -> bool {
    match known {
        None | Some(SnapshotState::Pending | SnapshotState::Recording | SnapshotState::Committing | SnapshotState::Aborted) => {
            true
        }
        // Deleting was decided here, after it was committed.
        Some(SnapshotState::Committed | SnapshotState::Deleting | SnapshotState::Deleted) => false,
    }
}

/// Takes up a snapshot that the archive proves committed, and that the catalog doesn't know, or knows otherwise. Its facts must have been read.
#[must_use]
pub fn take_up(facts: &Facts, occasion: &Occasion, proved: &Proved) -> Decision {
    let known = facts.snapshot(proved.id);
    if !is_to_be_taken_up(known.map(|snapshot| snapshot.state)) {
        return Decision::nothing(facts);
    }
    let was = known.map(|snapshot| snapshot.state);
    let mut draft = Draft::new(facts, occasion);
    let now = draft.now();
    let Proved { id, epoch, generation, started_at, labels, view, messages_in_flight } = proved.clone();
    let view_members = u32::try_from(view.len()).unwrap_or(u32::MAX);
    let names: BTreeSet<MemberName> = view.keys().cloned().collect();
    match draft.snapshot_mut(id) {
        Some(snapshot) => {
            snapshot.state = SnapshotState::Committed;
            snapshot.abort = None;
            snapshot.sweep_at = None;
            snapshot.archive_error = None;
            snapshot.ended_at = Some(now);
            snapshot.committing_at = snapshot.committing_at.or(Some(now));
            snapshot.messages_in_flight = Some(messages_in_flight);
            if snapshot.epoch.is_none() {
                (snapshot.epoch, snapshot.generation, snapshot.recording_at) = (Some(epoch), generation, Some(started_at));
                (snapshot.view, snapshot.view_members) = (view, view_members);
            }
        }
        None => draft.next.snapshots.push(SnapshotFacts {
            id,
            epoch: Some(epoch),
            generation,
            state: SnapshotState::Committed,
            abort: None,
            trigger: Trigger::Resync,
            labels,
            timeout_ms: facts.cluster.snapshot_timeout_ms,
            own_timeout: false,
            begins_at: None,
            inline_limit: inline_limit(u64::from(view_members)),
            view,
            view_members,
            // When it was committed isn't in the manifest.
            created_at: started_at,
            recording_at: Some(started_at),
            committing_at: Some(started_at),
            ended_at: Some(started_at),
            deadline_at: started_at,
            archive_error: None,
            messages_in_flight: Some(messages_in_flight),
            sweep_at: None,
            sweeps: 0,
            reported: names.clone(),
            progress: BTreeMap::new(),
        }),
    }
    // It proves that its generation was active, also where the catalog has never heard of that: then nobody is known to run in the generation that
    // is, and all are put back as after any loss.
    let of_before = facts.cluster.generation < generation;
    if of_before {
        draft.next.cluster.generation = generation;
        for member in draft.next.members.values_mut().filter(|member| member.standing == Standing::Active) {
            (member.standing, member.leaving) = (Standing::Replacing, None);
        }
    }
    // A snapshot of an abandoned branch can be restored by its id; what a rollback goes to is the newest of the active generation.
    let latest = draft.next.cluster.latest_committed;
    let newer = !of_before && draft.next.outcomes.iter().any(|o| Some(o.id) == latest && o.epoch > epoch);
    if generation == draft.next.cluster.generation && !newer {
        draft.next.cluster.latest_committed = Some(id);
        draft.next.latest_view = names;
    }
    draft.next.outcomes.retain(|outcome| outcome.id != id);
    add_outcome(&mut draft, OutcomeFacts { id, epoch, committed: true, recording_at: started_at });
    let why = "the archive proves it committed";
    draft.audit("snapshot.taken_up", id, json!({ "epoch": epoch, "generation": generation, "was": was, "why": why }));
    draft.decide()
}

/// Leaps, if there is evidence that transactions were lost; else changes nothing.
#[must_use]
pub fn fell_behind(facts: &Facts, occasion: &Occasion, evidence: Option<&str>) -> Decision {
    let mut facts = facts.clone();
    if let Some(evidence) = evidence {
        facts.continuity.evidence = Some(evidence.to_owned());
    }
    if facts.continuity.moved().is_none() {
        return Decision::nothing(&facts);
    }
    Draft::new(&facts, occasion).decide()
}

/// Ends the time in which the catalog may know less than the archive: everything was taken up that was proved since.
#[must_use]
pub fn reconciled(facts: &Facts, occasion: &Occasion, behind: &str) -> Decision {
    // Another reason by now: it fell behind again meanwhile.
    if facts.continuity.behind.as_deref() != Some(behind) || facts.continuity.moved().is_some() {
        return Decision::nothing(facts);
    }
    let mut draft = Draft::new(facts, occasion);
    draft.next.continuity.behind = None;
    let name = draft.next.cluster.name.clone();
    draft.audit("cluster.reconciled", name, json!({ "why": "everything that the archive proves is in the database" }));
    draft.decide()
}

#[cfg(test)]
mod tests {
    use stillframe_api::cluster::{ClusterPhase, OnLoss};

    use super::{super::world::World, *};

    fn proved(n: u128, epoch: u64, generation: u64) -> Proved {
        Proved {
            id: SnapshotId(Uuid::from_u128(1 << 100 | n)),
            epoch: Epoch(epoch),
            generation: Generation(generation),
            started_at: Timestamp::UNIX_EPOCH,
            labels: BTreeMap::new(),
            view: ["p1", "p2"].into_iter().map(|name| (MemberName::new(name).expect("a name"), Incarnation(7))).collect(),
            messages_in_flight: 3,
        }
    }

    fn shown() -> Shown {
        let members: BTreeMap<_, _> = proved(1, 9, 4).view;
        let floors = Floors { epoch: Epoch(9), generation: Generation(4), incarnation: Incarnation(7), member_id: 2 };
        Shown { floors, generation: Generation(4), latest_view: members.keys().cloned().collect(), members }
    }

    #[test]
    fn a_cluster_is_rebuilt_halted_above_everything_that_was_seen_and_restored_once_its_members_are_there() {
        let mut world = World::new(2, OnLoss::RestoreLatest);
        world.decide(|facts, occasion| Ok(begin(facts, occasion, &shown()))).expect("no refusal");
        for (n, epoch, generation) in [(1, 8, 4), (2, 9, 4), (3, 5, 3)] {
            world.decide(|facts, occasion| Ok(take_up(facts, occasion, &proved(n, epoch, generation)))).expect("no refusal");
        }
        let cluster = &world.facts.cluster;
        assert_eq!((cluster.phase, cluster.halt), (ClusterPhase::Halted, Some(HaltCause::Resynced)));
        assert_eq!(cluster.latest_committed, Some(proved(2, 9, 4).id));
        assert!(cluster.epoch > Epoch(9) && cluster.last_generation > Generation(4) && cluster.last_member_id > 2);
        // Whoever registers doesn't set it going: only a restore does.
        world.register(1);
        world.register(2);
        assert_eq!(world.facts.cluster.phase, ClusterPhase::Halted);
        assert!(world.facts.members.values().all(|m| m.incarnation > Incarnation(7 + INCARNATIONS) && m.member_id.0 > 2));
        world.restore(1).expect("it can be restored");
        for n in [1, 2, 1, 2] {
            world.say(n, None, false);
        }
        assert_eq!(world.facts.cluster.phase, ClusterPhase::Running);
        assert!(world.facts.cluster.generation > Generation(4 + GENERATIONS));
    }

    fn running() -> World {
        let mut world = World::new(2, OnLoss::RestoreLatest);
        (1..3).for_each(|n| world.register(n));
        world.report_all();
        world.commit(false);
        world.facts.continuity.here = Some("7/1".to_owned());
        world.register(3);
        world
    }

    #[test]
    fn a_snapshot_of_a_generation_that_the_catalog_has_not_heard_of_has_all_put_back_to_it() {
        let mut world = running();
        world.facts.continuity.here = Some("7/2".to_owned());
        world.decide(|facts, occasion| Ok(fell_behind(facts, occasion, None))).expect("no refusal");
        let lost = proved(1, 9, 2);
        for proved in [proved(2, 8, 2), lost.clone(), proved(3, 7, 2)] {
            world.decide(|facts, occasion| Ok(take_up(facts, occasion, &proved))).expect("no refusal");
        }
        assert_eq!(world.facts.cluster.latest_committed, Some(lost.id));
        assert!(world.facts.restore.is_none(), "there may be a later one still");
        let behind = world.facts.continuity.behind.clone().expect("it may know less than the archive");
        world.decide(|facts, occasion| Ok(reconciled(facts, occasion, &behind))).expect("no refusal");
        let restore = world.facts.restore.clone().expect("all of its members are there");
        assert_eq!(restore.snapshot, lost.id);
        assert!(restore.generation > Generation(GENERATIONS), "{restore:?}");
    }

    #[test]
    fn a_restore_whose_commit_point_may_have_been_lost_is_planned_again_in_a_generation_that_nobody_was_in() {
        let mut world = running();
        world.restore(0).expect("a restore");
        let before = world.facts.restore.clone().expect("it");
        assert_eq!(before.state, stillframe_api::restore::RestoreState::Preparing);
        world.facts.continuity.here = Some("7/2".to_owned());
        world.decide(|facts, occasion| Ok(fell_behind(facts, occasion, None))).expect("no refusal");
        let after = world.facts.restore.clone().expect("it");
        assert_eq!(after.id, before.id);
        assert!(after.generation.0 > before.generation.0 + GENERATIONS, "{after:?}");
    }

    #[test]
    fn taking_up_twice_changes_nothing_and_what_was_deleted_here_stays_deleted() {
        let mut world = World::new(2, OnLoss::RestoreLatest);
        world.decide(|facts, occasion| Ok(begin(facts, occasion, &shown()))).expect("no refusal");
        world.decide(|facts, occasion| Ok(take_up(facts, occasion, &proved(1, 9, 4)))).expect("no refusal");
        let version = world.facts.cluster.version;
        world.decide(|facts, occasion| Ok(begin(facts, occasion, &shown()))).expect("no refusal");
        assert_eq!(world.facts.cluster.version, version);
        for (state, expected) in [
            (SnapshotState::Pending, true),
            (SnapshotState::Recording, true),
            (SnapshotState::Committing, true),
            (SnapshotState::Aborted, true),
            (SnapshotState::Committed, false),
            (SnapshotState::Deleting, false),
            (SnapshotState::Deleted, false),
        ] {
            assert_eq!(is_to_be_taken_up(Some(state)), expected);
        }
    }

    #[test]
    fn on_another_timeline_the_first_decision_leaps_over_every_number_and_later_ones_do_not() {
        let mut world = World::new(1, OnLoss::RestoreLatest);
        world.facts.continuity.here = Some("7/1".to_owned());
        world.register(1);
        assert_eq!(world.facts.continuity.home.as_deref(), Some("7/1"));
        let before = world.facts.cluster.clone();
        world.facts.continuity.here = Some("7/2".to_owned());
        world.register(2);
        let after = world.facts.cluster.clone();
        assert!(after.epoch.0 >= before.epoch.0 + EPOCHS && after.last_generation.0 >= before.last_generation.0 + GENERATIONS);
        assert!(after.version > before.version + REVISIONS && after.revision > before.revision + REVISIONS);
        let p2 = &world.facts.members[&MemberName::new("p2").expect("a name")];
        assert!(p2.incarnation.0 > INCARNATIONS && p2.member_id.0 > MAX_MEMBERS);
        let behind = world.facts.continuity.behind.clone().expect("it may know less than the archive");
        world.register(3);
        assert!(world.facts.cluster.epoch.0 < after.epoch.0 + EPOCHS);
        world.decide(|facts, occasion| Ok(reconciled(facts, occasion, &behind))).expect("no refusal");
        assert_eq!(world.facts.continuity.behind, None);
    }
}
