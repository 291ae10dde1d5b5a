//! A member: a small shell around the product's participant, as the agent is a large one. It follows its assignment, captures, records, seals and reports.
//!
//! | to find | look in |
//! | --- | --- |
//! | polling, reporting, leases | [`control`] |
//! | comparing what is with what is wanted | [`follow`] |
//! | leaving, letting others leave | [`leaving`] |
//! | connections | [`links`] |
//! | frames, and carrying out the participant's outputs | [`drain`] |
//! | holding frames back until the channels are aligned | [`align`] |
//! | beginning, fresh or from a part | [`begin`] |

pub(crate) mod align;
pub(crate) mod begin;
pub(crate) mod control;
pub(crate) mod drain;
pub(crate) mod follow;
pub(crate) mod leaving;
pub(crate) mod links;

use std::collections::{BTreeMap, VecDeque};

use stillframe_coordinator::decide::leave;
use stillframe_protocol::{
    ChannelOrdering, Epoch, Frame, Generation, Incarnation, MemberId, MemberName, Participant, RestoreId, SnapshotId,
};
use uuid::Uuid;

use crate::{
    archive::{Content, StoredPart},
    ledger::{Ledger, Transfer},
    network::Way,
    words::{PartReport, Peer, Report},
};

/// A process of the application.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) slot: usize,
    pub(crate) instance: Uuid,
    /// What the coordinator gave it.
    pub(crate) registered: Option<(MemberId, Incarnation)>,
    /// The replica that it speaks to.
    pub(crate) replica: usize,
    pub(crate) revision: u64,
    pub(crate) peers: BTreeMap<MemberId, Peer>,
    /// The newest incarnation of each that left the generation.
    pub(crate) left: BTreeMap<MemberId, Incarnation>,
    /// What the coordinator says of its leaving, and of what was sent to it.
    pub(crate) leave_stage: Option<leave::Stage>,
    pub(crate) sent_to: Vec<(MemberName, u64)>,
    pub(crate) lease_until: u64,
    /// Nothing is delivered and nothing sent.
    pub(crate) holds: bool,
    /// Everything takes so many times as long.
    pub(crate) slowness: u64,
    pub(crate) live: Option<Live>,
    pub(crate) preparation: Option<Preparation>,
    /// The one that the generation in force begins with, if that was loaded: it may have begun without this process.
    pub(crate) in_force: Option<Preparation>,
    /// What the coordinator hasn't taken, by number.
    pub(crate) reports: BTreeMap<u64, Report>,
    pub(crate) report_numbers: u64,
    /// Frames that came while it held still.
    pub(crate) waiting: VecDeque<Waiting>,
}

/// A frame that waits until its process goes on.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) source: u64,
    pub(crate) via: Option<(u64, Way, u64)>,
    pub(crate) frame: Frame,
}

/// A restore that is being prepared.
#[derive(Debug)]
pub(crate) struct Preparation {
    pub(crate) restore: RestoreId,
    pub(crate) generation: Generation,
    pub(crate) attempt: u32,
    pub(crate) loaded: Option<StoredPart>,
}

/// A member in one generation.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) participant: Participant,
    pub(crate) ledger: Ledger,
    /// What waits to be sent, by receiver.
    pub(crate) outbox: BTreeMap<MemberId, VecDeque<Transfer>>,
    pub(crate) outgoing: BTreeMap<MemberId, Link>,
    /// The connection, or the process, that each sender's frames come from.
    pub(crate) incoming: BTreeMap<MemberId, Source>,
    pub(crate) recordings: BTreeMap<Epoch, Recording>,
    /// Frames of each connection that wait until the channels are aligned.
    pub(crate) held: BTreeMap<u64, VecDeque<Waiting>>,
    /// The snapshots of epochs that were begun and aren't cut, because the channels aren't aligned.
    pub(crate) begun: BTreeMap<Epoch, SnapshotId>,
    /// Senders whose connections brought something wrong.
    pub(crate) to_break: Vec<MemberId>,
    pub(crate) newer: bool,
    /// Its application wants to leave.
    pub(crate) wants_to_leave: bool,
    /// It has handed everything over, and sends nothing any more.
    pub(crate) silent: bool,
}

/// Where a sender's frames come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Connection(u64),
    Process(u64),
}

/// The sending end of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) ordering: ChannelOrdering,
    pub(crate) state: LinkState,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkState {
    Dialing {
        connection: u64,
        incarnation: Incarnation,
    },
    Up {
        connection: u64,
    },
    Down,
    /// Frames go to this process one by one.
    Datagrams {
        process: u64,
    },
}

/// A snapshot that is open here.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) snapshot: Option<SnapshotId>,
    pub(crate) stage: Stage,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Stage {
    Recording(Content),
    Sealed(Box<PartReport>),
    Failed(String),
    /// Handed on: the part is on its way, or that there is none.
    Done,
}

impl Process {
    /// Keeps the part that the generation in force begins with, and no other of before.
    pub(crate) fn keep(&mut self, in_force: Generation) {
        if let Some(loaded) = self.preparation.take_if(|at| at.generation == in_force && at.loaded.is_some()) {
            self.in_force = Some(loaded);
        }
        self.in_force.take_if(|at| at.generation < in_force);
    }

    pub(crate) fn new(slot: usize, instance: Uuid, replica: usize, slowness: u64) -> Self {
        Self {
            slot,
            instance,
            registered: None,
            replica,
            revision: 0,
            peers: BTreeMap::new(),
            left: BTreeMap::new(),
            leave_stage: None,
            sent_to: Vec::new(),
            lease_until: 0,
            holds: true,
            slowness,
            live: None,
            preparation: None,
            in_force: None,
            reports: BTreeMap::new(),
            report_numbers: 0,
            waiting: VecDeque::new(),
        }
    }

    pub(crate) fn report(&mut self, report: Report) -> u64 {
        self.report_numbers += 1;
        self.reports.insert(self.report_numbers, report);
        self.report_numbers
    }
}
