//! A stand-in for an agent: polls, reports parts of tiny state, prepares and resumes. What it does not do can be chosen.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use stillframe_api::{
    Client, ClientError,
    agent::{Assignment, AssignmentQuery, Desired, MissingChannel, PartReport, PrepareProblem, Register, ReportEvent},
    snapshot::AbortReason,
};
use stillframe_archive::{ChannelRecord, ChannelsWriter, Digest, Encoding, ObjectEntry, Place, Role};
use stillframe_protocol::{
    ClusterName, Epoch, Generation, Incarnation, Logged, MemberName, Received, Recorded, Sent, Seq, SeqRanges, SnapshotId,
};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::harness::World;

/// What it does when a part is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OnSnapshot {
    Report,
    /// Says nothing at all.
    Ignore,
    /// Says what it waits for, and no more.
    Progress(Vec<MissingChannel>),
    Fail(AbortReason),
    /// Reports that it has received a message which nobody sent.
    ReportOrphan(MemberName),
    /// Reports these counters, and an object with what was logged.
    ReportChannels(Channels),
}

/// What its part says of its channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Channels {
    pub(crate) sent: Vec<Sent>,
    pub(crate) received: Vec<Received>,
    /// Messages of one byte each, by receiver.
    pub(crate) logged: Vec<(MemberName, Vec<u64>)>,
}

/// What it does when it is to prepare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OnPrepare {
    Prepared,
    Ignore,
    /// Its object is damaged.
    Fail(String),
    /// As [`Fail`](Self::Fail), for this snapshot alone.
    FailOf(SnapshotId),
    /// The archive is away, so many times.
    FailFor(u32),
    /// Says how far it is, and no more.
    Load(u64),
}

#[derive(Debug)]
pub(crate) struct Behaviour {
    pub(crate) on_snapshot: OnSnapshot,
    pub(crate) on_prepare: OnPrepare,
    pub(crate) runs: bool,
    /// What its parts count.
    pub(crate) sent: Vec<Sent>,
    pub(crate) received: Vec<Received>,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) assignment: Option<Assignment>,
    pub(crate) reported: BTreeSet<SnapshotId>,
    pub(crate) prepared: BTreeSet<u64>,
    pub(crate) left: Option<String>,
    pub(crate) committed: BTreeSet<SnapshotId>,
    /// It was told to end.
    pub(crate) ended: bool,
}

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) member: MemberName,
    pub(crate) incarnation: Incarnation,
    pub(crate) instance: Uuid,
    pub(crate) behaviour: Arc<Mutex<Behaviour>>,
    pub(crate) seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Agent {
    pub(crate) async fn start(world: &World, member: &str) -> Self {
        Self::start_as(world, member, Uuid::now_v7()).await
    }

    pub(crate) async fn start_as(world: &World, member: &str, instance: Uuid) -> Self {
        Self::start_at(world, &world.client.coordinators().to_string(), member, instance).await
    }

    /// At these replicas, in this order.
    pub(crate) async fn start_at(world: &World, urls: &str, member: &str, instance: Uuid) -> Self {
        // A client of its own, so that its connections close when it is killed.
        let client = Client::new(urls).expect("a client");
        let member = MemberName::new(member).expect("a name");
        let register = Register { member: member.clone(), instance, address: "127.0.0.1:9".to_owned() };
        let registered = client.register(&world.cluster, &register).await.expect("registered");
        let behaviour = Behaviour {
            on_snapshot: OnSnapshot::Report,
            on_prepare: OnPrepare::Prepared,
            runs: true,
            sent: Vec::new(),
            received: Vec::new(),
        };
        let behaviour = Arc::new(Mutex::new(behaviour));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let incarnation = registered.incarnation;
        let body = Body {
            client,
            cluster: world.cluster.clone(),
            member: member.clone(),
            incarnation,
            behaviour: behaviour.clone(),
            seen: seen.clone(),
            running: Generation(0),
            failed: BTreeSet::new(),
        };
        let task = tokio::spawn(body.run());
        Self { member, incarnation, instance, behaviour, seen, task }
    }

    /// As SIGKILL: its connections close, it says nothing any more.
    pub(crate) async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
    }

    pub(crate) fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().expect("unpoisoned"));
    }

    /// Reports something; whether that was of interest.
    pub(crate) async fn say(&self, world: &World, event: ReportEvent) -> Result<bool, ClientError> {
        let answer = world.client.report(&world.cluster, &self.member, self.incarnation, event).await;
        answer.map(|accepted| accepted.relevant)
    }

    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().expect("unpoisoned"))
    }

    pub(crate) fn desired(&self) -> Option<Desired> {
        self.seen(|seen| seen.assignment.as_ref().map(|assignment| assignment.desired.clone()))
    }
}

