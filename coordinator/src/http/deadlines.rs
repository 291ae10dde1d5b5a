//! By when each connection has to have said something, so that none is held for nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::service::registry::ConnectionId;

/// No deadline: a request is being carried out.
const NEVER: u64 = u64::MAX;

/// How long clients may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a request's line and headers, from their first byte, or from connecting.
    pub head: Duration,
    /// For the next piece of a body.
    pub piece: Duration,
    /// For a whole body.
    pub body: Duration,
    /// For the next request on a connection, or for taking some more of an answer. Longer than clients keep a connection to use it again.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            piece: Duration::from_secs(30),
            body: Duration::from_secs(300),
            idle: Duration::from_secs(120),
        }
    }
}

/// The connections that there are, and when each is given up.
#[derive(Debug)]
pub(super) struct Deadlines {
    began: Instant,
    patience: Patience,
    connections: Mutex<HashMap<ConnectionId, Arc<Deadline>>>,
    /// Told whenever a connection has closed.
    closed: Notify,
}

/// When one connection is given up.
#[derive(Debug)]
pub(super) struct Deadline {
    id: ConnectionId,
    table: Arc<Deadlines>,
    /// In milliseconds since the table began, or [`NEVER`].
    at_ms: AtomicU64,
    /// Whether nothing of the next request has come yet.
    between: AtomicBool,
    over: Notify,
}

impl Deadlines {
    pub(super) fn new(patience: Patience) -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), patience, connections: Mutex::default(), closed: Notify::new() })
    }

    /// A connection was made; it has as long as for a head.
    pub(super) fn opened(self: &Arc<Self>, id: ConnectionId) -> Arc<Deadline> {
        let deadline = Arc::new(Deadline {
            id,
            table: self.clone(),
            at_ms: AtomicU64::new(self.after(self.patience.head)),
            between: AtomicBool::new(true),
            over: Notify::new(),
        });
        self.lock().insert(id, deadline.clone());
        deadline
    }

    /// Waits until there are fewer connections than so many.
    pub(super) async fn below(&self, most: impl Fn() -> usize) {
        while self.lock().len() >= most() {
            self.closed.notified().await;
        }
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Gives up the connections whose time is over, again and again.
    pub(super) async fn keep(&self) {
        // Often enough for the shortest patience to be kept within a tenth.
        let every = (self.patience.head.min(self.patience.idle) / 10).max(Duration::from_millis(10));
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now_ms = self.after(Duration::ZERO);
            let over = |deadline: &&Arc<Deadline>| deadline.at_ms.load(Ordering::Relaxed) <= now_ms;
            self.lock().values().filter(over).for_each(|deadline| deadline.over.notify_one());
        }
    }

    fn after(&self, duration: Duration) -> u64 {
        u64::try_from((self.began.elapsed() + duration).as_millis()).unwrap_or(NEVER)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionId, Arc<Deadline>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deadline {
    /// Bytes came: if they begin a head, it has to be whole in time.
    pub(super) fn heard(&self) {
        if self.between.swap(false, Ordering::Relaxed) {
            self.set(self.table.patience.head);
        }
    }

    /// A request came, and is being carried out for as long as that takes.
    pub(super) fn asked(&self) {
        self.between.store(false, Ordering::Relaxed);
        self.at_ms.store(NEVER, Ordering::Relaxed);
    }

    /// The answer is there, to be taken; then the next request may come.
    pub(super) fn answered(&self) {
        self.between.store(true, Ordering::Relaxed);
        self.set(self.table.patience.idle);
    }

    /// Some of an answer was taken.
    pub(super) fn told(&self) {
        if self.between.load(Ordering::Relaxed) {
            self.set(self.table.patience.idle);
        }
    }

    /// Waits until the connection is to be given up.
    pub(super) async fn over(&self) {
        loop {
            self.over.notified().await;
            // Something may have come since.
            if self.at_ms.load(Ordering::Relaxed) <= self.table.after(Duration::ZERO) {
                return;
            }
        }
    }

    /// The connection is closed.
    pub(super) fn close(&self) {
        self.table.lock().remove(&self.id);
        self.table.closed.notify_one();
    }

    fn set(&self, patience: Duration) {
        self.at_ms.store(self.table.after(patience), Ordering::Relaxed);
    }
}
