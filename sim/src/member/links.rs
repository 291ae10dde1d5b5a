//! Connections of fifo channels: dialled, taken, broken, dialled again. Frames of unordered channels go one by one.

use stillframe_protocol::{ChannelOrdering, Incarnation, MemberId};

use super::{Link, LinkState, Process, Source};
use crate::{Checked, event::Event, plan::MS, world::World};

/// What a call says first.
pub(crate) struct Call {
    pub(crate) connection: u64,
    pub(crate) peer: MemberId,
    pub(crate) from: MemberId,
    pub(crate) from_incarnation: Incarnation,
    pub(crate) to_incarnation: Incarnation,
    pub(crate) generation: stillframe_protocol::Generation,
}

impl World {
    /// Opens every channel whose other end is known and that isn't open or being opened.
    pub(super) fn connect(&mut self, number: u64, process: &mut Process) -> Checked {
        let slot = process.slot;
        let peers: Vec<_> = process.peers.values().copied().collect();
        for peer in peers {
            let Some(ordering) = self.ordering(slot, peer.slot) else { continue };
            let Some(live) = &mut process.live else { return Ok(()) };
            match ordering {
                ChannelOrdering::Fifo => {
                    if !live.outgoing.contains_key(&peer.member) {
                        self.dial(number, process, peer.member);
                    }
                }
                ChannelOrdering::Unordered => {
                    let state = LinkState::Datagrams { process: peer.process };
                    if live.outgoing.get(&peer.member).is_none_or(|link| link.state != state) {
                        live.outgoing.insert(peer.member, Link { ordering, state });
                        live.participant.open(peer.member, peer.incarnation, ordering);
                        self.settle(number, process)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn dial(&mut self, number: u64, process: &mut Process, to: MemberId) {
        let (Some(peer), Some(live)) = (process.peers.get(&to).copied(), &mut process.live) else { return };
        let connection = self.network.dial(number, peer.process);
        let state = LinkState::Dialing { connection, incarnation: peer.incarnation };
        live.outgoing.insert(to, Link { ordering: ChannelOrdering::Fifo, state });
        let identity = live.participant.identity();
        let delay = self.rng.u64(MS / 5..=self.plan.frame_delay_us) * process.slowness;
        self.after(
            delay,
            Event::Dial {
                connection,
                peer: to,
                from: identity.member,
                from_incarnation: identity.incarnation,
                to_incarnation: peer.incarnation,
                generation: identity.generation,
            },
        );
    }

    /// A call arrives at the process that it is for, if that is there.
    pub(crate) fn dialled(&mut self, number: u64, call: &Call) -> Checked {
        let Some((from, to)) = self.network.connections.get(&call.connection).map(|c| (c.from, c.to)) else { return Ok(()) };
        let reachable = self.reach(from, to);
        let taken = reachable && self.take_call(number, call);
        let delay = self.rng.u64(MS / 5..=self.plan.frame_delay_us);
        self.after(delay, Event::Dialed { process: from, peer: call.peer, connection: call.connection, taken });
        Ok(())
    }

    fn take_call(&mut self, number: u64, call: &Call) -> bool {
        let preamble = self.plan.preamble;
        let Some(process) = self.processes.get_mut(&number) else { return false };
        let known = process.peers.get(&call.from).map(|peer| peer.incarnation);
        if process.has_left(call.from, call.from_incarnation) {
            return false;
        }
        let Some(live) = process.live.as_mut().filter(|_| !process.holds) else { return false };
        let me = live.participant.identity();
        let stale = known.is_some_and(|known| known > call.from_incarnation)
            || me.generation != call.generation
            || me.incarnation != call.to_incarnation;
        if preamble && stale {
            live.newer |= call.generation > me.generation;
            return false;
        }
        if let Some(Source::Connection(replaced)) = live.incoming.insert(call.from, Source::Connection(call.connection)) {
            self.break_connection(replaced);
        }
        true
    }

    /// A call is answered.
    pub(crate) fn answered(
        &mut self,
        number: u64,
        process: &mut Process,
        peer: MemberId,
        connection: u64,
        taken: bool,
    ) -> Checked {
        let Some(live) = &mut process.live else { return Ok(()) };
        let Some(link) = live.outgoing.get_mut(&peer) else { return Ok(()) };
        let LinkState::Dialing { connection: awaited, incarnation } = link.state else { return Ok(()) };
        if awaited != connection {
            return Ok(());
        }
        if taken && self.network.connections.get(&connection).is_some_and(|c| c.is_up()) {
            link.state = LinkState::Up { connection };
            live.participant.open(peer, incarnation, ChannelOrdering::Fifo);
            return self.settle(number, process);
        }
        link.state = LinkState::Down;
        self.break_connection(connection);
        self.redial_later(number, peer);
        Ok(())
    }

    fn redial_later(&mut self, number: u64, peer: MemberId) {
        let delay = self.rng.u64(5 * MS..=150 * MS);
        self.after(delay, Event::Redial { process: number, peer });
    }

    pub(crate) fn redial(&mut self, number: u64, process: &mut Process, peer: MemberId) {
        let down = |link: &Link| link.state == LinkState::Down;
        if process.live.as_ref().and_then(|live| live.outgoing.get(&peer)).is_some_and(down) {
            if process.peers.contains_key(&peer) {
                self.dial(number, process, peer);
            } else if let Some(live) = &mut process.live {
                // Looked at again when the list of peers changes.
                live.outgoing.remove(&peer);
            }
        }
    }

    /// Breaks a connection: both ends find out, a while later.
    pub(crate) fn break_connection(&mut self, connection: u64) {
        let arrives = self.rng.u64(0..=1_000);
        if let Some((from, to)) = self.network.break_connection(connection, arrives) {
            for process in [from, to] {
                let delay = self.rng.u64(0..=40 * MS);
                self.after(delay, Event::Broken { process, connection });
            }
        }
    }

    /// One end finds that its connection is gone.
    pub(crate) fn broken(&mut self, number: u64, process: &mut Process, connection: u64) {
        let Some(live) = &mut process.live else { return };
        live.incoming.retain(|_, source| *source != Source::Connection(connection));
        live.held.remove(&connection);
        let lost = live.outgoing.iter().find(|(_, link)| match link.state {
            LinkState::Up { connection: up } | LinkState::Dialing { connection: up, .. } => up == connection,
            LinkState::Down | LinkState::Datagrams { .. } => false,
        });
        let Some(peer) = lost.map(|(peer, _)| *peer) else { return };
        if let Some(link) = live.outgoing.get_mut(&peer) {
            link.state = LinkState::Down;
        }
        live.participant.disconnected(peer);
        self.redial_later(number, peer);
    }
}
