//! Comparing what is with what the coordinator wants, and acting on the difference. Seeing the same assignment again changes nothing.

use stillframe_api::{
    HumanDuration,
    agent::{Assignment, Desired, OpenSnapshot, PrepareRestore},
};
use stillframe_protocol::{ChannelState, Epoch, Generation, RestoreId};

use super::{Driver, Hold, Live, Next, Work};
use crate::{
    application::{Committed, Covers},
    context::Context,
    control::mailbox::{End, Mail, Target},
    error::AgentError,
};

impl Driver {
    /// Acts on what the control loop left.
    pub(super) fn read_mail(&mut self) -> Result<Next, AgentError> {
        let Mail { target, outcomes, leave, end } = self.mailbox.take();
        self.asked_to_leave |= leave;
        match end {
            None => {}
            Some(End::Shutdown) => return Ok(Next::Farewell),
            Some(End::Abandoned) => return Ok(Next::Stop),
            Some(End::Failed(error)) => return Err(error),
        }
        self.outcomes.take(outcomes);
        match target {
            Some(target) => self.apply(target),
            None => Ok(Next::GoOn),
        }
    }

    fn apply(&mut self, target: Target) -> Result<Next, AgentError> {
        let Target { assignment, peers, received_at } = target;
        if peers.revision != self.peers_revision {
            self.peers_revision = peers.revision;
            self.directory = self.directory.updated(&peers);
        }
        match &assignment.desired {
            Desired::Wait { why } => {
                tracing::debug!(why, "waiting");
                self.hold(Hold::Waiting);
                return Ok(Next::GoOn);
            }
            Desired::End {} => {
                tracing::info!("the member has left");
                return Ok(Next::Farewell);
            }
            Desired::Leave { why } => {
                let reporter = &self.outward.reporter;
                let (cluster, member) = (reporter.cluster.clone(), reporter.member.clone());
                return Err(AgentError::Fenced { cluster, member, why: why.clone() });
            }
            Desired::Prepare(part) => {
                self.prepare(part);
                return Ok(Next::GoOn);
            }
            Desired::Run { generation, epoch, restore, channel_state, aligned_timeout } => {
                if !self.run_in(*generation, *epoch, *restore, *channel_state)? {
                    return Ok(Next::GoOn);
                }
                if let Some(live) = &mut self.live {
                    live.aligned_timeout = aligned_timeout.map(HumanDuration::get);
                }
            }
        }
        let Some(live) = &mut self.live else { return Ok(Next::GoOn) };
        let app = &mut *self.app;
        // Cut first: what is done because of a member that came or left is behind the cuts of snapshots that began before.
        live.begin_snapshots(&assignment, received_at, app);
        live.leaving.heard(assignment.leave.clone());
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
        live.name_snapshots(&assignment, received_at, app);
        Ok(Next::GoOn)
    }

    /// Sees to it that the member runs in this generation. False if it can't yet.
    fn run_in(
        &mut self,
        generation: Generation,
        epoch: Epoch,
        restore: Option<RestoreId>,
        channel_state: ChannelState,
    ) -> Result<bool, AgentError> {
        let current = self.live.as_ref().map(Live::generation);
        if current == Some(generation) {
            self.preparations.clear();
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
            (None, None) => self.start_fresh(generation, epoch, channel_state),
            (None, Some(ran)) => return Err(AgentError::StartAgain { generation, ran }),
            (Some(restore), _) => {
                // Past the commit point without this process's part: it ends, and as after any crash the coordinator starts another restore.
                let part = self.preparations.take(restore, generation).ok_or(AgentError::NoPart { generation, restore })?;
                self.resume(part, generation, epoch, channel_state)?;
            }
        }
        Ok(true)
    }

    fn prepare(&mut self, part: &PrepareRestore) {
        self.hold(Hold::Preparing);
        let done = self.work_sender.clone();
        self.preparations.begin(part, &self.outward, move |loaded| {
            // The driver may have ended.
            let _ = done.send(Work::Loaded(loaded));
        });
    }

    /// Takes what was done outside.
    pub(super) fn take_work(&mut self, work: Work) {
        let Work::Loaded(loaded) = work;
        self.preparations.loaded(loaded, &self.outward);
    }
}

impl Live {
    /// Begins and drops snapshots as the assignment lists them.
    fn begin_snapshots(&mut self, assignment: &Assignment, received_at: std::time::Instant, app: &mut dyn crate::Application) {
        let aligned_until = self.aligned_timeout.map(|timeout| received_at + timeout);
        self.books().begin(assignment, aligned_until);
        self.settle(app);
    }

    /// Gives what is recorded its snapshots, as the assignment lists them.
    fn name_snapshots(&mut self, assignment: &Assignment, received_at: std::time::Instant, app: &mut dyn crate::Application) {
        self.books().name(assignment, received_at);
        self.settle(app);
    }

    /// Goes over to recording where the channels take too long to be aligned.
    pub(super) fn unalign_due(&mut self, now: std::time::Instant, app: &mut dyn crate::Application) {
        self.books().unalign_due(now);
        self.settle(app);
    }
}
