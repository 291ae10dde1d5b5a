//! What members put into the archive.

use std::collections::{BTreeMap, BTreeSet};

use stillframe_protocol::{MemberId, MemberName, PartCounters, Seq, SnapshotId};

use crate::ledger::{Ledger, Transfer};

/// The objects of a part.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) ledger: Ledger,
    /// What waited to be sent, in its order.
    pub(crate) unsent: Vec<(MemberId, Transfer)>,
    /// The messages that were recorded, in the order of their delivery.
    pub(crate) recorded: Vec<(MemberId, Seq, Transfer)>,
}

impl Content {
    pub(crate) fn new(ledger: Ledger, unsent: Vec<(MemberId, Transfer)>) -> Self {
        Self { ledger, unsent, recorded: Vec::new() }
    }

    /// All money in it.
    pub(crate) fn money(&self) -> u64 {
        let unsent: u64 = self.unsent.iter().map(|(_, transfer)| transfer.amount).sum();
        let recorded: u64 = self.recorded.iter().map(|(_, _, transfer)| transfer.amount).sum();
        self.ledger.balance + unsent + recorded
    }
}

/// A part that was reported and taken.
#[derive(Debug, Clone)]
pub(crate) struct StoredPart {
    pub(crate) counters: PartCounters,
    pub(crate) content: Content,
}

/// The bucket.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    /// By snapshot and member.
    pub(crate) parts: BTreeMap<SnapshotId, BTreeMap<MemberName, StoredPart>>,
    /// The snapshots whose manifest is there.
    pub(crate) manifests: BTreeSet<SnapshotId>,
    /// The snapshots whose objects can't be read.
    pub(crate) unreadable: BTreeSet<SnapshotId>,
    /// Until when it doesn't answer.
    pub(crate) away_until: u64,
}
