//! What must hold whatever a rule decides: the database's constraints and triggers (`migrations/`), looked at before anything is changed. A decision
//! that breaks one is a fault of ours, and changes nothing.

use jiff::Timestamp;
use stillframe_api::{cluster::ClusterPhase, restore::RestoreState, snapshot::SnapshotState};

use super::state::{Cluster, State};
use crate::{
    decide::{
        Facts,
        facts::{ClusterFacts, CollectionState, DepartureFacts, MemberFacts, RestoreFacts, SnapshotFacts, Standing},
        retention::holds_at,
        schedule::Slot,
        settings::check_channels,
    },
    store::{
        StoreError,
        difference::{Change, Difference, ScheduleChange},
    },
};

/// What a decision is written into.
pub(super) struct Ground<'a> {
    pub(super) state: &'a State,
    pub(super) cluster: &'a Cluster,
    pub(super) now: Timestamp,
    /// Whether it takes up what the archive proves: then a snapshot becomes committed, whatever it was.
    pub(super) takes_up: bool,
}

fn fault<T>(reason: String) -> Result<T, StoreError> {
    Err(StoreError::Fault { reason })
}

fn demand(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), StoreError> {
    if holds { Ok(()) } else { fault(otherwise()) }
}

impl Ground<'_> {
    /// Whether a decision may be written.
    pub(super) fn check(&self, next: &Facts, difference: &Difference<'_>, slot: Option<&Slot>) -> Result<(), StoreError> {
        let Difference { members, departures, made, changed, restores, held, released, schedule, .. } = difference;
        cluster_row(&next.cluster)?;
        self.only_grows(&next.cluster)?;
        members.iter().try_for_each(|member| self.member(member))?;
        departures.iter().try_for_each(|departure| self.departure(departure))?;
        made.iter().try_for_each(|snapshot| self.made(snapshot))?;
        changed.iter().try_for_each(|change| self.changed(*change))?;
        self.epochs(difference)?;
        let known = |id| self.state.owners.contains_key(&id) || made.iter().any(|s| s.id == id);
        self.restores(restores, known)?;
        for (id, _) in next.unreadable.iter().filter(|_| difference.unreadable) {
            demand(known(*id), || format!("snapshot {id}, which is said to be unreadable, doesn't exist"))?;
        }
        for hold in held {
            demand(known(hold.snapshot), || format!("what hold {} is on doesn't exist", hold.id))?;
            demand(!self.cluster.holds.contains_key(&hold.id), || format!("hold {} exists already", hold.id))?;
        }
        for hold in released {
            demand(self.cluster.holds.contains_key(hold), || format!("expected to remove hold {hold}, which doesn't exist"))?;
        }
        match schedule {
            ScheduleChange::Put(schedule) => demand(schedule.every_ms.is_some() != schedule.cron.is_some(), || {
                format!("schedule {} has an interval and a cron expression, or neither", schedule.name)
            })?,
            ScheduleChange::Delete(name) => demand(self.cluster.schedules.contains_key(*name), || {
                format!("expected to delete schedule {name}, which doesn't exist")
            })?,
            ScheduleChange::None => {}
        }
        if let (Some(slot), Some(schedule)) = (slot, &next.schedule) {
            let decided = self.cluster.slots.contains_key(&(schedule.name.clone(), slot.at));
            demand(!decided, || format!("the slot {} of schedule {} was decided already", slot.at, schedule.name))?;
        }
        Ok(())
    }

    /// Numbers are never reused, and all members of a generation go by the same.
    fn only_grows(&self, next: &ClusterFacts) -> Result<(), StoreError> {
        let old = &self.cluster.facts;
        demand(next.channels_in_force == old.channels_in_force || next.generation != old.generation, || {
            format!("what the members of generation {} of cluster {} go by would change", old.generation, old.name)
        })?;
        let counters = |c: &ClusterFacts| {
            let last = (u64::from(c.last_member_id), c.last_generation.0);
            [c.epoch.0, c.generation.0, last.1, c.revision, c.version, last.0]
        };
        let (old, new) = (counters(&self.cluster.facts), counters(next));
        demand(old.iter().zip(new).all(|(old, new)| *old <= new), || format!("a counter of cluster {} would go back", next.name))
    }

    fn member(&self, next: &MemberFacts) -> Result<(), StoreError> {
        let name = &next.name;
        demand(next.incarnation.0 >= 1, || format!("incarnations of member {name} count from 1"))?;
        demand(next.standing != Standing::Left || next.left.is_some(), || {
            format!("member {name} has left, and nothing says what")
        })?;
        let Some(old) = self.cluster.members.get(name).map(|member| &member.facts) else {
            let is_taken = self.cluster.members.values().any(|other| other.facts.member_id == next.member_id);
            return demand(!is_taken, || format!("the number of member {name} is another's"));
        };
        let is_reused =
            next.incarnation < old.incarnation || (next.incarnation == old.incarnation && next.instance != old.instance);
        demand(!is_reused, || format!("the incarnation of member {name} would be reused"))
    }

    /// What a member counted at its end never changes.
    fn departure(&self, next: &DepartureFacts) -> Result<(), StoreError> {
        let (name, incarnation) = (&next.counters.member, next.counters.incarnation);
        let is_known = self.cluster.departures.contains_key(&(name.clone(), incarnation));
        demand(!is_known, || format!("what incarnation {incarnation} of member {name} counted at its end never changes"))
    }

    fn made(&self, next: &SnapshotFacts) -> Result<(), StoreError> {
        demand(!self.state.owners.contains_key(&next.id), || format!("snapshot {} exists already", next.id))?;
        snapshot_row(next)
    }

    fn changed(&self, (was, next): Change<'_>) -> Result<(), StoreError> {
        let id = next.id;
        let Some(old) = self.cluster.snapshots.get(&id).map(|snapshot| &snapshot.facts).filter(|old| old.state == was.state)
        else {
            return fault(format!("expected snapshot {id} {}", was.state.as_str()));
        };
        snapshot_row(next)?;
        if self.takes_up && next.state == SnapshotState::Committed && is_taken_up_from(old.state) {
            return Ok(());
        }
        demand(goes_forward(old.state, next.state), || {
            format!("snapshot {id} would go from {} to {}", old.state.as_str(), next.state.as_str())
        })?;
        let frozen = |s: &SnapshotFacts| (s.epoch, s.generation, s.recording_at);
        demand(old.epoch.is_none() || frozen(old) == frozen(next), || format!("the view of snapshot {id} is frozen"))?;
        if old.state == SnapshotState::Committed && next.state == SnapshotState::Deleting {
            return demand(!self.is_needed(old), || format!("snapshot {id} is still needed"));
        }
        Ok(())
    }

    /// What a restore, a rollback or somebody's hold needs is not deleted.
    fn is_needed(&self, snapshot: &SnapshotFacts) -> bool {
        let holds = &self.cluster.holds;
        self.cluster.restore().is_some()
            || self.cluster.facts.latest_committed == Some(snapshot.id)
            || holds.values().any(|hold| hold.snapshot == snapshot.id && holds_at(hold, self.now))
            || matches!(self.state.collection_now().state, CollectionState::Suspended { .. })
    }

    /// No epoch is used twice.
    fn epochs(&self, difference: &Difference<'_>) -> Result<(), StoreError> {
        let changed = difference.changed.iter().map(|(_, next)| *next);
        let mut new: Vec<&SnapshotFacts> = difference.made.iter().copied().chain(changed).filter(|s| s.epoch.is_some()).collect();
        new.sort_by_key(|s| s.epoch);
        for (index, snapshot) in new.iter().enumerate() {
            let is_taken = self.cluster.snapshots.values().any(|s| s.facts.id != snapshot.id && s.facts.epoch == snapshot.epoch);
            let is_double = new.get(index + 1).is_some_and(|other| other.epoch == snapshot.epoch);
            demand(!is_taken && !is_double, || format!("the epoch of snapshot {} is another's", snapshot.id))?;
        }
        Ok(())
    }

    fn restores(
        &self,
        changed: &[&RestoreFacts],
        known: impl Fn(stillframe_protocol::SnapshotId) -> bool,
    ) -> Result<(), StoreError> {
        let mut under_way = self.cluster.restore().map(|restore| restore.id);
        for next in changed {
            let id = next.id;
            demand(known(next.snapshot), || format!("what restore {id} goes back to doesn't exist"))?;
            let has = |at: Option<Timestamp>| at.is_some();
            let resumed = matches!(next.state, RestoreState::Resuming | RestoreState::Completed);
            demand(next.state.has_ended() == has(next.ended_at) && resumed == has(next.resumed_at), || {
                format!("the times of restore {id} don't fit its state, {}", next.state.as_str())
            })?;
            if let Some(old) = self.cluster.restores.get(&id) {
                restore_goes_forward(old, next)?;
            }
            if next.state.has_ended() {
                under_way = under_way.filter(|other| *other != id);
            } else {
                demand(under_way.is_none_or(|other| other == id), || format!("restore {id} isn't the only one under way"))?;
                under_way = Some(id);
            }
        }
        Ok(())
    }
}

