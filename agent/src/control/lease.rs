//! The lease: until when this process may act without a word from the coordinator.
//!
//! Counted by the monotonic clock from the moment at which an answered poll was *asked*, so it runs out here before it can run out there.
//! The driver looks at it before each batch of messages: a process that was stopped for an hour acts no more once it goes on.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// A lease, renewed by the control loop and read by the driver.
#[derive(Debug)]
pub(crate) struct Lease {
    begin: Instant,
    length: Duration,
    /// Milliseconds after `begin` at which it runs out.
    until_ms: AtomicU64,
}

impl Lease {
    /// A lease that was given in answer to a question asked then.
    pub(crate) fn new(asked: Instant, length: Duration) -> Self {
        let lease = Self { begin: asked, length, until_ms: AtomicU64::new(0) };
        lease.renew(asked);
        lease
    }

    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// The coordinator answered what was asked then.
    pub(crate) fn renew(&self, asked: Instant) {
        let until = asked.saturating_duration_since(self.begin) + self.length;
        self.until_ms.fetch_max(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When it runs out.
    pub(crate) fn until(&self) -> Instant {
        self.begin + Duration::from_millis(self.until_ms.load(Ordering::Relaxed))
    }
}
