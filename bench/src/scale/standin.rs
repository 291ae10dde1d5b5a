//! A light stand-in for an agent: it registers, polls and reports as an agent does, and has no application, no data plane and no spool.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::bail;
use bytes::Bytes;
use stillframe_api::{
    Client, HumanDuration,
    agent::{Assignment, AssignmentQuery, Desired, OpenSnapshot, PartReport, Register, ReportEvent},
};
use stillframe_archive::{ChannelRecord, ChannelsWriter, EncodedObject, ObjectEntry, ObjectKey, Role};
use stillframe_protocol::{ClusterName, Epoch, Incarnation, MemberName, Received, RestoreId, Sent, SeqRanges};
use tokio::task::JoinSet;
use uuid::Uuid;

/// How many messages each member sends to the next between two cuts.
const MESSAGES_AN_EPOCH: u64 = 3;

/// How long an agent holds its next poll back when a snapshot has just begun.
const REPORTS_FIRST: Duration = Duration::from_millis(15);

/// The stand-ins of a cluster, before they say anything. Each has a client of its own, as processes have: the coordinator tells members by their
/// connections. Making one reads the machine's certificates, which is no cost of the coordinator's.
pub(crate) struct Absent {
    members: Vec<StandIn>,
    requests: Arc<AtomicU64>,
}

