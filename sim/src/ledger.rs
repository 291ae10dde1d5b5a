//! The application: a ledger whose money is conserved, and which notices any message that is lost, repeated or out of order in its own state. It knows
//! nothing of the participant's counters, so it is a witness against them.

use std::collections::BTreeMap;

use stillframe_protocol::{ChannelOrdering, MemberId, Seq, SeqRanges};

/// What every member begins with.
pub(crate) const START: u64 = 1_000;

/// A message: the how many-th to this member it is, and an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) number: u64,
    pub(crate) amount: u64,
    /// From one that leaves: what it had brought with it, and had taken over from others that left.
    pub(crate) brought: u64,
}

/// The state of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) balance: u64,
    /// What it, and those that left everything to it, have brought with them: so much money there is in all.
    pub(crate) brought: u64,
    /// How many transfers were made to each member, those that wait in an outbox included.
    pub(crate) sent: BTreeMap<MemberId, u64>,
    /// The numbers of the transfers that came from each member.
    pub(crate) received: BTreeMap<MemberId, SeqRanges>,
}

impl Ledger {
    /// Nothing is counted any more of what was exchanged with this member.
    pub(crate) fn forget(&mut self, member: MemberId) {
        self.sent.remove(&member);
        self.received.remove(&member);
    }

    /// Gives everything away.
    pub(crate) fn hand_over(&mut self, to: MemberId) -> Transfer {
        let (amount, brought) = (self.balance, std::mem::take(&mut self.brought));
        Transfer { brought, ..self.give(to, amount) }
    }

    pub(crate) fn new() -> Self {
        Self { balance: START, brought: START, sent: BTreeMap::new(), received: BTreeMap::new() }
    }

    /// Gives an amount away.
    pub(crate) fn give(&mut self, to: MemberId, amount: u64) -> Transfer {
        let amount = amount.min(self.balance);
        self.balance -= amount;
        let number = self.sent.entry(to).or_default();
        *number += 1;
        Transfer { number: *number, amount, brought: 0 }
    }

    /// Takes a transfer.
    pub(crate) fn take(&mut self, from: MemberId, transfer: Transfer, ordering: ChannelOrdering) -> Result<(), String> {
        let received = self.received.entry(from).or_default();
        let (found, next) = (transfer.number, received.contiguous() + 1);
        if ordering == ChannelOrdering::Fifo && found != next {
            return Err(format!("transfer {found} of {from} came on a fifo channel: expected {next}"));
        }
        if !received.insert(Seq(found)) {
            return Err(format!("transfer {found} of {from} came twice"));
        }
        self.balance += transfer.amount;
        self.brought += transfer.brought;
        Ok(())
    }
}
