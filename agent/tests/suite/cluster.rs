//! Agents in one process, each as a user would run it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use stillframe_agent::{Agent, AgentConfig, AgentError, AgentHandle, Application, Limits, Phase, Status};
use stillframe_archive::ChannelRecord;
use tokio::task::JoinHandle;

use crate::{
    ledger::{Ledger, Transfer},
    plane::{Committed, PATIENCE, Plane, name},
};

/// A running member.
pub(crate) struct Process {
    pub(crate) handle: AgentHandle,
    pub(crate) task: JoinHandle<Result<(), AgentError>>,
}

impl Process {
    /// As SIGKILL would end it, as far as that can be had within one process.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub(crate) async fn status(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut status = self.handle.status();
        match tokio::time::timeout(PATIENCE, status.wait_for(wanted)).await {
            Ok(Ok(status)) => status.clone(),
            _ => panic!("waited {PATIENCE:?} for {what}: {:?}", *self.handle.status().borrow()),
        }
    }

    pub(crate) async fn phase(&self, phase: Phase) {
        self.status(&format!("{phase:?}"), |status| status.phase == phase).await;
    }
}

pub(crate) fn config(plane: &Plane, member: &str) -> AgentConfig {
    AgentConfig::new("http://127.0.0.1:1".parse().unwrap(), plane.cluster.clone(), name(member)).spool_dir(plane.dir.path())
}

pub(crate) fn spawn(plane: &Arc<Plane>, config: AgentConfig, app: impl Application) -> Process {
    spawn_agent(Agent::new(config, app).with_control_plane(Arc::<Plane>::clone(plane)))
}

pub(crate) fn spawn_agent(agent: Agent) -> Process {
    let handle = agent.handle();
    Process { handle, task: tokio::spawn(agent.run()) }
}

pub(crate) fn small_limits() -> Limits {
    Limits { window_messages: 64, window_bytes: 16 << 10, ..Limits::default() }
}

/// All the money in a snapshot: in balances, in flight (recorded, or logged and not arrived), and waiting to be sent.
pub(crate) async fn money(plane: &Plane, committed: &Committed) -> u64 {
    let mut sum = 0;
    for (member, part) in &committed.parts {
        let ledger: Ledger = postcard::from_bytes(&plane.state_of(part).await).unwrap();
        sum += ledger.balance;
        for record in plane.channels_of(part).await {
            match record {
                ChannelRecord::Recorded { payload, .. } | ChannelRecord::Unsent { payload, .. } => {
                    sum += postcard::from_bytes::<Transfer>(&payload).unwrap().amount;
                }
                ChannelRecord::Logged { to, seq, payload } => {
                    if !committed.received(member, &to).contains(seq) {
                        sum += postcard::from_bytes::<Transfer>(&payload).unwrap().amount;
                    }
                }
                ChannelRecord::Timer { .. } => {}
            }
        }
    }
    sum
}

/// Waits for a condition that no channel tells of.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
