//! One member: its participant, and an application that passes tokens on. What the application saw is written down here; the checks use only that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use stillframe_protocol::{
    ChannelCounters, Epoch, Generation, Identity, Incarnation, MemberId, Participant, Seq, SeqRanges, resumption::resumption,
};

use super::{BrokenRestore, ensure};

/// What every member begins with.
pub(super) const TOKENS: u64 = 100;

/// A message of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    /// Different for every send of a run, over all generations.
    pub(super) unique: u64,
    pub(super) tokens: u64,
}

impl Message {
    pub(super) fn encode(self) -> Bytes {
        [self.unique.to_be_bytes(), self.tokens.to_be_bytes()].concat().into()
    }

    pub(super) fn decode(bytes: &Bytes) -> Self {
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        Self { unique: number(0), tokens: number(8) }
    }
}

/// What the application was, at a cut.
#[derive(Debug, Clone, Default)]
pub(super) struct Captured {
    pub(super) tokens: u64,
    pub(super) sent: BTreeMap<usize, Vec<Message>>,
    pub(super) received: BTreeMap<usize, BTreeSet<u64>>,
    /// Since the cut, by sender and number.
    pub(super) recorded: BTreeMap<(usize, u64), Message>,
    /// At the cut, by receiver and number.
    pub(super) logged: BTreeMap<(usize, u64), Message>,
    /// What waited to be sent, by receiver, in its order.
    pub(super) unsent: BTreeMap<usize, VecDeque<Message>>,
}

impl Captured {
    /// What the member has, besides what is in flight.
    pub(super) fn all_tokens(&self) -> u64 {
        self.tokens + tokens(&self.unsent)
    }

    /// What the member begins from when this is restored with the parts of the others, by the production rule.
    pub(super) fn restored(&self, me: usize, broken: Option<BrokenRestore>, of: impl Fn(usize) -> Option<Self>) -> Self {
        let mut part = self.clone();
        for (&to, messages) in &mut part.sent {
            let receiver = of(to).unwrap_or_default();
            let (received, recorded, logged) = (receiver.received_of(me), receiver.recorded_of(me), self.logged_of(to));
            let again = match broken {
                None => resumption(&received, &recorded, &logged).unwrap().resent,
                Some(BrokenRestore::RepeatsArrived) => logged,
                Some(BrokenRestore::ForgetsLog) => SeqRanges::new(),
            };
            let has_arrived = |seq: u64| received.contains(Seq(seq)) || recorded.contains(Seq(seq));
            let all = std::mem::take(messages).into_iter().zip(1..);
            *messages = all.filter(|(_, seq)| has_arrived(*seq)).map(|(message, _)| message).collect();
            let again: VecDeque<Message> = again.iter().flatten().map(|seq| self.logged[&(to, seq)]).collect();
            let waits = part.unsent.entry(to).or_default();
            let others = std::mem::replace(waits, again);
            waits.extend(others);
        }
        part.sent.retain(|_, messages| !messages.is_empty());
        for (&from, received) in &mut part.received {
            let logged = of(from).unwrap_or_default().logged_of(me);
            let on = resumption(&self.received_of(from), &self.recorded_of(from), &logged).unwrap();
            *received = on.received.iter().flatten().collect();
        }
        part.logged.clear();
        part
    }

    fn received_of(&self, from: usize) -> SeqRanges {
        self.received.get(&from).map(ranges).unwrap_or_default()
    }

    fn recorded_of(&self, from: usize) -> SeqRanges {
        self.recorded.range((from, 0)..=(from, u64::MAX)).map(|(&(_, seq), _)| Seq(seq)).collect()
    }

    fn logged_of(&self, to: usize) -> SeqRanges {
        self.logged.range((to, 0)..=(to, u64::MAX)).map(|(&(_, seq), _)| Seq(seq)).collect()
    }

