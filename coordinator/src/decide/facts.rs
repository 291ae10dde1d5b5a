//! What is known of one cluster: the input of every decision. Fields are named after the columns that hold them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_api::{
    agent::MissingChannel,
    cluster::{ClusterPhase, OnLoss},
    restore::{RestoreFailure, RestorePhase, RestoreState, UnreadableSnapshot},
    retention::Retention,
    schedule::{Misfire, OnOverlap},
    settings::MAX_CONCURRENT,
    snapshot::{Abort, SnapshotState, Trigger},
    waiting::UnderWay,
};
use stillframe_protocol::{
    ClusterName, Departed, Epoch, Generation, HoldId, Incarnation, MemberId, MemberName, RestoreId, SnapshotId,
    name::ScheduleName,
};
use uuid::Uuid;

mod channels;

pub use channels::ChannelFacts;

/// Everything that a decision about a cluster may rest on, as of one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The database's clock when the facts were read.
    pub now: Timestamp,
    /// The cluster itself.
    pub cluster: ClusterFacts,
    /// Every member that was ever registered.
    pub members: BTreeMap<MemberName, MemberFacts>,
    /// The snapshots that haven't ended, oldest first, and the one that was asked about, ended or not.
    pub snapshots: Vec<SnapshotFacts>,
    /// How the last few snapshots ended, by epoch.
    pub outcomes: Vec<OutcomeFacts>,
    /// The restore under way.
    pub restore: Option<RestoreFacts>,
    /// The one before it, where that ended in the same decision in which the next began. Never read.
    pub ended_restore: Option<RestoreFacts>,
    /// The members of the latest committed snapshot, by the names they have now.
    pub latest_view: BTreeSet<MemberName>,
    /// Where to fall back to: the newest committed snapshot of an older epoch than that of the restore under way (else, than that of the latest
    /// committed one) that isn't known to be unreadable. Read only, and only while a restore is under way or the latest one is unreadable.
    pub older: Option<OlderFacts>,
    /// What is known to be unreadable of the latest committed snapshot, that of the restore under way, and the one that was asked about.
    pub unreadable: BTreeMap<SnapshotId, UnreadableFacts>,
    /// The automatic restores that were begun within the cluster's window, oldest first. Read only.
    pub rollbacks: Vec<RollbackFacts>,
    /// The schedule that was asked about.
    pub schedule: Option<ScheduleFacts>,
    /// Whether its numbers go on from the last that was given out.
    pub continuity: ContinuityFacts,
    /// What is kept; only when that was asked about.
    pub kept: Option<KeptFacts>,
    /// What members counted that leave with this decision. Never read.
    pub departures: Vec<DepartureFacts>,
}

/// Whether the numbers of a cluster go on from the last that was given out, or the database may have lost transactions that gave out more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContinuityFacts {
    /// The server and timeline that the facts were read on, where it tells. Read only.
    #[serde(default, skip_serializing)]
    pub here: Option<String>,
    /// Those of the last decision.
    #[serde(default)]
    pub home: Option<String>,
    /// New incarnations are above it.
    #[serde(default)]
    pub incarnation_floor: Incarnation,
    /// Why the catalog may know less than the archive; none when it is known not to.
    #[serde(default)]
    pub behind: Option<String>,
    /// When the word of an agent was last taken as evidence that transactions were lost.
    #[serde(default)]
    pub claimed_at: Option<Timestamp>,
    /// What else speaks for lost transactions, as whoever asks for the decision knows it. Never stored.
    #[serde(skip)]
    pub evidence: Option<String>,
}

impl ContinuityFacts {
    /// Why transactions may have been lost since the last decision; nothing when none can have been.
    #[must_use]
    pub fn moved(&self) -> Option<String> {
        match (&self.here, &self.home) {
            (Some(here), Some(home)) if here != home => {
                Some(format!("the database is the server and timeline {here}, and was {home}: its last transactions may be lost"))
            }
            _ => self.evidence.clone(),
        }
    }
}

/// Why a cluster is halted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltCause {
    /// A member was lost, and the cluster's settings say to halt.
    OnLoss,
    /// A member was lost, and there is no committed snapshot to go back to.
    NoSnapshot,
    /// A restore failed, and the old generation can't go on.
    RestoreFailed,
    /// It was put back too often within its window.
    RollbackLimit,
    /// The database had lost it, and it was rebuilt from the archive: nothing runs that a restore didn't start.
    Resynced,
}

