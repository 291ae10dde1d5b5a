//! What may happen next.

use std::sync::Arc;

use stateright::{Model, Property};
use stillframe_protocol::{ChannelOrdering, ChannelState, Epoch};

use super::{
    bounds::{Bounds, Seen},
    member::Arrival,
    network::Way,
    promises,
    state::{Phase, State, Wrong},
};

/// Something that happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The channel's sender connects, and opens the channel.
    Open { channel: usize },
    /// The channel's sender sends a message.
    Send { channel: usize },
    /// A connection brings its next frame.
    Deliver { channel: usize, way: Way },
    /// A broken connection brings its next frame late.
    DeliverLate { stream: usize },
    /// A datagram arrives; with `keep` it will arrive again.
    DeliverLoose { datagram: usize, keep: bool },
    /// A datagram is lost.
    Lose { datagram: usize },
    /// A connection loses its next frame and goes on, which no honest one does.
    LoseInOrder { channel: usize },
    /// A connection brings its next frame to a member it isn't for.
    Misroute { channel: usize, to: usize },
    /// A member goes over to recording.
    Unalign { member: usize, epoch: Epoch },
    /// A member acknowledges what it received.
    Acknowledge { member: usize },
    /// The channel's sender transmits again what isn't acknowledged.
    Retransmit { channel: usize },
    /// A connection breaks.
    Disconnect { channel: usize },
    /// The coordinator's begin reaches a member.
    Begin { member: usize, epoch: Epoch },
    /// The coordinator aborts a snapshot.
    Abort { epoch: Epoch },
    /// The abort reaches a member.
    ObeyAbort { member: usize, epoch: Epoch },
    /// A member dies, and a new incarnation of it begins with nothing.
    Crash { member: usize },
    /// The coordinator restores a snapshot into a new generation.
    Restore { epoch: Epoch },
    /// A member goes over to the new generation.
    GoOver { member: usize },
}

/// A cluster that is checked within bounds.
#[derive(Debug)]
pub struct Cluster {
    pub bounds: Bounds,
    pub seen: Seen,
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.first_state()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.wrong.is_some() {
            return;
        }
        self.network_actions(state, actions);
        self.member_actions(state, actions);
        self.coordinator_actions(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        if let Err(wrong) = self.act(&mut next, action) {
            next.wrong = Some(wrong);
        }
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::properties(self)
    }
}

