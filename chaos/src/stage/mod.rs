//! Everything there is: a private Postgres, an S3 server, the network between all processes, two replicas, five members of the bank.

pub mod database;
pub mod lines;
pub mod replica;
pub mod settings;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use stillframe_api::Client;
use stillframe_e2e::{
    process::{MemberProcess, coordinator::CoordinatorSettings, member::MemberSettings, port},
    proxy::{Lines as Choice, Network, Upstream, socket_of},
    s3::{Bucket, S3Server},
    wait::eventually,
};
use stillframe_private_postgres::{Options as PostgresOptions, PrivatePostgres};
use stillframe_protocol::ClusterName;

pub use self::{lines::Lines, replica::Replica};
use crate::plan::{Shape, fault::member_name};

/// How many accounts a member holds.
const ACCOUNTS: u32 = 10;

/// What each account holds at the beginning.
const INITIAL: u64 = 1_000;

/// Bytes that make a state too large to travel inline, so that it is an object of its own.
const BALLAST_BYTES: usize = 24 * 1024;

/// Bytes that make the first member's state too large for one request, so that it is uploaded in pieces.
const HEAVY_BALLAST_BYTES: usize = 9 << 20;

/// How many transfers a member sends a second, about.
const TRANSFERS_PER_SECOND: u32 = 200;

/// Everything. All of it ends with this value.
#[derive(Debug)]
pub struct Stage {
    // In the order in which they are dropped: who uses something goes before it.
    /// The members.
    pub members: Vec<MemberProcess>,
    /// The replicas.
    pub replicas: Vec<Replica>,
    /// The ways between them.
    pub lines: Lines,
    /// The store.
    pub store: S3Server,
    /// The bucket with the archive, past the proxies.
    pub bucket: Bucket,
    /// The database.
    pub postgres: PrivatePostgres,
    /// The cluster.
    pub cluster: ClusterName,
    directory: PathBuf,
    _network: Network,
}

impl Stage {
    /// Starts everything in this directory, and waits until the cluster runs and has something to go back to.
    ///
    /// # Panics
    ///
    /// When anything doesn't start, or the cluster doesn't come to run.
    pub async fn set(program: &Path, directory: &Path, shape: Shape) -> Self {
        let logs = directory.join("logs");
        std::fs::create_dir_all(&logs).unwrap_or_else(|error| panic!("{}: {error}", logs.display()));
        let postgres = stillframe_private_postgres::start(PostgresOptions::kept(directory.join("postgres")), |_| {}).await;
        let postgres = postgres.unwrap_or_else(|error| panic!("no Postgres: {error}"));
        let database = postgres.create_database(database::DATABASE).await.unwrap_or_else(|error| panic!("no database: {error}"));
        let (network, lines, store) = (Network::start(), Lines::new(shape), S3Server::start());
        let bucket = store.bucket("stillframe");
        let endpoint: SocketAddr = bucket_address(&store);
        let store_proxy = network.proxy(Upstream::Tcp(endpoint), Choice::All(lines.store.clone()));
        let through = bucket.at(&store_proxy.url());

        let socket = socket_of(&database).unwrap_or_else(|| panic!("{database} names no socket"));
        let mut replicas: Vec<Replica> = lines
            .database
            .iter()
            .enumerate()
            .map(|(number, line)| {
                let proxy = network.proxy(Upstream::Unix(socket.clone()), Choice::All(line.clone()));
                let settings = CoordinatorSettings {
                    database_url: format!("postgres://stillframe@{}/chaos?sslmode=disable", proxy.address()),
                    archive: through.archive_url(),
                    environment: bucket.environment(),
                    lease: "3s".to_owned(),
                    restore_timeout: "60s".to_owned(),
                };
                Replica::new(number, program, &logs, settings)
            })
            .collect();
        for replica in &mut replicas {
            replica.start();
        }
        let mut stage = Self {
            members: Vec::new(),
            replicas,
            lines,
            store,
            bucket,
            postgres,
            cluster: "bank".parse().expect("a cluster's name"),
            directory: directory.to_owned(),
            _network: network,
        };
        stage.replicas_serve().await;
        settings::make_cluster(&stage, shape).await;
        settings::put_policies(&stage).await.unwrap_or_else(|error| panic!("{error}"));
        for number in 0..shape.members {
            let member = stage.start_member(program, &logs, number);
            stage.members.push(member);
        }
        stage.has_begun().await;
        stage
    }

