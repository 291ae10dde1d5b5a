//! What a run, or many, came to.

use std::{collections::BTreeMap, ops::AddAssign};

use serde::Serialize;

/// Counts of one run, or the sum of many.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
pub struct Stats {
    /// Runs.
    pub seeds: u64,
    /// Virtual time, in microseconds.
    pub virtual_us: u64,
    /// Events in virtual time.
    pub events: u64,
    /// Messages that were delivered to applications.
    pub delivered: u64,
    /// Messages that were recorded as part of a channel's state.
    pub recorded: u64,
    /// Messages that were logged by their senders as part of a channel's state.
    pub logged: u64,
    /// Epochs that a member was told of and couldn't cut yet, because its channels weren't aligned.
    pub aligning: u64,
    /// Frames that were held back until channels were aligned.
    pub held_frames: u64,
    /// Alignments that took too long.
    pub unaligned: u64,
    /// Frames that were refused, fenced ones included.
    pub refused_frames: u64,
    /// Frames of another generation or incarnation, each of which changed nothing.
    pub fenced_frames: u64,
    /// Decisions of the coordinator that changed something.
    pub decisions: u64,
    /// Decisions on facts that had been overtaken, refused by their version.
    pub overtaken_decisions: u64,
    /// Snapshots that were committed.
    pub committed: u64,
    /// Snapshots that were aborted, by reason.
    pub aborted: BTreeMap<String, u64>,
    /// Committed snapshots with messages in flight.
    pub committed_in_flight: u64,
    /// The most snapshots that were under way at once.
    pub most_at_once: u64,
    /// The longest that a cluster took from the last fault until everything was proved to be well, in microseconds.
    pub slowest_recovery_us: u64,
    /// Restores that went through.
    pub restores: u64,
    /// Of those, the ones to another snapshot than the latest.
    pub restores_to_older: u64,
    /// Restores that failed, by reason.
    pub failed_restores: BTreeMap<String, u64>,
    /// Members that went on from a part.
    pub resumed_members: u64,
    /// Members that joined a running cluster.
    pub joins: u64,
    /// Members that left in good order.
    pub leaves: u64,
    /// Committed snapshots that needed what one that had left counted at its end.
    pub with_departed: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<String, u64>,
}

impl Stats {
    /// Counts a fault.
    pub(crate) fn fault(&mut self, kind: &str) {
        count(&mut self.faults, kind, 1);
    }

    /// All faults.
    #[must_use]
    pub fn all_faults(&self) -> u64 {
        self.faults.values().sum()
    }

    /// All aborted snapshots.
    #[must_use]
    pub fn all_aborted(&self) -> u64 {
        self.aborted.values().sum()
    }
}

/// Counts under a name.
pub(crate) fn count(counts: &mut BTreeMap<String, u64>, name: &str, by: u64) {
    match counts.get_mut(name) {
        Some(known) => *known += by,
        None => drop(counts.insert(name.to_owned(), by)),
    }
}

impl AddAssign<&Self> for Stats {
    fn add_assign(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.virtual_us += other.virtual_us;
        self.events += other.events;
        self.delivered += other.delivered;
        self.recorded += other.recorded;
        self.logged += other.logged;
        self.aligning += other.aligning;
        self.held_frames += other.held_frames;
        self.unaligned += other.unaligned;
        self.refused_frames += other.refused_frames;
        self.fenced_frames += other.fenced_frames;
        self.decisions += other.decisions;
        self.overtaken_decisions += other.overtaken_decisions;
        self.committed += other.committed;
        self.committed_in_flight += other.committed_in_flight;
        self.most_at_once = self.most_at_once.max(other.most_at_once);
        self.slowest_recovery_us = self.slowest_recovery_us.max(other.slowest_recovery_us);
        self.restores += other.restores;
        self.restores_to_older += other.restores_to_older;
        self.resumed_members += other.resumed_members;
        self.joins += other.joins;
        self.leaves += other.leaves;
        self.with_departed += other.with_departed;
        for (mine, others) in [
            (&mut self.aborted, &other.aborted),
            (&mut self.failed_restores, &other.failed_restores),
            (&mut self.faults, &other.faults),
        ] {
            others.iter().for_each(|(name, times)| count(mine, name, *times));
        }
    }
}
