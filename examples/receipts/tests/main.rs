//! The shop as a user runs it: real member processes, a real coordinator, a table on a real Postgres, and SIGKILLs on the way.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection};
use stillframe_agent::ClusterName;
use stillframe_api::{
    Client, HumanDuration,
    cluster::{ClusterPhase, CreateCluster},
    schedule::PutSchedule,
    snapshot::{SnapshotState, TakeSnapshot},
};
use stillframe_archive::ArchiveUrl;
use stillframe_coordinator::Config;
use stillframe_private_postgres::testing::TestDatabase;

const MEMBERS: [&str; 3] = ["s1", "s2", "s3"];

/// Each member's.
const ORDERS: u64 = 1_200;

const DEADLINE: Duration = Duration::from_secs(90);

/// A member process; it is killed when its value is dropped.
struct Member(Child);

impl Member {
    fn start(coordinator: &str, table: &str, member: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_receipts"));
        command.args(["--coordinator", coordinator, "--member", member, "--table", table, "--orders", &ORDERS.to_string()]);
        // The pipe closes with this process, whatever ends it.
        Self(command.arg("--end-with-stdin").stdin(Stdio::piped()).spawn().expect("the member starts"))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // SIGKILL. It may have ended already.
        drop(self.0.kill().and_then(|()| self.0.wait()));
    }
}

/// What is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rows {
    rows: i64,
    orders: i64,
    generations: i64,
}

async fn rows(table: &mut PgConnection) -> Option<Rows> {
    // Not there until the first receipt is.
    let row: Result<(i64, i64, i64), _> =
        sqlx::query_as("SELECT count(*), count(DISTINCT (customer, order_number)), count(DISTINCT generation) FROM receipts")
            .fetch_one(table)
            .await;
    row.ok().map(|(rows, orders, generations)| Rows { rows, orders, generations })
}

/// Waits until there are so many rows.
async fn until(table: &mut PgConnection, wanted: i64) -> Rows {
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        let found = rows(table).await;
        match found {
            Some(found) if found.rows >= wanted => return found,
            Some(_) | None => assert!(began.elapsed() < DEADLINE, "expected {wanted} rows within {DEADLINE:?}, found {found:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_order_has_exactly_one_receipt_although_members_are_killed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (database, shop) = (TestDatabase::create().await, TestDatabase::create().await);
    let archive = ArchiveUrl::from_dir(&dir.path().join("archive")).expect("an archive URL");
    let config = Config::new(database.url(), archive, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let coordinator = stillframe_coordinator::start(config).await.expect("the coordinator starts");
    let url = format!("http://{}", coordinator.local_addr());
    let client = Client::new(&url).expect("a client");
    let cluster: ClusterName = "shop".parse().expect("a name");
    client.create_cluster(&CreateCluster::new(cluster.clone(), 3)).await.expect("the cluster is created");
    let every = PutSchedule::every(HumanDuration::from_millis(100));
    client.put_schedule(&cluster, &"often".parse().expect("a name"), &every).await.expect("the schedule is set");

    let mut members: Vec<Member> = MEMBERS.iter().map(|member| Member::start(&url, shop.url(), member)).collect();
    let mut table = PgConnection::connect(shop.url()).await.expect("the table's database");
    let all = i64::try_from(ORDERS).expect("few") * 3;
    for (killed, wanted) in [(0, all / 5), (1, all / 5 * 2), (2, all / 5 * 3), (0, all / 5 * 4)] {
        let found = until(&mut table, wanted).await;
        assert_eq!(found.rows, found.orders, "an order has two receipts: {found:?}");
        let generation = client.cluster(&cluster).await.expect("the cluster").generation;
        drop(members.remove(killed));
        members.insert(killed, Member::start(&url, shop.url(), MEMBERS[killed]));
        let began = Instant::now();
        loop {
            let now = client.cluster(&cluster).await.expect("the cluster");
            if now.generation > generation && now.phase == ClusterPhase::Running {
                break;
            }
            assert!(began.elapsed() < DEADLINE, "the cluster isn't put back: {now:?}");
            tokio::task::yield_now().await;
        }
    }
    let found = until(&mut table, all).await;
    assert!(found.generations > 1, "the kills came too late to show anything: {found:?}");

    // All orders have been sent, so what a further snapshot releases would be one too many.
    let last = client.take_snapshot(&cluster, &TakeSnapshot::default()).await.expect("a snapshot");
    let last = client.wait_snapshot(last.id, DEADLINE).await.expect("it ends");
    assert_eq!(last.state, SnapshotState::Committed);
    let found = rows(&mut table).await.expect("the table");
    assert_eq!((found.rows, found.orders), (all, all), "each order has one receipt");
    drop(members);
    coordinator.stop().await;
}
