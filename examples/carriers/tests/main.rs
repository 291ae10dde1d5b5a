//! The examples as a user runs them: real member processes, a real coordinator on a real Postgres, a real broker, and a SIGKILL on the way.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use stillframe_agent::ClusterName;
use stillframe_api::{
    Client, HumanDuration,
    cluster::{ClusterPhase, CreateCluster},
    schedule::PutSchedule,
    snapshot::{AbortReason, ListSnapshots, SnapshotState, TakeSnapshot},
};
use stillframe_archive::{Archive, ArchiveUrl};
use stillframe_bank::{MemberStatus, audit::audit};
use stillframe_coordinator::{Config, Coordinator};
use stillframe_private_postgres::testing::TestDatabase;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

const MEMBERS: [&str; 3] = ["p1", "p2", "p3"];

/// What the members hold together: ten accounts of a thousand each.
const MONEY: u64 = 3 * 10 * 1_000;

async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let (begun, mut ticks) = (Instant::now(), tokio::time::interval(Duration::from_millis(15)));
    loop {
        ticks.tick().await;
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
    }
}

/// A process that is killed when the test is over.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?} can't be started: {error}")))
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("kills");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// A member process, and what it said last.
struct Member {
    process: Process,
    last: Arc<Mutex<Option<MemberStatus>>>,
}

impl Member {
    fn last(&self) -> Option<MemberStatus> {
        self.last.lock().expect("no panic").clone()
    }
}

/// A coordinator, and members of one kind.
struct House {
    dir: tempfile::TempDir,
    coordinator: Coordinator,
    client: Client,
    cluster: ClusterName,
    program: &'static str,
    arguments: Vec<String>,
    _database: TestDatabase,
}

impl House {
    async fn build(program: &'static str, arguments: Vec<String>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let database = TestDatabase::create().await;
        let archive = ArchiveUrl::from_dir(&dir.path().join("archive")).expect("an archive URL");
        let config = Config::new(database.url(), archive, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let coordinator = stillframe_coordinator::start(config).await.expect("the coordinator starts");
        let client = Client::new(&format!("http://{}", coordinator.local_addr())).expect("a client");
        let cluster = ClusterName::new("bank").expect("a name");
        client.create_cluster(&CreateCluster::new(cluster.clone(), 3)).await.expect("the cluster");
        Self { dir, coordinator, client, cluster, program, arguments, _database: database }
    }

    fn start(&self, member: &str) -> Member {
        let url = format!("http://{}", self.coordinator.local_addr());
        let mut command = Command::new(self.program);
        command.args(["--coordinator", &url, "--cluster", self.cluster.as_str(), "--member", member]);
        command.args(["--status", "--end-with-stdin"]).args(&self.arguments);
        let mut process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let lines = BufReader::new(process.0.stdout.take().expect("piped")).lines();
        let last = Arc::new(Mutex::new(None));
        let said = Arc::clone(&last);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *said.lock().expect("no panic") = serde_json::from_str(&line).ok();
            }
        });
        Member { process, last }
    }

    /// Everyone runs in this generation or a later one, and has received more than this.
    async fn running(&self, members: &[Member], generation: u64, received: u64) -> u64 {
        let what = format!("everyone in generation {generation} with {received} transfers more");
        eventually(&what, async || {
            let said: Vec<MemberStatus> = members.iter().filter_map(Member::last).collect();
            let there = said.len() == members.len() && said.iter().all(|status| status.generation >= generation);
            (there && said.iter().all(|status| status.received > received)).then(|| said[0].generation)
        })
        .await
    }

    /// Takes a snapshot. A fifo channel that lost something aborts the one that is open, and is in order again soon; nothing else may abort it.
    async fn take_snapshot(&self) {
        eventually("a snapshot", async || {
            let taken = self.client.take_snapshot(&self.cluster, &TakeSnapshot::default()).await.expect("asks for a snapshot");
            let ended = self.client.wait_snapshot(taken.id, Duration::from_secs(20)).await.expect("the snapshot");
            let lost = ended.abort.as_ref().is_some_and(|abort| abort.reason == AbortReason::FifoViolation);
            assert!(lost || ended.state == SnapshotState::Committed, "{ended:?}");
            (!lost).then_some(())
        })
        .await;
    }

    /// Sums up every committed snapshot from the archive alone. How many there are, and how many messages were in flight in them.
    async fn audit(&self) -> (usize, u64) {
        let archive = ArchiveUrl::from_dir(&self.dir.path().join("archive")).expect("an archive URL");
        let archive = Archive::open(&archive).await.expect("the archive");
        let query = ListSnapshots { status: Some(SnapshotState::Committed), limit: Some(500), ..ListSnapshots::default() };
        let snapshots = self.client.list_snapshots(&self.cluster, &query).await.expect("the snapshots").items;
        let mut in_flight = 0;
        for snapshot in &snapshots {
            let verified = archive.verify_snapshot(&self.cluster, snapshot.id).await.expect("a snapshot that verifies");
            let sum = audit(&archive, &verified.manifest).await.expect("the bank's state");
            assert_eq!(sum.total(), MONEY, "{sum:?} in {}", snapshot.id);
            in_flight += sum.messages_in_flight;
        }
        (snapshots.len(), in_flight)
    }
}

