//! Snapshots: taking, watching and aborting them.

use std::{collections::BTreeMap, fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::{ClusterName, Epoch, Generation, Incarnation, MemberName, SnapshotId};
use utoipa::{IntoParams, ToSchema};

use crate::{duration::HumanDuration, waiting::WaitsFor};

/// How many labels a snapshot may have.
pub const MAX_LABELS: usize = 32;

/// The longest key or value of a label, in bytes.
pub const MAX_LABEL_BYTES: usize = 256;

/// Where a snapshot is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// Waits for a slot.
    Pending,
    /// The members record their parts.
    Recording,
    /// All parts are there and the certificate holds: from here only forward.
    Committing,
    /// It can be restored.
    Committed,
    /// It was given up; `abort` says why.
    Aborted,
    /// Its objects are being deleted.
    Deleting,
    /// Its objects are gone; the row stays for the audit.
    Deleted,
}

impl SnapshotState {
    /// Whether taking the snapshot is over, one way or the other.
    #[must_use]
    pub fn has_ended(self) -> bool {
        match self {
            Self::Pending | Self::Recording | Self::Committing => false,
            Self::Committed | Self::Aborted | Self::Deleting | Self::Deleted => true,
        }
    }

    /// The state's name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Recording => "recording",
            Self::Committing => "committing",
            Self::Committed => "committed",
            Self::Aborted => "aborted",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }
}

impl fmt::Display for SnapshotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SnapshotState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Pending, Self::Recording, Self::Committing, Self::Committed, Self::Aborted, Self::Deleting, Self::Deleted]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| {
                format!("{text:?} is no snapshot state: expected pending, recording, committing, committed, aborted, deleting or deleted")
            })
    }
}

/// Why a snapshot was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AbortReason {
    /// It hadn't ended by its deadline.
    DeadlineExceeded,
    /// A member was lost before its part was reported.
    MemberLost,
    /// A member said that it can't: its capture or its upload failed.
    MemberFailed,
    /// A member's spool for recorded messages is full.
    SpoolOverflow,
    /// A channel declared fifo had a gap or a step back.
    FifoViolation,
    /// The counters don't prove a consistent cut.
    CertificateRejected,
    /// The membership changed in a way that the cut can't cover.
    MembershipChanged,
    /// A restore of the cluster began.
    SupersededByRestore,
    /// Somebody asked for it.
    Requested,
    /// The archive couldn't be written.
    StoreUnavailable,
    /// The channels of an aligned cluster form a cycle, in which every member waits for itself.
    AlignmentCycle,
}

impl AbortReason {
    /// The reason's name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::MemberLost => "member_lost",
            Self::MemberFailed => "member_failed",
            Self::SpoolOverflow => "spool_overflow",
            Self::FifoViolation => "fifo_violation",
            Self::CertificateRejected => "certificate_rejected",
            Self::MembershipChanged => "membership_changed",
            Self::SupersededByRestore => "superseded_by_restore",
            Self::Requested => "requested",
            Self::StoreUnavailable => "store_unavailable",
            Self::AlignmentCycle => "alignment_cycle",
        }
    }
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A directed pair of members.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Channel {
    /// The sender.
    #[schema(value_type = String)]
    pub from: MemberName,
    /// The receiver.
    #[schema(value_type = String)]
    pub to: MemberName,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

/// Why a snapshot was aborted, who or what is to blame, and what was still missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Abort {
    /// The reason.
    pub reason: AbortReason,
    /// The reason in a sentence.
    pub detail: String,
    /// The member to blame.
    #[schema(value_type = Option<String>)]
    pub member: Option<MemberName>,
    /// The channel to blame.
    pub channel: Option<Channel>,
    /// Since when it had been waited for, or since when what is to blame was so.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// How many messages were missing on the channel to blame; null when its marker hadn't come, so nobody knew how many to expect.
    #[serde(default)]
    pub messages_missing: Option<u64>,
    /// What was still missing, such as "`a -> b`: marker not seen for 28 s; 17 of 20 messages".
    pub missing: Vec<String>,
}

/// What asked for a snapshot or a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Trigger {
    /// A request over REST.
    Request,
    /// A schedule's slot.
    Schedule {
        /// The schedule's name.
        schedule: String,
    },
    /// The coordinator itself: the first snapshot of a running cluster, or a rollback after a loss.
    Automatic,
    /// Not known: the snapshot was found in the archive when the database had lost it.
    Resync,
}

/// Asks for a snapshot. The body may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeSnapshot {
    /// Labels kept with the snapshot and in its manifest: at most 32, keys and values of at most 256 bytes.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How long it may take; the cluster's `snapshot_timeout` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "10s")]
    pub timeout: Option<HumanDuration>,
}

/// Asks for the abort of a snapshot. The body may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AbortSnapshot {
    /// Why, in a sentence, for the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Which snapshots to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListSnapshots {
    /// Only those in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub status: Option<SnapshotState>,
    /// How many items at most (1 to 500, 50 unless told).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::bounded::limit")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Whether to hold the answer until what was asked about has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    /// How long to hold the answer at most (`"30s"`; the coordinator holds no answer longer than 60 s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub wait: Option<HumanDuration>,
}

/// What a member has done for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemberPhase {
    /// Nothing was heard of it yet for this snapshot.
    Waiting,
    /// It has cut and records its channels, or uploads its part.
    Recording,
    /// Its part is in the archive, or in its report.
    Reported,
}

/// One member's place in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotMember {
    /// The member.
    #[schema(value_type = String)]
    pub member: MemberName,
    /// Its incarnation in the snapshot's view.
    #[schema(value_type = u64)]
    pub incarnation: Incarnation,
    /// What it has done.
    pub phase: MemberPhase,
    /// The bytes of its part, as stored; 0 until reported.
    pub bytes: u64,
    /// When its part was reported.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub reported_at: Option<Timestamp>,
    /// What it still waits for, a line a channel.
    pub missing: Vec<String>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: SnapshotId,
    /// Its cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// Its epoch; null while it is pending.
    #[schema(value_type = Option<u64>)]
    pub epoch: Option<Epoch>,
    /// The generation it was taken in.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// Where it is in its life.
    pub state: SnapshotState,
    /// Why it was aborted.
    pub abort: Option<Abort>,
    /// What asked for it.
    pub trigger: Trigger,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When recording began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub recording_at: Option<Timestamp>,
    /// When all parts were there and the certificate held.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub committing_at: Option<Timestamp>,
    /// When it was committed or aborted.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// How long it may take: from when recording began; while it is pending, from when it could have begun at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub timeout: Option<HumanDuration>,
    /// When it is aborted if it is still pending or recording.
    #[schema(value_type = String, format = DateTime)]
    pub deadline_at: Timestamp,
    /// Its place among those that are pending, from 1; null once it has begun.
    #[serde(default)]
    pub position: Option<u32>,
    /// What it waits for while it is pending.
    #[serde(default)]
    pub waits_for: Option<WaitsFor>,
    /// While it is committing: what the archive last said against its manifest. It is tried again until it is taken.
    #[serde(default)]
    pub archive_error: Option<String>,
    /// The bytes of all parts reported, as stored.
    pub bytes: u64,
    /// How many messages were in flight at the cut; null until it is known.
    pub messages_in_flight: Option<u64>,
    /// One entry a member of the view. Empty in lists.
    #[serde(default)]
    pub members: Vec<SnapshotMember>,
}