    /// What was logged for a member that hadn't received it at its cut.
    pub(super) fn in_flight_to(&self, to: usize, from: usize, receiver: &Self) -> impl Iterator<Item = (u64, Message)> {
        let received = receiver.received.get(&from);
        let logged = self.logged.range((to, 0)..=(to, u64::MAX)).map(|(&(_, seq), &message)| (seq, message));
        logged.filter(move |(seq, _)| received.is_none_or(|received| !received.contains(seq)))
    }
}

/// One member.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) participant: Participant,
    pub(super) tokens: u64,
    /// What waits to be sent, by receiver.
    pub(super) unsent: BTreeMap<usize, VecDeque<Message>>,
    /// Every message that was sent in this history, by receiver; message n is at n - 1.
    pub(super) sent: BTreeMap<usize, Vec<Message>>,
    /// Every number that was delivered in this history, by sender.
    pub(super) received: BTreeMap<usize, BTreeSet<u64>>,
    pub(super) captured: BTreeMap<Epoch, Captured>,
    pub(super) aborted: BTreeSet<Epoch>,
    /// The epoch that it began with.
    pub(super) base: Epoch,
    /// Markers that were transmitted, by receiver.
    pub(super) marked: BTreeSet<(usize, Epoch)>,
    /// The epoch at the first open, by receiver.
    pub(super) opened_in: BTreeMap<usize, Epoch>,
    /// The coordinator's words that are under way.
    pub(super) inbox: Vec<Word>,
    /// It saw a frame of a newer generation, and holds everything.
    pub(super) holds: bool,
}

/// What the coordinator tells a member.
#[derive(Debug, Clone, Copy)]
pub(super) enum Word {
    Begin(Epoch),
    Abort(Epoch),
}

impl Process {
    pub(super) fn new(member: usize, incarnation: Incarnation, generation: Generation, base: Epoch, from: Captured) -> Self {
        let identity = Identity { member: MemberId(member as u32), incarnation, generation };
        let Captured { mut tokens, sent, mut received, recorded, logged: _, unsent } = from;
        for (&(from, seq), message) in &recorded {
            tokens += message.tokens;
            received.entry(from).or_default().insert(seq);
        }
        let counters = ChannelCounters {
            sent: sent.iter().map(|(&to, messages)| (MemberId(to as u32), messages.len() as u64)).collect(),
            received: received.iter().map(|(&from, seqs)| (MemberId(from as u32), ranges(seqs))).collect(),
        };
        Self {
            participant: Participant::restored(identity, base, counters),
            tokens,
            unsent,
            sent,
            received,
            captured: BTreeMap::new(),
            aborted: BTreeSet::new(),
            base,
            marked: BTreeSet::new(),
            opened_in: BTreeMap::new(),
            inbox: Vec::new(),
            holds: false,
        }
    }

    /// Sends a message, if the channel is open.
    pub(super) fn send(&mut self, to: usize, message: Message) -> Result<bool, String> {
        let Ok(seq) = self.participant.send(MemberId(to as u32), message.encode()) else { return Ok(false) };
        let sent = self.sent.entry(to).or_default();
        sent.push(message);
        ensure!(seq.0 == sent.len() as u64, "-> {to}: number {seq} for message {}", sent.len());
        Ok(true)
    }

    pub(super) fn generation(&self) -> Generation {
        self.participant.identity().generation
    }

    pub(super) fn sent_to(&self, to: usize) -> u64 {
        self.sent.get(&to).map_or(0, |messages| messages.len() as u64)
    }

    pub(super) fn received_from(&self, from: usize) -> u64 {
        self.received.get(&from).map_or(0, |seqs| seqs.len() as u64)
    }
}

/// All tokens in messages that wait.
pub(super) fn tokens(unsent: &BTreeMap<usize, VecDeque<Message>>) -> u64 {
    unsent.values().flatten().map(|message| message.tokens).sum()
}

pub(super) fn ranges(seqs: &BTreeSet<u64>) -> SeqRanges {
    seqs.iter().copied().map(Seq).collect()
}
