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
    AgentConfig, AgentError, Application, Capture, ClusterName, Committed, Context, Coordinators, MemberName, RestoreError, Room,
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
    /// The first one sends messages of 100 bytes to the second, which handles [`HANDLED_A_SECOND`], and keeps the channel full from the first committed
    /// snapshot on.
    Backlog,
}

/// How many messages the second member of a [`Workload::Backlog`] handles in a second.
pub(crate) const HANDLED_A_SECOND: u64 = 100;

/// How long it is at each.
const HANDLES_FOR: Duration = Duration::from_millis(1_000 / HANDLED_A_SECOND);

/// What waits behind a full channel, so that there is something to send when the second member acknowledges.
const BEHIND: u64 = 2_000;

impl Workload {
    /// The name, as on the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Mesh => "mesh",
            Self::Flood => "flood",
            Self::Backlog => "backlog",
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
    /// How many messages a channel holds; 0 for the agent's own limit.
    #[arg(long, default_value_t = 0)]
    queue: u64,
}

const TICK: TimerId = TimerId(1);
const TICK_EVERY: Duration = Duration::from_millis(50);

struct Worker {
    workload: Workload,
    queue: u64,
    sent: u64,
    committed: bool,
    received: u64,
    shown: Arc<AtomicU64>,
    message: Bytes,
}

impl Worker {
    fn pump(&mut self, cx: &mut Context<'_>, to: &MemberName) {
        while let Ok(Room::Ready) = cx.send(to, self.message.clone()) {}
    }

    /// Fills the channel at first, and then goes on as fast as messages are handled.
    fn keep_full(&mut self, cx: &mut Context<'_>, to: &MemberName) {
        let a_tick = HANDLED_A_SECOND * TICK_EVERY.as_millis() as u64 / 1_000;
        let messages = if self.sent == 0 { self.queue + BEHIND } else { a_tick };
        for _ in 0..messages {
            self.sent += u64::from(cx.send(to, self.message.clone()).is_ok());
        }
        self.shown.store(self.sent, Ordering::Relaxed);
    }

    fn receivers(&self, cx: &Context<'_>) -> Vec<MemberName> {
        let peers: Vec<MemberName> = cx.peers().cloned().collect();
        match self.workload {
            Workload::Ring => peers.iter().filter(|p| *p > cx.me()).min().or(peers.iter().min()).cloned().into_iter().collect(),
            Workload::Mesh | Workload::Flood => peers,
            Workload::Backlog => peers.into_iter().filter(|peer| self.committed && peer > cx.me()).collect(),
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
                Workload::Backlog => self.keep_full(cx, &to),
                // A full channel at this rate means that the other end is away; the next tick tries again.
                Workload::Ring | Workload::Mesh => drop(cx.send(&to, self.message.slice(..8))),
            }
        }
        cx.set_timer(TICK, TICK_EVERY);
    }

    fn on_message(&mut self, _cx: &mut Context<'_>, _from: &MemberName, _message: Bytes) {
        if self.workload == Workload::Backlog {
            work(HANDLES_FOR);
        }
        self.received += 1;
        self.shown.store(self.received, Ordering::Relaxed);
    }

    fn on_ready(&mut self, cx: &mut Context<'_>, to: &MemberName) {
        if self.workload == Workload::Flood {
            self.pump(cx, to);
        }
    }

    fn on_committed(&mut self, _committed: Committed) {
        self.committed = true;
    }

    fn capture(&mut self) -> Capture {
        Capture::encode(self.received)
    }

    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError> {
        self.received = state.decode()?;
        Ok(())
    }
}

/// Is busy for this long.
#[expect(clippy::disallowed_methods, reason = "it stands for work that takes so long")]
fn work(length: Duration) {
    std::thread::sleep(length);
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
    let MemberArgs { workload, queue, .. } = args;
    let message = Bytes::from(vec![7; 100]);
    let worker = Worker { workload, queue, sent: 0, committed: false, received: 0, shown, message };
    let mut config = AgentConfig::new(args.coordinator, args.cluster, args.member);
    if queue > 0 {
        config.limits.window_messages = queue;
        config.limits.window_bytes = config.limits.window_bytes.max(queue * 200);
    }
    stillframe_agent::run_blocking(config, worker)
}
