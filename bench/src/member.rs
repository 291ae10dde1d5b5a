//! What a member of a workload does.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use stillframe_agent::{
    AgentConfig, AgentError, Application, Capture, ClusterName, Context, Coordinators, MemberName, RestoreError, Room,
    StateReader, TimerId,
};

/// What the members say to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Each sends 20 small messages a second to the next one: n channels.
    Ring,
    /// Each sends 20 small messages a second to every other one: n(n-1) channels.
    Mesh,
    /// Each sends messages of 100 bytes to every other one as fast as it can.
    Flood,
}

impl Workload {
    /// The name, as on the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Mesh => "mesh",
            Self::Flood => "flood",
        }
    }
}

/// What one member needs to know.
#[derive(Debug, Clone, Args)]
pub(crate) struct MemberArgs {
    #[arg(long)]
    coordinator: Coordinators,
    #[arg(long)]
    cluster: ClusterName,
    #[arg(long)]
    member: MemberName,
    #[arg(long)]
    workload: Workload,
}

const TICK: TimerId = TimerId(1);
const TICK_EVERY: Duration = Duration::from_millis(50);

struct Worker {
    workload: Workload,
    received: u64,
    shown: Arc<AtomicU64>,
    message: Bytes,
}

impl Worker {
    fn pump(&mut self, cx: &mut Context<'_>, to: &MemberName) {
        while let Ok(Room::Ready) = cx.send(to, self.message.clone()) {}
    }

    fn receivers(&self, cx: &Context<'_>) -> Vec<MemberName> {
        let peers: Vec<MemberName> = cx.peers().cloned().collect();
        match self.workload {
            Workload::Ring => peers.iter().filter(|p| *p > cx.me()).min().or(peers.iter().min()).cloned().into_iter().collect(),
            Workload::Mesh | Workload::Flood => peers,
        }
    }
}

impl Application for Worker {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        cx.set_timer(TICK, TICK_EVERY);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _timer: TimerId) {
        for to in self.receivers(cx) {
            match self.workload {
                // Only a start: what keeps it going is on_ready.
                Workload::Flood => self.pump(cx, &to),
                // A full channel at this rate means that the other end is away; the next tick tries again.
                Workload::Ring | Workload::Mesh => drop(cx.send(&to, self.message.slice(..8))),
            }
        }
        cx.set_timer(TICK, TICK_EVERY);
    }

    fn on_message(&mut self, _cx: &mut Context<'_>, _from: &MemberName, _message: Bytes) {
        self.received += 1;
        self.shown.store(self.received, Ordering::Relaxed);
    }

    fn on_ready(&mut self, cx: &mut Context<'_>, to: &MemberName) {
        if self.workload == Workload::Flood {
            self.pump(cx, to);
        }
    }

    fn capture(&mut self) -> Capture {
        Capture::encode(self.received)
    }

    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError> {
        self.received = state.decode()?;
        Ok(())
    }
}

/// Runs one member until its standard input ends. A line in answers with a line out: how many messages it has received.
pub(crate) fn run(args: MemberArgs) -> Result<(), AgentError> {
    let shown = Arc::new(AtomicU64::new(0));
    let answers = Arc::clone(&shown);
    std::thread::spawn(move || {
        let (mut stdin, mut stdout) = (std::io::stdin(), std::io::stdout());
        let mut byte = [0];
        while stdin.read(&mut byte).is_ok_and(|n| n > 0) {
            let _ = writeln!(stdout, "{}", answers.load(Ordering::Relaxed));
        }
        std::process::exit(0);
    });
    let worker = Worker { workload: args.workload, received: 0, shown, message: Bytes::from(vec![7; 100]) };
    let config = AgentConfig::new(args.coordinator, args.cluster, args.member);
    stillframe_agent::run_blocking(config, worker)
}
