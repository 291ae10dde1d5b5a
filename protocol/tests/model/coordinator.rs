//! What the coordinator does: allocates epochs, gathers parts, commits, aborts, and restores.

use std::sync::Arc;

use stillframe_protocol::{
    Epoch, Generation, Incarnation, MemberId, MemberName, PartCounters, SealedCounters, SeqRanges, ViewMember,
    invariant::check_channel,
    resumption::{Resumption, resumption},
    verify,
};

use super::{
    actions::Cluster,
    bounds::{BrokenRestore, Sight},
    network::Network,
    state::{Captured, Left, Phase, Promise, Snapshot, State, Wrong, newest},
};

fn name(member: usize) -> MemberName {
    MemberName::new(format!("p{member}")).unwrap()
}

/// How a channel goes on, by the production rule.
fn goes_on(received: Option<&SeqRanges>, recorded: Option<&SeqRanges>, logged: &SeqRanges) -> Resumption {
    let none = SeqRanges::new();
    resumption(received.unwrap_or(&none), recorded.unwrap_or(&none), logged).unwrap()
}

impl Cluster {
    /// Everyone is there; with `opened`, all handshakes are done.
    pub fn first_state(&self) -> State {
        let bounds = &self.bounds;
        let (incarnation, generation) = (Incarnation(1), Generation(1));
        let begin = |member| Arc::new(self.begin_member(member, incarnation, generation, Epoch(0), Captured::default()));
        let mut state = State {
            members: (0..bounds.members).map(begin).collect(),
            network: Arc::new(Network::new(bounds.channels.len())),
            incarnations: vec![incarnation; bounds.members],
            generation,
            newest: Epoch(0),
            snapshots: Arc::default(),
            restoring: Arc::default(),
            left: Left {
                messages: vec![bounds.messages; bounds.channels.len()],
                aborts: bounds.aborts,
                disconnects: bounds.disconnects,
                losses: bounds.losses,
                repeats: bounds.repeats,
                retransmissions: bounds.retransmissions,
                lies: bounds.lies,
                crashes: bounds.crashes,
                restores: bounds.restores,
                unaligns: bounds.unaligns,
            },
            wrong: None,
        };
        if bounds.opened {
            for channel in 0..bounds.channels.len() {
                let shaken = self.open(&mut state, channel).and_then(|()| self.let_all_arrive(&mut state));
                state.wrong = state.wrong.or(shaken.err());
            }
        }
        state
    }

    fn let_all_arrive(&self, state: &mut State) -> Result<(), Wrong> {
        loop {
            let network = Arc::make_mut(&mut state.network);
            let streams = network.links.iter_mut().flat_map(|link| [&mut link.forward, &mut link.backward]);
            let next = streams.filter_map(std::collections::VecDeque::pop_front).next();
            let Some(frame) = next.or_else(|| network.take_loose(0, false)) else { return Ok(()) };
            self.arrive(state, Some(frame), None)?;
        }
    }

    /// Allocates the epochs through `last`, with the view of now.
    pub fn allocate(&self, state: &mut State, last: Epoch) {
        while state.newest < last {
            state.newest = state.newest.next();
            let (generation, view) = (state.generation, state.incarnations.clone());
            let snapshot = Snapshot { generation, view, parts: Default::default(), phase: Phase::Recording };
            Arc::make_mut(&mut state.snapshots).insert(state.newest, snapshot);
        }
    }

    /// Aborts a snapshot. Its members are told later.
    pub fn end(&self, state: &mut State, epoch: Epoch) {
        if let Some(snapshot) = Arc::make_mut(&mut state.snapshots).get_mut(&epoch) {
            snapshot.phase = Phase::Aborted;
            snapshot.parts.clear();
        }
    }

