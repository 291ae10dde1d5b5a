//! What agents and the coordinator say to each other.
//!
//! Level-triggered: an [`Assignment`] is the *whole* desired state of a member. A lost notification costs one poll, a repeated one nothing.
//! Reports go the other way and are idempotent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stillframe_archive::{ObjectEntry, ObjectKey};
use stillframe_protocol::{
    ChannelState, ClusterName, Epoch, Generation, Incarnation, Logged, MemberId, MemberName, Received, Recorded, RestoreId, Sent,
    SeqRanges, SnapshotId, ViewMember,
};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    cluster::ClusterPhase,
    duration::HumanDuration,
    snapshot::{AbortReason, Channel},
};

/// Registers a process as a member. Idempotent by `instance`: asking again with the same one gives the same incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The member's stable name.
    #[schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$")]
    pub member: MemberName,
    /// A random id of this process.
    pub instance: Uuid,
    /// Where its data plane listens, `host:port`, as the other members can reach it.
    #[schema(max_length = 255, example = "127.0.0.1:4100")]
    pub address: String,
}

/// The answer to [`Register`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Registered {
    /// The member's number in the cluster.
    #[schema(value_type = u32)]
    pub member_id: MemberId,
    /// The number of this registration.
    #[schema(value_type = u64)]
    pub incarnation: Incarnation,
    /// Where the cluster's archive is (`file://...` or `s3://...`, never with credentials).
    pub archive: String,
    /// The archive's id, to be found in its `format.json`.
    pub archive_id: Uuid,
    /// How long the member's lease is; a held poll renews it.
    #[schema(value_type = String)]
    pub lease: HumanDuration,
}

/// Which assignment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AssignmentQuery {
    /// The incarnation that asks.
    #[param(value_type = u64)]
    pub incarnation: Incarnation,
    /// Answer once the cluster's revision is above this one.
    #[serde(default)]
    pub after: u64,
    /// The revision of the peer list that the agent has; the list is left out when it is still that.
    #[serde(default)]
    pub peers_after: u64,
    /// How long to hold the answer at most; 20 s unless told, 30 s at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub wait: Option<HumanDuration>,
    /// The `replica` of the last answer. Another replica than that one knows by it that the member has moved to it, and takes its lease over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<Uuid>)]
    pub replica: Option<Uuid>,
}

/// The whole desired state of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Assignment {
    /// The cluster's revision that this is of.
    pub revision: u64,
    /// The cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// The cluster's phase.
    pub phase: ClusterPhase,
    /// The newest epoch allocated as of this revision: an epoch up to it that isn't in `snapshots` is over.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// What the member is to be doing.
    pub desired: Desired,
    /// The members of the cluster; left out when the agent has them, or needs none because it is to wait or to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Peers>,
    /// How far the member's leaving is; nothing while it is to stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave: Option<Leave>,
    /// The snapshots that are being recorded.
    pub snapshots: Vec<OpenSnapshot>,
    /// How the last few snapshots ended, newest last.
    pub outcomes: Vec<Outcome>,
    /// A random id of the replica that answers.
    #[serde(default)]
    pub replica: Uuid,
    /// How long ago the replica last had word from the database, in milliseconds: with a large one it may be cut off, and another replica may
    /// know more.
    #[serde(default)]
    pub view_age_ms: u64,
}

/// What a member is to be doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Desired {
    /// Hold still: deliver nothing, send nothing.
    Wait {
        /// Why.
        why: String,
    },
    /// Run in this generation. A member that runs in it already goes on; one that holds still in it goes on where it was.
    Run {
        /// The generation.
        #[schema(value_type = u64)]
        generation: Generation,
        /// The epoch that counts as cut when the member starts in this generation.
        #[schema(value_type = u64)]
        epoch: Epoch,
        /// The restore whose prepared part the member starts from; null to start from the application's initial state.
        #[schema(value_type = Option<String>)]
        restore: Option<RestoreId>,
        /// How the messages under way at a cut get into a snapshot: `marker`, `sender_logged` or `aligned`. The same for all members of a generation, and
        /// as long as it lasts.
        #[serde(default)]
        #[schema(value_type = String)]
        channel_state: ChannelState,
        /// With `aligned`: how long the member waits at most for the channels of an epoch that was begun, before it cuts and records them; null for
        /// as long as it takes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<String>)]
        aligned_timeout: Option<HumanDuration>,
    },
    /// Hold still, load and verify the part, and report; give nothing to the application yet.
    Prepare(Box<PrepareRestore>),
    /// End with success: the member has left.
    End {},
    /// Stop: a newer incarnation has taken over, or the cluster was put back to a snapshot that this member isn't in.
    Leave {
        /// Why.
        why: String,
    },
}

/// How far a member's leaving is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Leave {
    /// An operator asks it to leave: its application decides when it is ready, and says so with [`ReportEvent::Leaving`].
    Asked {},
    /// It is leaving: its peers are being told to send it nothing new. It runs on, and takes part in snapshots.
    Draining {},
    /// Its peers send it nothing any more. Once it has received what they have sent, has handed over what it has, and all of that has been acknowledged, it says
    /// so with [`ReportEvent::Left`].
    Drained {
        /// How many messages each peer has sent it in this generation.
        sent: Vec<SentBy>,
    },
    /// It has left. It stays until a snapshot without it is committed, in case that the cluster has to be put back to one that it is in.
    Left {},
}