/// Every stand-in of a cluster; they end with this value.
pub(crate) struct Crowd {
    /// How many requests they have made.
    pub(crate) requests: Arc<AtomicU64>,
    complaints: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Absent {
    /// Makes them.
    pub(crate) fn new(url: &str, cluster: &ClusterName, members: u32, ring: bool) -> anyhow::Result<Self> {
        let requests = Arc::new(AtomicU64::new(0));
        let name = |number: u32| MemberName::new(format!("m{:05}", number % members));
        let stand_in = |number: u32| -> anyhow::Result<StandIn> {
            let neighbours = if ring && members > 1 { Some((name(number + members - 1)?, name(number + 1)?)) } else { None };
            Ok(StandIn {
                client: Client::new(url)?,
                cluster: cluster.clone(),
                name: name(number)?,
                neighbours,
                requests: Arc::clone(&requests),
                incarnation: Incarnation::default(),
                reported: Epoch::default(),
                running: None,
                reports: JoinSet::new(),
            })
        };
        Ok(Self { members: (0..members).map(stand_in).collect::<Result<_, _>>()?, requests })
    }

    /// Starts them, all at once.
    pub(crate) fn gather(self) -> Arc<Crowd> {
        let Self { members, requests } = self;
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for member in members {
            let complaints = Arc::clone(&complaints);
            tasks.spawn(async move {
                let name = member.name.clone();
                let Err(error) = member.run().await;
                complaints.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{name}: {error}"));
            });
        }
        Arc::new(Crowd { requests, complaints, _tasks: tasks })
    }
}

impl Crowd {
    /// What a stand-in gave up for, if one did.
    pub(crate) fn complaint(&self) -> anyhow::Result<()> {
        match self.complaints.lock().unwrap_or_else(PoisonError::into_inner).first() {
            Some(complaint) => bail!("{complaint}"),
            None => Ok(()),
        }
    }
}

/// Says what has happened, again and again until it is heard.
#[derive(Clone)]
struct Reporter {
    client: Client,
    cluster: ClusterName,
    name: MemberName,
    requests: Arc<AtomicU64>,
}

impl Reporter {
    async fn report(self, incarnation: Incarnation, event: ReportEvent) -> anyhow::Result<()> {
        loop {
            self.requests.fetch_add(1, Ordering::Relaxed);
            match self.client.report(&self.cluster, &self.name, incarnation, event.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

struct StandIn {
    client: Client,
    cluster: ClusterName,
    name: MemberName,
    /// Who sends to it, and to whom it sends.
    neighbours: Option<(MemberName, MemberName)>,
    requests: Arc<AtomicU64>,
    incarnation: Incarnation,
    reported: Epoch,
    running: Option<RestoreId>,
    reports: JoinSet<anyhow::Result<()>>,
}

impl StandIn {
    fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    async fn run(mut self) -> anyhow::Result<std::convert::Infallible> {
        let register = Register { member: self.name.clone(), instance: Uuid::now_v7(), address: "127.0.0.1:9".to_owned() };
        self.count();
        let registered = loop {
            match self.client.register(&self.cluster, &register).await {
                Ok(registered) => break registered,
                Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(error) => return Err(error.into()),
            }
        };
        self.incarnation = registered.incarnation;
        let wait = HumanDuration::new(registered.lease.get() / 4).ok();
        let mut query = AssignmentQuery { incarnation: self.incarnation, wait, ..AssignmentQuery::default() };
        loop {
            self.count();
            let assignment = match self.client.assignment(&self.cluster, &self.name, &query).await {
                Ok(assignment) => assignment,
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(peers) = &assignment.peers {
                query.peers_after = peers.revision;
            }
            query.after = assignment.revision;
            self.act(&assignment).await?;
        }
    }

    async fn act(&mut self, assignment: &Assignment) -> anyhow::Result<()> {
        match &assignment.desired {
            Desired::Run { generation, restore, .. } => {
                if let Some(restore) = restore
                    && self.running.replace(*restore) != Some(*restore)
                {
                    self.report(ReportEvent::Running { generation: *generation })?;
                }
            }
            Desired::Wait { .. } => return Ok(()),
            Desired::Prepare(_) => bail!("stand-ins can't be restored"),
            Desired::End {} => bail!("told to end, and it didn't leave"),
            Desired::Leave { why } => bail!("told to leave: {why}"),
        }
        let mut open: Vec<&OpenSnapshot> = assignment.snapshots.iter().filter(|open| open.in_view).collect();
        open.sort_by_key(|open| open.epoch);
        for open in open {
            if open.epoch > self.reported {
                self.reported = open.epoch;
                let part = self.part(open)?;
                self.report(ReportEvent::Part(Box::new(part)))?;
                tokio::time::sleep(REPORTS_FIRST).await;
            }
        }
        Ok(())
    }

    /// Reports beside the polls, as an agent does.
    fn report(&mut self, event: ReportEvent) -> anyhow::Result<()> {
        let Self { client, cluster, name, requests, .. } = self;
        let (client, cluster, name, requests) = (client.clone(), cluster.clone(), name.clone(), requests.clone());
        self.reports.spawn(Reporter { client, cluster, name, requests }.report(self.incarnation, event));
        while let Some(reported) = self.reports.try_join_next() {
            reported??;
        }
        Ok(())
    }

    /// Counters as if every member had cut at the same time with nothing in flight.
    fn part(&self, open: &OpenSnapshot) -> anyhow::Result<PartReport> {
        let messages = open.epoch.get() * MESSAGES_AN_EPOCH;
        let mut channels = ChannelsWriter::new(Vec::new());
        channels.write(&ChannelRecord::Timer { id: 1, remaining_ms: 40 })?;
        let channels = channels.finish()?;
        let object = |role: Role, plain: Vec<u8>| -> ObjectEntry {
            let key = ObjectKey::part_key(&self.cluster, open.snapshot, &self.name, self.incarnation, role);
            EncodedObject::from_bytes(Bytes::from(plain)).into_entry(role, open.inline_limit, key).0
        };
        let (sent, received) = match &self.neighbours {
            Some((before, after)) => {
                let ranges = SeqRanges::prefix(messages);
                (vec![Sent { to: after.clone(), messages }], vec![Received { from: before.clone(), ranges }])
            }
            None => (Vec::new(), Vec::new()),
        };
        Ok(PartReport {
            snapshot: open.snapshot,
            epoch: open.epoch,
            generation: open.generation,
            objects: vec![object(Role::State, messages.to_be_bytes().to_vec()), object(Role::Channels, channels)],
            sent,
            received,
            recorded: Vec::new(),
            logged: Vec::new(),
            peers: Vec::new(),
        })
    }
}
