//! Transitions: read the facts, let the rule decide, write the difference and the audit. All of it under the one lock, so no race is ever lost.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use jiff::Timestamp;
use stillframe_api::cluster::{ClusterPhase, CreateCluster};
use stillframe_archive::Part;
use stillframe_protocol::{ClusterName, Epoch, Generation, SnapshotId};
use uuid::Uuid;

use super::{
    audit::line,
    constraints::{Ground, cluster_row},
    state::{Cluster, Member, Snapshot, State, StoredPart},
};
use crate::{
    decide::{
        Facts, Refusal,
        facts::{ChannelFacts, ClusterFacts, ContinuityFacts, MemberFacts, RestoreFacts, ScheduleFacts, SnapshotFacts},
    },
    store::{
        Outcome, Rule, Scope, StoreError, TransactError, Transition,
        difference::{Difference, ScheduleChange, is_nothing},
    },
};

impl State {
    /// A transition of one cluster.
    pub(super) fn transact(
        &mut self,
        name: &ClusterName,
        scope: &Scope,
        rule: &Rule,
        now: Timestamp,
    ) -> Result<Transition, TransactError> {
        let made = match &scope.found {
            Some(found) => self.make_cluster(&found.settings, now)?,
            None => false,
        };
        let done = self.decide(name, scope, rule, now);
        if made && done.is_err() {
            self.clusters.remove(name);
        }
        done
    }

    fn decide(&mut self, name: &ClusterName, scope: &Scope, rule: &Rule, now: Timestamp) -> Result<Transition, TransactError> {
        let before = self.facts(name, scope, now).ok_or_else(|| TransactError::UnknownCluster(name.clone()))?;
        let outcome = ask(rule, &before)??;
        if is_nothing(&before, &outcome) {
            return Ok(Transition { facts: outcome.decision.next, changed: false });
        }
        let taken_up = scope.found.as_ref().zip(scope.snapshot);
        self.write(&before, &outcome, scope.found.is_some(), scope.request_id.as_deref(), now)?;
        if let Some((found, snapshot)) = taken_up {
            self.put_parts(snapshot, &found.parts, now)?;
        }
        Ok(Transition { facts: outcome.decision.next, changed: true })
    }

    /// Writes what a decision changed, all of it or, where it breaks a constraint, nothing.
    pub(super) fn write(
        &mut self,
        before: &Facts,
        outcome: &Outcome,
        takes_up: bool,
        request_id: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (next, slot) = (&outcome.decision.next, outcome.slot.as_ref());
        let difference = Difference::between(before, next);
        let name = &before.cluster.name;
        let gone = || StoreError::Fault { reason: format!("cluster {name} is gone") };
        let cluster = self.clusters.get(name).ok_or_else(gone)?;
        Ground { state: self, cluster, now, takes_up }.check(next, &difference, slot)?;
        let cluster = self.clusters.get_mut(name).ok_or_else(gone)?;
        cluster.put_members(&difference, now);
        for departure in difference.departures {
            let key = (departure.counters.member.clone(), departure.counters.incarnation);
            cluster.departures.insert(key, departure.clone());
        }
        for snapshot in &difference.made {
            // What only an update sets is as new.
            let facts = SnapshotFacts { archive_error: None, sweeps: 0, ..without_reports(snapshot) };
            cluster.snapshots.insert(snapshot.id, Snapshot::new(facts));
            self.owners.insert(snapshot.id, name.clone());
        }
        for (_, snapshot) in &difference.changed {
            if let Some(known) = cluster.snapshots.get_mut(&snapshot.id) {
                known.facts = changed(&known.facts, snapshot);
            }
        }
        for restore in &difference.restores {
            cluster.put_restore(restore);
        }
        if difference.unreadable {
            cluster.unreadable.retain(|id, _| !difference.readable.contains(id));
            cluster.unreadable.extend(next.unreadable.clone());
        }
        cluster.holds.retain(|id, _| !difference.released.contains(id));
        cluster.holds.extend(difference.held.iter().map(|hold| (hold.id, (*hold).clone())));
        match difference.schedule {
            ScheduleChange::Put(schedule) => cluster.put_schedule(schedule),
            ScheduleChange::Delete(name) => drop(cluster.schedules.remove(name)),
            ScheduleChange::None => {}
        }
        if let Some(continuity) = difference.continuity {
            cluster.continuity = Some(ContinuityFacts { here: None, evidence: None, ..continuity.clone() });
        }
        if let (Some(slot), Some(schedule)) = (slot, &next.schedule) {
            cluster.slots.insert((schedule.name.clone(), slot.at), slot.snapshot);
        }
        cluster.put_row(&next.cluster);
        self.trail.add_all(name, now, &outcome.decision.audit, request_id);
        Ok(())
    }

    /// The parts of a snapshot that was taken up. Those that had been reported are the same.
    fn put_parts(&mut self, id: SnapshotId, parts: &[Part], now: Timestamp) -> Result<(), StoreError> {
        let unknown = || StoreError::Fault { reason: format!("the snapshot {id} of parts that were found doesn't exist") };
        let snapshot = self.snapshot_mut(id).ok_or_else(unknown)?;
        for part in parts {
            let bytes = part.objects.iter().map(|object| object.bytes).fold(0, u64::saturating_add);
            let reported_at = snapshot.parts.get(&part.member).map_or(now, |known| known.reported_at);
            snapshot.parts.insert(part.member.clone(), StoredPart { part: part.clone(), bytes, reported_at });
        }
        Ok(())
    }

