//! What members and the coordinator say to each other.

use stillframe_coordinator::decide::{
    assignment::Wanted,
    leave::{Stage, Step},
    restore::Word,
};
use stillframe_protocol::{Epoch, Generation, Incarnation, MemberId, MemberName, PartCounters, SnapshotId};
use uuid::Uuid;

use crate::{archive::Content, ledger::Transfer};

/// What a member asks a replica.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Register { instance: Uuid },
    Poll { incarnation: Incarnation, after: u64 },
    Report { number: u64, incarnation: Incarnation, report: Report },
}

/// What a member reports.
#[derive(Debug, Clone)]
pub(crate) enum Report {
    Part(Box<PartReport>),
    Failed { snapshot: SnapshotId, why: String },
    Word(Word),
    Leave(Step),
}

/// A member's part of a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct PartReport {
    pub(crate) snapshot: SnapshotId,
    pub(crate) epoch: Epoch,
    pub(crate) generation: Generation,
    pub(crate) counters: PartCounters,
    pub(crate) content: Content,
}

/// What a replica answers.
#[derive(Debug, Clone)]
pub(crate) enum Tell {
    Registered { member: MemberId, incarnation: Incarnation },
    Assigned(Box<Assignment>),
    Taken { number: u64 },
    Fenced,
}

/// Another member, as the coordinator knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) slot: usize,
    pub(crate) member: MemberId,
    pub(crate) incarnation: Incarnation,
    /// Its address: the number of its process.
    pub(crate) process: u64,
    /// It is sent nothing new.
    pub(crate) leaving: bool,
}

/// A snapshot that is under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    pub(crate) snapshot: SnapshotId,
    pub(crate) epoch: Epoch,
    pub(crate) generation: Generation,
    pub(crate) in_view: bool,
}

/// All that a member is to be doing, as of one revision.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) revision: u64,
    pub(crate) epoch: Epoch,
    pub(crate) wanted: Wanted,
    pub(crate) peers: Vec<Peer>,
    pub(crate) open: Vec<Open>,
    /// How far its leaving is.
    pub(crate) stage: Option<Stage>,
    /// What its peers have sent it, once they send nothing more.
    pub(crate) sent_to: Vec<(MemberName, u64)>,
    /// The incarnations that have left the generation.
    pub(crate) left: Vec<(MemberId, Incarnation)>,
}

/// What is written into a message.
pub(crate) fn encode(transfer: Transfer) -> bytes::Bytes {
    let mut bytes = Vec::with_capacity(24);
    bytes.extend(transfer.number.to_le_bytes());
    bytes.extend(transfer.amount.to_le_bytes());
    bytes.extend(transfer.brought.to_le_bytes());
    bytes.into()
}

/// What was written into a message.
pub(crate) fn decode(payload: &[u8]) -> Result<Transfer, String> {
    let whole: &[u8; 24] =
        payload.try_into().map_err(|_| format!("a message of 24 bytes was expected, found {}", payload.len()))?;
    let number = |at: usize| whole[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Ok(Transfer { number: number(0), amount: number(8), brought: number(16) })
}
