//! The clock that a store in memory goes by: the system's, or one that stands still until it is advanced.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

/// A clock, shared by everybody who has a clone of it. It reads in whole microseconds, as Postgres does.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Mutex<Reading>>);

#[derive(Debug)]
enum Reading {
    /// It is always this time.
    Still(Timestamp),
    /// The system's clock, and by how much this one is ahead of it.
    Going { ahead: SignedDuration },
}

impl Clock {
    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Mutex::new(Reading::Going { ahead: SignedDuration::ZERO })))
    }

    /// One that stands still at this time. What is finer than a microsecond is cut off.
    #[must_use]
    pub fn still(at: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Reading::Still(at))))
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Reading::Still(at) => at,
            Reading::Going { ahead } => {
                let now = Timestamp::now();
                now.checked_add(ahead).unwrap_or(now)
            }
        };
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// Lets time pass at once. At the end of time it stands still.
    pub fn advance(&self, by: Duration) {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Reading::Still(at) => *at = later(*at, by),
            Reading::Going { ahead } => *ahead = ahead.saturating_add(signed(by)),
        }
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// So long after a time.
pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(signed(by)).unwrap_or(Timestamp::MAX)
}

/// So long before a time.
pub(super) fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_sub(signed(by)).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_still_clock_moves_only_when_it_is_advanced_and_for_everybody_who_shares_it() {
        let clock = Clock::still(Timestamp::UNIX_EPOCH);
        let shared = clock.clone();
        assert_eq!(clock.now(), clock.now());
        clock.advance(Duration::from_secs(3));
        assert_eq!(shared.now(), later(Timestamp::UNIX_EPOCH, Duration::from_secs(3)));
    }

    #[test]
    fn a_clock_that_goes_is_ahead_by_what_it_was_advanced_and_reads_whole_microseconds() {
        let clock = Clock::system();
        let before = clock.now();
        clock.advance(Duration::from_secs(3600));
        assert!(clock.now() >= later(before, Duration::from_secs(3600)));
        assert_eq!(clock.now().subsec_nanosecond() % 1_000, 0);
    }
}
