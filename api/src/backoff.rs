//! How long to wait before trying again: full jitter, also at the cap, so that a whole fleet doesn't come back in step after an outage
//! (Brooker: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

use std::time::Duration;

/// Waits that grow from a first bound to a cap; each is drawn evenly between zero and the bound.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    bound: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// From anything up to `first` to anything up to `cap`, doubling with each wait.
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, bound: first.min(cap), random: fastrand::Rng::new() }
    }

    /// How long to wait now.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.bound.mul_f64(self.random.f64());
        self.bound = self.bound.saturating_mul(2).min(self.cap);
        wait
    }

    /// Waits.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_wait()).await;
    }

    /// It worked: the next wait is a short one again.
    pub fn reset(&mut self) {
        self.bound = self.first.min(self.cap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_under_the_cap_and_differ() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        let waits: Vec<_> = (0..100).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().all(|w| *w <= Duration::from_secs(1)));
        assert!(waits[0] <= Duration::from_millis(10));
        assert!(waits[50..].windows(2).any(|w| w[0] > w[1] + Duration::from_millis(1)), "full jitter at the cap too");
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(10));
    }
}