/// The cluster's own row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// Its name.
    pub name: ClusterName,
    /// How many members must have registered before it runs.
    pub min_members: u32,
    /// How long a snapshot may take, in milliseconds.
    pub snapshot_timeout_ms: u64,
    /// What happens when a member is lost.
    pub on_loss: OnLoss,
    /// The folder of the coordinator's archive that holds its snapshots.
    pub archive_prefix: Option<String>,
    /// How many snapshots may be recording or committing at once.
    pub max_concurrent: u32,
    /// The least time between the beginnings of two snapshots, in milliseconds.
    pub min_pause_ms: u64,
    /// How the messages under way at a cut are to get into its snapshots, from the next generation on.
    #[serde(flatten)]
    pub channels: ChannelFacts,
    /// What the members of the active generation go by, all of them.
    #[serde(default)]
    pub channels_in_force: ChannelFacts,
    /// Where it is in its life.
    pub phase: ClusterPhase,
    /// Why, when there is something to say.
    pub phase_reason: Option<String>,
    /// Why it is halted; set exactly then.
    pub halt: Option<HaltCause>,
    /// The active generation; 0 until it has run.
    pub generation: Generation,
    /// The newest generation allocated, burned ones included.
    pub last_generation: Generation,
    /// The newest epoch allocated.
    pub epoch: Epoch,
    /// Raised by each change that agents must know.
    pub revision: u64,
    /// Raised by each transition: facts of the newest version are the facts.
    pub version: u64,
    /// Random, another with each version: facts of one version and stamp are the same facts, whatever the database has lost. Rules leave it alone.
    pub stamp: Uuid,
    /// The revision at which the peer list last changed.
    pub peers_revision: u64,
    /// The newest member number given.
    pub last_member_id: u32,
    /// The snapshot that a rollback goes back to.
    pub latest_committed: Option<SnapshotId>,
    /// Which committed snapshots are kept; all of them without it.
    pub retention: Option<Retention>,
    /// Members of that snapshot that have other names since it was restored: name in the snapshot, name now.
    #[serde(default)]
    pub latest_mapping: BTreeMap<MemberName, MemberName>,
    /// How many rollbacks that went through may begin within the window; 0 for any number.
    pub rollback_limit: u32,
    /// The window, in milliseconds.
    pub rollback_window_ms: u64,
    /// The pause after the first rollback within the window, in milliseconds.
    pub rollback_backoff_ms: u64,
    /// How many older snapshots an automatic rollback may try.
    pub restore_fallback: u32,
    /// When the rollback that is due, but put off, begins.
    #[serde(default)]
    pub rollback_at: Option<Timestamp>,
    /// Rollbacks of before aren't counted: an operator had the cluster go on.
    #[serde(default)]
    pub rollbacks_since: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
}

impl ClusterFacts {
    /// What an operator may change while it runs.
    #[must_use]
    pub fn settings(&self) -> impl PartialEq + use<> {
        let snapshots = (self.min_members, self.snapshot_timeout_ms, self.on_loss, self.max_concurrent, self.min_pause_ms);
        let rollbacks = (self.rollback_limit, self.rollback_window_ms, self.rollback_backoff_ms, self.restore_fallback);
        (snapshots, rollbacks, self.channels)
    }

    /// Makes a generation the active one: what is wanted of its channels is in force from here on.
    pub(super) fn enter(&mut self, generation: Generation) {
        self.generation = generation;
        self.channels_in_force = self.channels;
    }
}

/// Whether a member's incarnation is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It is.
    Live,
    /// It didn't come back in time, or its lease ran out.
    Lost,
}

/// What a member's incarnation is to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It hasn't run yet: it waits for the cluster to run.
    Waiting,
    /// It runs in the active generation.
    Active,
    /// An older incarnation of its name ran in the generation; it waits for a restore.
    Replacing,
    /// A restore put it out of the cluster.
    Excluded,
    /// It has left the active generation in good order.
    Left,
}

/// That an operator asked a member to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveWish {
    /// It is to leave.
    Asked,
    /// It is to leave even if fewer than `min_members` stay.
    Forced,
}

/// A member on its way out: it runs, and the others send it nothing new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeavingFacts {
    /// Since when.
    pub since: Timestamp,
    /// Who has said to send it nothing any more, and how many messages it has sent it in all.
    pub drained: BTreeMap<MemberName, DrainedFacts>,
}

/// A member's word that it sends another, which is leaving, nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainedFacts {
    /// The incarnation that said so.
    pub incarnation: Incarnation,
    /// How many messages it has sent.
    pub sent: u64,
}

/// The latest incarnation of a member that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftFacts {
    /// The incarnation.
    pub incarnation: Incarnation,
    /// The generation that it left.
    pub generation: Generation,
}

