//! Connections of the current generation: dialling, accepting, replacing, breaking, dialling again.

use std::{sync::Arc, time::Instant};

use stillframe_protocol::{ChannelOrdering, ClusterName, Frame, Generation, Incarnation, MemberId};
use tokio::sync::mpsc;

use super::{
    channel::{AbortOnDrop, Incoming, Outgoing, OutgoingLink},
    held::Frames,
    live::Live,
};
use crate::{
    application::Application,
    directory::Directory,
    link::{
        Accepted, Connection, ConnectionId, DialError, Dialed, Ended, Input, Terms, dialer,
        preamble::{Preamble, Verdict},
    },
    transport::{Link, Transport},
};

/// Which end of a channel a connection serves here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Another member sends to this one.
    Incoming,
    /// This member sends.
    Outgoing,
}

/// What it takes to make connections.
#[derive(Debug, Clone)]
pub(super) struct Wiring {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) cluster: ClusterName,
    pub(super) me: MemberId,
    pub(super) incarnation: Incarnation,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) terms: Terms,
    /// Numbers for connections and calls, unique in this process.
    pub(super) numbers: Arc<std::sync::atomic::AtomicU64>,
}

impl Wiring {
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    /// Calls a peer; the result comes as an input.
    pub(super) fn dial(&self, peer: MemberId, channel: &mut Outgoing, directory: &Directory, generation: Generation) {
        let Some(entry) = directory.peer(peer) else { return };
        let preamble = Preamble {
            cluster: self.cluster.clone(),
            generation,
            from: directory.me().clone(),
            from_id: self.me,
            from_incarnation: self.incarnation,
            to: entry.member.clone(),
            to_incarnation: entry.incarnation,
        };
        let (attempt, incarnation) = (self.number(), entry.incarnation);
        let call = dialer::dial(Arc::clone(&self.transport), entry.address.clone(), preamble);
        let inputs = self.inputs.clone();
        let task = tokio::spawn(async move {
            let result = call.await;
            let _ = inputs.send(Input::Dialed { peer, attempt, result }).await;
        });
        channel.link = OutgoingLink::Dialing { attempt, _call: AbortOnDrop(task.abort_handle()) };
        channel.dialed = Some((incarnation, entry.address.clone()));
    }

    fn start(&self, link: Link) -> Connection {
        Connection::start(ConnectionId(self.number()), link, self.terms, self.inputs.clone())
    }
}

impl Outgoing {
    pub(super) fn is_unused(&self) -> bool {
        matches!(self.link, OutgoingLink::Unused)
    }
}

impl Live {
    /// Another member connected.
    pub(super) fn accepted(&mut self, accepted: Accepted) {
        let Accepted { preamble: Preamble { generation, from, from_id, from_incarnation, .. }, link } = accepted;
        let known = self.directory.peer(from_id).map(|peer| (&peer.member, peer.incarnation));
        let stale = known.is_some_and(|(name, incarnation)| *name != from || incarnation > from_incarnation);
        // What one that left says is of the past, and nobody waits for it.
        let stale = stale || self.directory.has_left(from_id, from_incarnation);
        if generation != self.generation() || stale {
            tracing::debug!(%from, incarnation = %from_incarnation, %generation, "a connection of a member that was replaced, or has left, is closed");
            return;
        }
        self.directory.learn(from_id, from, from_incarnation);
        let connection = self.wiring.start(link);
        self.connections.insert(connection.id(), (Direction::Incoming, from_id));
        if let Some(replaced) = self.incoming.insert(from_id, Incoming { connection, messages: 0, bytes: 0 }) {
            self.forget(replaced.connection.id());
        }
    }

    /// A call is over.
    pub(super) fn dialed(&mut self, peer: MemberId, attempt: u64, result: Result<Dialed, DialError>, app: &mut dyn Application) {
        let Some(channel) = self.outgoing.get_mut(&peer) else { return };
        let (OutgoingLink::Dialing { attempt: awaited, .. }, Some((incarnation, _))) = (&channel.link, &channel.dialed) else {
            return;
        };
        if *awaited != attempt {
            return;
        }
        let incarnation = *incarnation;
        match result {
            Ok(Dialed { link, max_message_bytes }) => {
                channel.max_message_bytes = max_message_bytes;
                let ours = self.limits.max_message_bytes;
                if max_message_bytes < ours {
                    let to = self.directory.name(peer);
                    tracing::warn!(
                        ?to,
                        theirs = max_message_bytes,
                        ours,
                        "a member takes only smaller messages than this one sends: give all members the same Limits::max_message_bytes"
                    );
                }
                let connection = self.wiring.start(link);
                self.connections.insert(connection.id(), (Direction::Outgoing, peer));
                channel.link = OutgoingLink::Up(connection);
                self.participant.open(peer, incarnation, ChannelOrdering::Fifo);
                self.settle(app);
            }
            Err(error) => {
                if let DialError::Refused(Verdict::OldGeneration { generation }) = &error {
                    self.newer = self.newer.max(Some(*generation));
                }
                self.retry_later(peer, &error.to_string());
            }
        }
    }