    /// Takes in a part, and commits with the last of them.
    pub fn report(&self, state: &mut State, member: usize, epoch: Epoch, part: (SealedCounters, Captured)) -> Result<(), Wrong> {
        let identity = state.members[member].participant.identity();
        let Some(snapshot) = Arc::make_mut(&mut state.snapshots).get_mut(&epoch) else { return Ok(()) };
        let expected = (snapshot.phase, snapshot.generation, snapshot.view[member]);
        if expected != (Phase::Recording, identity.generation, identity.incarnation) {
            return Ok(());
        }
        if snapshot.parts.insert(member, part).is_some() {
            return Err(Promise::Part.broken(format!("{member} sealed {epoch} twice")));
        }
        if snapshot.parts.len() < snapshot.view.len() {
            return Ok(());
        }
        let committed = self.certify(snapshot)?;
        snapshot.phase = if committed { Phase::Committed } else { Phase::Aborted };
        if !committed || self.bounds.restores == 0 {
            snapshot.parts.clear();
        }
        if committed && state.generation > Generation(1) {
            self.seen.note(Sight::CommittedAfterRestore);
        }
        if committed && state.left.crashes < self.bounds.crashes && snapshot.view.iter().any(|incarnation| incarnation.0 > 1) {
            self.seen.note(Sight::CommittedWithNewIncarnation);
        }
        Ok(())
    }

    /// Whether the certificate verifies. It has to, unless a member still spoke to an incarnation that isn't in the view; and if it does, what the
    /// applications saw has to be exact.
    fn certify(&self, snapshot: &Snapshot) -> Result<bool, Wrong> {
        let view: Vec<ViewMember> = snapshot
            .view
            .iter()
            .enumerate()
            .map(|(member, &incarnation)| ViewMember { member: name(member), incarnation })
            .collect();
        let name_of = |id: MemberId| Some(name(id.0 as usize));
        let parts: Vec<PartCounters> = snapshot
            .parts
            .iter()
            .filter_map(|(&member, (counters, _))| {
                PartCounters::from_sealed(name(member), snapshot.view[member], snapshot.generation, counters, name_of)
            })
            .collect();
        // Whether a member had met another incarnation than the view's.
        let stale = |captured: &Captured| newest(&captured.sent).iter().any(|(&peer, sent)| snapshot.view[peer] != sent.0);
        let certified = match verify(snapshot.generation, &view, &parts) {
            Ok(certified) => certified,
            Err(_) if snapshot.parts.values().any(|(_, captured)| stale(captured)) => {
                self.seen.note(Sight::RejectedForOldIncarnation);
                return Ok(false);
            }
            Err(violations) => return Err(Promise::Certificate.broken(format!("{violations:?}"))),
        };
        let mut in_flight = 0;
        let none = SeqRanges::new();
        for (&to, (_, receiver)) in &snapshot.parts {
            for (&from, (_, sender)) in &snapshot.parts {
                let (sender_is, receiver_is) = ((from, snapshot.view[from]), (to, snapshot.view[to]));
                let sent = sender.sent.get(&receiver_is).copied().unwrap_or(0);
                let received = receiver.received.get(&sender_is).unwrap_or(&none);
                let logged = sender.logged.get(&receiver_is).unwrap_or(&none);
                let recorded = receiver.recorded.get(&sender_is).unwrap_or(&none).union(&logged.minus(received));
                let inexact = check_channel(sent, received, &recorded);
                if !inexact.is_empty() {
                    return Err(Promise::Exact.broken(format!("p{from} -> p{to}: {inexact:?}")));
                }
                in_flight += recorded.len();
            }
        }
        if certified.messages_in_flight() != in_flight {
            return Err(Promise::Exact.broken(format!("{certified:?}, but {in_flight} messages are in flight")));
        }
        self.seen.note(if in_flight > 0 { Sight::CommittedInFlight } else { Sight::Committed });
        Ok(true)
    }

    fn cut_off(&self, state: &mut State, member: usize) {
        for (n, channel) in self.bounds.channels.iter().enumerate() {
            if channel.from == member || channel.to == member {
                self.disconnect(state, n);
            }
        }
    }