/// What a member that left counted at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepartureFacts {
    /// The generation that it left.
    pub generation: Generation,
    /// When it did. Snapshots that began later are without it.
    pub left_at: Timestamp,
    /// Who, and the counters.
    pub counters: Departed,
}

/// A member, as its latest incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFacts {
    /// Its name.
    pub name: MemberName,
    /// Its number.
    pub member_id: MemberId,
    /// The number of its latest registration.
    pub incarnation: Incarnation,
    /// The random id of its process.
    pub instance: Uuid,
    /// Where its data plane listens.
    pub address: String,
    /// Whether it is there.
    pub state: Presence,
    /// What it is to the cluster.
    pub standing: Standing,
    /// Whether it has asked for its assignment since it registered. It is told to run nothing before that is kept, so one that wasn't seen has run
    /// nothing.
    pub seen: bool,
    /// The generation it runs in, when active.
    pub generation: Generation,
    /// The epoch that counted as cut when it started in that generation.
    pub epoch: Epoch,
    /// The restore from whose part it started.
    pub restore: Option<RestoreId>,
    /// When this incarnation registered.
    pub registered_at: Timestamp,
    /// The replica that holds its poll.
    #[serde(default)]
    pub holder: Option<Uuid>,
    /// When its lease runs out unless renewed.
    pub lease_expires_at: Timestamp,
    /// That an operator asked it to leave.
    #[serde(default)]
    pub leave_wish: Option<LeaveWish>,
    /// That it is leaving; only while it is active.
    #[serde(default)]
    pub leaving: Option<LeavingFacts>,
    /// The latest incarnation of it that left; kept when a newer one registers.
    #[serde(default, rename = "left_as")]
    pub left: Option<LeftFacts>,
}

impl MemberFacts {
    /// Whether this incarnation can be counted on: it registered, was heard of since, and isn't lost.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.state == Presence::Live && self.seen
    }

    /// Whether it is the incarnation that left this generation.
    #[must_use]
    pub fn has_left(&self, generation: Generation) -> bool {
        self.standing == Standing::Left
            && self.left.is_some_and(|left| (left.incarnation, left.generation) == (self.incarnation, generation))
    }

    /// Whether this incarnation is there and runs in the generation.
    #[must_use]
    pub fn runs_in(&self, generation: Generation) -> bool {
        self.state == Presence::Live && self.standing == Standing::Active && self.generation == generation
    }
}

/// The latest word of a member on what it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressFacts {
    /// The channels that aren't closed.
    pub missing: Vec<MissingChannel>,
    /// When it was said.
    pub at: Timestamp,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFacts {
    /// Its id.
    pub id: SnapshotId,
    /// Its epoch; none while it is pending.
    pub epoch: Option<Epoch>,
    /// The generation it is taken in.
    pub generation: Generation,
    /// Where it is in its life.
    pub state: SnapshotState,
    /// Why it was aborted.
    pub abort: Option<Abort>,
    /// What asked for it.
    pub trigger: Trigger,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
    /// Whether its request named that; else it follows the cluster's setting while it is pending.
    pub own_timeout: bool,
    /// When the cluster's `min_pause` lets it begin, at the earliest; planned while it is pending.
    pub begins_at: Option<Timestamp>,
    /// Objects of at most so many bytes travel inline.
    pub inline_limit: u64,
    /// The members and incarnations it is of; frozen once it is recorded.
    pub view: BTreeMap<MemberName, Incarnation>,
    /// How many they are.
    pub view_members: u32,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When recording began.
    pub recording_at: Option<Timestamp>,
    /// When the certificate held.
    pub committing_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When it is aborted if it is still pending or recording then.
    pub deadline_at: Timestamp,
    /// While it is committing: what the archive last said against its manifest.
    pub archive_error: Option<String>,
    /// How many messages were in flight at the cut.
    pub messages_in_flight: Option<u64>,
    /// When what it left in the archive is to be deleted.
    pub sweep_at: Option<Timestamp>,
    /// How often that was done.
    #[serde(default)]
    pub sweeps: u32,
    /// The members whose parts are there. Read only.
    #[serde(default, skip_serializing)]
    pub reported: BTreeSet<MemberName>,
    /// What members said they wait for. Read only.
    #[serde(default, skip_serializing)]
    pub progress: BTreeMap<MemberName, ProgressFacts>,
}

