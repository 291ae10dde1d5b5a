//! Two replicas on one database and one archive, without loops: nothing happens but what a test has them do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sqlx::{PgPool, Postgres, pool::PoolConnection, postgres::PgPoolOptions};
use stillframe_api::{
    agent::{PartReport, Register, Report, ReportEvent},
    cluster::CreateCluster,
    restore::StartRestore,
    snapshot::{SnapshotState, TakeSnapshot},
};
use stillframe_archive::{Archive, ArchiveUrl, Digest, Encoding, ObjectEntry, Place, Role};
use stillframe_coordinator::{
    config::CollectionConfig,
    service::{Caller, Service, ServiceError, Settings},
    store::postgres::PostgresStore,
};
use stillframe_private_postgres::testing::TestDatabase;
use stillframe_protocol::{ClusterName, Epoch, Generation, Incarnation, MemberName, RestoreId, SnapshotId};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{gate::Gate, mutants::Mutation, stepped::Stepped};
use crate::harness::PATIENCE;

/// The two members of every cluster.
pub(super) const MEMBERS: [&str; 2] = ["p1", "p2"];

/// A lease that nobody here waits for the end of.
const LEASE: Duration = Duration::from_secs(3600);

/// One replica.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) service: Arc<Service>,
    pub(super) gate: Arc<Gate>,
    stopping: CancellationToken,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

/// Where races are run.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) replicas: [Arc<Replica>; 2],
    pub(super) archive: Archive,
    /// Connections besides those of the replicas.
    pool: PgPool,
    _database: TestDatabase,
    clusters: AtomicU32,
    _directory: TempDir,
}

/// A snapshot that is being recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) id: SnapshotId,
    pub(super) epoch: Epoch,
    pub(super) generation: Generation,
}

/// A cluster that runs, and what it has.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    pub(super) cluster: ClusterName,
    /// Its committed snapshots, oldest first.
    pub(super) committed: Vec<SnapshotId>,
}

pub(super) fn name(member: &str) -> MemberName {
    MemberName::new(member).expect("a name")
}

pub(super) fn caller() -> Caller {
    Caller::acting("request")
}

impl Replica {
    async fn start(field: (&str, &ArchiveUrl, &Archive), mutation: Mutation) -> Arc<Self> {
        let (database, url, archive) = field;
        let (gate, stopping) = (Arc::new(Gate::new()), CancellationToken::new());
        let inner = PostgresStore::connect(database, 6).await.expect("a store");
        let store = Stepped { inner, gate: gate.clone(), mutation };
        let settings = Settings {
            lease: LEASE,
            suspect_grace: LEASE,
            look_every: LEASE,
            restore_timeout: LEASE,
            collection: CollectionConfig::default(),
        };
        let (service, _) = Service::new(Arc::new(store), settings, url.clone(), archive.clone(), stopping.clone());
        Arc::new(Self { service, gate, stopping })
    }

    pub(super) async fn register(
        &self,
        cluster: &ClusterName,
        member: &str,
        instance: Uuid,
    ) -> Result<Incarnation, ServiceError> {
        let request = Register { member: name(member), instance, address: "127.0.0.1:9".to_owned() };
        self.service.register(&caller(), cluster, request).await.map(|registered| registered.incarnation)
    }

    /// Registers, and asks what to do: from then on it counts.
    pub(super) async fn join(&self, cluster: &ClusterName, member: &str) -> Result<(), ServiceError> {
        let incarnation = self.register(cluster, member, Uuid::now_v7()).await?;
        self.service.arrive(&(cluster.clone(), name(member), incarnation)).await
    }

    pub(super) async fn say(&self, cluster: &ClusterName, member: &str, event: ReportEvent) -> Result<bool, ServiceError> {
        let report = Report { incarnation: Incarnation(1), event };
        self.service.report(&caller(), cluster, &name(member), report).await.map(|accepted| accepted.relevant)
    }

    /// Reports a member's part. Its state says in which generation it was captured.
    pub(super) async fn report(
        &self,
        cluster: &ClusterName,
        member: &str,
        open: Open,
        captured_in: Generation,
    ) -> Result<bool, ServiceError> {
        let content = format!("{member}.1@{captured_in}").into_bytes();
        let object = ObjectEntry {
            role: Role::State,
            bytes: content.len() as u64,
            digest: Digest::of(&content),
            encoding: Encoding::Raw,
            plain_bytes: content.len() as u64,
            place: Place::Inline(content.into()),
        };
        let part = PartReport {
            snapshot: open.id,
            epoch: open.epoch,
            generation: captured_in,
            objects: vec![object],
            sent: Vec::new(),
            received: Vec::new(),
            recorded: Vec::new(),
            logged: Vec::new(),
            peers: Vec::new(),
        };
        self.say(cluster, member, ReportEvent::Part(Box::new(part))).await
    }

    pub(super) async fn take(&self, cluster: &ClusterName, request: TakeSnapshot) -> Open {
        let taken = self.service.take_snapshot(&caller(), cluster, request).await.expect("a snapshot");
        Open { id: taken.id, epoch: taken.epoch.expect("it is recorded at once"), generation: taken.generation }
    }
}

impl Field {
    pub(super) async fn new() -> Arc<Self> {
        Self::with(Mutation::default()).await
    }

