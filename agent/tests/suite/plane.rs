//! A coordinator in memory: enough of one to form a cluster, take snapshots (checking the certificate) and put it back.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use stillframe_agent::control::{ControlError, ControlPlane};
use stillframe_api::{
    HumanDuration,
    agent::{
        Arrived, Assignment, AssignmentQuery, Desired, Leave, LeftPeer, OpenSnapshot, Outcome, PartReport, Peer, Peers,
        PrepareRestore, Register, Registered, ReportAccepted, ReportEvent,
    },
    cluster::ClusterPhase,
};
use stillframe_archive::{Archive, ArchiveUrl, ChannelRecord, ChannelsReader, Role};
use stillframe_protocol::{
    ChannelState, ClusterName, Departed, Epoch, Generation, Incarnation, MemberId, MemberName, PartCounters, RestoreId,
    SeqRanges, SnapshotId, ViewMember, certificate,
    resumption::{Resumption, resumption},
};
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    pub(crate) incarnation: Incarnation,
    instance: Uuid,
    pub(crate) address: String,
    pub(crate) desired: Desired,
    pub(crate) leave: Option<Leave>,
}

#[derive(Debug, Default)]
struct State {
    members: BTreeMap<MemberName, Member>,
    revision: u64,
    peers_revision: u64,
    epoch: Epoch,
    channel_state: ChannelState,
    aligned_timeout: Option<HumanDuration>,
    in_force: Generation,
    open: Vec<OpenSnapshot>,
    outcomes: Vec<Outcome>,
    parts: BTreeMap<(Epoch, MemberName), PartReport>,
    reports: Vec<(MemberName, ReportEvent)>,
    polls: u64,
    /// Polls that it didn't answer.
    refused: u64,
    away: bool,
    /// Who hears of no snapshot after this epoch.
    deaf: BTreeMap<MemberName, Epoch>,
    /// Those that left, and what they counted.
    left: Vec<LeftPeer>,
    departed: Vec<Departed>,
}

/// The coordinator.
#[derive(Debug)]
pub(crate) struct Plane {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    pub(crate) archive: Archive,
    lease: HumanDuration,
    pub(crate) cluster: ClusterName,
    pub(crate) dir: tempfile::TempDir,
}

impl State {
    /// To run in this generation.
    fn run(&self, generation: u64, epoch: Epoch, restore: Option<RestoreId>) -> Desired {
        let (channel_state, aligned_timeout) = (self.channel_state, self.aligned_timeout);
        Desired::Run { generation: Generation(generation), epoch, restore, channel_state, aligned_timeout }
    }
}

/// A snapshot whose certificate held.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) snapshot: SnapshotId,
    pub(crate) parts: BTreeMap<MemberName, PartReport>,
    pub(crate) in_flight: u64,
    /// Those that had left and that its certificate needed.
    pub(crate) departed: Vec<MemberName>,
}

impl Committed {
    /// What a member had received of another at its cut.
    pub(crate) fn received(&self, from: &MemberName, by: &MemberName) -> SeqRanges {
        let received = self.parts.get(by).and_then(|part| part.received.iter().find(|received| received.from == *from));
        received.map(|received| received.ranges.clone()).unwrap_or_default()
    }

    /// How a channel goes on when this is put back, as the coordinator tells its members.
    fn resumption(&self, from: &MemberName, to: &MemberName) -> Resumption {
        let recorded = self.parts.get(to).and_then(|part| part.recorded.iter().find(|recorded| recorded.from == *from));
        let recorded = recorded.map(|recorded| recorded.ranges.clone()).unwrap_or_default();
        let logged = self.parts.get(from).and_then(|part| part.logged.iter().find(|logged| logged.to == *to));
        let logged = logged.map(|logged| logged.ranges.clone()).unwrap_or_default();
        resumption(&self.received(from, to), &recorded, &logged).unwrap()
    }

    /// How many messages were logged that had arrived, and that had not.
    pub(crate) fn logged(&self) -> (u64, u64) {
        let (mut arrived, mut missing) = (0, 0);
        for (member, part) in &self.parts {
            for log in &part.logged {
                let lost = log.ranges.minus(&self.received(member, &log.to)).len();
                missing += lost;
                arrived += log.ranges.len() - lost;
            }
        }
        (arrived, missing)
    }
}

/// Names in a snapshot, and those that take their place.
pub(crate) type Names = BTreeMap<MemberName, MemberName>;

fn now(names: &Names, member: &MemberName) -> MemberName {
    names.get(member).unwrap_or(member).clone()
}

