//! How fast objects may be deleted, so that a sweep leaves the store its strength for snapshots.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The store takes no more in one request.
const MOST_AT_ONCE: u32 = 1_000;

/// A limit in objects a second. One for everything that deletes in a process.
#[derive(Debug)]
pub struct Pace {
    per_second: u32,
    /// When what was admitted so far is over.
    busy_until: Mutex<Instant>,
}

impl Pace {
    /// So many objects a second, at least one.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second: per_second.max(1), busy_until: Mutex::new(Instant::now()) }
    }

    /// How many objects are deleted at once: a second's worth, 1,000 at most.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.per_second.min(MOST_AT_ONCE) as usize
    }

    /// Waits until so many more may be deleted.
    pub async fn admit(&self, objects: usize) {
        let wait = self.reserve(Instant::now(), objects);
        tokio::time::sleep(wait).await;
    }

    fn reserve(&self, now: Instant, objects: usize) -> Duration {
        let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*busy_until).max(now);
        *busy_until = begin + Duration::from_secs(1).mul_f64(objects as f64 / f64::from(self.per_second));
        begin - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_so_many_a_second_are_admitted_and_idling_saves_nothing_up() {
        let pace = Pace::new(100);
        let begin = Instant::now();
        let waits: Vec<u128> = (0..4).map(|_| pace.reserve(begin, 50).as_millis()).collect();
        assert_eq!(waits, [0, 500, 1_000, 1_500]);
        let later = begin + Duration::from_secs(60);
        assert_eq!(pace.reserve(later, 50).as_millis(), 0);
        assert_eq!(pace.reserve(later, 50).as_millis(), 500);
    }
}
