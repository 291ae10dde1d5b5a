//! Reports, as they are inserted in batches.

use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;
use stillframe_api::agent::{MissingChannel, PartReport};
use stillframe_archive::Part;
use stillframe_protocol::{
    ClusterName, Departed, Epoch, Generation, Incarnation, MemberName, PartCounters, SnapshotId, ViewMember, certificate::needed,
};

use crate::decide::part;

/// A part to insert.
#[derive(Debug, Clone)]
pub struct PartRow {
    /// The cluster that it was reported to.
    pub cluster: ClusterName,
    /// Who reports.
    pub member: MemberName,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The part.
    pub report: PartReport,
}

impl PartRow {
    /// The part as the manifest has it.
    #[must_use]
    pub fn part(&self) -> Part {
        part::of(self.member.clone(), self.incarnation, &self.report)
    }
}

/// What became of a batch of parts.
#[derive(Debug)]
pub struct Taken {
    /// The parts that are there now, by snapshot and member.
    pub there: Vec<(SnapshotId, MemberName)>,
    /// Whether every one of the batch was inserted by this call, so that what is there is what was given.
    pub all_new: bool,
}

/// A snapshot that has all its parts.
#[derive(Debug, Clone, Deserialize)]
pub struct CompleteSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// The folder of the archive that holds the cluster's snapshots.
    pub archive_prefix: Option<String>,
    /// Its epoch.
    pub epoch: Epoch,
    /// The generation it was taken in.
    pub generation: Generation,
    /// Whether it is `committing` already.
    pub committing: bool,
    /// When recording began.
    pub recording_at: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its view.
    pub view: BTreeMap<MemberName, Incarnation>,
    /// Its parts.
    pub parts: Vec<Part>,
    /// The members that had left its generation before it began, the newest incarnation of each, and that its certificate needs.
    #[serde(default)]
    pub departed: Vec<Departed>,
}

impl CompleteSnapshot {
    /// Leaves out whoever left and isn't needed by the certificate.
    #[must_use]
    pub fn with_needed(mut self) -> Self {
        let departed = std::mem::take(&mut self.departed);
        if !departed.is_empty() {
            let counters: Vec<PartCounters> = self.parts.iter().map(|part| part.counters(self.generation)).collect();
            self.departed = needed(&self.view_members(), &counters, departed);
        }
        self
    }

    /// Its view, as the certificate takes it.
    #[must_use]
    pub fn view_members(&self) -> Vec<ViewMember> {
        let member =
            |(member, incarnation): (&MemberName, &Incarnation)| ViewMember { member: member.clone(), incarnation: *incarnation };
        self.view.iter().map(member).collect()
    }
}

/// A member's latest word on what it waits for.
#[derive(Debug, Clone)]
pub struct ProgressRow {
    /// The cluster.
    pub cluster: ClusterName,
    /// Who reports.
    pub member: MemberName,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The channels that aren't closed.
    pub missing: Vec<MissingChannel>,
    /// Bytes in its spool.
    pub spooled_bytes: u64,
}
