//! Waiting before another try: full jitter, also at the cap, so that a whole fleet doesn't come back at once after an outage.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Waits longer after each try.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    tries: u32,
}

impl Backoff {
    /// From anything up to `first` to anything up to `cap`.
    pub(crate) fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, tries: 0 }
    }

    /// Begins anew after a success.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }

    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        let ceiling = self.first.saturating_mul(1 << self.tries.min(16)).min(self.cap);
        self.tries = self.tries.saturating_add(1);
        // Seeded anew for each: the standard library's own randomness.
        let random = RandomState::new().hash_one(self.tries);
        Duration::from_nanos(random % (u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX).max(1)))
    }

    /// Waits.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wait_is_above_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(80));
        assert!((0..100).all(|_| backoff.next() <= Duration::from_millis(80)));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(10));
    }
}
