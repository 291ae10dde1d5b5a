//! Comparing what is with what the coordinator wants, and acting on the difference. Seeing the same assignment again changes nothing.

use std::{collections::BTreeMap, sync::Arc};

use stillframe_api::agent::{Assignment, Desired, OpenSnapshot, PrepareRestore, ReportEvent};
use stillframe_protocol::{Epoch, Generation, RestoreId};
use tracing::Instrument;

use super::{Driver, Hold, Live, Next, Work, channel::AbortOnDrop};
use crate::{
    application::{Committed, Covers},
    context::Context,
    control::mailbox::{End, Mail, Target},
    error::AgentError,
    prepare::{self, LoadError, LoadedPart},
};

/// How far behind epochs that ended unseen are told to the participant one by one.
const MAX_MISSED_EPOCHS: u64 = 1024;

/// A restore that is being prepared.
pub(super) struct Preparation {
    pub(super) restore: RestoreId,
    pub(super) generation: Generation,
    /// Raised by the coordinator when it is to be tried again.
    pub(super) attempt: u32,
    pub(super) stage: PreparationStage,
}

/// How far it is.
pub(super) enum PreparationStage {
    /// The part is being loaded.
    Loading { _task: AbortOnDrop },
    /// It is loaded and verified, and that is reported.
    Loaded { part: Box<LoadedPart>, _report: AbortOnDrop },
    /// It can't be loaded, and that is reported. The coordinator decides what comes next.
    Failed { _report: AbortOnDrop },
}

impl Driver {
    /// Acts on what the control loop left.
    pub(super) fn read_mail(&mut self) -> Result<Next, AgentError> {
        let Mail { target, outcomes, end } = self.mailbox.take();
        match end {
            None => {}
            Some(End::Shutdown) => return Ok(Next::Farewell),
            Some(End::Abandoned) => return Ok(Next::Stop),
            Some(End::Failed(error)) => return Err(error),
        }
        self.outcomes.take(outcomes);
        if let Some(target) = target {
            self.apply(target)?;
        }
        Ok(Next::GoOn)
    }

    fn apply(&mut self, target: Target) -> Result<(), AgentError> {
        let Target { assignment, peers, received_at } = target;
        if peers.revision != self.peers_revision {
            self.peers_revision = peers.revision;
            self.directory = self.directory.updated(&peers);
        }
        match &assignment.desired {
            Desired::Wait { why } => {
                tracing::debug!(why, "waiting");
                self.hold(Hold::Waiting);
                return Ok(());
            }
            Desired::Leave { why } => {
                let reporter = &self.outward.reporter;
                let (cluster, member) = (reporter.cluster.clone(), reporter.member.clone());
                return Err(AgentError::Fenced { cluster, member, why: why.clone() });
            }
            Desired::Prepare(part) => {
                self.prepare(part);
                return Ok(());
            }
            Desired::Run { generation, epoch, restore } => {
                if !self.run_in(*generation, *epoch, *restore)? {
                    return Ok(());
                }
            }
        }
        let Some(live) = &mut self.live else { return Ok(()) };
        let app = &mut *self.app;
        if live.peers_revision != peers.revision {
            if live.update_peers(&peers) {
                app.on_peers(&mut Context::new(live));
                live.settle(app);
            }
            live.dial_known();
        }
        let mine = |open: &&OpenSnapshot| open.in_view && open.generation == live.generation();
        let oldest = assignment.snapshots.iter().filter(mine).map(|open| open.epoch).min();
        for (epoch, snapshot) in self.outcomes.ready(live.started_at, oldest) {
            self.last_committed = Some(snapshot);
            app.on_committed(Committed { snapshot, covers: Covers::Cut(epoch) });
        }
        live.follow_snapshots(&assignment, received_at, app);
        Ok(())
    }