/// A cluster's row, by itself.
pub(super) fn cluster_row(row: &ClusterFacts) -> Result<(), StoreError> {
    let fits = (1..=10_000).contains(&row.min_members)
        && row.snapshot_timeout_ms > 0
        && row.max_concurrent >= 1
        && row.rollback_window_ms > 0
        && row.rollback_backoff_ms > 0
        && (row.phase == ClusterPhase::Halted) == row.halt.is_some()
        && row.generation <= row.last_generation
        && row.peers_revision <= row.revision
        && row.channels.aligned_timeout_ms != Some(0)
        && check_channels(&row.channels).is_ok();
    demand(fits, || format!("cluster {} breaks a constraint of its row", row.name))
}

fn snapshot_row(row: &SnapshotFacts) -> Result<(), StoreError> {
    let state = row.state;
    let is_open = matches!(state, SnapshotState::Pending | SnapshotState::Recording | SnapshotState::Committing);
    let fits = row.timeout_ms > 0
        && row.epoch.is_some() == row.recording_at.is_some()
        && (state != SnapshotState::Pending || row.epoch.is_none())
        && (row.epoch.is_some()
            || !matches!(state, SnapshotState::Recording | SnapshotState::Committing | SnapshotState::Committed))
        && (state != SnapshotState::Aborted || row.abort.is_some())
        && (row.abort.is_none() || !(is_open || state == SnapshotState::Committed))
        && is_open == row.ended_at.is_none();
    demand(fits, || format!("snapshot {} breaks a constraint of its row", row.id))
}

