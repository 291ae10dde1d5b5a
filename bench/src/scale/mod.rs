//! Clusters of 10, 100 and 1,000 registered members: how a snapshot of tiny state and the cost of doing nothing grow.
//!
//! | to find | look in |
//! | --- | --- |
//! | a light stand-in for an agent | [`standin`] |
//! | a coordinator in a process of its own, and what it costs | [`replica`] |

mod replica;
mod standin;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::bail;
use clap::Args;
use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::json;
use stillframe_api::{
    Client,
    cluster::{ClusterPhase, CreateCluster},
    snapshot::{SnapshotState, TakeSnapshot},
};
use stillframe_archive::ArchiveUrl;
use stillframe_private_postgres::Options;
use stillframe_protocol::ClusterName;

pub(crate) use self::replica::{CoordinatorArgs, serve};
use self::{
    replica::Replica,
    standin::{Absent, Crowd},
};
use crate::figures::Figures;

/// How long a cluster may take to run.
const PATIENCE: Duration = Duration::from_secs(300);

/// Between two snapshots, so that none pays for what the one before left to do.
const PAUSE: Duration = Duration::from_millis(100);

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// How many members.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1000])]
    members: Vec<u32>,
    /// How many snapshots at each size.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    snapshots: u32,
    /// For how many seconds nothing is done while the idle cost is measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=3_600))]
    idle: u64,
    /// Let nobody talk to anybody; else each member sends to the next, and there are as many channels as members.
    #[arg(long)]
    silent: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// One size.
#[derive(Debug, Serialize)]
struct Row {
    members: u32,
    /// From the first registration until the cluster runs and its first snapshot is committed.
    formed_ms: f64,
    /// The processor time of the coordinator meanwhile.
    formed_cpu_ms: f64,
    snapshot: Figures,
    /// Of all members together, a snapshot.
    requests_a_snapshot: f64,
    /// While snapshots are taken one after the other.
    requests_a_second: f64,
    /// The processor time of the coordinator, a snapshot.
    cpu_ms_a_snapshot: f64,
    idle_requests_a_second: f64,
    /// Of one core.
    idle_cpu_percent: f64,
}

/// Runs the workload and prints its report.
pub(crate) async fn run(args: ScaleArgs) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let options = Options { fsync: true, ..Options::temporary() };
    let postgres = stillframe_private_postgres::start(options, |_| {}).await?;
    let mut rows = Vec::new();
    for members in &args.members {
        // A database and a coordinator for each size: what one leaves behind is no cost of the next.
        let database = postgres.create_database(&format!("scale_{members}")).await?;
        let archive = ArchiveUrl::from_dir(&dir.path().join(format!("archive-{members}")))?;
        let replica = Replica::start(&database, &archive)?;
        rows.push(one_size(&args, *members, &replica).await?);
    }
    postgres.stop().await?;
    report(&rows, &args)
}

