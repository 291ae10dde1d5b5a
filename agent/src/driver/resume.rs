//! Beginning to run in a generation: fresh, or from a part.

use std::{
    io::{Seek, SeekFrom},
    sync::Arc,
    time::Duration,
};

use stillframe_api::agent::ReportEvent;
use stillframe_archive::{ChannelsReader, PlainObject};
use stillframe_protocol::{ChannelCounters, ChannelState, Epoch, Generation, Identity, MemberId, MemberName, Participant};

use super::{Driver, Live, recordings::Recordings};
use crate::{
    application::{Committed, Covers, TimerId},
    context::Context,
    error::AgentError,
    prepare::{
        LoadedPart,
        content::{Reading, Restored},
    },
    state::{RestoreError, StateReader},
};

impl Driver {
    fn identity(&self, generation: Generation) -> Identity {
        Identity { member: self.wiring.me, incarnation: self.wiring.incarnation, generation }
    }

    fn begin(&mut self, participant: Participant, epoch: Epoch) -> Live {
        let recordings = Recordings::new(Arc::clone(&self.budget), self.outward.clone());
        let directory = (self.directory.clone(), self.peers_revision);
        let (limits, wiring) = (Arc::clone(&self.limits), self.wiring.clone());
        // Whatever the older generation had under way is of a history that no longer exists.
        self.backlog = None;
        self.live = None;
        Live::new(participant, epoch, directory, limits, recordings, wiring)
    }

    fn begun(&mut self, mut live: Live) {
        let generation = live.generation();
        live.settle(&mut *self.app);
        self.live = Some(live);
        self.generation.send_replace(generation);
        self.hold = None;
        self.publish(true);
        self.running_report = Some(self.outward.report(ReportEvent::Running { generation }));
    }

    /// Starts from the application's initial state.
    pub(super) fn start_fresh(&mut self, generation: Generation, epoch: Epoch, channel_state: ChannelState) {
        tracing::info!(%generation, %epoch, "running from the initial state");
        self.preparations.clear();
        let participant = Participant::new(self.identity(generation), epoch).with_channel_state(channel_state);
        let mut live = self.begin(participant, epoch);
        self.app.on_start(&mut Context::new(&mut live));
        self.begun(live);
    }

    /// Starts from a part: the application's state, then what waited to be sent and the timers, then the messages that were in flight. Channels are opened only
    /// afterwards, so these come before any new frame.
    pub(super) fn resume(
        &mut self,
        part: LoadedPart,
        generation: Generation,
        epoch: Epoch,
        channel_state: ChannelState,
    ) -> Result<(), AgentError> {
        let LoadedPart { snapshot, state, channels, reading, sent, received, bytes } = part;
        let failed = |source| AgentError::Restore { generation, source };
        let id = |name: &MemberName| -> Result<MemberId, AgentError> {
            let unknown = || RestoreError::new(format!("a channel leads to {name}: expected a member in the list of peers"));
            self.directory.id(name).ok_or_else(|| failed(unknown()))
        };
        let counters = ChannelCounters {
            sent: sent.iter().map(|sent| Ok((id(&sent.to)?, sent.messages))).collect::<Result<_, AgentError>>()?,
            received: received.iter().map(|r| Ok((id(&r.from)?, r.ranges.clone()))).collect::<Result<_, AgentError>>()?,
        };
        let participant = Participant::restored(self.identity(generation), epoch, counters).with_channel_state(channel_state);
        let previous = self.live.as_ref().map(|live| live.directory.clone());
        let mut live = self.begin(participant, epoch);
        self.app.restore(StateReader::new(state)).map_err(failed)?;
        // Before anything is delivered: the state is exactly what the snapshot covers.
        self.app.on_committed(Committed { snapshot, covers: Covers::Everything });
        let replayed = match channels {
            Some(channels) => self.replay(&mut live, channels, &reading).map_err(failed)?,
            None => 0,
        };
        if previous.is_none_or(|previous| !previous.same_names(&live.directory)) {
            self.app.on_peers(&mut Context::new(&mut live));
        }
        tracing::info!(%generation, %epoch, bytes, replayed, "running from a snapshot");
        self.begun(live);
        Ok(())
    }

    /// Puts back what waited to be sent and the timers, then delivers what was in flight. Gives the number of messages delivered.
    fn replay(&mut self, live: &mut Live, mut channels: PlainObject, reading: &Reading) -> Result<u64, RestoreError> {
        let unreadable = |error| RestoreError::new(format!("the channels of the part can't be read: {error}"));
        for record in ChannelsReader::new(&mut channels) {
            match reading.restored(record.map_err(unreadable)?) {
                Restored::Unsent { to, payload } => {
                    if !live.put_back(&to, payload) {
                        return Err(RestoreError::new(format!(
                            "a message waits for {to}: expected a member in the list of peers"
                        )));
                    }
                }
                Restored::Timer { id, remaining_ms } => live.timers.set(TimerId(id), Duration::from_millis(remaining_ms)),
                Restored::InFlight { .. } | Restored::Arrived => {}
            }
        }
        channels.seek(SeekFrom::Start(0))?;
        let mut replayed = 0;
        for record in ChannelsReader::new(&mut channels) {
            match reading.restored(record.map_err(unreadable)?) {
                Restored::InFlight { from, payload } => {
                    let from = live.directory.id(&from).ok_or_else(|| {
                        RestoreError::new(format!("a message came from {from}: expected a member in the list of peers"))
                    })?;
                    live.deliver(from, payload, &mut *self.app);
                    live.settle(&mut *self.app);
                    replayed += 1;
                }
                Restored::Unsent { .. } | Restored::Timer { .. } | Restored::Arrived => {}
            }
        }
        Ok(replayed)
    }
}