/// How many messages a peer has sent the asking member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SentBy {
    /// The peer.
    #[schema(value_type = String)]
    pub member: MemberName,
    /// How many.
    pub messages: u64,
}

/// A member's part of a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PrepareRestore {
    /// The restore.
    #[schema(value_type = String, format = Uuid)]
    pub restore: RestoreId,
    /// The snapshot.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// The generation that it makes.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// The generation that the member is in until then, and goes on in if this restore fails. It may have begun without the member's having heard of it,
    /// so the part that it begins from has to be kept. 0 before the first.
    #[serde(default)]
    #[schema(value_type = u64)]
    pub in_force: Generation,
    /// The objects of the part.
    #[schema(value_type = Vec<Object>)]
    pub objects: Vec<ObjectEntry>,
    /// Where the numbers of each outgoing channel go on: what the member had sent at the cut, less what it is to send again.
    #[schema(value_type = Vec<Object>)]
    pub sent: Vec<Sent>,
    /// What it has received of each incoming channel at the cut, by the numbers that go on.
    #[schema(value_type = Vec<Object>)]
    pub received: Vec<Received>,
    /// What was recorded of each incoming channel.
    #[schema(value_type = Vec<Object>)]
    pub recorded: Vec<Recorded>,
    /// What its channels object holds as logged, by the numbers of before: messages of its outgoing channels that it had sent and not seen
    /// acknowledged. Those that aren't `arrived` are sent again: they become unsent messages, ahead of the other unsent ones of their channel and
    /// in the order of their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub logged: Vec<Logged>,
    /// Which of the logged messages their receivers have: they are passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arrived: Vec<Arrived>,
    /// Members that have other names now than in the part's channels object: `{"<name in the part>": "<name now>"}`. The names above are those of now.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub renamed: BTreeMap<MemberName, MemberName>,
    /// Raised when a member that couldn't load its part is to try again.
    #[serde(default)]
    pub attempt: u32,
}

/// Logged messages of one channel that its receiver has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Arrived {
    /// The channel's receiver.
    #[schema(value_type = String)]
    pub to: MemberName,
    /// The numbers of the messages, as in the snapshot.
    #[schema(value_type = Vec<Object>)]
    pub ranges: SeqRanges,
}

/// Why a part can't be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrepareProblem {
    /// An object is missing, or isn't what was recorded: it won't get better.
    Unreadable,
    /// The archive can't be reached just now.
    #[default]
    Unavailable,
    /// Something at the member: its temporary directory, its credentials, its settings.
    Member,
}

/// The peer list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peers {
    /// The cluster's revision at which the list last changed.
    pub revision: u64,
    /// Every member, the asking one included.
    pub members: Vec<Peer>,
    /// Incarnations that have left this generation in good order: channels with them, and with older ones, are closed and count no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftPeer>,
}

/// An incarnation that has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeftPeer {
    /// The member's number.
    #[schema(value_type = u32)]
    pub member_id: MemberId,
    /// Its incarnation.
    #[schema(value_type = u64)]
    pub incarnation: Incarnation,
}

/// A member as its peers need to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// Its name.
    #[schema(value_type = String)]
    pub member: MemberName,
    /// Its number.
    #[schema(value_type = u32)]
    pub member_id: MemberId,
    /// Its incarnation.
    #[schema(value_type = u64)]
    pub incarnation: Incarnation,
    /// Where its data plane listens.
    pub address: String,
    /// Whether it is leaving. Who sees this sends it nothing new, and reports [`ReportEvent::Drained`] once nothing waits to be sent to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// A snapshot that is being recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenSnapshot {
    /// The snapshot.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// Its epoch.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// The generation it is taken in.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// Objects of at most so many encoded bytes go inline in the report.
    pub inline_limit: u64,
    /// Milliseconds until its deadline, when the assignment was made.
    pub deadline_in_ms: u64,
    /// Whether the asking member is in its view.
    pub in_view: bool,
}

/// How a snapshot ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// The snapshot.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// Its epoch.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// Whether it was committed; else it was aborted.
    pub committed: bool,
}

/// What a member tells the coordinator. Every report is idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// The incarnation that reports.
    #[schema(value_type = u64)]
    pub incarnation: Incarnation,
    /// What happened.
    pub event: ReportEvent,
}

