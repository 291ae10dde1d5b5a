//! How long to wait before trying again: full jitter, also at the cap, so that many agents don't come back in step.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Waits that grow from a first bound to a cap; each is drawn evenly between zero and the bound.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    bound: Duration,
    state: u64,
}

impl Backoff {
    pub(crate) fn new(first: Duration, cap: Duration) -> Self {
        // The standard library's hash keys are random per process and counted up per use: enough to spread retries.
        Self { first, cap, bound: first, state: RandomState::new().hash_one(0u8) }
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let wait = self.bound.mul_f64((z >> 11) as f64 / (1u64 << 53) as f64);
        self.bound = (self.bound * 2).min(self.cap);
        wait
    }

    /// It worked: the next wait is a short one again.
    pub(crate) fn reset(&mut self) {
        self.bound = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_under_the_cap_and_differ() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        let waits: Vec<_> = (0..100).map(|_| backoff.next()).collect();
        assert!(waits.iter().all(|w| *w < Duration::from_secs(1)));
        assert!(waits[0] < Duration::from_millis(10));
        assert!(waits[50..].windows(2).any(|w| w[0] > w[1] + Duration::from_millis(1)), "full jitter at the cap too");
        backoff.reset();
        assert!(backoff.next() < Duration::from_millis(10));
    }
}