/// Committed and aborted exclude each other for ever.
fn goes_forward(old: SnapshotState, new: SnapshotState) -> bool {
    use SnapshotState::{Aborted, Committed, Committing, Deleted, Deleting, Pending, Recording};
    match old {
        Pending => matches!(new, Pending | Recording | Aborted),
        Recording => matches!(new, Recording | Committing | Aborted),
        Committing => matches!(new, Committing | Committed),
        Committed => matches!(new, Committed | Deleting),
        Aborted => matches!(new, Aborted | Deleting),
        Deleting => matches!(new, Deleting | Deleted),
        Deleted => new == Deleted,
    }
}

fn is_taken_up_from(old: SnapshotState) -> bool {
    match old {
        SnapshotState::Pending | SnapshotState::Recording | SnapshotState::Committing | SnapshotState::Aborted => true,
        SnapshotState::Committed | SnapshotState::Deleting | SnapshotState::Deleted => false,
    }
}

/// What is given up doesn't come back, and what was passed isn't undone.
fn restore_goes_forward(old: &RestoreFacts, next: &RestoreFacts) -> Result<(), StoreError> {
    let may_become = match old.state {
        RestoreState::Planned | RestoreState::Preparing => true,
        RestoreState::Resuming => matches!(next.state, RestoreState::Resuming | RestoreState::Completed),
        RestoreState::Completed | RestoreState::Failed => next.state == old.state,
    };
    demand(may_become, || format!("restore {} would go from {} to {}", old.id, old.state.as_str(), next.state.as_str()))?;
    let is_decided = matches!(old.state, RestoreState::Resuming | RestoreState::Completed | RestoreState::Failed);
    let same = next.generation == old.generation && next.snapshot == old.snapshot;
    demand(next.generation >= old.generation && (!is_decided || same), || {
        format!("restore {} would use a generation again", old.id)
    })
}