    /// With a mutant in both replicas.
    pub(super) async fn with(mutation: Mutation) -> Arc<Self> {
        let database = TestDatabase::create().await;
        let directory = tempfile::tempdir().expect("a directory");
        let url = ArchiveUrl::from_dir(&directory.path().join("archive")).expect("an archive URL");
        let archive = Archive::open_or_create(&url).await.expect("an archive");
        mutation.settle(&archive, database.url());
        let first = Replica::start((database.url(), &url, &archive), mutation.clone()).await;
        let second = Replica::start((database.url(), &url, &archive), mutation).await;
        let (replicas, clusters) = ([first, second], AtomicU32::new(0));
        let pool = PgPoolOptions::new().max_connections(2).connect(database.url()).await.expect("a connection");
        Arc::new(Self { replicas, archive, pool, _database: database, clusters, _directory: directory })
    }

    fn first(&self) -> &Replica {
        &self.replicas[0]
    }

    /// A cluster without members.
    pub(super) async fn cluster(&self) -> ClusterName {
        let number = self.clusters.fetch_add(1, Ordering::Relaxed);
        let cluster = ClusterName::new(format!("c{number}")).expect("a name");
        let settings = CreateCluster::new(cluster.clone(), MEMBERS.len() as u32);
        self.first().service.create_cluster(&caller(), settings).await.expect("a cluster");
        cluster
    }

    /// A cluster that runs, with so many committed snapshots and none under way.
    pub(super) async fn running(&self, snapshots: usize) -> Begun {
        let cluster = self.cluster().await;
        for member in MEMBERS {
            self.first().join(&cluster, member).await.expect("registered");
        }
        let mut begun = Begun { cluster, committed: Vec::new() };
        let mut open = self.open_at(&begun.cluster).await.expect("the first snapshot of a running cluster");
        loop {
            self.commit(&begun.cluster, open).await;
            begun.committed.push(open.id);
            if begun.committed.len() >= snapshots {
                return begun;
            }
            open = self.take(&begun).await;
        }
    }

    /// One more snapshot, being recorded.
    pub(super) async fn take(&self, begun: &Begun) -> Open {
        self.first().take(&begun.cluster, TakeSnapshot::default()).await
    }

    /// Has everybody report, and waits until the snapshot is committed.
    pub(super) async fn commit(&self, cluster: &ClusterName, open: Open) {
        let report = |member| self.first().report(cluster, member, open, open.generation);
        let (one, two) = tokio::join!(report(MEMBERS[0]), report(MEMBERS[1]));
        assert!(one.expect("reported") && two.expect("reported"));
        let state = self.ended(open.id, PATIENCE).await;
        assert_eq!(state, Some(SnapshotState::Committed));
    }

    /// Restores the latest snapshot, so that the cluster runs in the next generation; gives the snapshot that it takes then.
    pub(super) async fn restored(&self, begun: &Begun) -> Open {
        let (cluster, first) = (&begun.cluster, self.first());
        let restore = first.service.start_restore(&caller(), cluster, StartRestore::to_latest()).await.expect("a restore");
        let (id, generation) = (restore.id, restore.generation);
        for member in MEMBERS {
            let event = ReportEvent::Prepared { restore: id, generation, bytes: 3 };
            first.say(cluster, member, event).await.expect("taken");
        }
        for member in MEMBERS {
            first.say(cluster, member, ReportEvent::Running { generation }).await.expect("taken");
        }
        let open = self.open_at(cluster).await.expect("the first snapshot after a restore");
        assert_eq!(open.generation, generation);
        open
    }

    /// The snapshot that is being recorded.
    async fn open_at(&self, cluster: &ClusterName) -> Option<Open> {
        let mut connection = self.connection().await;
        let open = "SELECT id, epoch, generation FROM snapshots WHERE cluster = $1 AND state = 'recording'";
        let open: Option<(Uuid, i64, i64)> =
            sqlx::query_as(open).bind(cluster.as_str()).fetch_optional(&mut *connection).await.expect("a row");
        open.map(|(id, epoch, generation)| Open {
            id: SnapshotId(id),
            epoch: Epoch(epoch as u64),
            generation: Generation(generation as u64),
        })
    }

    /// A connection besides those of the replicas.
    pub(super) async fn connection(&self) -> PoolConnection<Postgres> {
        self.pool.acquire().await.expect("a connection")
    }

    /// Changes the database from outside, as the passing of time would.
    pub(super) async fn change(&self, sql: &'static str, cluster: &ClusterName) {
        let mut connection = self.connection().await;
        sqlx::query(sql).bind(cluster.as_str()).execute(&mut *connection).await.expect(sql);
    }

    /// The state in which a snapshot ended; none when it didn't within this time.
    pub(super) async fn ended(&self, snapshot: SnapshotId, patience: Duration) -> Option<SnapshotState> {
        let mut connection = self.connection().await;
        let looking = async {
            loop {
                let state: String = sqlx::query_scalar("SELECT state FROM snapshots WHERE id = $1")
                    .bind(snapshot.0)
                    .fetch_one(&mut *connection)
                    .await
                    .expect("the snapshot");
                let state: SnapshotState = serde_json::from_value(state.into()).expect("a state");
                if state.has_ended() {
                    return state;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(patience, looking).await.ok()
    }

    /// Waits until neither replica does anything any more.
    pub(super) async fn quiet(&self) {
        tokio::join!(self.replicas[0].gate.quiet(), self.replicas[1].gate.quiet());
    }

    /// Restores of a cluster that are under way.
    pub(super) async fn restores_under_way(&self, cluster: &ClusterName) -> Vec<RestoreId> {
        let mut connection = self.connection().await;
        let under_way = "SELECT id FROM restores WHERE cluster = $1 AND ended_at IS NULL";
        let ids: Vec<Uuid> =
            sqlx::query_scalar(under_way).bind(cluster.as_str()).fetch_all(&mut *connection).await.expect("rows");
        ids.into_iter().map(RestoreId).collect()
    }
}
