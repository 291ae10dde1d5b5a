//! What members put into the archive.

use std::collections::{BTreeMap, BTreeSet};

use stillframe_protocol::{MemberId, MemberName, PartCounters, Seq, SeqRanges, SnapshotId, resumption::resumption};

use crate::{
    ledger::{Ledger, Transfer},
    mutant::Mutant,
};

/// The objects of a part.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    /// Whose it is.
    pub(crate) member: MemberId,
    pub(crate) ledger: Ledger,
    /// What waited to be sent, in its order.
    pub(crate) unsent: Vec<(MemberId, Transfer)>,
    /// The messages that were recorded, in the order of their delivery.
    pub(crate) recorded: Vec<(MemberId, Seq, Transfer)>,
    /// The messages that were logged, by receiver, in the order of their numbers.
    pub(crate) logged: Vec<(MemberId, Seq, Transfer)>,
}

impl Content {
    pub(crate) fn new(member: MemberId, ledger: Ledger, unsent: Vec<(MemberId, Transfer)>) -> Self {
        Self { member, ledger, unsent, recorded: Vec::new(), logged: Vec::new() }
    }

    /// All money in it, besides that which was logged.
    pub(crate) fn money(&self) -> u64 {
        let unsent: u64 = self.unsent.iter().map(|(_, transfer)| transfer.amount).sum();
        let recorded: u64 = self.recorded.iter().map(|(_, _, transfer)| transfer.amount).sum();
        self.ledger.balance + unsent + recorded
    }

    /// So much there has to be.
    pub(crate) fn brought(&self) -> u64 {
        let unsent: u64 = self.unsent.iter().map(|(_, transfer)| transfer.brought).sum();
        let recorded: u64 = self.recorded.iter().map(|(_, _, transfer)| transfer.brought).sum();
        self.ledger.brought + unsent + recorded
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

impl Archive {
    /// What a member goes on from, by the production rule. Where senders log, each log goes back to its sender: what of it had arrived is left out, the rest is
    /// sent again.
    pub(crate) fn part_to_restore(
        &self,
        snapshot: SnapshotId,
        member: &MemberName,
        mutant: Option<Mutant>,
    ) -> Result<StoredPart, String> {
        let parts = self.parts.get(&snapshot).ok_or_else(|| format!("{snapshot} has no parts"))?;
        let mut part = parts.get(member).ok_or_else(|| format!("{member} has no part in {snapshot}"))?.clone();
        let on = |from: &MemberName, to: &MemberName| {
            let (sender, receiver) = (parts.get(from), parts.get(to));
            let received =
                receiver.and_then(|part| part.counters.received.iter().find(|it| it.from == *from)).map(|it| &it.ranges);
            let recorded =
                receiver.and_then(|part| part.counters.recorded.iter().find(|it| it.from == *from)).map(|it| &it.ranges);
            let logged = sender.and_then(|part| part.counters.logged.iter().find(|it| it.to == *to)).map(|it| &it.ranges);
            let none = SeqRanges::new();
            resumption(received.unwrap_or(&none), recorded.unwrap_or(&none), logged.unwrap_or(&none))
                .map_err(|both| format!("{from} -> {to}: {both}"))
        };
        let StoredPart { counters, content } = &mut part;
        for received in &mut counters.received {
            received.ranges = on(&received.from, member)?.received;
        }
        let mut again = BTreeSet::new();
        for sent in &mut counters.sent {
            let on = on(member, &sent.to)?;
            sent.messages = on.sent;
            let to = parts.get(&sent.to).map(|part| part.content.member);
            again.extend(on.resent.iter().flatten().filter_map(|seq| Some((to?, Seq(seq)))));
        }
        match mutant {
            Some(Mutant::RepeatsArrived) => {}
            Some(Mutant::ForgetsLog) => content.logged.clear(),
            Some(Mutant::Participant(_) | Mutant::Coordinator(_) | Mutant::CommitsUnproved) | None => {
                content.logged.retain(|(to, seq, _)| again.contains(&(*to, *seq)));
            }
        }
        Ok(part)
    }
}