    /// A connection is gone.
    pub(super) fn broken(&mut self, connection: ConnectionId, reason: &Ended) {
        // What isn't known was replaced, or is of an older generation.
        let Some((direction, peer)) = self.forget(connection) else { return };
        match direction {
            Direction::Incoming => {
                self.incoming.remove(&peer);
                let from = self.directory.name(peer);
                match reason {
                    Ended::Wrong(_) => tracing::warn!(?from, %reason, "a connection of another member was closed"),
                    Ended::Closed | Ended::Silent(_) | Ended::Stuck(_) | Ended::Io(_) | Ended::Over => {
                        tracing::debug!(?from, %reason, "an incoming connection is gone");
                    }
                }
            }
            Direction::Outgoing => {
                self.participant.disconnected(peer);
                self.retry_later(peer, &reason.to_string());
            }
        }
    }

    /// A connection is no more; what it was, if it was known.
    fn forget(&mut self, connection: ConnectionId) -> Option<(Direction, MemberId)> {
        self.held.forget(connection);
        self.connections.remove(&connection)
    }

    /// Holds a frame back, and reads no more of its connection.
    pub(super) fn hold_back(&mut self, connection: ConnectionId, frame: Frame) {
        if let Some((_, peer)) = self.connections.get(&connection) {
            self.held.hold(connection, *peer, frame);
            self.set_held(connection, true);
        }
    }

    /// The next frames that were held back and are to be brought again. Their connection is read again, and what it brings comes behind them.
    pub(super) fn next_resumed(&mut self) -> Option<Frames> {
        let frames = self.held.next_resumed()?;
        self.set_held(frames.connection, false);
        Some(frames)
    }

    fn set_held(&mut self, connection: ConnectionId, held: bool) {
        let end = match self.connections.get(&connection) {
            Some((Direction::Incoming, peer)) => self.incoming.get_mut(peer).map(|end| &mut end.connection),
            Some((Direction::Outgoing, peer)) => self.outgoing.get_mut(peer).and_then(Outgoing::connection),
            None => None,
        };
        if let Some(end) = end.filter(|end| end.id() == connection) {
            end.hold(held);
        }
    }

    fn retry_later(&mut self, peer: MemberId, reason: &str) {
        let Some(channel) = self.outgoing.get_mut(&peer) else { return };
        let now = Instant::now();
        let retry_at = now + channel.backoff.next_wait();
        let since = *channel.failing_since.get_or_insert(now);
        let (to, failing_ms) = (self.directory.name(peer), now.duration_since(since).as_millis() as u64);
        if failing_ms >= 1000 {
            tracing::info!(?to, reason, failing_ms, "can't connect; trying again");
        } else {
            tracing::debug!(?to, reason, "not connected; trying again");
        }
        channel.link = OutgoingLink::Down { retry_at };
        self.retries.insert((retry_at, peer));
    }

    /// Dials what it is time for.
    pub(super) fn redial(&mut self, now: Instant) {
        while let Some(&(at, peer)) = self.retries.first()
            && at <= now
        {
            self.retries.pop_first();
            let generation = self.generation();
            let Some(channel) = self.outgoing.get_mut(&peer) else { continue };
            match channel.link {
                OutgoingLink::Down { retry_at } if retry_at == at => {
                    self.wiring.dial(peer, channel, &self.directory, generation);
                    if let OutgoingLink::Down { .. } = channel.link {
                        // It isn't in the list of peers (any more): look again when the list changes.
                        channel.link = OutgoingLink::Unused;
                    }
                }
                OutgoingLink::Down { .. } | OutgoingLink::Unused | OutgoingLink::Dialing { .. } | OutgoingLink::Up(_) => {}
            }
        }
    }

    /// Dials peers that something waits for and that became known only now, and those that are another process, or elsewhere, since they were dialled.
    pub(super) fn dial_known(&mut self) {
        let generation = self.generation();
        for (peer, channel) in &mut self.outgoing {
            let Some(entry) = self.directory.peer(*peer) else { continue };
            let moved = channel.dialed.as_ref().is_some_and(|(of, at)| *of != entry.incarnation || *at != entry.address);
            if moved {
                tracing::debug!(to = %entry.member, incarnation = %entry.incarnation, address = entry.address, "a member is elsewhere now");
                if let Some(connection) = channel.connection() {
                    self.held.forget(connection.id());
                    self.connections.remove(&connection.id());
                    self.participant.disconnected(*peer);
                }
                channel.backoff.reset();
            }
            if moved || channel.is_unused() {
                self.wiring.dial(*peer, channel, &self.directory, generation);
            }
        }
    }

    /// Closes incoming connections that brought something wrong.
    pub(super) fn break_marked(&mut self) {
        for peer in std::mem::take(&mut self.to_break) {
            if let Some(end) = self.incoming.remove(&peer) {
                self.forget(end.connection.id());
            }
        }
    }
}
