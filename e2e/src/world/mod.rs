//! One test's world: a database, a bucket, a coordinator process, and the processes of a cluster of the bank.
//!
//! | module | concept |
//! | --- | --- |
//! | [`database`] | its database |
//! | [`flow`] | whether the application goes on |
//! | [`options`] | what a test wants of its world |
//! | [`snapshots`] | taking snapshots and putting the cluster back to them |
//! | [`money`] | the proof, from the bucket alone |
//! | [`operator`] | the commands that an operator types |

pub mod database;
pub mod flow;
pub mod money;
pub mod operator;
pub mod options;
pub mod snapshots;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use stillframe_api::{
    Client, HumanDuration,
    channel_state::ChannelSettings,
    cluster::{Cluster, ClusterPhase, CreateCluster},
};
use stillframe_protocol::{ClusterName, MemberName};
use tempfile::TempDir;

pub use self::{database::Database, flow::Flow, operator::Typed, options::WorldOptions, snapshots::place};
use crate::{
    process::{CoordinatorProcess, MemberProcess, coordinator::CoordinatorSettings, member::MemberSettings},
    proxy::{Line, Lines, Network, Upstream},
    s3::{Bucket, Gate, S3Server, external},
    wait::eventually,
};

/// How many accounts a member holds.
const ACCOUNTS: u32 = 10;

/// What each account holds at the beginning.
const INITIAL: u64 = 1_000;

/// Set this variable to anything and the logs of all processes stay in the system's temporary directory, one folder a test.
const KEEP: &str = "STILLFRAME_E2E_KEEP";

/// A cluster of processes and everything they need. All of it ends with this value.
#[derive(Debug)]
pub struct World {
    // In the order in which they are dropped: who uses something goes before it.
    members: Vec<MemberProcess>,
    /// The coordinator, or the first of several.
    pub coordinator: CoordinatorProcess,
    /// The other coordinators.
    pub others: Vec<CoordinatorProcess>,
    /// The bucket with the archive.
    pub bucket: Bucket,
    cluster: ClusterName,
    store_line: Line,
    server: Option<S3Server>,
    // Carries the lines to the store.
    _network: Option<Network>,
    directory: TempDir,
    program: PathBuf,
    transfers_per_second: u32,
    ballast_bytes: usize,
    /// What the members have brought with them.
    money: u64,
    /// The database.
    pub database: Database,
}

impl World {
    /// Starts everything and waits until the cluster runs and has committed its first snapshot, which it takes by itself.
    ///
    /// # Panics
    ///
    /// When anything doesn't start.
    pub async fn start(options: WorldOptions) -> Self {
        let world = Self::start_running(options).await;
        eventually("the first snapshot is committed", async || {
            world.cluster().await.latest_committed.ok_or_else(|| "none is".to_owned())
        })
        .await;
        world
    }

    /// Starts everything and waits until the cluster runs. Its first snapshot may not have ended, or may have been aborted.
    ///
    /// # Panics
    ///
    /// When anything doesn't start.
    pub async fn start_running(options: WorldOptions) -> Self {
        let mut world = Self::without_members(&options).await;
        let ChannelSettings { channel_state, alignment, aligned_timeout } = options.channels;
        let cluster = CreateCluster {
            snapshot_timeout: HumanDuration::from_millis(60_000),
            on_loss: options.on_loss,
            channel_state,
            alignment,
            aligned_timeout,
            ..CreateCluster::new(world.cluster.clone(), u32::try_from(options.members.len()).expect("a few members"))
        };
        world.client().create_cluster(&cluster).await.expect("the cluster is created");
        for (number, name) in options.members.iter().enumerate() {
            world.start_member(name, if options.spread { number } else { 0 }, INITIAL);
        }
        world.running(1).await;
        world
    }

    fn start_member(&mut self, name: &str, first: usize, initial: u64) {
        let settings = MemberSettings {
            coordinator: self.urls(first),
            cluster: self.cluster.to_string(),
            accounts: ACCOUNTS,
            initial,
            transfers_per_second: self.transfers_per_second,
            ballast_bytes: self.ballast_bytes,
            listen: None,
            environment: self.bucket.environment(),
        };
        self.money += u64::from(ACCOUNTS) * initial;
        let name = name.parse().expect("a member's name");
        self.members.push(MemberProcess::start(&self.program, self.directory.path(), name, settings));
    }