impl SnapshotFacts {
    /// Whether it takes a slot.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(self.state, SnapshotState::Recording | SnapshotState::Committing)
    }

    /// As those who wait for its slot need to know it; nothing unless it takes one.
    #[must_use]
    pub fn under_way(&self) -> Option<UnderWay> {
        let since = match self.state {
            SnapshotState::Recording => self.recording_at,
            SnapshotState::Committing => self.committing_at,
            SnapshotState::Pending
            | SnapshotState::Committed
            | SnapshotState::Aborted
            | SnapshotState::Deleting
            | SnapshotState::Deleted => return None,
        };
        let (snapshot, since) = (self.id, since.unwrap_or(self.created_at));
        Some(UnderWay { snapshot, state: self.state, since, archive_error: self.archive_error.clone() })
    }

    /// Whether every member of the view has reported its part.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.view.keys().all(|member| self.reported.contains(member))
    }
}

/// How a snapshot that was recorded ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeFacts {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Whether it was committed.
    pub committed: bool,
    /// When its recording began.
    pub recording_at: Timestamp,
}

/// A committed snapshot that a restore may fall back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OlderFacts {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its members.
    pub view: BTreeSet<MemberName>,
}

/// What a restore found wrong with a committed snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableFacts {
    /// The restore that found out.
    pub restore: RestoreId,
    /// The member that found out.
    pub member: MemberName,
    /// What is wrong, with the key of the object.
    pub detail: String,
    /// When it was found.
    pub found_at: Timestamp,
}

/// An automatic restore of the recent past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackFacts {
    /// When it was begun.
    pub created_at: Timestamp,
    /// Whether it reached its commit point.
    pub went_through: bool,
}

/// A member's place in a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreMemberFacts {
    /// The member of the snapshot whose part it takes up, where that had another name.
    #[serde(default)]
    pub part: Option<MemberName>,
    /// The incarnation that takes up the part; 0 until the member is there.
    pub incarnation: Incarnation,
    /// What it has done.
    pub phase: RestorePhase,
    /// The bytes of its part that it has loaded, as stored.
    pub bytes: u64,
    /// How often it was asked to try again.
    #[serde(default)]
    pub attempt: u32,
    /// What went wrong.
    pub error: Option<String>,
}

/// A restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreFacts {
    /// Its id.
    pub id: RestoreId,
    /// The snapshot it goes back to.
    pub snapshot: SnapshotId,
    /// The generation it makes.
    pub generation: Generation,
    /// Where it is in its life.
    pub state: RestoreState,
    /// What asked for it.
    pub trigger: Trigger,
    /// Why it failed.
    pub failure: Option<String>,
    /// Why it failed, as a word.
    pub failure_reason: Option<RestoreFailure>,
    /// How many more older snapshots may be tried.
    pub fallback: u32,
    /// How often each member may try again.
    pub retries: u32,
    /// How long each snapshot that is tried may take, in milliseconds.
    pub timeout_ms: u64,
    /// Members of the snapshot that have other names now.
    pub mapping: BTreeMap<MemberName, MemberName>,
    /// The snapshots that were tried and proved unreadable.
    pub tried: Vec<UnreadableSnapshot>,
    /// When the members that couldn't load their parts are asked to try again.
    pub retry_at: Option<Timestamp>,
    /// The members of the snapshot, by the names they have now.
    pub members: BTreeMap<MemberName, RestoreMemberFacts>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the new generation became active.
    pub resumed_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When it is given up if the commit point isn't reached.
    pub deadline_at: Timestamp,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleFacts {
    /// Its name.
    pub name: ScheduleName,
    /// The interval between slots, in milliseconds; or
    pub every_ms: Option<u64>,
    /// the cron expression that names them.
    pub cron: Option<String>,
    /// The time zone that it is read in.
    pub time_zone: String,
    /// By how much a slot fires later at most, in milliseconds.
    pub jitter_ms: u64,
    /// How long after the beginning of the cluster's latest snapshot slots are skipped, in milliseconds.
    pub min_pause_ms: u64,
    /// How long each snapshot may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Labels of each snapshot.
    pub labels: BTreeMap<String, String>,
    /// What becomes of a slot at whose time a snapshot can't begin at once.
    pub on_overlap: OnOverlap,
    /// What becomes of slots that were missed.
    pub misfire: Misfire,
    /// Whether it is paused until it is resumed.
    pub paused: bool,
    /// Until when it is paused; its next slot is the first from then on.
    pub paused_until: Option<Timestamp>,
    /// When the next slot fires.
    pub next_at: Timestamp,
    /// The next slot, when it is earlier than that.
    pub next_slot_at: Option<Timestamp>,
    /// The last slot that was decided.
    pub last_slot_at: Option<Timestamp>,
    /// The last snapshot it took.
    pub last_snapshot: Option<SnapshotId>,
    /// Why the last slot was skipped.
    pub last_skip: Option<String>,
    /// How many slots went by that nobody was there to decide.
    pub missed: u64,
    /// The latest of them.
    pub last_missed_at: Option<Timestamp>,
    /// When it was first set.
    pub created_at: Timestamp,
}