pub(crate) fn name(text: &str) -> MemberName {
    MemberName::new(text).unwrap()
}

impl Plane {
    pub(crate) async fn new(lease: Duration) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let url = ArchiveUrl::from_dir(&dir.path().join("archive")).unwrap();
        Arc::new(Self {
            state: Mutex::default(),
            changed: watch::channel(0).0,
            archive: Archive::open_or_create(&url).await.unwrap(),
            lease: HumanDuration::new(lease).unwrap(),
            cluster: ClusterName::new("test").unwrap(),
            dir,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        state.revision += 1;
        let result = change(&mut state);
        let revision = state.revision;
        drop(state);
        self.changed.send_replace(revision);
        result
    }

    /// Waits until the state answers.
    async fn until<T>(&self, what: &str, mut look: impl FnMut(&State) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        let wait = async {
            loop {
                if let Some(found) = look(&self.state()) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(found) => found,
            Err(_) => panic!("waited {PATIENCE:?} for {what}; reports: {:#?}", self.state().reports),
        }
    }

    /// How members that begin to run from now on get messages under way into snapshots.
    pub(crate) fn set_channel_state(&self, channel_state: ChannelState, aligned_timeout: Option<Duration>) {
        let mut state = self.state();
        state.channel_state = channel_state;
        state.aligned_timeout = aligned_timeout.map(|timeout| HumanDuration::new(timeout).unwrap());
    }

    /// Whether it answers at all.
    pub(crate) fn set_away(&self, away: bool) {
        self.change(|state| state.away = away);
    }

    pub(crate) fn polls(&self) -> u64 {
        self.state().polls
    }

    pub(crate) fn refused(&self) -> u64 {
        self.state().refused
    }

    pub(crate) fn member(&self, of: &str) -> Member {
        self.state().members[&name(of)].clone()
    }

    pub(crate) async fn registered(&self, members: usize) {
        self.until("members", |state| (state.members.len() >= members).then_some(())).await;
    }

    pub(crate) async fn incarnation(&self, of: &str, incarnation: u64) {
        self.until("a new incarnation", |state| {
            state.members.get(&name(of)).is_some_and(|m| m.incarnation.0 >= incarnation).then_some(())
        })
        .await;
    }

    pub(crate) fn desire(&self, of: &str, desired: Desired) {
        self.change(|state| state.members.get_mut(&name(of)).unwrap().desired = desired);
    }

    /// A generation begins, and nobody is told of it yet.
    pub(crate) fn begin_unheard(&self, generation: u64) {
        self.change(|state| state.in_force = Generation(generation));
    }

    /// The member is at another address from now on.
    pub(crate) fn move_to(&self, of: &str, address: String) {
        self.change(|state| {
            state.members.get_mut(&name(of)).unwrap().address = address;
            state.peers_revision = state.revision;
        });
    }

    /// The member isn't told of any new snapshot, until it may hear again.
    pub(crate) fn deafen(&self, of: &str) {
        self.change(|state| _ = state.deaf.insert(name(of), state.epoch));
    }

    pub(crate) fn hear(&self, of: &str) {
        self.change(|state| _ = state.deaf.remove(&name(of)));
    }

    /// How far a member's leaving is; all hear of it.
    pub(crate) fn leave(&self, of: &str, leave: Leave) {
        self.change(|state| {
            state.members.get_mut(&name(of)).unwrap().leave = Some(leave);
            state.peers_revision = state.revision;
        });
    }

    /// It is known what a member that has left counted, and its peers haven't heard of it.
    pub(crate) fn departed(&self, counters: Departed) {
        self.change(|state| {
            state.members.get_mut(&counters.member).unwrap().leave = Some(Leave::Left {});
            state.departed.push(counters);
        });
    }

    /// A member has left: its assignment stays, the others hear of its end.
    pub(crate) fn left(&self, counters: Departed) {
        self.change(|state| {
            let member = &state.members[&counters.member];
            state.left.push(LeftPeer { member_id: member.id, incarnation: member.incarnation });
            state.members.get_mut(&counters.member).unwrap().leave = Some(Leave::Left {});
            state.peers_revision = state.revision;
        });
    }

    /// Lets everyone run.
    pub(crate) fn run_all(&self, generation: u64) {
        self.change(|state| {
            let run = state.run(generation, state.epoch, None);
            state.members.values_mut().for_each(|member| member.desired = run.clone());
        });
    }

    /// Has a member run in this generation.
    pub(crate) fn run(&self, of: &str, generation: u64, epoch: Epoch, restore: Option<RestoreId>) {
        let desired = self.state().run(generation, epoch, restore);
        self.desire(of, desired);
    }

    pub(crate) async fn reported<T>(&self, what: &str, mut look: impl FnMut(&MemberName, &ReportEvent) -> Option<T>) -> T {
        self.until(what, |state| state.reports.iter().find_map(|(member, event)| look(member, event))).await
    }

    /// Why a snapshot can't be completed, if somebody said so.
    pub(crate) fn failure(&self, of: SnapshotId) -> Option<String> {
        self.state().reports.iter().find_map(|(_, event)| match event {
            ReportEvent::Failed { snapshot, detail, .. } if *snapshot == of => Some(detail.clone()),
            _ => None,
        })
    }

    /// Begins a snapshot with these members in its view.
    pub(crate) fn begin(&self, generation: u64, inline_limit: u64) -> (SnapshotId, Epoch) {
        self.change(|state| {
            state.epoch = state.epoch.next();
            let open = OpenSnapshot {
                snapshot: SnapshotId(Uuid::now_v7()),
                epoch: state.epoch,
                generation: Generation(generation),
                inline_limit,
                deadline_in_ms: 60_000,
                in_view: true,
            };
            state.open.push(open.clone());
            (open.snapshot, open.epoch)
        })
    }

    /// Begins a snapshot and, in the same word, tells of a member that isn't in its view and isn't there.
    pub(crate) fn begin_with_newcomer(&self, generation: u64, newcomer: &str) -> (SnapshotId, Epoch) {
        self.change(|state| {
            state.epoch = state.epoch.next();
            let (snapshot, epoch) = (SnapshotId(Uuid::now_v7()), state.epoch);
            state.open.push(OpenSnapshot {
                snapshot,
                epoch,
                generation: Generation(generation),
                inline_limit: 1 << 14,
                deadline_in_ms: 60_000,
                in_view: true,
            });
            let (id, incarnation, instance) = (MemberId(99), Incarnation(1), Uuid::now_v7());
            let desired = Desired::Wait { why: "it isn't there".to_owned() };
            let member = Member { id, incarnation, instance, address: "127.0.0.1:9".to_owned(), desired, leave: None };
            state.members.insert(name(newcomer), member);
            state.peers_revision = state.revision;
            (snapshot, epoch)
        })
    }

    pub(crate) fn end(&self, snapshot: SnapshotId, committed: bool) {
        self.change(|state| {
            let at = state.open.iter().position(|open| open.snapshot == snapshot).unwrap();
            let epoch = state.open.remove(at).epoch;
            state.outcomes.push(Outcome { snapshot, epoch, committed });
        });
    }

    /// Waits for the parts of these members, checks the certificate and commits.
    pub(crate) async fn commit(&self, generation: u64, snapshot: SnapshotId, epoch: Epoch, view: &[&str]) -> Committed {
        let wanted: Vec<MemberName> = view.iter().map(|of| name(of)).collect();
        let (parts, members) = self
            .until("all parts", |state| {
                if let Some(failed) =
                    state.reports.iter().find(|(_, e)| matches!(e, ReportEvent::Failed { snapshot: s, .. } if *s == snapshot))
                {
                    panic!("the snapshot failed: {failed:?}");
                }
                let parts: Option<BTreeMap<MemberName, PartReport>> =
                    wanted.iter().map(|m| Some((m.clone(), state.parts.get(&(epoch, m.clone()))?.clone()))).collect();
                Some((parts?, state.members.clone()))
            })
            .await;
        let incarnation = |of: &MemberName| members[of].incarnation;
        let view: Vec<ViewMember> =
            wanted.iter().map(|m| ViewMember { member: m.clone(), incarnation: incarnation(m) }).collect();
        let counters: Vec<PartCounters> = parts
            .iter()
            .map(|(member, part)| PartCounters {
                member: member.clone(),
                incarnation: incarnation(member),
                generation: part.generation,
                sent: part.sent.clone(),
                received: part.received.clone(),
                recorded: part.recorded.clone(),
                logged: part.logged.clone(),
                peers: part.peers.clone(),
            })
            .collect();
        let generation = Generation(generation);
        let needed = certificate::needed(&view, &counters, self.state().departed.clone());
        let certified = certificate::verify_with(generation, &view, &counters, &needed)
            .unwrap_or_else(|wrong| panic!("not consistent: {wrong:#?}"));
        self.end(snapshot, true);
        let departed = needed.into_iter().map(|gone| gone.member).collect();
        Committed { snapshot, parts, in_flight: certified.messages_in_flight(), departed }
    }

    pub(crate) async fn snapshot(&self, generation: u64, inline_limit: u64, view: &[&str]) -> Committed {
        let (snapshot, epoch) = self.begin(generation, inline_limit);
        self.commit(generation, snapshot, epoch, view).await
    }

    /// Has every member of the snapshot prepare.
    pub(crate) fn prepare(&self, committed: &Committed, generation: u64) -> RestoreId {
        let restore = RestoreId(Uuid::now_v7());
        self.prepare_as(committed, generation, restore, 0, &Names::new());
        restore
    }

    /// Has the members that take up the parts prepare, for the so manyeth time.
    pub(crate) fn prepare_as(&self, committed: &Committed, generation: u64, restore: RestoreId, attempt: u32, names: &Names) {
        self.change(|state| {
            state.open.clear();
            for (member, part) in &committed.parts {
                let (mut sent, mut received, mut recorded) = (part.sent.clone(), part.received.clone(), part.recorded.clone());
                let (mut logged, mut arrived) = (part.logged.clone(), Vec::new());
                for channel in &mut sent {
                    let on = committed.resumption(member, &channel.to);
                    channel.messages = on.sent;
                    if let Some(log) = logged.iter().find(|log| log.to == channel.to) {
                        let (to, ranges) = (now(names, &log.to), log.ranges.minus(&on.resent));
                        arrived.push(Arrived { to, ranges });
                    }
                }
                for channel in &mut received {
                    channel.ranges = committed.resumption(&channel.from, member).received;
                }
                logged.iter_mut().for_each(|log| log.to = now(names, &log.to));
                sent.iter_mut().for_each(|channel| channel.to = now(names, &channel.to));
                received.iter_mut().for_each(|channel| channel.from = now(names, &channel.from));
                recorded.iter_mut().for_each(|channel| channel.from = now(names, &channel.from));
                state.members.get_mut(&now(names, member)).unwrap().desired = Desired::Prepare(Box::new(PrepareRestore {
                    restore,
                    snapshot: committed.snapshot,
                    generation: Generation(generation),
                    in_force: state.in_force,
                    objects: part.objects.clone(),
                    sent,
                    received,
                    recorded,
                    logged,
                    arrived,
                    renamed: names.clone(),
                    attempt,
                }));
            }
        });
    }

    /// Puts the cluster back and waits until everyone runs.
    pub(crate) async fn restore(&self, committed: &Committed, generation: u64) {
        self.restore_as(committed, generation, &Names::new()).await;
    }

    /// Puts the cluster back under other names, and waits until everyone runs. Whoever had one of the old ones is out.
    pub(crate) async fn restore_as(&self, committed: &Committed, generation: u64, names: &Names) {
        let restore = RestoreId(Uuid::now_v7());
        self.prepare_as(committed, generation, restore, 0, names);
        let members: Vec<MemberName> = committed.parts.keys().map(|member| now(names, member)).collect();
        self.until("everyone prepared", |state| {
            let prepared = |of: &MemberName| {
                state
                    .reports
                    .iter()
                    .any(|(m, e)| m == of && matches!(e, ReportEvent::Prepared { restore: r, .. } if *r == restore))
            };
            members.iter().all(prepared).then_some(())
        })
        .await;
        self.change(|state| {
            let (epoch, revision) = (state.epoch, state.revision);
            let before = state.members.len();
            state.members.retain(|member, _| !names.contains_key(member) || members.contains(member));
            if state.members.len() < before {
                state.peers_revision = revision;
            }
            let run = state.run(generation, epoch, Some(restore));
            members.iter().for_each(|member| state.members.get_mut(member).unwrap().desired = run.clone());
        });
        self.until("everyone running", |state| {
            let runs = |of: &MemberName| {
                state
                    .reports
                    .iter()
                    .any(|(m, e)| m == of && matches!(e, ReportEvent::Running { generation: g } if g.0 == generation))
            };
            members.iter().all(runs).then_some(())
        })
        .await;
    }

    /// The state object of a part.
    pub(crate) async fn state_of(&self, part: &PartReport) -> bytes::Bytes {
        let object = part.objects.iter().find(|object| object.role == Role::State).unwrap();
        self.archive.get(object).await.unwrap().into_bytes().unwrap()
    }

    /// The channels object of a part.
    pub(crate) async fn channels_of(&self, part: &PartReport) -> Vec<ChannelRecord> {
        let object = part.objects.iter().find(|object| object.role == Role::Channels).unwrap();
        ChannelsReader::new(self.archive.get(object).await.unwrap()).map(Result::unwrap).collect()
    }

    fn assignment_for(&self, member: &MemberName, query: &AssignmentQuery) -> Result<Assignment, ControlError> {
        let state = self.state();
        let entry = state.members.get(member).ok_or_else(|| ControlError::Refused("unknown member".to_owned()))?;
        let desired = if entry.incarnation == query.incarnation {
            entry.desired.clone()
        } else {
            Desired::Leave { why: format!("incarnation {} has taken over", entry.incarnation) }
        };
        let peers = (state.peers_revision > query.peers_after).then(|| Peers {
            revision: state.peers_revision,
            members: state
                .members
                .iter()
                .filter(|(_, m)| !matches!(m.leave, Some(Leave::Left {})))
                .map(|(member, m)| Peer {
                    member: member.clone(),
                    member_id: m.id,
                    incarnation: m.incarnation,
                    address: m.address.clone(),
                    leaving: matches!(m.leave, Some(Leave::Draining {} | Leave::Drained { .. })),
                })
                .collect(),
            left: state.left.clone(),
        });
        let heard = state.deaf.get(member).copied().unwrap_or(state.epoch);
        Ok(Assignment {
            revision: state.revision,
            cluster: self.cluster.clone(),
            phase: ClusterPhase::Running,
            epoch: heard,
            desired,
            leave: entry.leave.clone(),
            peers,
            snapshots: state.open.iter().filter(|open| open.epoch <= heard).cloned().collect(),
            outcomes: state.outcomes.iter().rev().take(8).rev().cloned().collect(),
            replica: uuid::Uuid::nil(),
            view_age_ms: 0,
        })
    }
}

#[async_trait]
impl ControlPlane for Plane {
    async fn register(&self, _: &ClusterName, request: &Register) -> Result<Registered, ControlError> {
        if self.state().away {
            return Err(ControlError::Away("away".to_owned()));
        }
        let (member_id, incarnation) = self.change(|state| {
            let next_id = MemberId(u32::try_from(state.members.len()).unwrap() + 1);
            let before = state.members.get(&request.member).cloned();
            if let Some(before) = &before
                && before.instance == request.instance
            {
                return (before.id, before.incarnation);
            }
            let id = before.as_ref().map_or(next_id, |before| before.id);
            let incarnation = before.map_or(Incarnation(1), |before| before.incarnation.next());
            let desired = Desired::Wait { why: "forming".to_owned() };
            let member =
                Member { id, incarnation, instance: request.instance, address: request.address.clone(), desired, leave: None };
            state.members.insert(request.member.clone(), member);
            state.peers_revision = state.revision;
            (id, incarnation)
        });
        Ok(Registered {
            member_id,
            incarnation,
            archive: self.archive.url().to_string(),
            archive_id: self.archive.id(),
            lease: self.lease,
        })
    }

    async fn assignment(
        &self,
        _: &ClusterName,
        member: &MemberName,
        query: &AssignmentQuery,
    ) -> Result<Assignment, ControlError> {
        let mut changed = self.changed.subscribe();
        let until = Instant::now() + query.wait.map_or(Duration::from_secs(20), HumanDuration::get);
        loop {
            {
                let mut state = self.state();
                if state.away {
                    state.refused += 1;
                    return Err(ControlError::Away("away".to_owned()));
                }
                if state.revision > query.after {
                    state.polls += 1;
                    break;
                }
            }
            if tokio::time::timeout_at(until.into(), changed.changed()).await.is_err() {
                self.state().polls += 1;
                break;
            }
        }
        self.assignment_for(member, query)
    }

    async fn report(
        &self,
        _: &ClusterName,
        member: &MemberName,
        incarnation: Incarnation,
        event: ReportEvent,
    ) -> Result<ReportAccepted, ControlError> {
        if self.state().away {
            return Err(ControlError::Away("away".to_owned()));
        }
        let mut state = self.state();
        if state.members.get(member).is_none_or(|m| m.incarnation != incarnation) {
            return Err(ControlError::Fenced("a newer incarnation has taken over".to_owned()));
        }
        if let ReportEvent::Part(part) = &event {
            state.parts.insert((part.epoch, member.clone()), (**part).clone());
        }
        state.reports.push((member.clone(), event));
        // Not a change that agents must know; only the test is woken.
        let revision = state.revision;
        drop(state);
        self.changed.send_replace(revision);
        Ok(ReportAccepted { relevant: true })
    }
}