/// Snapshots under traffic; a member is killed and the cluster put back; all snapshots hold all the money.
async fn survives_a_kill(house: House, disturb: impl AsyncFnOnce(&[Member], &House)) {
    let every = PutSchedule::every(HumanDuration::from_millis(200));
    house.client.put_schedule(&house.cluster, &"often".parse().expect("a name"), &every).await.expect("the schedule");
    let mut members: Vec<Member> = MEMBERS.iter().map(|name| house.start(name)).collect();
    let generation = house.running(&members, 1, 300).await;
    house.take_snapshot().await;
    members[1].process.kill();
    members[1] = house.start(MEMBERS[1]);
    let generation = house.running(&members, generation + 1, 0).await;
    let received = members.iter().filter_map(Member::last).map(|status| status.received).max().unwrap_or(0);
    house.running(&members, generation, received + 100).await;
    disturb(&members, &house).await;
    let cluster = house.client.cluster(&house.cluster).await.expect("the cluster");
    assert_eq!(cluster.phase, ClusterPhase::Running, "{cluster:?}");
    house.client.delete_schedule(&house.cluster, &"often".parse().expect("a name")).await.expect("no schedule");
    house.take_snapshot().await;
    let (snapshots, in_flight) = house.audit().await;
    assert!(snapshots >= 3, "{snapshots} committed");
    eprintln!("{}: {snapshots} snapshots committed and conserved, {in_flight} messages in flight in them", house.program);
    drop(members);
    house.coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bank_over_a_bad_udp_network_survives_a_kill_with_all_its_money() {
    let weather = ["--lose", "10", "--repeat", "5", "--hold-back", "10", "--seed", "7", "--transfers-per-second", "400"];
    let house = House::build(env!("CARGO_BIN_EXE_udp-bank"), weather.map(str::to_owned).to_vec()).await;
    survives_a_kill(house, async |_, _| {}).await;
}

/// Debian's `nats-server`, or any other in the PATH.
fn find_broker() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/bin")]);
    places.map(|place| place.join("nats-server")).find(|program| program.is_file())
}

/// A broker on a port of its own.
struct Broker {
    process: Process,
    program: PathBuf,
    port: u16,
}

impl Broker {
    async fn start(program: PathBuf, port: Option<u16>) -> Self {
        let free =
            || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a port").port();
        let port = port.unwrap_or_else(free);
        let process = Process::start(
            Command::new(&program)
                .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        eventually("the broker", async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()).await;
        Self { process, program, port }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bank_behind_a_broker_survives_a_kill_and_a_restart_of_the_broker_with_all_its_money() {
    let Some(program) = find_broker() else {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"\n!! SKIPPED: the bank behind a broker. No nats-server in PATH or /usr/sbin; `apt-get install nats-server` has one.\n\n",
        );
        return;
    };
    let mut broker = Broker::start(program, None).await;
    let arguments = ["--broker", &format!("127.0.0.1:{}", broker.port), "--transfers-per-second", "400"];
    let house = House::build(env!("CARGO_BIN_EXE_nats-bank"), arguments.map(str::to_owned).to_vec()).await;
    survives_a_kill(house, async |members, house| {
        let generation = house.running(members, 1, 0).await;
        broker.process.kill();
        let (program, port): (&Path, u16) = (&broker.program, broker.port);
        broker = Broker::start(program.to_owned(), Some(port)).await;
        let received = members.iter().filter_map(Member::last).map(|status| status.received).max().unwrap_or(0);
        // No restore was needed: what the broker lost was sent again.
        assert_eq!(house.running(members, generation, received + 100).await, generation);
    })
    .await;
}
