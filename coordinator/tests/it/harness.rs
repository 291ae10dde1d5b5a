//! A coordinator for one test, and waiting for what it should come to.

use std::{fmt::Debug, net::SocketAddr, time::Duration};

use stillframe_api::{
    Client,
    cluster::{Cluster, ClusterPhase, CreateCluster},
    snapshot::{ListSnapshots, Snapshot, SnapshotState, TakeSnapshot},
};
use stillframe_archive::{Archive, ArchiveUrl};
use stillframe_coordinator::{Config, Coordinator, start};
use stillframe_private_postgres::testing::TestDatabase;
use stillframe_protocol::ClusterName;
use tempfile::TempDir;

use crate::agent::Agent;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) directory: TempDir,
    pub(crate) coordinator: Option<Coordinator>,
    pub(crate) config: Config,
    pub(crate) client: Client,
    pub(crate) cluster: ClusterName,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create().await;
        let directory = tempfile::tempdir().expect("a directory");
        let archive = ArchiveUrl::from_dir(&directory.path().join("archive")).expect("an archive URL");
        let mut config = Config::new(database.url(), archive, SocketAddr::from(([127, 0, 0, 1], 0)));
        config.max_connections = 6;
        change(&mut config);
        let coordinator = start(config.clone()).await.expect("a coordinator");
        // The same port after a restart.
        config.listen = coordinator.local_addr();
        let client = Client::new(&format!("http://{}", coordinator.local_addr())).expect("a client");
        let cluster = ClusterName::new("bank").expect("a name");
        Self { database, directory, coordinator: Some(coordinator), config, client, cluster }
    }

    /// One more replica on the same database and archive.
    pub(crate) async fn replica(&self) -> Coordinator {
        let mut config = self.config.clone();
        config.listen.set_port(0);
        start(config).await.expect("a replica")
    }

    pub(crate) async fn create_cluster(&self, min_members: u32) -> Cluster {
        self.create_cluster_with(min_members, |_| {}).await
    }

    pub(crate) async fn create_cluster_with(&self, min_members: u32, change: impl FnOnce(&mut CreateCluster)) -> Cluster {
        let mut settings = CreateCluster {
            snapshot_timeout: "30s".parse().expect("a duration"),
            ..CreateCluster::new(self.cluster.clone(), min_members)
        };
        change(&mut settings);
        self.client.create_cluster(&settings).await.expect("a cluster")
    }

    /// A cluster of so many agents `p1`, `p2`, ..., running, with its automatic first snapshot committed.
    pub(crate) async fn running(&self, members: u32) -> Vec<Agent> {
        self.create_cluster(members).await;
        let mut agents = Vec::new();
        for n in 1..=members {
            agents.push(Agent::start(self, &format!("p{n}")).await);
        }
        self.first_committed().await;
        agents
    }

    pub(crate) async fn first_committed(&self) -> Cluster {
        self.until("a first committed snapshot", async || {
            let cluster = self.cluster().await;
            cluster.latest_committed.is_some().then_some(cluster)
        })
        .await
    }

    pub(crate) async fn cluster(&self) -> Cluster {
        self.client.cluster(&self.cluster).await.expect("the cluster")
    }

    pub(crate) async fn phase(&self, phase: ClusterPhase) -> Cluster {
        self.until(&format!("the cluster {phase:?}"), async || {
            let cluster = self.cluster().await;
            (cluster.phase == phase).then_some(cluster)
        })
        .await
    }

    pub(crate) async fn take(&self) -> Snapshot {
        self.client.take_snapshot(&self.cluster, &TakeSnapshot::default()).await.expect("a snapshot")
    }

    pub(crate) async fn take_with_timeout(&self, timeout: &str) -> Snapshot {
        let request = TakeSnapshot { timeout: Some(timeout.parse().expect("a duration")), ..TakeSnapshot::default() };
        self.client.take_snapshot(&self.cluster, &request).await.expect("a snapshot")
    }

    pub(crate) async fn ended(&self, snapshot: &Snapshot) -> Snapshot {
        let ended = self.client.wait_snapshot(snapshot.id, PATIENCE).await.expect("the snapshot");
        assert!(ended.state.has_ended(), "{ended:?}");
        ended
    }

    pub(crate) async fn committed(&self) -> Snapshot {
        let snapshot = self.ended(&self.take().await).await;
        assert_eq!(snapshot.state, SnapshotState::Committed, "{snapshot:?}");
        snapshot
    }

    pub(crate) async fn snapshots(&self) -> Vec<Snapshot> {
        let query = ListSnapshots { limit: Some(500), ..ListSnapshots::default() };
        self.client.list_snapshots(&self.cluster, &query).await.expect("a list").items
    }

    pub(crate) async fn archive(&self) -> Archive {
        Archive::open(&self.config.archive).await.expect("the archive")
    }

    pub(crate) async fn stop_coordinator(&mut self) {
        self.coordinator.take().expect("a running coordinator").stop().await;
    }

    pub(crate) async fn start_coordinator(&mut self) {
        let coordinator = self.until("the port free again", async || start(self.config.clone()).await.ok()).await;
        self.coordinator = Some(coordinator);
    }

    /// Asks again and again until there is an answer, at most [`PATIENCE`].
    pub(crate) async fn until<T, F: Future<Output = Option<T>>>(&self, what: &str, ask: impl Fn() -> F) -> T {
        let asking = async {
            loop {
                if let Some(answer) = ask().await {
                    return answer;
                }
                // Between two looks at a condition, so that looking doesn't keep the machine busy.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(answer) => answer,
            Err(_) => {
                let cluster = self.client.cluster(&self.cluster).await;
                panic!("waited {PATIENCE:?} for {what} in vain; the cluster: {cluster:#?}");
            }
        }
    }

    /// One value out of the database.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        use sqlx::Connection;
        let mut connection = sqlx::PgConnection::connect(self.database.url()).await.expect("a connection");
        let count = sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect(sql);
        connection.close().await.expect("closing");
        count
    }
}

/// The problem that a request was refused with.
pub(crate) fn refused<T: Debug>(answer: Result<T, stillframe_api::ClientError>) -> stillframe_api::Problem {
    let error = answer.expect_err("a refusal");
    error.problem().unwrap_or_else(|| panic!("expected a problem, found {error}")).clone()
}

impl World {
    /// Runs a statement on the server, from outside of this test's database.
    pub(crate) async fn administer(&self, sql: String) {
        use sqlx::Connection;
        let mut url: url::Url = self.database.url().parse().expect("a URL");
        url.set_path("postgres");
        let mut connection = sqlx::PgConnection::connect(url.as_str()).await.expect("a connection");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.expect("administered");
        connection.close().await.expect("closing");
    }
}