    async fn replicas_serve(&mut self) {
        eventually("the replicas serve", async || {
            for replica in &mut self.replicas {
                replica.supervise()?;
                replica.client().ready().await.map_err(|error| error.to_string())?;
            }
            Ok(())
        })
        .await;
    }

    fn start_member(&self, program: &Path, logs: &Path, number: usize) -> MemberProcess {
        let listen = SocketAddr::from(([127, 0, 0, 1], port::unused()));
        let from: BTreeMap<_, _> = self
            .lines
            .peers
            .iter()
            .filter(|((_, to), _)| *to == number)
            .map(|((from, _), line)| (member_name(*from), line.clone()))
            .collect();
        let door = self._network.proxy(Upstream::Tcp(listen), Choice::OfMember(from));
        let replicas = self.replicas.len();
        // Each begins with another, and goes to the next when it gets no answer.
        let control: Vec<String> = (0..replicas)
            .map(|nth| (number + nth) % replicas)
            .map(|replica| {
                let address = SocketAddr::from(([127, 0, 0, 1], self.replicas[replica].port()));
                let line = self.lines.control[&(number, replica)].clone();
                self._network.proxy(Upstream::Tcp(address), Choice::All(line)).url()
            })
            .collect();
        let settings = MemberSettings {
            coordinator: control.join(","),
            cluster: self.cluster.to_string(),
            accounts: ACCOUNTS,
            initial: INITIAL,
            transfers_per_second: TRANSFERS_PER_SECOND,
            ballast_bytes: if number == 0 { HEAVY_BALLAST_BYTES } else { BALLAST_BYTES },
            listen: Some((listen, door.address())),
            environment: self.bucket.environment(),
        };
        MemberProcess::start(program, logs, member_name(number).parse().expect("a member's name"), settings)
    }

    async fn has_begun(&self) {
        eventually("the cluster runs and has committed a snapshot", async || {
            let cluster = self.client(0).cluster(&self.cluster).await.map_err(|error| error.to_string())?;
            cluster.latest_committed.map(drop).ok_or_else(|| format!("{cluster:?}"))
        })
        .await;
    }

    /// A client of a replica, past the proxies.
    ///
    /// # Panics
    ///
    /// When there is no such replica.
    #[must_use]
    pub fn client(&self, replica: usize) -> Client {
        self.replicas[replica].client()
    }

    /// Clients of all replicas.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        self.replicas.iter().map(Replica::client).collect()
    }

    /// A client for each replica that asks it first, and the others when it doesn't answer.
    ///
    /// # Panics
    ///
    /// Never: the replicas' URLs are some.
    #[must_use]
    pub fn operators(&self, patience: Duration) -> Vec<Client> {
        let urls: Vec<String> = self.replicas.iter().map(Replica::url).collect();
        let client = |number: usize| {
            let (before, from) = urls.split_at(number);
            Client::new(&[from, before].concat().join(",")).expect("the replicas' URLs are some").with_patience(patience)
        };
        (0..urls.len()).map(client).collect()
    }

    /// The directory that it lives in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The money that there is.
    #[must_use]
    pub fn money(&self) -> u64 {
        self.members.len() as u64 * u64::from(ACCOUNTS) * INITIAL
    }
}

fn bucket_address(store: &S3Server) -> SocketAddr {
    let endpoint = store.endpoint();
    let address = endpoint.strip_prefix("http://").unwrap_or(&endpoint);
    address.parse().unwrap_or_else(|error| panic!("{endpoint} is no address: {error}"))
}
