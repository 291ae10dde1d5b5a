//! Members that count together: each adds what it hears of, and tells a neighbour. `docs/agent.md` shows it whole.
//!
//! `cargo run -p stillframe-agent --example counter -- http://127.0.0.1:7700 count a` (and `b`, and `c`, each in a terminal of its own)

use std::{env, error::Error, process, time::Duration};

use bytes::Bytes;
use stillframe_agent::{
    AgentConfig, Application, Capture, Context, MemberName, RestoreError, StateReader, TimerId, run_blocking,
};

const TICK: TimerId = TimerId(1);

#[derive(Default)]
struct Counter {
    seen: u64,
}

impl Application for Counter {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        cx.set_timer(TICK, Duration::from_millis(100));
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: TimerId) {
        cx.set_timer(TICK, Duration::from_millis(100));
        let next = cx.peers().find(|peer| *peer > cx.me()).or(cx.peers().next()).cloned();
        if let Some(next) = next
            && let Err(error) = cx.send(&next, "one more")
        {
            eprintln!("not sent: {error}");
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, from: &MemberName, _: Bytes) {
        self.seen += 1;
        println!("{}: {} messages, the last one from {from}", cx.me(), self.seen);
    }

    fn capture(&mut self) -> Capture {
        Capture::encode(self.seen)
    }

    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError> {
        self.seen = state.decode()?;
        println!("put back to {} messages", self.seen);
        Ok(())
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [coordinator, cluster, member] = arguments.as_slice() else { return Err("usage: counter URL CLUSTER MEMBER".into()) };
    let config = AgentConfig::new(coordinator.parse()?, cluster.parse()?, member.parse()?);
    Ok(run_blocking(config, Counter::default())?)
}

fn main() {
    if let Err(error) = run() {
        eprintln!("counter: {error}");
        process::exit(1);
    }
}
