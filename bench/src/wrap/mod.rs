//! What wrapping costs: a wrap and an unwrap of a 100-byte message on one core, and the same over TCP beside bare length-delimited framing.
//!
//! | to find | look in |
//! | --- | --- |
//! | the workload without a network | here |
//! | over TCP, with and without | [`tcp`] |
//! | two members that run, and a coordinator that only lets them | [`pair`] |

mod pair;
mod tcp;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use comfy_table::{Table, presets};
use serde::Serialize;
use stillframe_agent::{
    ChannelOrdering,
    wrap::{Action, Actions, Carrier},
};

use pair::Pair;

/// The length of a message.
const MESSAGE_BYTES: usize = 100;

/// Messages between two looks at the timers, where acknowledgements are carried.
const BATCH: u64 = 64;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct WrapArgs {
    /// How many rounds; each measures everything once. The figures are medians.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// How many messages a round.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    messages: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    messages: u64,
    rounds: u32,
    header_bytes: usize,
    fifo_ns: f64,
    unordered_ns: f64,
    tcp_bare_ns: f64,
    tcp_wrapped_ns: f64,
    /// The median, over the rounds, of wrapped over bare in the same round.
    tcp_ratio: f64,
}

const FIFO: Carrier = Carrier::reliable(ChannelOrdering::Fifo);
const UNORDERED: Carrier = Carrier::lossy(ChannelOrdering::Unordered, Duration::from_millis(50));

/// Runs the workload and prints its report.
pub(crate) fn run(args: &WrapArgs) -> anyhow::Result<()> {
    let (mut fifo, mut unordered) = (Pair::start(FIFO)?, Pair::start(UNORDERED)?);
    let message = Bytes::from(vec![7; MESSAGE_BYTES]);
    let header_bytes = fifo.wrap(&message)?.header().len();
    let [mut fifo_ns, mut unordered_ns, mut bare_ns, mut wrapped_ns] = [const { Vec::new() }; 4];
    for _ in 0..args.rounds {
        fifo_ns.push(round(&mut fifo, &message, args.messages)?);
        unordered_ns.push(round(&mut unordered, &message, args.messages)?);
        bare_ns.push(tcp::bare(&message, args.messages)?);
        wrapped_ns.push(tcp::wrapped(&message, args.messages)?);
    }
    let report = Report {
        messages: args.messages,
        rounds: args.rounds,
        header_bytes,
        fifo_ns: median(fifo_ns),
        unordered_ns: median(unordered_ns),
        tcp_ratio: median(wrapped_ns.iter().zip(&bare_ns).map(|(wrapped, bare)| wrapped / bare).collect()),
        tcp_bare_ns: median(bare_ns),
        tcp_wrapped_ns: median(wrapped_ns),
    };
    show(&report, args.json)
}

/// Nanoseconds for one wrap and one unwrap, acknowledgements included.
fn round(pair: &mut Pair, message: &Bytes, messages: u64) -> anyhow::Result<f64> {
    let before = pair.b.status().delivered;
    let began = Instant::now();
    for n in 1..=messages {
        let envelope = pair.a.wrap(&pair.to, message.clone())?.envelope;
        let frame = envelope.context("the window is full although everything is acknowledged")?.into_bytes();
        let mut delivered = 0;
        drain(pair.b.unwrap(frame)?, &mut delivered, &mut pair.to_a);
        if n % BATCH == 0 {
            pair.carry_answers()?;
        }
    }
    let took = began.elapsed();
    let delivered = pair.b.status().delivered - before;
    if delivered != messages {
        bail!("{delivered} of {messages} messages were delivered");
    }
    Ok(took.as_nanos() as f64 / messages as f64)
}

/// Carries out actions as an application would that does nothing with its messages.
fn drain(mut actions: Actions<'_>, delivered: &mut u64, answers: &mut Vec<Bytes>) {
    while let Some(action) = actions.next_action() {
        match action {
            Action::Deliver { message, .. } => *delivered += u64::from(std::hint::black_box(message).len() == MESSAGE_BYTES),
            Action::Send { envelope, .. } => answers.push(envelope.into_bytes()),
            Action::Capture(request) => actions.answer(request, stillframe_agent::Capture::bytes("")),
            Action::Start
            | Action::Restore(_)
            | Action::Ready { .. }
            | Action::Peers
            | Action::Committed(_)
            | Action::Ended(_) => {}
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn show(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    println!(
        "A wrap and an unwrap of {MESSAGE_BYTES} bytes on one core, acknowledgements included; medians of {} rounds of {} messages. The header has {} bytes.",
        report.rounds, report.messages, report.header_bytes
    );
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["", "ns a message"]);
    table.add_row(["wrap + unwrap, fifo".to_owned(), format!("{:.0}", report.fifo_ns)]);
    table.add_row(["wrap + unwrap, unordered".to_owned(), format!("{:.0}", report.unordered_ns)]);
    table.add_row(["tokio TCP, length-delimited, bare".to_owned(), format!("{:.0}", report.tcp_bare_ns)]);
    table.add_row(["tokio TCP, length-delimited, wrapped".to_owned(), format!("{:.0}", report.tcp_wrapped_ns)]);
    println!("{table}");
    println!("Over TCP, wrapped costs {:.2} times as much as bare (median of the rounds' ratios).", report.tcp_ratio);
    Ok(())
}
