//! One step after another of what is due once every action was carried out; and acting on what the coordinator wants.

use stillframe_api::agent::{Desired, OpenSnapshot, PrepareRestore, ReportEvent};
use stillframe_protocol::{ChannelCounters, ChannelState, Epoch, Generation, MemberId, MemberName, Participant, RestoreId};

use super::{Action, Member, member::Hold, replay::Replay};
use crate::{
    AgentError, Committed, Covers, RestoreError, StateReader,
    control::mailbox::{End, Mail, Target},
    prepare::LoadedPart,
};

impl Member {
    /// Does one thing that is due. False if nothing is.
    pub(super) fn advance(&mut self) -> bool {
        if self.ended {
            return false;
        }
        if self.mailbox.has_news() {
            self.read_news();
            return true;
        }
        self.check_lease();
        if self.hold.is_some() {
            return false;
        }
        let Some(running) = &mut self.running else { return false };
        if let Some((Target { assignment, received_at, .. }, peers_changed)) = self.unnamed.take() {
            running.books(&self.directory).name(&assignment, received_at);
            if peers_changed {
                running.peers_changed(&self.directory);
                self.notices.push_back(Action::Peers);
            }
            return true;
        }
        if let Some(member) = &self.enlisted {
            running.say_farewells(&self.directory, &member.outward);
        }
        if std::mem::take(&mut self.announce) {
            let generation = running.generation();
            let report = self.enlisted.as_ref().map(|member| member.outward.report(ReportEvent::Running { generation }));
            self.running_report = report;
            return true;
        }
        if running.is_stirred() {
            if let Some(to) = running.pump(&self.directory, self.now) {
                self.notices.push_back(Action::Ready { to });
            }
            return true;
        }
        if running.acknowledging.take_due(self.now, &self.limits) {
            running.participant.acknowledge();
            return true;
        }
        if running.retry(self.now) || running.report_progress(&self.directory, self.now) {
            return true;
        }
        self.work_off_inbox()
    }

    fn read_news(&mut self) {
        let span = self.background.span.clone();
        let _in_span = span.enter();
        let Mail { target, outcomes, leave: _, end } = self.mailbox.take();
        match end {
            None => {}
            Some(End::Shutdown | End::Abandoned) => {
                self.ended = true;
                return;
            }
            Some(End::Failed(error)) => return self.end(error),
        }
        if self.enlisted.is_none() {
            self.enlisted = self.background.enlisted();
        }
        while let (Ok(loaded), Some(member)) = (self.work.try_recv(), &self.enlisted) {
            self.preparations.loaded(loaded, &member.outward);
        }
        self.outcomes.take(outcomes);
        if let Some(target) = target
            && let Err(error) = self.apply(target)
        {
            self.end(error);
        }
    }

    fn apply(&mut self, target: Target) -> Result<(), AgentError> {
        if target.peers.revision != self.peers_revision {
            self.peers_revision = target.peers.revision;
            self.directory = self.directory.updated(&target.peers);
        }
        match &target.assignment.desired {
            Desired::Wait { why } => {
                tracing::debug!(why, "waiting");
                self.hold = Some(Hold::Waiting);
            }
            Desired::End {} => self.ended = true,
            Desired::Leave { why } => {
                let Some(member) = &self.enlisted else { return Ok(()) };
                let (cluster, name) = (member.outward.reporter.cluster.clone(), self.me().clone());
                return Err(AgentError::Fenced { cluster, member: name, why: why.clone() });
            }
            Desired::Prepare(part) => self.prepare(part),
            Desired::Run { generation, epoch, restore, channel_state, aligned_timeout: _ } => {
                let begins = self.generation() != *generation;
                if self.run_in(*generation, *epoch, *restore, *channel_state)? {
                    self.follow(target, begins);
                }
            }
        }
        Ok(())
    }

    fn follow(&mut self, target: Target, begins: bool) {
        let Some(running) = &mut self.running else { return };
        let told = std::mem::replace(&mut self.peers_told, self.peers_revision);
        let untold = self.unnamed.as_ref().is_some_and(|(_, peers_changed)| *peers_changed);
        let peers_changed = (told != self.peers_revision && !begins) || untold;
        let generation = running.generation();
        let mine = |open: &&OpenSnapshot| open.in_view && open.generation == generation;
        let oldest = target.assignment.snapshots.iter().filter(mine).map(|open| open.epoch).min();
        for (epoch, snapshot) in self.outcomes.ready(running.started_at, oldest) {
            self.last_committed = Some(snapshot);
            self.notices.push_back(Action::Committed(Committed { snapshot, covers: Covers::Cut(epoch) }));
        }
        // Cut first: what is done because of a member that came or left is behind the cuts of snapshots that began before.
        running.books(&self.directory).begin(&target.assignment, None);
        self.unnamed = Some((target, peers_changed));
    }