impl Cluster {
    fn network_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let bounds = &self.bounds;
        for (channel, link) in state.network.links.iter().enumerate() {
            if !link.forward.is_empty() && !link.held[0] {
                actions.push(Action::Deliver { channel, way: Way::Forward });
                if state.left.lies > 0 {
                    actions.push(Action::LoseInOrder { channel });
                    let others = (0..bounds.members)
                        .filter(|&to| to != bounds.channels[channel].to && to != bounds.channels[channel].from);
                    actions.extend(others.map(|to| Action::Misroute { channel, to }));
                }
            }
            if !link.backward.is_empty() && !link.held[1] {
                actions.push(Action::Deliver { channel, way: Way::Backward });
            }
            if link.up && state.left.disconnects > 0 {
                actions.push(Action::Disconnect { channel });
            }
        }
        actions.extend((0..state.network.stale.len()).map(|stream| Action::DeliverLate { stream }));
        for datagram in 0..state.network.loose.len() {
            actions.push(Action::DeliverLoose { datagram, keep: bounds.datagrams_stay });
            if !bounds.datagrams_stay && state.left.repeats > 0 {
                actions.push(Action::DeliverLoose { datagram, keep: true });
            }
            if !bounds.datagrams_stay && state.left.losses > 0 {
                actions.push(Action::Lose { datagram });
            }
        }
    }

    fn member_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (channel, ends) in self.bounds.channels.iter().enumerate() {
            if state.members[ends.from].holds {
                continue;
            }
            if !state.network.links[channel].up {
                actions.push(Action::Open { channel });
            } else if state.left.messages[channel] > 0 {
                actions.push(Action::Send { channel });
            }
            if ends.ordering == ChannelOrdering::Unordered && state.left.retransmissions > 0 {
                actions.push(Action::Retransmit { channel });
            }
        }
        if self.bounds.acknowledges {
            actions.extend((0..self.bounds.members).map(|member| Action::Acknowledge { member }));
        }
    }

    fn coordinator_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (member, process) in state.members.iter().enumerate() {
            if state.restoring.contains_key(&member) {
                actions.push(Action::GoOver { member });
            }
            if process.holds {
                continue;
            }
            let generation = process.participant.identity().generation;
            for epoch in (process.participant.epoch().max(process.told).0 + 1..=self.bounds.epochs).map(Epoch) {
                // A member isn't told of another generation's snapshots.
                if state.snapshots.get(&epoch).map_or(state.generation, |snapshot| snapshot.generation) == generation {
                    actions.push(Action::Begin { member, epoch });
                }
            }
            for (&epoch, snapshot) in &*state.snapshots {
                let told = process.aborted.contains(&epoch) || epoch <= process.base;
                if snapshot.phase == Phase::Aborted && !told && snapshot.generation == generation {
                    actions.push(Action::ObeyAbort { member, epoch });
                }
            }
            if state.left.unaligns > 0 && process.told > process.participant.epoch() {
                actions.push(Action::Unalign { member, epoch: process.told });
            }
            if state.left.crashes > 0 {
                actions.push(Action::Crash { member });
            }
        }
        for (&epoch, snapshot) in &*state.snapshots {
            match snapshot.phase {
                Phase::Recording if state.left.aborts > 0 => actions.push(Action::Abort { epoch }),
                Phase::Committed if state.left.restores > 0 => actions.push(Action::Restore { epoch }),
                Phase::Recording | Phase::Committed | Phase::Aborted => {}
            }
        }
    }

    fn act(&self, state: &mut State, action: Action) -> Result<(), Wrong> {
        match action {
            Action::Open { channel } => self.open(state, channel),
            Action::Send { channel } => self.send(state, channel),
            Action::Deliver { channel, way } => {
                let Some(frame) = Arc::make_mut(&mut state.network).stream(channel, way).pop_front() else { return Ok(()) };
                if self.arrive(state, Some(frame.clone()), None)? == Arrival::Held {
                    Arc::make_mut(&mut state.network).hold(channel, way, frame);
                }
                Ok(())
            }
            Action::DeliverLate { stream } => {
                let frame = Arc::make_mut(&mut state.network).take_stale(stream);
                // What a broken connection brings isn't kept, nor is anything behind it.
                if self.arrive(state, frame, None)? == Arrival::Held && stream < state.network.stale.len() {
                    Arc::make_mut(&mut state.network).stale.remove(stream);
                }
                Ok(())
            }
            Action::DeliverLoose { datagram, keep } => {
                if keep && !self.bounds.datagrams_stay {
                    state.left.repeats -= 1;
                }
                let frame = Arc::make_mut(&mut state.network).take_loose(datagram, keep);
                self.arrive(state, frame, None).map(drop)
            }
            Action::Lose { datagram } => {
                state.left.losses -= 1;
                Arc::make_mut(&mut state.network).take_loose(datagram, false);
                Ok(())
            }
            Action::LoseInOrder { channel } => {
                state.left.lies -= 1;
                Arc::make_mut(&mut state.network).stream(channel, Way::Forward).pop_front();
                Ok(())
            }
            Action::Misroute { channel, to } => {
                state.left.lies -= 1;
                let frame = Arc::make_mut(&mut state.network).stream(channel, Way::Forward).pop_front();
                self.arrive(state, frame, Some(to)).map(drop)
            }
            Action::Acknowledge { member } => self.with(state, member, |process| process.participant.acknowledge()),
            Action::Retransmit { channel } => {
                let ends = self.bounds.channels[channel];
                state.left.retransmissions -= u8::from(!self.bounds.datagrams_stay);
                self.with(state, ends.from, |process| process.participant.retransmit(super::member::id(ends.to)))
            }
            Action::Disconnect { channel } => {
                state.left.disconnects -= 1;
                self.disconnect(state, channel);
                Ok(())
            }
            Action::Begin { member, epoch } => {
                self.allocate(state, epoch);
                self.with(state, member, |process| {
                    if self.bounds.channel_state == ChannelState::Aligned {
                        process.told = process.told.max(epoch);
                    }
                    process.participant.begin(epoch);
                })
            }
            Action::Abort { epoch } => {
                state.left.aborts -= 1;
                self.end(state, epoch);
                Ok(())
            }
            Action::ObeyAbort { member, epoch } => self.with(state, member, |process| {
                process.participant.abort(epoch);
                process.aborted.insert(epoch);
                process.captured.remove(&epoch);
            }),
            Action::Unalign { member, epoch } => {
                state.left.unaligns -= 1;
                self.with(state, member, |process| {
                    process.unaligned = true;
                    process.participant.unalign(epoch);
                })
            }
            Action::Crash { member } => {
                self.crash(state, member);
                Ok(())
            }
            Action::Restore { epoch } => {
                self.restore(state, epoch);
                Ok(())
            }
            Action::GoOver { member } => {
                self.go_over(state, member);
                Ok(())
            }
        }
    }
}
