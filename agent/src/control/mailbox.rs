//! What the control loop leaves for the driver: the newest assignment, whole. The driver may be busy for long, and then finds only the newest one;
//! nothing piles up.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use stillframe_api::agent::{Assignment, Outcome, Peers};
use stillframe_protocol::Epoch;
use tokio::sync::Notify;

use crate::error::AgentError;

/// Outcomes kept for a driver that is busy.
const MAX_OUTCOMES: usize = 1024;

/// Why the agent is to end.
#[derive(Debug)]
pub(crate) enum End {
    /// It was asked to: what was sent may still arrive.
    Shutdown,
    /// Nobody waits for it any more: at once, as if it were killed.
    Abandoned,
    /// It can't go on.
    Failed(AgentError),
}

/// An assignment with the peers that belong to it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) assignment: Assignment,
    pub(crate) peers: Arc<Peers>,
    pub(crate) received_at: Instant,
}

/// What was left since the last look.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) target: Option<Target>,
    /// Outcomes not seen before, in their order.
    pub(crate) outcomes: Vec<Outcome>,
    /// The member is to leave.
    pub(crate) leave: bool,
    pub(crate) end: Option<End>,
}

#[derive(Debug, Default)]
struct Inner {
    mail: Mail,
    /// The epochs of the outcomes that were passed on already, newest last.
    known: VecDeque<Epoch>,
}

/// The box. One control loop puts things in, one driver takes them out.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    news: AtomicBool,
    notify: Notify,
}

impl Mailbox {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while the lock is held, and each change leaves a valid box.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the driver look.
    pub(crate) fn ring(&self) {
        self.news.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// A newer assignment.
    pub(crate) fn assign(&self, target: Target) {
        let mut inner = self.inner();
        for outcome in &target.assignment.outcomes {
            if !inner.known.contains(&outcome.epoch) && inner.mail.outcomes.len() < MAX_OUTCOMES {
                inner.known.push_back(outcome.epoch);
                inner.mail.outcomes.push(outcome.clone());
            }
        }
        while inner.known.len() > MAX_OUTCOMES {
            inner.known.pop_front();
        }
        inner.mail.target = Some(target);
        drop(inner);
        self.ring();
    }

    /// The member is to leave.
    pub(crate) fn leave(&self) {
        self.inner().mail.leave = true;
        self.ring();
    }

    /// The agent is to end. The first reason stays.
    pub(crate) fn end(&self, end: End) {
        self.inner().mail.end.get_or_insert(end);
        self.ring();
    }

    /// Whether there is something in it. Costs one load.
    pub(crate) fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }

    /// Takes out what is in it.
    pub(crate) fn take(&self) -> Mail {
        self.news.store(false, Ordering::Release);
        std::mem::take(&mut self.inner().mail)
    }

    /// Waits until something was put in. Cancel-safe.
    pub(crate) async fn ringing(&self) {
        self.notify.notified().await;
    }
}
