//! Which rule is called with what.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use stillframe_api::{
    restore::DEFAULT_RETRIES,
    snapshot::{AbortReason, Trigger},
};
use stillframe_archive::Digest;
use stillframe_coordinator::decide::{
    Decision, Facts, Occasion, Refusal, leave,
    member::{self, Change, Evidence, Registration},
    restore::{self, Ask, Target, Word},
    rollback,
    settings::{self, Changes},
    snapshot::{self, Failure, Request, Verdict},
};
use stillframe_protocol::{Incarnation, MemberName, RestoreId, SnapshotId};
use uuid::Uuid;

/// Something to be decided.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Register { member: MemberName, instance: Uuid, process: u64, lease: SignedDuration },
    Lost { member: MemberName, incarnation: Incarnation, evidence: Evidence },
    Arrived { member: MemberName, incarnation: Incarnation },
    Request { timeout_ms: Option<u64> },
    Abort { snapshot: SnapshotId },
    Failed { snapshot: SnapshotId, member: MemberName, incarnation: Incarnation, why: String },
    Deadlines,
    Certified { snapshot: SnapshotId, verdict: Verdict },
    HeldUp { snapshot: SnapshotId, why: &'static str },
    Committed { snapshot: SnapshotId },
    Heard { member: MemberName, incarnation: Incarnation, word: Word },
    Restore { target: Target, fallback: u32 },
    AskToLeave { member: MemberName, force: bool },
    Leave { member: MemberName, incarnation: Incarnation, step: leave::Step },
    Cancel { restore: RestoreId },
    Resume { fallback: u32 },
    Update(Changes),
}

impl Command {
    /// The snapshot that it asks about, which is read whether it has ended or not.
    pub(crate) fn asked(&self) -> Option<SnapshotId> {
        match self {
            Self::Abort { snapshot }
            | Self::Failed { snapshot, .. }
            | Self::Certified { snapshot, .. }
            | Self::HeldUp { snapshot, .. }
            | Self::Committed { snapshot } => Some(*snapshot),
            Self::Restore { target: Target::Snapshot(snapshot), .. } => Some(*snapshot),
            Self::Restore { target: Target::Latest, .. }
            | Self::Register { .. }
            | Self::Lost { .. }
            | Self::Arrived { .. }
            | Self::Request { .. }
            | Self::Deadlines
            | Self::Heard { .. }
            | Self::AskToLeave { .. }
            | Self::Leave { .. }
            | Self::Cancel { .. }
            | Self::Resume { .. }
            | Self::Update(_) => None,
        }
    }

    /// Whether it may be decided on facts that a replica remembers, where the cluster is calm.
    pub(crate) fn may_be_quick(&self) -> bool {
        match self {
            Self::Request { .. } | Self::Certified { .. } | Self::HeldUp { .. } | Self::Committed { .. } | Self::Deadlines => {
                true
            }
            Self::Register { .. }
            | Self::Lost { .. }
            | Self::Arrived { .. }
            | Self::Abort { .. }
            | Self::Failed { .. }
            | Self::Heard { .. }
            | Self::AskToLeave { .. }
            | Self::Leave { .. }
            | Self::Restore { .. }
            | Self::Cancel { .. }
            | Self::Resume { .. }
            | Self::Update(_) => false,
        }
    }

    /// Its name in the trace.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Register { .. } => "register",
            Self::Lost { .. } => "lost",
            Self::Arrived { .. } => "arrived",
            Self::Request { .. } => "request",
            Self::Abort { .. } => "abort",
            Self::Failed { .. } => "failed",
            Self::Deadlines => "deadlines",
            Self::Certified { .. } => "certified",
            Self::HeldUp { .. } => "held_up",
            Self::Committed { .. } => "committed",
            Self::Heard { .. } => "heard",
            Self::AskToLeave { .. } => "ask_to_leave",
            Self::Leave { .. } => "leave",
            Self::Restore { .. } => "restore",
            Self::Cancel { .. } => "cancel",
            Self::Resume { .. } => "resume",
            Self::Update(_) => "update",
        }
    }

    /// Has the product's rule decide.
    pub(crate) fn decide(
        &self,
        facts: &Facts,
        occasion: &Occasion,
        restores: &BTreeMap<RestoreId, stillframe_coordinator::decide::facts::RestoreFacts>,
    ) -> Result<Decision, Refusal> {
        Ok(match self {
            Self::Register { member, instance, process, lease } => {
                let (member, address) = (member.clone(), process.to_string());
                return member::register(facts, occasion, &Registration { member, instance: *instance, address, lease: *lease });
            }
            Self::Lost { member, incarnation, evidence } => member::lost(facts, occasion, member, *incarnation, *evidence),
            Self::Arrived { member, incarnation } => return member::arrived(facts, occasion, member, *incarnation),
            Self::Request { timeout_ms } => {
                let request = Request { trigger: Trigger::Request, labels: BTreeMap::new(), timeout_ms: *timeout_ms };
                return snapshot::request(facts, occasion, request);
            }
            Self::Abort { snapshot } => return snapshot::abort(facts, occasion, *snapshot, None),
            Self::Failed { snapshot, member, incarnation, why } => {
                let failure = Failure {
                    snapshot: *snapshot,
                    member: member.clone(),
                    incarnation: *incarnation,
                    reason: AbortReason::MemberFailed,
                    detail: why.clone(),
                    channel: None,
                };
                snapshot::failed(facts, occasion, failure)
            }
            Self::Deadlines => snapshot::deadlines(facts, occasion),
            Self::Certified { snapshot, verdict } => snapshot::certified(facts, occasion, *snapshot, verdict),
            Self::HeldUp { snapshot, why } => snapshot::held_up(facts, occasion, *snapshot, why),
            Self::Committed { snapshot } => snapshot::committed(facts, occasion, *snapshot, &Digest::of(b"manifest")),
            Self::Heard { member, incarnation, word } => {
                restore::heard(facts, occasion, &[(member.clone(), *incarnation, word.clone())])
            }
            Self::AskToLeave { member, force } => return leave::ask(facts, occasion, member, *force),
            Self::Leave { member, incarnation, step } => {
                let change = Change::Leave(member.clone(), *incarnation, step.clone());
                let ask = member::Ask { actor: member.to_string(), request_id: None, change };
                let (decision, effects) = member::together(facts, occasion, &[ask]);
                return effects.into_iter().collect::<Result<Vec<_>, _>>().map(|_| decision);
            }
            Self::Restore { target, fallback } => {
                let (target, fallback) = (*target, *fallback);
                let (trigger, retries, mapping) = (Trigger::Request, DEFAULT_RETRIES, BTreeMap::new());
                return restore::start(facts, occasion, Ask { target, trigger, timeout_ms: None, fallback, retries, mapping });
            }
            Self::Cancel { restore } => match restores.get(restore) {
                Some(known) => return restore::cancel(facts, occasion, *restore, known, None),
                None => Decision::nothing(facts),
            },
            Self::Update(changes) => return settings::update_cluster(facts, occasion, *changes, None),
            Self::Resume { fallback } => return rollback::resume(facts, occasion, *fallback),
        })
    }
}