    /// Sees to it that the member runs in this generation. False if it can't yet.
    fn run_in(&mut self, generation: Generation, epoch: Epoch, restore: Option<RestoreId>) -> Result<bool, AgentError> {
        let current = self.live.as_ref().map(Live::generation);
        if current == Some(generation) {
            self.preparation = None;
            self.go_on();
            return Ok(true);
        }
        if let Some(ran) = current.filter(|ran| *ran > generation) {
            // Its database has lost what began the generation that this process is in. It will be put back with all the others, in a newer one.
            tracing::warn!(%generation, %ran, "the coordinator knows of no newer generation than one before this process's; waiting for a restore");
            self.hold(Hold::Waiting);
            return Ok(false);
        }
        match (restore, current) {
            (None, None) => self.start_fresh(generation, epoch),
            (None, Some(ran)) => return Err(AgentError::StartAgain { generation, ran }),
            (Some(restore), _) => {
                let prepared = self.preparation.take_if(|preparation| {
                    preparation.restore == restore
                        && preparation.generation == generation
                        && matches!(preparation.stage, PreparationStage::Loaded { .. })
                });
                let Some(Preparation { stage: PreparationStage::Loaded { part, .. }, .. }) = prepared else {
                    // Past the commit point without this process's part: as after any crash, the coordinator starts another restore.
                    tracing::warn!(%generation, %restore, "this process has no prepared part to start from; waiting for another restore");
                    self.hold(Hold::Waiting);
                    return Ok(false);
                };
                self.resume(*part, generation, epoch)?;
            }
        }
        Ok(true)
    }

    fn prepare(&mut self, part: &PrepareRestore) {
        self.hold(Hold::Preparing);
        let (restore, generation, attempt) = (part.restore, part.generation, part.attempt);
        let begun = |at: &Preparation| {
            let is_loaded = matches!(at.stage, PreparationStage::Loaded { .. });
            at.restore == restore && at.generation == generation && (is_loaded || at.attempt >= attempt)
        };
        if self.preparation.as_ref().is_some_and(begun) {
            return;
        }
        tracing::info!(%generation, %restore, attempt, snapshot = %part.snapshot, "preparing a restore");
        let (door, reporter) = (Arc::clone(&self.outward.door), self.outward.reporter.clone());
        let load = prepare::load_and_tell(part.clone(), door, reporter);
        let done = self.work_sender.clone();
        let task = async move {
            let result = load.await.map(Box::new);
            let _ = done.send(Work::Loaded { generation, restore, attempt, result });
        };
        let task = AbortOnDrop(self.outward.runtime.spawn(task.in_current_span()).abort_handle());
        self.preparation = Some(Preparation { restore, generation, attempt, stage: PreparationStage::Loading { _task: task } });
    }

    /// Takes what was done outside.
    pub(super) fn take_work(&mut self, work: Work) {
        let Work::Loaded { generation, restore, attempt, result } = work;
        let Some(at) = &mut self.preparation else { return };
        if (at.restore, at.generation, at.attempt) != (restore, generation, attempt) {
            return;
        }
        at.stage = match result {
            Ok(part) => {
                let event = ReportEvent::Prepared { restore, generation, bytes: part.bytes };
                PreparationStage::Loaded { part, _report: self.outward.report(event) }
            }
            Err(LoadError { problem, detail }) => {
                tracing::warn!(%generation, %restore, attempt, ?problem, detail, "the part of a restore can't be loaded");
                let event = ReportEvent::PrepareFailed { restore, generation, attempt, problem, detail };
                PreparationStage::Failed { _report: self.outward.report(event) }
            }
        };
    }
}

impl Live {
    /// Begins, names and drops snapshots as the assignment lists them.
    fn follow_snapshots(&mut self, assignment: &Assignment, received_at: std::time::Instant, app: &mut dyn crate::Application) {
        let generation = self.generation();
        let mine = |open: &&OpenSnapshot| open.in_view && open.generation == generation;
        let listed: BTreeMap<Epoch, &OpenSnapshot> =
            assignment.snapshots.iter().filter(mine).map(|open| (open.epoch, open)).collect();
        let is_listed = |epoch| listed.contains_key(&epoch);
        for epoch in self.recordings.drop_ended(assignment.epoch, is_listed) {
            self.participant.abort(epoch);
        }
        // Epochs that ended before this member heard of them are passed without recording them.
        let unheard = (self.participant.epoch().0 + 1).max(assignment.epoch.0.saturating_sub(MAX_MISSED_EPOCHS));
        for epoch in (unheard..=assignment.epoch.0).map(Epoch).filter(|epoch| !is_listed(*epoch)) {
            self.participant.abort(epoch);
        }
        for (epoch, open) in &listed {
            if *epoch > self.participant.epoch() {
                self.participant.begin(*epoch);
                self.settle(app);
            } else if !self.recordings.knows(*epoch) {
                let detail = format!("this member had passed epoch {epoch} already and holds nothing of it");
                self.recordings.fail(*epoch, stillframe_api::snapshot::AbortReason::MemberFailed, detail, None);
            }
            self.recordings.name(open, received_at);
        }
        self.settle(app);
    }
}