struct Body {
    client: Client,
    cluster: ClusterName,
    member: MemberName,
    incarnation: Incarnation,
    behaviour: Arc<Mutex<Behaviour>>,
    seen: Arc<Mutex<Seen>>,
    running: Generation,
    failed: BTreeSet<SnapshotId>,
}

impl Body {
    async fn run(mut self) {
        let (mut after, mut replica) = (0, None);
        loop {
            let wait = Some("1s".parse().expect("a duration"));
            let query = AssignmentQuery { incarnation: self.incarnation, after, peers_after: 0, wait, replica };
            match self.client.assignment(&self.cluster, &self.member, &query).await {
                Ok(assignment) => {
                    after = assignment.revision;
                    replica = Some(assignment.replica);
                    if let Desired::Leave { why } = &assignment.desired {
                        self.seen.lock().expect("unpoisoned").left = Some(why.clone());
                        return;
                    }
                    if let Desired::End {} = &assignment.desired {
                        self.seen.lock().expect("unpoisoned").ended = true;
                        return;
                    }
                    self.act(&assignment).await;
                    self.seen.lock().expect("unpoisoned").assignment = Some(assignment);
                }
                Err(ClientError::Refused(problem)) if problem.status < 500 => {
                    self.seen.lock().expect("unpoisoned").left = Some(problem.to_string());
                    return;
                }
                // Away: an agent would wait longer.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn report(&self, event: ReportEvent) {
        while let Err(error) = self.client.report(&self.cluster, &self.member, self.incarnation, event.clone()).await {
            if !error.is_transient() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn act(&mut self, assignment: &Assignment) {
        let (on_snapshot, on_prepare, runs) = {
            let behaviour = self.behaviour.lock().expect("unpoisoned");
            (behaviour.on_snapshot.clone(), behaviour.on_prepare.clone(), behaviour.runs)
        };
        match &assignment.desired {
            Desired::Run { generation, .. } if *generation != self.running && runs => {
                self.running = *generation;
                self.report(ReportEvent::Running { generation: *generation }).await;
            }
            Desired::Prepare(prepare) if !self.seen.lock().expect("unpoisoned").prepared.contains(&prepare.generation.0) => {
                let (restore, generation) = (prepare.restore, prepare.generation);
                match on_prepare {
                    OnPrepare::FailFor(times) if prepare.attempt < times => {
                        let (attempt, problem) = (prepare.attempt, PrepareProblem::Unavailable);
                        let detail = "the store doesn't answer".to_owned();
                        self.report(ReportEvent::PrepareFailed { restore, generation, attempt, problem, detail }).await;
                    }
                    OnPrepare::FailOf(snapshot) if prepare.snapshot == snapshot => {
                        let (attempt, problem) = (prepare.attempt, PrepareProblem::Unreadable);
                        let detail = format!("clusters/bank/snapshots/{snapshot}/state is missing");
                        self.report(ReportEvent::PrepareFailed { restore, generation, attempt, problem, detail }).await;
                    }
                    OnPrepare::Prepared | OnPrepare::FailFor(_) | OnPrepare::FailOf(_) => {
                        self.seen.lock().expect("unpoisoned").prepared.insert(generation.0);
                        let bytes = prepare.objects.iter().map(|object| object.bytes).sum();
                        self.report(ReportEvent::Prepared { restore, generation, bytes }).await;
                    }
                    OnPrepare::Fail(detail) => {
                        let (attempt, problem) = (prepare.attempt, PrepareProblem::Unreadable);
                        self.report(ReportEvent::PrepareFailed { restore, generation, attempt, problem, detail }).await;
                    }
                    OnPrepare::Load(loaded) => self.report(ReportEvent::Loading { restore, generation, loaded }).await,
                    OnPrepare::Ignore => {}
                }
            }
            Desired::Run { .. } | Desired::Prepare(_) | Desired::Wait { .. } | Desired::End {} | Desired::Leave { .. } => {}
        }
        for outcome in assignment.outcomes.iter().filter(|outcome| outcome.committed) {
            self.seen.lock().expect("unpoisoned").committed.insert(outcome.snapshot);
        }
        for open in assignment.snapshots.iter().filter(|open| open.in_view) {
            if self.seen.lock().expect("unpoisoned").reported.contains(&open.snapshot) {
                continue;
            }
            let (snapshot, epoch, generation) = (open.snapshot, open.epoch, open.generation);
            match &on_snapshot {
                OnSnapshot::Report => {
                    let ReportEvent::Part(mut part) = part(snapshot, epoch, generation) else { unreachable!() };
                    {
                        let behaviour = self.behaviour.lock().expect("unpoisoned");
                        (part.sent, part.received) = (behaviour.sent.clone(), behaviour.received.clone());
                    }
                    self.report(ReportEvent::Part(part)).await;
                    self.seen.lock().expect("unpoisoned").reported.insert(snapshot);
                }
                OnSnapshot::ReportOrphan(from) => {
                    let ReportEvent::Part(mut part) = part(snapshot, epoch, generation) else { unreachable!() };
                    part.received = vec![Received { from: from.clone(), ranges: SeqRanges::prefix(1) }];
                    self.report(ReportEvent::Part(part)).await;
                    self.seen.lock().expect("unpoisoned").reported.insert(snapshot);
                }
                OnSnapshot::ReportChannels(channels) => {
                    let ReportEvent::Part(mut part) = part(snapshot, epoch, generation) else { unreachable!() };
                    (part.sent, part.received) = (channels.sent.clone(), channels.received.clone());
                    part.logged = channels.logged.iter().map(|(to, seqs)| logged(to, seqs)).collect();
                    part.objects.extend(log_of(channels));
                    self.report(ReportEvent::Part(part)).await;
                    self.seen.lock().expect("unpoisoned").reported.insert(snapshot);
                }
                OnSnapshot::Progress(missing) => {
                    let missing = missing.clone();
                    self.report(ReportEvent::Progress { snapshot, missing, spooled_bytes: 0 }).await;
                }
                OnSnapshot::Fail(reason) if self.failed.insert(snapshot) => {
                    let event = ReportEvent::Failed { snapshot, reason: *reason, detail: "it said so".to_owned(), channel: None };
                    self.report(event).await;
                }
                OnSnapshot::Fail(_) | OnSnapshot::Ignore => {}
            }
        }
    }
}

fn logged(to: &MemberName, seqs: &[u64]) -> Logged {
    Logged { to: to.clone(), ranges: seqs.iter().copied().map(Seq).collect(), bytes: seqs.len() as u64 }
}

/// The object with what was logged, where anything was.
fn log_of(channels: &Channels) -> Option<ObjectEntry> {
    let mut writer = ChannelsWriter::new(Vec::new());
    for (to, seq) in channels.logged.iter().flat_map(|(to, seqs)| seqs.iter().map(move |seq| (to, seq))) {
        let record = ChannelRecord::Logged { to: to.clone(), seq: Seq(*seq), payload: Bytes::from_static(b"m") };
        writer.write(&record).expect("written");
    }
    (writer.records() > 0).then(|| inline(Role::Channels, writer.finish().expect("finished").into()))
}

fn inline(role: Role, content: Bytes) -> ObjectEntry {
    let (bytes, digest) = (content.len() as u64, Digest::of(&content));
    ObjectEntry { role, place: Place::Inline(content), bytes, digest, encoding: Encoding::Raw, plain_bytes: bytes }
}

/// A complete part of nothing but three bytes of state.
pub(crate) fn part(snapshot: SnapshotId, epoch: Epoch, generation: Generation) -> ReportEvent {
    let (sent, received, recorded): (Vec<Sent>, Vec<Received>, Vec<Recorded>) = Default::default();
    let objects = vec![inline(Role::State, Bytes::from_static(b"abc"))];
    ReportEvent::Part(Box::new(PartReport {
        snapshot,
        epoch,
        generation,
        objects,
        sent,
        received,
        recorded,
        logged: Vec::new(),
        peers: Vec::new(),
    }))
}