    /// Sees to it that the member runs in this generation. False if it can't yet.
    fn run_in(
        &mut self,
        generation: Generation,
        epoch: Epoch,
        restore: Option<RestoreId>,
        channel_state: ChannelState,
    ) -> Result<bool, AgentError> {
        if channel_state == ChannelState::Aligned {
            return Err(AgentError::Config(
                "the cluster's channels are aligned, and those of wrapped members can't be: set its alignment to unaligned, and begin its next generation \
                 by a restore or by starting all members again"
                    .to_owned(),
            ));
        }
        let current = self.running.as_ref().map(super::running::Running::generation);
        if current == Some(generation) {
            self.preparations.clear();
            self.hold = None;
            return Ok(true);
        }
        let Some(identity) = self.identity(generation) else { return Ok(false) };
        match (restore, current) {
            (None, None) => {
                tracing::info!(%generation, %epoch, "running from the initial state");
                self.preparations.clear();
                self.begin(Participant::new(identity, epoch).with_channel_state(channel_state), epoch);
                self.notices.push_back(Action::Start);
            }
            (None, Some(ran)) => return Err(AgentError::StartAgain { generation, ran }),
            (Some(restore), _) => {
                // Past the commit point without this process's part: it ends, and as after any crash the coordinator starts another restore.
                let part = self.preparations.take(restore, generation).ok_or(AgentError::NoPart { generation, restore })?;
                self.resume(part, generation, epoch, channel_state)
                    .map_err(|source| AgentError::Restore { generation, source })?;
            }
        }
        Ok(true)
    }

    fn prepare(&mut self, part: &PrepareRestore) {
        self.hold = Some(Hold::Preparing);
        let Some(member) = &self.enlisted else { return };
        let (done, mailbox) = (self.work_sender.clone(), std::sync::Arc::clone(&self.mailbox));
        self.preparations.begin(part, &member.outward, move |loaded| {
            // The member may be gone.
            let _ = done.send(loaded);
            mailbox.ring();
        });
    }

    /// Begins from a part: the state, then what was in flight; what waited to be sent goes out as the channels open.
    fn resume(
        &mut self,
        part: LoadedPart,
        generation: Generation,
        epoch: Epoch,
        channel_state: ChannelState,
    ) -> Result<(), RestoreError> {
        let LoadedPart { snapshot, state, channels, reading, sent, received, bytes } = part;
        let Some(identity) = self.identity(generation) else { return Ok(()) };
        let directory = &self.directory;
        let id = |name: &MemberName| -> Result<MemberId, RestoreError> {
            let unknown = || RestoreError::new(format!("a channel leads to {name}: expected a member in the list of peers"));
            directory.id(name).ok_or_else(unknown)
        };
        let counters = ChannelCounters {
            sent: sent.iter().map(|sent| Ok((id(&sent.to)?, sent.messages))).collect::<Result<_, RestoreError>>()?,
            received: received.iter().map(|r| Ok((id(&r.from)?, r.ranges.clone()))).collect::<Result<_, RestoreError>>()?,
        };
        let mut waiting = Vec::new();
        let replay = match channels {
            Some(channels) => Some(Replay::begin(channels, reading, |to, payload| {
                waiting.push((id(&to)?, payload));
                Ok(())
            })?),
            None => None,
        };
        self.begin(Participant::restored(identity, epoch, counters).with_channel_state(channel_state), epoch);
        if let Some(running) = &mut self.running {
            for (to, payload) in waiting {
                running.put_back(to, payload);
            }
        }
        self.replay = replay;
        self.notices.push_back(Action::Restore(StateReader::new(state)));
        // Before anything is delivered: the state is exactly what the snapshot covers.
        self.notices.push_back(Action::Committed(Committed { snapshot, covers: Covers::Everything }));
        tracing::info!(%generation, %epoch, bytes, "running from a snapshot");
        Ok(())
    }
}
