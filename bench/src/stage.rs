//! A private Postgres with fsync on, a coordinator, a file archive, and member processes that end with the workload.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use serde::Serialize;
use stillframe_api::{
    Client, HumanDuration,
    channel_state::ChannelState,
    cluster::{ClusterPhase, CreateCluster, OnLoss},
    snapshot::{ListSnapshots, Snapshot, SnapshotState},
};
use stillframe_archive::ArchiveUrl;
use stillframe_coordinator::{Config, Coordinator};
use stillframe_private_postgres::{Options, PrivatePostgres};
use stillframe_protocol::{ClusterName, MemberName};
use tempfile::TempDir;

use crate::member::Workload;

/// How long a cluster may take to run.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the messages under way at a cut get into a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChannelStateArg {
    /// The receiver records them until the marker has come.
    Marker,
    /// The sender logs them.
    SenderLogged,
}

impl ChannelStateArg {
    /// The name, as in the API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Marker => "marker",
            Self::SenderLogged => "sender_logged",
        }
    }
}

impl From<ChannelStateArg> for ChannelState {
    fn from(state: ChannelStateArg) -> Self {
        match state {
            ChannelStateArg::Marker => Self::Marker,
            ChannelStateArg::SenderLogged => Self::SenderLogged,
        }
    }
}

/// A cluster that a workload wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClusterOptions {
    /// How many member processes.
    pub(crate) members: u32,
    /// What they do.
    pub(crate) workload: Workload,
    /// How the messages under way get into its snapshots.
    pub(crate) channel_state: ChannelStateArg,
    /// How long a snapshot may take.
    pub(crate) timeout: Duration,
    /// How many messages a channel holds at most; the agent's own limit if 0.
    pub(crate) queue: u64,
}

impl ClusterOptions {
    /// With markers and the agent's own limits.
    pub(crate) fn new(members: u32, workload: Workload) -> Self {
        Self { members, workload, channel_state: ChannelStateArg::Marker, timeout: Duration::from_secs(30), queue: 0 }
    }
}

/// Everything around the members.
pub(crate) struct Stage {
    /// A client of the coordinator.
    pub(crate) client: Client,
    /// The database's URL.
    pub(crate) database: String,
    /// A directory beside the archive, on the same file system.
    pub(crate) dir: TempDir,
    coordinator: Coordinator,
    postgres: PrivatePostgres,
}

impl Stage {
    /// Starts all of it.
    pub(crate) async fn set() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let options = Options { fsync: true, ..Options::temporary() };
        let postgres = stillframe_private_postgres::start(options, |_| {}).await?;
        let database = postgres.create_database("bench").await?;
        let url = ArchiveUrl::from_dir(&dir.path().join("archive"))?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let coordinator = stillframe_coordinator::start(Config::new(database.clone(), url, listen)).await?;
        let client = Client::new(&format!("http://{}", coordinator.local_addr()))?;
        Ok(Self { client, database, dir, coordinator, postgres })
    }

    /// Stops all of it.
    pub(crate) async fn strike(self) -> anyhow::Result<()> {
        self.coordinator.stop().await;
        Ok(self.postgres.stop().await?)
    }

    /// Creates a cluster of so many member processes and waits until it runs and its first snapshot has ended.
    pub(crate) async fn cluster(&self, name: &str, options: ClusterOptions) -> anyhow::Result<Cluster> {
        let ClusterOptions { members, workload, channel_state, timeout, queue } = options;
        let name = ClusterName::new(name)?;
        let create = CreateCluster {
            snapshot_timeout: HumanDuration::new(timeout)?,
            channel_state: channel_state.into(),
            on_loss: OnLoss::Halt,
            ..CreateCluster::new(name.clone(), members)
        };
        self.client.create_cluster(&create).await?;
        let mut cluster = Cluster { name, children: Vec::new() };
        for n in 1..=members {
            let member = MemberName::new(format!("m{n}"))?;
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["member", "--coordinator", self.client.url().as_str(), "--cluster", cluster.name.as_str()]);
            command.args(["--member", member.as_str(), "--workload", workload.as_str(), "--queue", &queue.to_string()]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            cluster.children.push(command.spawn().context("can't start a member")?);
        }
        let began = Instant::now();
        loop {
            let now = self.client.cluster(&cluster.name).await?;
            if now.phase == ClusterPhase::Running && now.latest_committed.is_some() {
                return Ok(cluster);
            }
            if began.elapsed() > PATIENCE {
                bail!("cluster {} isn't running after {PATIENCE:?}: {:?} {:?}", cluster.name, now.phase, now.phase_reason);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Every snapshot of a cluster in this state.
    pub(crate) async fn snapshots(&self, cluster: &ClusterName, state: SnapshotState) -> anyhow::Result<Vec<Snapshot>> {
        let mut query = ListSnapshots { status: Some(state), limit: Some(500), cursor: None };
        let mut all = Vec::new();
        loop {
            let page = self.client.list_snapshots(cluster, &query).await?;
            all.extend(page.items);
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                return Ok(all);
            }
        }
    }
}

/// The member processes of one cluster; they end when this is dropped.
pub(crate) struct Cluster {
    /// The cluster.
    pub(crate) name: ClusterName,
    /// Its processes; standard output carries what they count.
    pub(crate) children: Vec<Child>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself; either way it is gone after the wait.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