/// What happened at a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ReportEvent {
    /// The part of a snapshot is complete: its objects are stored, or inline here.
    Part(Box<PartReport>),
    /// A snapshot takes a while: what it waits for. Sent at most once a second and only while it does. With aligned channels also before the member
    /// has cut: then the channels are those that haven't brought their markers.
    Progress {
        /// The snapshot.
        #[schema(value_type = String, format = Uuid)]
        snapshot: SnapshotId,
        /// The channels that aren't closed.
        missing: Vec<MissingChannel>,
        /// Bytes in the spool.
        spooled_bytes: u64,
    },
    /// The member can't complete its part.
    Failed {
        /// The snapshot.
        #[schema(value_type = String, format = Uuid)]
        snapshot: SnapshotId,
        /// Why: `member_failed`, `spool_overflow`, `fifo_violation` or `store_unavailable`.
        reason: AbortReason,
        /// Why, in a sentence.
        detail: String,
        /// The channel to blame.
        channel: Option<Channel>,
    },
    /// An upload in pieces was begun, and nothing was sent yet. It is kept until it has ended, so that it can be aborted when the member is
    /// gone. When the answer isn't `relevant`, the member aborts it.
    UploadBegun(Upload),
    /// An upload in pieces was completed or aborted.
    UploadEnded(Upload),
    /// The part of a restore is loaded and verified.
    Prepared {
        /// The restore.
        #[schema(value_type = String, format = Uuid)]
        restore: RestoreId,
        /// The generation that it makes.
        #[schema(value_type = u64)]
        generation: Generation,
        /// How many bytes were loaded, as stored.
        bytes: u64,
    },
    /// The part of a restore takes a while to load: how far it is. Sent at most once a second.
    Loading {
        /// The restore.
        #[schema(value_type = String, format = Uuid)]
        restore: RestoreId,
        /// The generation that it makes.
        #[schema(value_type = u64)]
        generation: Generation,
        /// How many bytes were loaded, as stored.
        loaded: u64,
    },
    /// The part of a restore can't be loaded.
    PrepareFailed {
        /// The restore.
        #[schema(value_type = String, format = Uuid)]
        restore: RestoreId,
        /// The generation that it makes.
        #[schema(value_type = u64)]
        generation: Generation,
        /// The attempt, as in the assignment.
        #[serde(default)]
        attempt: u32,
        /// Whether trying again may help.
        #[serde(default)]
        problem: PrepareProblem,
        /// What is wrong, with the key of the object, what was expected and what was found.
        detail: String,
    },
    /// The member runs in this generation.
    Running {
        /// The generation.
        #[schema(value_type = u64)]
        generation: Generation,
    },
    /// The member's application wants to leave. Refused while too few would stay (`too_few_members`).
    Leaving {
        /// The generation that it runs in.
        #[schema(value_type = u64)]
        generation: Generation,
    },
    /// The member sends another one, which is leaving, nothing any more.
    Drained {
        /// The generation that it runs in.
        #[schema(value_type = u64)]
        generation: Generation,
        /// Who is leaving.
        #[schema(value_type = String)]
        member: MemberName,
        /// The incarnation that is.
        #[schema(value_type = u64)]
        leaving: Incarnation,
        /// How many messages it has sent it in this generation.
        sent: u64,
    },
    /// The member has ended: it sends and receives nothing any more, all that it sent has been acknowledged, and this is what it counts.
    Left {
        /// The generation that it ran in.
        #[schema(value_type = u64)]
        generation: Generation,
        /// Of each outgoing channel.
        #[schema(value_type = Vec<Object>)]
        sent: Vec<Sent>,
        /// Of each incoming channel.
        #[schema(value_type = Vec<Object>)]
        received: Vec<Received>,
    },
}

/// The longest id of an upload, in bytes.
pub const MAX_UPLOAD_BYTES: usize = 1024;

/// An upload in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upload {
    /// The snapshot that the object is a part of.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// The object's key.
    #[schema(value_type = String)]
    pub key: ObjectKey,
    /// The store's id of the upload, 1 to 1024 bytes.
    pub upload: String,
}

/// A complete part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartReport {
    /// The snapshot.
    #[schema(value_type = String, format = Uuid)]
    pub snapshot: SnapshotId,
    /// Its epoch.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// The generation it was taken in.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// The objects, stored or inline.
    #[schema(value_type = Vec<Object>)]
    pub objects: Vec<ObjectEntry>,
    /// What the member had sent on each outgoing channel at the cut.
    #[schema(value_type = Vec<Object>)]
    pub sent: Vec<Sent>,
    /// What it had received on each incoming channel at the cut.
    #[schema(value_type = Vec<Object>)]
    pub received: Vec<Received>,
    /// What was recorded of each incoming channel.
    #[schema(value_type = Vec<Object>)]
    pub recorded: Vec<Recorded>,
    /// What was logged of each outgoing channel; only where the cluster's channel state is sender-logged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub logged: Vec<Logged>,
    /// The incarnations of peers that the counters speak of, for those of which something is logged or which were replaced in the member's life.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub peers: Vec<ViewMember>,
}

/// An incoming channel that isn't closed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissingChannel {
    /// Its sender.
    #[schema(value_type = String)]
    pub from: MemberName,
    /// How many of its messages have come.
    pub received: u64,
    /// How many were sent before the cut; null while the marker hasn't come.
    pub expected: Option<u64>,
    /// How long it has been waited for.
    pub since_ms: u64,
}

/// The answer to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportAccepted {
    /// False when the report speaks of something that is over; the agent has nothing more to do for it.
    pub relevant: bool,
}