    /// A member dies, and a new incarnation of it joins with nothing. The snapshots that miss its part are aborted.
    pub fn crash(&self, state: &mut State, member: usize) {
        state.left.crashes -= 1;
        self.cut_off(state, member);
        state.incarnations[member] = state.incarnations[member].next();
        let fresh = self.begin_member(member, state.incarnations[member], state.generation, state.newest, Captured::default());
        state.members[member] = Arc::new(fresh);
        let missed = |snapshot: &Snapshot| snapshot.phase == Phase::Recording && !snapshot.parts.contains_key(&member);
        let ended: Vec<Epoch> =
            state.snapshots.iter().filter(|(_, snapshot)| missed(snapshot)).map(|(&epoch, _)| epoch).collect();
        ended.into_iter().for_each(|epoch| self.end(state, epoch));
    }

    /// Plans a restore into a new generation. The members go over one by one.
    pub fn restore(&self, state: &mut State, epoch: Epoch) {
        state.left.restores -= 1;
        let open = |snapshot: &Snapshot| snapshot.phase == Phase::Recording;
        let ended: Vec<Epoch> = state.snapshots.iter().filter(|(_, snapshot)| open(snapshot)).map(|(&epoch, _)| epoch).collect();
        ended.into_iter().for_each(|epoch| self.end(state, epoch));
        state.generation = state.generation.next();
        if self.bounds.restore_replaces
            && let Some(last) = state.incarnations.last_mut()
        {
            *last = last.next();
        }
        let Snapshot { parts, view, .. } = &state.snapshots[&epoch];
        let none = SeqRanges::new();
        // One restore at most: the application's numbers are those of the channels until then.
        let restored = |member: usize| {
            let (captured, mut seen) = (&parts[&member].1, Captured::default());
            let me = (member, view[member]);
            for (peer, &incarnation) in state.incarnations.iter().enumerate() {
                let (then, now) = ((peer, view[peer]), (peer, incarnation));
                let other = &parts[&peer].1;
                if let Some(&sent) = captured.sent.get(&then) {
                    let logged = captured.logged.get(&then).unwrap_or(&none);
                    let on = goes_on(other.received.get(&me), other.recorded.get(&me), logged);
                    let again = self.again(logged, on.resent);
                    seen.sent.insert(now, on.sent);
                    seen.given.insert(now, sent);
                    if !again.is_empty() {
                        seen.unsent.insert(now, again);
                    }
                }
                if let Some(received) = captured.received.get(&then) {
                    let recorded = captured.recorded.get(&then).unwrap_or(&none);
                    if !recorded.is_empty() {
                        self.seen.note(Sight::Reinjected);
                    }
                    let on = goes_on(Some(received), Some(recorded), other.logged.get(&me).unwrap_or(&none));
                    seen.received.insert(now, on.received.union(recorded));
                    seen.taken.insert(now, received.union(recorded));
                }
            }
            (member, (state.newest, seen))
        };
        state.restoring = Arc::new((0..self.bounds.members).map(restored).collect());
    }

    /// What of a log is sent again.
    fn again(&self, logged: &SeqRanges, again: SeqRanges) -> Vec<u64> {
        if !again.is_empty() {
            self.seen.note(Sight::SentAgain);
        }
        if again != *logged {
            self.seen.note(Sight::ArrivedSkipped);
        }
        let again = match self.bounds.broken_restore {
            None => again,
            Some(BrokenRestore::RepeatsArrived) => logged.clone(),
            Some(BrokenRestore::ForgetsLog) => SeqRanges::new(),
        };
        again.iter().flatten().collect()
    }

    pub fn go_over(&self, state: &mut State, member: usize) {
        let Some((base, seen)) = Arc::make_mut(&mut state.restoring).remove(&member) else { return };
        self.cut_off(state, member);
        let process = self.begin_member(member, state.incarnations[member], state.generation, base, seen);
        state.members[member] = Arc::new(process);
    }
}