    /// Makes a cluster, or gives the one that there is.
    pub(super) fn create_cluster(
        &mut self,
        settings: &CreateCluster,
        request_id: Option<&str>,
        now: Timestamp,
    ) -> Result<(ClusterFacts, bool), StoreError> {
        let fault = |reason: String| StoreError::Fault { reason };
        let detail = serde_json::to_value(settings).map_err(|error| fault(error.to_string()))?;
        let made = self.make_cluster(settings, now)?;
        let name = &settings.name;
        if made {
            self.trail.add(Some(name), now, &line("request", "cluster.created", name.as_str(), None, detail), request_id);
        }
        let cluster = self.clusters.get(name).ok_or_else(|| fault(format!("cluster {name} is gone")))?;
        Ok((cluster.facts.clone(), made))
    }

    /// Makes a cluster without a word in the audit; false when there is one.
    fn make_cluster(&mut self, settings: &CreateCluster, now: Timestamp) -> Result<bool, StoreError> {
        if self.clusters.contains_key(&settings.name) {
            return Ok(false);
        }
        let facts = fresh(settings, now);
        cluster_row(&facts)?;
        self.clusters.insert(facts.name.clone(), Cluster::new(facts));
        Ok(true)
    }
}

/// A rule that panics has changed nothing, and whoever asked hears of it as of a store that broke.
fn ask(rule: &Rule, facts: &Facts) -> Result<Result<Outcome, Refusal>, StoreError> {
    catch_unwind(AssertUnwindSafe(|| rule(facts))).map_err(|panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        StoreError::Unknown { reason: format!("the rule panicked: {}", text.unwrap_or("without a word")) }
    })
}

fn fresh(settings: &CreateCluster, now: Timestamp) -> ClusterFacts {
    let CreateCluster {
        name, min_members, snapshot_timeout, on_loss, archive_prefix, max_concurrent, min_pause, rollback, ..
    } = settings;
    let ms = |ms: i64| u64::try_from(ms).unwrap_or(0);
    ClusterFacts {
        name: name.clone(),
        min_members: *min_members,
        snapshot_timeout_ms: ms(snapshot_timeout.as_millis()),
        on_loss: *on_loss,
        archive_prefix: archive_prefix.clone(),
        max_concurrent: *max_concurrent,
        min_pause_ms: min_pause.as_millis(),
        channels: settings.channels().into(),
        channels_in_force: ChannelFacts::default(),
        phase: ClusterPhase::Forming,
        phase_reason: None,
        halt: None,
        generation: Generation(0),
        last_generation: Generation(0),
        epoch: Epoch(0),
        revision: 1,
        version: 1,
        stamp: Uuid::now_v7(),
        peers_revision: 1,
        last_member_id: 0,
        latest_committed: None,
        retention: None,
        latest_mapping: BTreeMap::new(),
        rollback_limit: rollback.limit,
        rollback_window_ms: ms(rollback.window.as_millis()),
        rollback_backoff_ms: ms(rollback.backoff.as_millis()),
        restore_fallback: rollback.fallback,
        rollback_at: None,
        rollbacks_since: None,
        created_at: now,
    }
}

fn without_reports(snapshot: &SnapshotFacts) -> SnapshotFacts {
    SnapshotFacts { reported: Default::default(), progress: BTreeMap::new(), ..snapshot.clone() }
}

/// A snapshot as it is after a change: what it was asked for with stays, and so does its view once it is recorded.
fn changed(old: &SnapshotFacts, next: &SnapshotFacts) -> SnapshotFacts {
    let view = if old.epoch.is_some() { &old.view } else { &next.view };
    SnapshotFacts {
        trigger: old.trigger.clone(),
        labels: old.labels.clone(),
        created_at: old.created_at,
        view: view.clone(),
        ..without_reports(next)
    }
}

impl Cluster {
    fn put_members(&mut self, difference: &Difference<'_>, now: Timestamp) {
        for next in &difference.members {
            let is_granted = difference.granted.iter().any(|granted| granted.name == next.name);
            match self.members.get_mut(&next.name) {
                None => drop(self.members.insert(next.name.clone(), Member { facts: (*next).clone(), seen_at: now })),
                Some(known) => {
                    let old = &known.facts;
                    let lease = if is_granted { *next } else { old };
                    known.facts = MemberFacts {
                        member_id: old.member_id,
                        holder: lease.holder,
                        lease_expires_at: lease.lease_expires_at,
                        ..(*next).clone()
                    };
                    if is_granted {
                        known.seen_at = now;
                    }
                }
            }
        }
    }

    fn put_restore(&mut self, next: &RestoreFacts) {
        let restore = match self.restores.get(&next.id) {
            None => next.clone(),
            Some(old) => RestoreFacts {
                trigger: old.trigger.clone(),
                retries: old.retries,
                timeout_ms: old.timeout_ms,
                created_at: old.created_at,
                ..next.clone()
            },
        };
        self.restores.insert(next.id, restore);
    }

    fn put_schedule(&mut self, next: &ScheduleFacts) {
        let created_at = self.schedules.get(&next.name).map_or(next.created_at, |old| old.created_at);
        self.schedules.insert(next.name.clone(), ScheduleFacts { created_at, ..next.clone() });
    }

    /// The cluster's own row. What is set when it is made stays.
    fn put_row(&mut self, next: &ClusterFacts) {
        let old = &self.facts;
        // Whoever raises the version without choosing a stamp gets one.
        let is_stamped = next.version == old.version || next.stamp != old.stamp;
        self.facts = ClusterFacts {
            stamp: if is_stamped { next.stamp } else { Uuid::now_v7() },
            name: old.name.clone(),
            archive_prefix: old.archive_prefix.clone(),
            created_at: old.created_at,
            ..next.clone()
        };
    }
}
