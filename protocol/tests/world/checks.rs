//! What is checked after each step, at each commit and at the end.

use std::collections::{BTreeMap, BTreeSet};

use stillframe_protocol::{
    ChannelState, Epoch, Frame, FrameBody, MemberId, MemberName, PartCounters, SealedCounters, ViewMember, verify,
};

use super::{
    Channel, Checked, ensure,
    process::{Message, TOKENS, ranges},
    run::{World, id},
};

impl World<'_> {
    /// Nothing is delivered that wasn't sent, nothing twice, and nothing that makes an orphan.
    pub(super) fn delivered(&mut self, from: usize, to: usize, seq: u64, message: Message) -> Checked {
        let receiver = self.processes[to].as_ref().unwrap();
        let generation = receiver.generation();
        let sender = self.processes[from].as_ref().filter(|sender| sender.generation() == generation);
        if let Some(sender) = sender {
            let sent = sender.sent.get(&to).and_then(|sent| sent.get(seq as usize - 1));
            ensure!(sent == Some(&message), "{from} -> {to}: {message:?} was delivered as {seq}, but {sent:?} was sent");
            for (epoch, captured) in &sender.captured {
                let cut = *epoch <= receiver.base || receiver.captured.contains_key(epoch) || receiver.aborted.contains(epoch);
                let inside = captured.sent.get(&to).map_or(0, Vec::len) as u64;
                ensure!(cut || seq <= inside, "{from} -> {to}: message {seq} is an orphan of epoch {epoch}: {inside} were sent");
            }
        }
        let receiver = self.processes[to].as_mut().unwrap();
        ensure!(receiver.received.entry(from).or_default().insert(seq), "{from} -> {to}: message {seq} was delivered twice");
        receiver.tokens += message.tokens;
        Ok(())
    }

    /// Markers tell the truth, and go ahead of every message of their epoch.
    pub(super) fn transmitted(&mut self, from: usize, frame: &Frame) -> Checked {
        let to = frame.to.0 as usize;
        let sender = self.processes[from].as_mut().unwrap();
        for marker in &frame.markers {
            let Some(captured) = sender.captured.get(&marker.epoch) else {
                return Err(format!("{from} -> {to}: a marker of {}, which isn't open", marker.epoch));
            };
            let sent = captured.sent.get(&to).map_or(0, Vec::len) as u64;
            ensure!(marker.sent == sent, "{from} -> {to}: {marker:?}, but {sent} were sent");
            sender.marked.insert((to, marker.epoch));
        }
        if matches!(frame.body, FrameBody::Data { .. }) && self.plan.channel_state == ChannelState::Marker {
            let opened_in = *sender.opened_in.get(&to).ok_or("data before the open")?;
            let ahead =
                sender.marked.contains(&(to, frame.epoch)) || frame.epoch <= opened_in || sender.aborted.contains(&frame.epoch);
            ensure!(ahead, "{from} -> {to}: a message of epoch {} went ahead of its marker", frame.epoch);
        }
        let bytes = {
            let mut bytes = bytes::BytesMut::new();
            frame.encode(&mut bytes);
            bytes.freeze()
        };
        ensure!(bytes.len() == frame.encoded_len(), "{frame:?} takes {} bytes", bytes.len());
        ensure!(Frame::decode(bytes).as_ref() == Ok(frame), "{frame:?} doesn't round trip");
        Ok(())
    }

    /// A part's counters are what the application saw.
    pub(super) fn sealed(&mut self, member: usize, epoch: Epoch, counters: SealedCounters) -> Checked {
        let process = self.processes[member].as_mut().unwrap();
        if process.generation() < self.generation {
            // A zombie: nobody takes its report, and it may have dropped what it had sent to an incarnation that is gone.
            return Ok(());
        }
        ensure!(!process.aborted.contains(&epoch), "{member} sealed {epoch}, which was aborted");
        let captured = process.captured.get(&epoch).ok_or(format!("{member} sealed {epoch} without a capture"))?;
        let sent: BTreeMap<_, _> = captured.sent.iter().map(|(&to, messages)| (id(to), messages.len() as u64)).collect();
        let received: BTreeMap<_, _> = captured.received.iter().map(|(&from, seqs)| (id(from), ranges(seqs))).collect();
        let mut recorded: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        captured.recorded.keys().for_each(|&(from, seq)| {
            recorded.entry(from).or_default().insert(seq);
        });
        let recorded: BTreeMap<_, _> =
            recorded.iter().map(|(&from, seqs)| (id(from), (ranges(seqs), 16 * seqs.len() as u64))).collect();
        ensure!(counters.sent == sent, "{member} reports {:?} sent, but {sent:?} were", counters.sent);
        ensure!(counters.received == received, "{member} reports {:?} received, but {received:?} were", counters.received);
        ensure!(counters.recorded == recorded, "{member} reports {:?} recorded, but {recorded:?} were", counters.recorded);
        let logged: BTreeMap<_, _> = counters.logged.iter().map(|(to, log)| (to.0 as usize, log.0.clone())).collect();
        let mut logs: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        captured.logged.keys().for_each(|&(to, seq)| {
            logs.entry(to).or_default().insert(seq);
        });
        let logs: BTreeMap<_, _> = logs.iter().map(|(&to, seqs)| (to, ranges(seqs))).collect();
        ensure!(logged == logs, "{member} reports {logged:?} logged, but {logs:?} were");
        let part = (counters, captured.clone());
        let generation = process.generation();
        let Some(snapshot) = self.snapshots.get_mut(&epoch).filter(|snapshot| !snapshot.ended) else { return Ok(()) };
        if snapshot.generation == generation && snapshot.view.contains(&member) {
            ensure!(snapshot.parts.insert(member, part).is_none(), "{member} sealed {epoch} twice");
            if snapshot.parts.len() == snapshot.view.len() {
                self.commit(epoch)?;
            }
        }
        Ok(())
    }

    /// The verifier accepts the cut, and the applications' states agree.
    pub(super) fn commit(&mut self, epoch: Epoch) -> Checked {
        let snapshot = self.snapshots.get_mut(&epoch).unwrap();
        snapshot.ended = true;
        let incarnations = &self.incarnations;
        let view: Vec<ViewMember> =
            snapshot.view.iter().map(|&member| ViewMember { member: name(member), incarnation: incarnations[member] }).collect();
        let parts: Vec<PartCounters> = snapshot
            .parts
            .iter()
            .map(|(&member, (counters, _))| {
                let name_of = |id: MemberId| Some(name(id.0 as usize));
                PartCounters::from_sealed(name(member), incarnations[member], snapshot.generation, counters, name_of).unwrap()
            })
            .collect();
        let certified =
            verify(snapshot.generation, &view, &parts).map_err(|violations| format!("epoch {epoch}: {violations:?}"))?;
        let states = snapshot.parts.values().map(|(_, captured)| captured);
        let in_states: u64 = states.clone().map(super::process::Captured::all_tokens).sum();
        let mut under_way: BTreeMap<(usize, usize, u64), Message> = BTreeMap::new();
        for (&to, (_, receiver)) in &snapshot.parts {
            under_way.extend(receiver.recorded.iter().map(|(&(from, seq), &message)| ((from, to, seq), message)));
            for (&from, (_, sender)) in &snapshot.parts {
                under_way.extend(sender.in_flight_to(to, from, receiver).map(|(seq, message)| ((from, to, seq), message)));
            }
        }
        let in_flight: u64 = under_way.values().map(|message| message.tokens).sum();
        let expected = TOKENS * snapshot.view.len() as u64;
        ensure!(in_states + in_flight == expected, "epoch {epoch}: {in_states} + {in_flight} tokens of {expected}");
        // The messages themselves, not only their number: what each sender had sent is in exactly one of the states.
        for (&to, (_, receiver)) in &snapshot.parts {
            for (&from, (_, sender)) in &snapshot.parts {
                let sent = sender.sent.get(&to).map_or(&[][..], Vec::as_slice);
                for (n, message) in sent.iter().enumerate() {
                    let seq = n as u64 + 1;
                    let received = receiver.received.get(&from).is_some_and(|seqs| seqs.contains(&seq));
                    let recorded = under_way.get(&(from, to, seq));
                    ensure!(recorded.is_none_or(|recorded| recorded == message), "{from} -> {to}: {seq} was recorded as another");
                    ensure!(received != recorded.is_some(), "{from} -> {to}: message {seq} is in both states, or in none");
                }
            }
        }
        let count = under_way.len() as u64;
        ensure!(certified.messages_in_flight() == count, "{certified:?}, but {count} messages are in flight");
        self.reached.committed += 1;
        self.committed.push(epoch);
        Ok(())
    }

    /// After each step: of every channel, whatever isn't delivered is retained; nothing is remembered of ended epochs.
    pub(super) fn check(&mut self) -> Checked {
        for &Channel { from, to, .. } in &self.plan.channels {
            let (Some(sender), Some(receiver)) = (&self.processes[from], &self.processes[to]) else { continue };
            if sender.generation() != receiver.generation() {
                continue;
            }
            let (sent, delivered) = (sender.sent_to(to), receiver.received_from(from));
            let retained = sender.participant.unacknowledged(id(to)).messages;
            // A zombie of the old generation that was told of a new incarnation dropped what was meant for the old one.
            let alive = sender.generation() == self.generation;
            ensure!(delivered <= sent, "{from} -> {to}: {delivered} of {sent} were delivered");
            ensure!(
                !alive || delivered + retained >= sent,
                "{from} -> {to}: {delivered} delivered + {retained} retained of {sent}"
            );
        }
        for process in self.processes.iter().flatten() {
            let open: Vec<Epoch> = process.participant.open_epochs().collect();
            self.reached.most_open_epochs = self.reached.most_open_epochs.max(open.len() as u64);
            for epoch in open {
                ensure!(!process.aborted.contains(&epoch), "{epoch} is open though it was aborted");
                ensure!(!process.participant.missing(epoch).is_empty(), "{epoch} is open, but misses nothing");
            }
        }
        Ok(())
    }

    /// Once everything has arrived, everything is there, and nobody waits.
    pub(super) fn check_silence(&self) -> Checked {
        ensure!(self.network.len() == 0, "the network doesn't fall silent");
        for &Channel { from, to, .. } in &self.plan.channels {
            let (Some(sender), Some(receiver)) = (&self.processes[from], &self.processes[to]) else { continue };
            let (sent, delivered) = (sender.sent_to(to), receiver.received_from(from));
            ensure!(sent == delivered, "{from} -> {to}: {delivered} of {sent} were delivered");
            ensure!(sender.participant.unacknowledged(id(to)).messages == 0, "{from} -> {to}: something stays unacknowledged");
        }
        for (member, process) in self.processes.iter().enumerate() {
            let Some(process) = process else { continue };
            let open: Vec<_> =
                process.participant.open_epochs().map(|epoch| (epoch, process.participant.missing(epoch))).collect();
            ensure!(open.is_empty(), "{member} still waits: {open:?}");
        }
        let open: Vec<_> = self.snapshots.iter().filter(|(_, snapshot)| !snapshot.ended).map(|(epoch, _)| epoch).collect();
        ensure!(open.is_empty(), "snapshots {open:?} don't end");
        let processes = || self.processes.iter().flatten();
        let waits = processes().map(|process| process.unsent.values().map(|waits| waits.len()).sum::<usize>()).sum::<usize>();
        ensure!(waits == 0, "{waits} messages wait to be sent");
        let (tokens, expected) = (processes().map(|process| process.tokens).sum::<u64>(), TOKENS * processes().count() as u64);
        ensure!(tokens == expected, "{tokens} tokens of {expected}");
        Ok(())
    }
}

fn name(member: usize) -> MemberName {
    MemberName::new(format!("p{member}")).unwrap()
}
