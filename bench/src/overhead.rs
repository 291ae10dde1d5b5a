//! What snapshots cost a busy pair: messages a second with snapshots every second, every 100 ms, and off, in turn, over several rounds.

use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{Table, presets};
use serde::Serialize;
use stillframe_api::{HumanDuration, schedule::PutSchedule, snapshot::SnapshotState};
use stillframe_protocol::name::ScheduleName;

use crate::{
    counter::Counter,
    member::Workload,
    stage::{ClusterOptions, Stage},
};

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct OverheadArgs {
    /// How many rounds; each measures every setting once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// How many seconds each setting is measured in a round.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// One setting, over all rounds.
#[derive(Debug, Serialize)]
struct Row {
    snapshots: &'static str,
    messages_per_second: f64,
    /// The median, over the rounds, of this setting's throughput over that without snapshots in the same round.
    ratio: f64,
}

const SETTINGS: [(&str, Option<u64>); 3] = [("off", None), ("every 1s", Some(1_000)), ("every 100ms", Some(100))];

/// Runs the workload and prints its report.
pub(crate) async fn run(args: OverheadArgs) -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let mut cluster = stage.cluster("overhead", ClusterOptions::new(2, Workload::Flood)).await?;
    let mut counters = Counter::of(&mut cluster)?;
    let schedule = ScheduleName::new("overhead")?;
    let mut rates = [const { Vec::new() }; 3];
    for round in 0..args.rounds {
        // Each round begins with another setting, so that none always comes first.
        for turn in 0..SETTINGS.len() {
            let setting = (round as usize + turn) % SETTINGS.len();
            if let Some(ms) = SETTINGS[setting].1 {
                let put = PutSchedule::every(HumanDuration::from_millis(ms));
                stage.client.put_schedule(&cluster.name, &schedule, &put).await?;
            }
            rates[setting].push(rate(&mut counters, Duration::from_secs(args.seconds)).await?);
            if SETTINGS[setting].1.is_some() {
                stage.client.delete_schedule(&cluster.name, &schedule).await?;
            }
        }
    }
    let committed = stage.snapshots(&cluster.name, SnapshotState::Committed).await?.len();
    let aborted = stage.snapshots(&cluster.name, SnapshotState::Aborted).await?.len();
    drop(cluster);
    stage.strike().await?;

    let rows: Vec<Row> = (0..SETTINGS.len())
        .map(|setting| Row {
            snapshots: SETTINGS[setting].0,
            messages_per_second: median(rates[setting].clone()),
            ratio: median(rates[setting].iter().zip(&rates[0]).map(|(rate, off)| rate / off).collect()),
        })
        .collect();
    report(&rows, committed, aborted, args.json)
}

async fn rate(counters: &mut [Counter], length: Duration) -> anyhow::Result<f64> {
    let (began, before) = (Instant::now(), total(counters)?);
    tokio::time::sleep(length).await;
    let (after, took) = (total(counters)?, began.elapsed());
    Ok((after - before) as f64 / took.as_secs_f64())
}

fn total(counters: &mut [Counter]) -> anyhow::Result<u64> {
    counters.iter_mut().map(Counter::read).sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

fn report(rows: &[Row], committed: usize, aborted: usize, json: bool) -> anyhow::Result<()> {
    if json {
        let report = serde_json::json!({ "rows": rows, "snapshots_committed": committed, "snapshots_aborted": aborted });
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    println!(
        "Throughput of two members that flood each other with messages of 100 bytes; {committed} snapshots committed, {aborted} aborted."
    );
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["snapshots", "messages/s (median)", "ratio to off (median of rounds)"]);
    for row in rows {
        table.add_row([row.snapshots.to_owned(), format!("{:.0}", row.messages_per_second), format!("{:.3}", row.ratio)]);
    }
    println!("{table}");
    Ok(())
}