impl ScheduleFacts {
    /// The next slot. Without jitter that is when it fires, also where a replica of an earlier release has set it.
    #[must_use]
    pub fn next_slot(&self) -> Timestamp {
        if self.jitter_ms == 0 { self.next_at } else { self.next_slot_at.unwrap_or(self.next_at) }
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self, now: Timestamp) -> bool {
        self.paused || self.paused_until.is_some_and(|until| until > now)
    }
}

/// Whether anything may be deleted from the archive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CollectionState {
    /// It may: the catalog is known to be whole.
    #[default]
    Confirmed,
    /// It may not: the catalog may know less than the archive.
    Suspended {
        /// Why.
        reason: String,
    },
}

/// A committed snapshot, as much as says whether it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedFacts {
    /// Its id.
    pub id: SnapshotId,
    /// Its epoch.
    pub epoch: Epoch,
    /// When recording began: the moment that it shows.
    pub recording_at: Timestamp,
}

/// A hold on a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldFacts {
    /// Its id.
    pub id: HoldId,
    /// What is held.
    pub snapshot: SnapshotId,
    /// Who holds it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it holds nothing any more.
    pub expires_at: Option<Timestamp>,
}

/// What may be deleted, and what stands against it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct KeptFacts {
    /// Whether anything may be deleted.
    pub collection: CollectionState,
    /// The committed snapshots, oldest first.
    pub committed: Vec<CommittedFacts>,
    /// The holds on the cluster's snapshots, expired ones included.
    pub holds: Vec<HoldFacts>,
}

/// How many outcomes are kept in sight of the agents, and how many of committed snapshots: as many as can be under way at once.
pub const OUTCOMES: usize = MAX_CONCURRENT as usize;

impl Facts {
    /// A snapshot that hasn't ended, or the one that was asked about.
    #[must_use]
    pub fn snapshot(&self, id: SnapshotId) -> Option<&SnapshotFacts> {
        self.snapshots.iter().find(|snapshot| snapshot.id == id)
    }

    /// The members that belong to the cluster.
    pub fn belonging(&self) -> impl Iterator<Item = &MemberFacts> {
        self.members.values().filter(|member| !matches!(member.standing, Standing::Excluded | Standing::Left))
    }

    /// The members that others may send to. One that hasn't joined yet isn't among them: what waits for it would be part of snapshots that it isn't in.
    pub fn peers(&self) -> impl Iterator<Item = &MemberFacts> {
        self.belonging().filter(|member| member.standing != Standing::Waiting)
    }

    /// The members because of which the generation isn't whole: lost, or replaced by a newer incarnation.
    pub fn missing_members(&self) -> impl Iterator<Item = &MemberFacts> {
        let generation = self.cluster.generation;
        self.belonging().filter(move |member| match member.standing {
            Standing::Active => !member.runs_in(generation),
            Standing::Replacing => true,
            Standing::Waiting | Standing::Excluded | Standing::Left => false,
        })
    }

    /// Takes note that all parts of a snapshot are known to be stored, or are stored with the decision.
    pub fn know_complete(&mut self, id: SnapshotId) {
        for snapshot in self.snapshots.iter_mut().filter(|snapshot| snapshot.id == id) {
            snapshot.reported = snapshot.view.keys().cloned().collect();
        }
    }

    /// Whether nothing is wrong and nothing is being put right: the cluster runs, whole, and no restore is under way. Then decisions about
    /// snapshots rest on nothing that changes without a new version.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.cluster.phase == ClusterPhase::Running && self.restore.is_none() && self.missing_members().next().is_none()
    }

    /// Whether a member of this name is there, in whatever standing.
    #[must_use]
    pub fn is_there(&self, member: &MemberName) -> bool {
        self.members.get(member).is_some_and(MemberFacts::is_there)
    }

    /// The facts without what has ended: what the next decision would read.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.snapshots.retain(|snapshot| !snapshot.state.has_ended());
        self.restore = self.restore.take().filter(|restore| !restore.state.has_ended());
        self.ended_restore = None;
        self.schedule = None;
        self.kept = None;
        self.departures.clear();
        self
    }
}
