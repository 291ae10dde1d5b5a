//! Trigger-to-committed while a channel is backed up: a receiver that handles 100 messages a second, and a queue in front of it. With markers a snapshot waits until
//! the marker is through the queue; when the sender logs it waits for nothing of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use comfy_table::{Table, presets};
use serde::Serialize;
use stillframe_api::snapshot::{SnapshotState, TakeSnapshot};

use crate::{
    counter::Counter,
    figures::Figures,
    member::{HANDLED_A_SECOND, Workload},
    stage::{ChannelStateArg, ClusterOptions, Stage},
};

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct BackpressureArgs {
    /// How many snapshots with each queue and channel state.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    snapshots: u32,
    /// How many messages are queued at the channel.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 10_000])]
    queued: Vec<u64>,
    /// Which channel states.
    #[arg(long, value_delimiter = ',', default_values = ["marker", "sender-logged"])]
    channel_states: Vec<ChannelStateArg>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// One queue and channel state.
#[derive(Debug, Serialize)]
struct Row {
    queued: u64,
    channel_state: ChannelStateArg,
    /// The fewest messages that were in flight in a snapshot: so many were really queued.
    least_in_flight: u64,
    snapshot: Figures,
}

/// Runs the workload and prints its report.
pub(crate) async fn run(args: BackpressureArgs) -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let mut rows = Vec::new();
    for queued in args.queued {
        for &channel_state in &args.channel_states {
            rows.push(one(&stage, queued, channel_state, args.snapshots).await?);
        }
    }
    stage.strike().await?;
    report(&rows, args.json)
}

async fn one(stage: &Stage, queued: u64, channel_state: ChannelStateArg, snapshots: u32) -> anyhow::Result<Row> {
    let timeout = Duration::from_secs(60 + 2 * queued / HANDLED_A_SECOND);
    let options = ClusterOptions { channel_state, timeout, queue: queued, ..ClusterOptions::new(2, Workload::Backlog) };
    let mut cluster = stage.cluster(&format!("backlog-{queued}-{}", channel_state.as_str().replace('_', "-")), options).await?;
    let mut counters = Counter::of(&mut cluster)?;
    filled(&mut counters, queued).await?;
    let (mut took, mut least_in_flight) = (Vec::new(), u64::MAX);
    for _ in 0..snapshots {
        let began = Instant::now();
        let taken = stage.client.take_snapshot(&cluster.name, &TakeSnapshot::default()).await?;
        let ended = loop {
            let now = stage.client.wait_snapshot(taken.id, Duration::from_secs(30)).await?;
            if now.state.has_ended() {
                break now;
            }
        };
        took.push(began.elapsed());
        if ended.state != SnapshotState::Committed {
            bail!("snapshot {} is {} instead of committed: {:?}", ended.id, ended.state, ended.abort);
        }
        least_in_flight = least_in_flight.min(ended.messages_in_flight.unwrap_or(0));
    }
    Ok(Row { queued, channel_state, least_in_flight, snapshot: Figures::of(took) })
}

/// Waits until the sender has handed over so many messages.
async fn filled(counters: &mut [Counter], queued: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    let sender = counters.first_mut().context("the cluster has no members")?;
    while sender.read()? < queued {
        if began.elapsed() > Duration::from_secs(60) {
            bail!("the queue isn't filled after 60 s");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn report(rows: &[Row], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(&serde_json::json!({ "handled_a_second": HANDLED_A_SECOND, "rows": rows }))?);
        return Ok(());
    }
    println!(
        "Trigger-to-committed, two member processes, messages of 100 bytes, a receiver that handles {HANDLED_A_SECOND} a second; file archive."
    );
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["queued", "channel state", "snapshots", "in flight, least", "p50 ms", "max ms", "marker / sender-logged"]);
    for row in rows {
        let of = |state| rows.iter().find(|other| other.queued == row.queued && other.channel_state == state);
        let ratio = match (of(ChannelStateArg::Marker), of(ChannelStateArg::SenderLogged)) {
            (Some(marker), Some(logged)) => format!("{:.0}", marker.snapshot.p50_ms / logged.snapshot.p50_ms),
            (Some(_) | None, Some(_) | None) => "-".to_owned(),
        };
        table.add_row([
            row.queued.to_string(),
            row.channel_state.as_str().to_owned(),
            row.snapshot.count.to_string(),
            row.least_in_flight.to_string(),
            format!("{:.1}", row.snapshot.p50_ms),
            format!("{:.1}", row.snapshot.max_ms),
            ratio,
        ]);
    }
    println!("{table}");
    for state in [ChannelStateArg::Marker, ChannelStateArg::SenderLogged] {
        let mut of_it = rows.iter().filter(|row| row.channel_state == state);
        if let (Some(first), Some(last)) = (of_it.next(), of_it.next_back()) {
            let (queue, time) = (last.queued as f64 / first.queued as f64, last.snapshot.p50_ms / first.snapshot.p50_ms);
            println!("{}: with a queue {queue:.0} times as long a snapshot takes {time:.1} times as long", state.as_str());
        }
    }
    Ok(())
}