    /// Starts one more member, which asks the first coordinator first.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    pub fn add_member(&mut self, name: &str) {
        self.start_member(name, 0, INITIAL);
    }

    /// Starts one more member that brings no money with it.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    pub fn add_empty_member(&mut self, name: &str) {
        self.start_member(name, 0, 0);
    }

    /// Gives a member's process to the caller, for it isn't to be of the cluster any more.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn take_member_away(&mut self, name: &str) -> MemberProcess {
        self.money -= u64::from(ACCOUNTS) * INITIAL;
        self.retire(name)
    }

    /// Gives the process of a member that leaves to the caller. Its money stays.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn retire(&mut self, name: &str) -> MemberProcess {
        let at = self.members.iter().position(|member| member.name().as_str() == name);
        self.members.remove(at.unwrap_or_else(|| panic!("no member {name}")))
    }

    /// Starts the database, the store and the coordinator only.
    ///
    /// # Panics
    ///
    /// When anything doesn't start.
    pub async fn without_members(options: &WorldOptions) -> Self {
        let keep = std::env::var_os(KEEP).is_some_and(|value| !value.is_empty());
        let directory = tempfile::Builder::new().prefix("stillframe-e2e-").disable_cleanup(keep).tempdir();
        let directory = directory.expect("no temporary directory");
        let database = Database::start(options.own_postgres, options.replicas).await;
        let (server, bucket) = match external::bucket().filter(|_| !options.own_store) {
            Some(bucket) => (None, bucket),
            None => {
                let server = S3Server::start();
                let bucket = server.bucket("stillframe");
                (Some(server), bucket)
            }
        };
        let (store_line, mut network, mut archive) = (Line::default(), None, bucket.archive_url());
        if let Some(server) = server.as_ref().filter(|_| options.own_store) {
            let carrier = network.insert(Network::start());
            let proxy = carrier.proxy(Upstream::Tcp(server.address()), Lines::All(store_line.clone()));
            archive = bucket.at(&proxy.url()).archive_url();
        }
        let settings = |coordinator: usize| CoordinatorSettings {
            database_url: database.url(coordinator),
            archive: archive.clone(),
            environment: bucket.environment(),
            lease: options.lease.clone(),
            restore_timeout: "50s".to_owned(),
        };
        let coordinator = CoordinatorProcess::start("coordinator", &options.program, directory.path(), settings(0)).await;
        let mut others = Vec::new();
        for number in 1..options.replicas {
            let name = format!("coordinator-{number}");
            others.push(CoordinatorProcess::start(&name, &options.program, directory.path(), settings(number)).await);
        }
        Self {
            members: Vec::new(),
            coordinator,
            others,
            bucket,
            cluster: "bank".parse().expect("a cluster's name"),
            store_line,
            server,
            _network: network,
            directory,
            program: options.program.clone(),
            transfers_per_second: options.transfers_per_second,
            ballast_bytes: options.ballast_bytes,
            money: 0,
            database,
        }
    }

    /// The coordinators, the first one first.
    pub fn coordinators(&mut self) -> impl Iterator<Item = &mut CoordinatorProcess> {
        std::iter::once(&mut self.coordinator).chain(&mut self.others)
    }

    /// Loses the database for good, and gives the coordinators an empty one of its name: they are down meanwhile, and started again.
    ///
    /// # Panics
    ///
    /// When the server refuses, or a coordinator doesn't start.
    pub async fn lose_the_database(&mut self) {
        self.coordinators().for_each(CoordinatorProcess::kill);
        self.database.empty().await;
        for coordinator in self.coordinators() {
            coordinator.start_again().await;
        }
    }

    /// The gate of the test's own store.
    ///
    /// # Panics
    ///
    /// When the options didn't ask for one.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        self.server.as_ref().expect("WorldOptions::with_gate makes a gate").gate()
    }

    /// The line from all processes to the test's own store. The test itself goes past it.
    ///
    /// # Panics
    ///
    /// When the options didn't ask for a store of the test's own.
    #[must_use]
    pub fn store_line(&self) -> &Line {
        assert!(self.server.is_some(), "WorldOptions::with_gate makes a store");
        &self.store_line
    }

    /// How many files the test's own store keeps for uploads that are neither completed nor aborted.
    ///
    /// # Panics
    ///
    /// When the options didn't ask for a store of the test's own.
    #[must_use]
    pub fn unfinished_uploads(&self) -> usize {
        self.server.as_ref().expect("WorldOptions::with_gate makes a store").unfinished_uploads()
    }

    /// The URLs of all coordinators with commas between them, this one first.
    #[must_use]
    pub fn urls(&self, first: usize) -> String {
        let mut urls: Vec<String> = [&self.coordinator].into_iter().chain(&self.others).map(CoordinatorProcess::url).collect();
        let first = first % urls.len();
        urls.rotate_left(first);
        urls.join(",")
    }

    /// A client of the coordinator, or of all.
    ///
    /// # Panics
    ///
    /// Never: the URLs are some.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.urls(0)).expect("the coordinators' URLs are some")
    }

    /// The cluster's name.
    #[must_use]
    pub fn name(&self) -> &ClusterName {
        &self.cluster
    }

    /// The product's program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A member by its name.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn member(&self, name: &str) -> &MemberProcess {
        self.members.iter().find(|member| member.name().as_str() == name).unwrap_or_else(|| panic!("no member {name}"))
    }

    /// A member by its name, to be killed or started again.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn member_mut(&mut self, name: &str) -> &mut MemberProcess {
        self.members.iter_mut().find(|member| member.name().as_str() == name).unwrap_or_else(|| panic!("no member {name}"))
    }

    /// All members.
    #[must_use]
    pub fn members(&self) -> &[MemberProcess] {
        &self.members
    }

    /// All members, to be killed or started again.
    pub fn members_mut(&mut self) -> &mut [MemberProcess] {
        &mut self.members
    }

    /// Checks that no member's process has ended by itself.
    ///
    /// # Panics
    ///
    /// When one has.
    pub fn no_member_has_ended(&mut self) {
        for member in &mut self.members {
            if let Some(status) = member.ended() {
                panic!("{} has ended: {status}", member.name());
            }
        }
    }

    /// The cluster as it is now.
    ///
    /// # Panics
    ///
    /// When the coordinator doesn't say.
    pub async fn cluster(&self) -> Cluster {
        self.client().cluster(&self.cluster).await.unwrap_or_else(|error| panic!("the cluster can't be shown: {error}"))
    }

    /// Waits until the cluster runs in a generation of at least this number, with every member live.
    ///
    /// # Panics
    ///
    /// When it doesn't by the deadline, or has halted.
    pub async fn running(&self, generation: u64) -> Cluster {
        let members = self.members.len();
        eventually(&format!("the cluster runs in generation {generation} or a later one"), async || {
            let cluster = self.cluster().await;
            assert!(cluster.phase != ClusterPhase::Halted, "the cluster has halted: {:?}", cluster.phase_reason);
            let live = usize::try_from(cluster.live_members).unwrap_or(0);
            let runs = cluster.phase == ClusterPhase::Running && cluster.generation.get() >= generation && live == members;
            if runs { Ok(cluster) } else { Err(format!("{cluster:?}")) }
        })
        .await
    }

    /// Waits until every member says that it runs in this generation.
    ///
    /// # Panics
    ///
    /// When one doesn't by the deadline.
    pub async fn members_run_in(&self, generation: u64) {
        for member in &self.members {
            member.says(&format!("runs in generation {generation}"), |status| status.generation == generation).await;
        }
    }
}

/// A member's name.
///
/// # Panics
///
/// When it is none.
#[must_use]
pub fn name(member: &str) -> MemberName {
    member.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// How soon the system is to notice what is noticed by a closed connection. Well under a second by design; here two cores may be busy
/// with several clusters.
pub const SOON: Duration = Duration::from_secs(4);
