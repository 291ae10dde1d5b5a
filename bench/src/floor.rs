//! Trigger-to-committed, beside the floor: the least that a durable snapshot can cost on this machine, measured in turn with it.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::Args;
use comfy_table::{Table, presets};
use object_store::{ObjectStoreExt, PutPayload, local::LocalFileSystem, path::Path};
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use stillframe_api::snapshot::{SnapshotState, TakeSnapshot};

use crate::{
    figures::Figures,
    member::Workload,
    stage::{ChannelStateArg, Cluster, ClusterOptions, Stage},
};

/// Between two measurements, so that neither pays for what the one before left to do (telling the members how it ended, say).
const PAUSE: Duration = Duration::from_millis(40);

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct FloorArgs {
    /// How many snapshots at each size.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(50..=10_000))]
    snapshots: u32,
    /// How many members.
    #[arg(long, value_delimiter = ',', default_values_t = [2, 4, 8, 16])]
    members: Vec<u32>,
    /// Who talks to whom.
    #[arg(long, default_value = "ring")]
    workload: Workload,
    /// How the messages under way get into the snapshots.
    #[arg(long, default_value = "marker")]
    channel_state: ChannelStateArg,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// One size.
#[derive(Debug, Serialize)]
struct Row {
    members: u32,
    snapshot: Figures,
    floor: Figures,
    p50_ratio: f64,
}

/// Runs the workload and prints its report.
pub(crate) async fn run(args: FloorArgs) -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let mut floor = Floor::new(&stage).await?;
    let mut rows = Vec::new();
    for members in args.members {
        let options = ClusterOptions { channel_state: args.channel_state, ..ClusterOptions::new(members, args.workload) };
        let cluster = stage.cluster(&format!("floor-{members}"), options).await?;
        let (mut snapshots, mut floors) = (Vec::new(), Vec::new());
        // The first few pay for connections and caches.
        for n in 0..args.snapshots + 5 {
            let snapshot = one_snapshot(&stage, &cluster).await?;
            tokio::time::sleep(PAUSE).await;
            let least = floor.measure().await?;
            tokio::time::sleep(PAUSE).await;
            if n >= 5 {
                snapshots.push(snapshot);
                floors.push(least);
            }
        }
        let (snapshot, floor) = (Figures::of(snapshots), Figures::of(floors));
        rows.push(Row { members, snapshot, floor, p50_ratio: snapshot.p50_ms / floor.p50_ms });
    }
    stage.strike().await?;
    report(&rows, args.workload, args.json)
}

async fn one_snapshot(stage: &Stage, cluster: &Cluster) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let taken = stage.client.take_snapshot(&cluster.name, &TakeSnapshot::default()).await?;
    let ended = stage.client.wait_snapshot(taken.id, Duration::from_secs(30)).await?;
    let took = began.elapsed();
    if ended.state != SnapshotState::Committed {
        bail!("snapshot {} is {} instead of committed: {:?}", ended.id, ended.state, ended.abort);
    }
    Ok(took)
}

/// One Postgres commit, one durable object put and one more for a manifest, one after the other: what any coordinator with this storage
/// must at least wait for.
struct Floor {
    connection: PgConnection,
    store: LocalFileSystem,
    puts: u64,
}

impl Floor {
    async fn new(stage: &Stage) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(&stage.database).await?;
        sqlx::query("CREATE TABLE floor (n bigint PRIMARY KEY, what text NOT NULL)").execute(&mut connection).await?;
        let dir = stage.dir.path().join("floor");
        std::fs::create_dir(&dir)?;
        Ok(Self { connection, store: LocalFileSystem::new_with_prefix(dir)?.with_fsync(true), puts: 0 })
    }

    async fn measure(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let n = i64::try_from(self.puts)?;
        let row =
            sqlx::query("INSERT INTO floor VALUES ($1, $2)").bind(n).bind("committed").execute(&mut self.connection).await?;
        ensure!(row.rows_affected() == 1, "the floor's row wasn't written");
        for _ in 0..2 {
            self.puts += 1;
            self.store.put(&Path::from(format!("{}/object", self.puts)), PutPayload::from(vec![7u8; 400])).await?;
        }
        Ok(began.elapsed())
    }
}

fn report(rows: &[Row], workload: Workload, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(&serde_json::json!({ "workload": workload.as_str(), "rows": rows }))?);
        return Ok(());
    }
    println!("Trigger-to-committed, tiny state, {} of member processes, file archive; milliseconds.", workload.as_str());
    println!("Floor: one Postgres commit, then two durable puts, measured in turn with the snapshots.");
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["members", "snapshots", "p50", "p99", "max", "floor p50", "floor p99", "p50 ratio"]);
    for row in rows {
        let ms = |figure: f64| format!("{figure:.2}");
        let (snapshot, floor) = (&row.snapshot, &row.floor);
        table.add_row([
            row.members.to_string(),
            snapshot.count.to_string(),
            ms(snapshot.p50_ms),
            ms(snapshot.p99_ms),
            ms(snapshot.max_ms),
            ms(floor.p50_ms),
            ms(floor.p99_ms),
            format!("{:.2}", row.p50_ratio),
        ]);
    }
    println!("{table}");
    Ok(())
}