async fn one_size(args: &ScaleArgs, members: u32, replica: &Replica) -> anyhow::Result<Row> {
    let client = Client::new(replica.url())?;
    let name: ClusterName = "scale".parse()?;
    // As JSON, so that settings this program doesn't care about have their defaults.
    let create = json!({ "name": name, "min_members": members, "snapshot_timeout": "60s", "on_loss": "halt" });
    let create: CreateCluster = serde_json::from_value(create)?;
    client.create_cluster(&create).await?;
    let (url, ring) = (replica.url().to_owned(), !args.silent);
    let absent = tokio::task::spawn_blocking({
        let name = name.clone();
        move || Absent::new(&url, &name, members, ring)
    });
    let absent = absent.await??;
    let (began, cpu) = (Instant::now(), replica.cpu()?);
    let crowd = absent.gather();
    runs(&client, &name, &crowd).await?;
    let (formed, formed_cpu) = (began.elapsed(), replica.cpu()? - cpu);

    let (before, began) = (crowd.requests.load(Ordering::Relaxed), Instant::now());
    let cpu = replica.cpu()?;
    let mut took = Vec::new();
    for _ in 0..args.snapshots {
        took.push(one_snapshot(&client, &name).await?);
        tokio::time::sleep(PAUSE).await;
    }
    let requests = (crowd.requests.load(Ordering::Relaxed) - before) as f64;
    let busy = began.elapsed();
    let snapshots = f64::from(args.snapshots);
    let cpu_a_snapshot = (replica.cpu()? - cpu).as_secs_f64() * 1e3 / snapshots;

    // The last snapshot's outcome is heard of first.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (idle_before, idle_began, cpu) = (crowd.requests.load(Ordering::Relaxed), Instant::now(), replica.cpu()?);
    tokio::time::sleep(Duration::from_secs(args.idle)).await;
    let idle_cpu = replica.cpu()? - cpu;
    let idle = idle_began.elapsed().as_secs_f64();
    let idle_requests = (crowd.requests.load(Ordering::Relaxed) - idle_before) as f64;
    crowd.complaint()?;
    Ok(Row {
        members,
        formed_ms: formed.as_secs_f64() * 1e3,
        formed_cpu_ms: formed_cpu.as_secs_f64() * 1e3,
        snapshot: Figures::of(took),
        requests_a_snapshot: requests / snapshots,
        requests_a_second: requests / busy.as_secs_f64(),
        cpu_ms_a_snapshot: cpu_a_snapshot,
        idle_requests_a_second: idle_requests / idle,
        idle_cpu_percent: idle_cpu.as_secs_f64() / idle * 100.0,
    })
}

/// Waits until the cluster runs and its first snapshot is committed.
async fn runs(client: &Client, name: &ClusterName, crowd: &Arc<Crowd>) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let now = client.cluster(name).await?;
        if now.phase == ClusterPhase::Running && now.latest_committed.is_some() {
            return Ok(());
        }
        crowd.complaint()?;
        if began.elapsed() > PATIENCE {
            bail!("the cluster isn't running after {PATIENCE:?}: {now:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn one_snapshot(client: &Client, name: &ClusterName) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let taken = client.take_snapshot(name, &TakeSnapshot::default()).await?;
    let ended = client.wait_snapshot(taken.id, Duration::from_secs(60)).await?;
    let took = began.elapsed();
    if ended.state != SnapshotState::Committed {
        bail!("snapshot {} is {} instead of committed: {:?}", ended.id, ended.state, ended.abort);
    }
    Ok(took)
}

fn report(rows: &[Row], args: &ScaleArgs) -> anyhow::Result<()> {
    let channels = if args.silent { "no channels" } else { "a ring of channels" };
    if args.json {
        println!("{}", serde_json::to_string(&json!({ "channels": channels, "rows": rows }))?);
        return Ok(());
    }
    println!(
        "Trigger-to-committed with {channels}, tiny state, stand-ins for agents in one process, one replica in another, file archive."
    );
    println!("CPU is the coordinator's: of the whole snapshot, and while nothing is done, of one core.");
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "members",
        "formed s",
        "CPU s",
        "snapshots",
        "p50 ms",
        "p99 ms",
        "max ms",
        "p50 us a member",
        "CPU ms",
        "requests",
        "requests a s",
        "idle requests a s",
        "idle CPU %",
    ]);
    for row in rows {
        let figure = |figure: f64| format!("{figure:.1}");
        table.add_row([
            row.members.to_string(),
            figure(row.formed_ms / 1e3),
            figure(row.formed_cpu_ms / 1e3),
            row.snapshot.count.to_string(),
            figure(row.snapshot.p50_ms),
            figure(row.snapshot.p99_ms),
            figure(row.snapshot.max_ms),
            figure(row.snapshot.p50_ms * 1e3 / f64::from(row.members)),
            figure(row.cpu_ms_a_snapshot),
            format!("{:.0}", row.requests_a_snapshot),
            format!("{:.0}", row.requests_a_second),
            format!("{:.0}", row.idle_requests_a_second),
            format!("{:.2}", row.idle_cpu_percent),
        ]);
    }
    println!("{table}");
    Ok(())
}
