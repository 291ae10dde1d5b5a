//! The application's timers. They stand still while the member holds still, and belong to its captured state.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use crate::application::TimerId;

/// Timers by id and by time.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_id: HashMap<TimerId, Instant>,
    queue: BTreeSet<(Instant, TimerId)>,
    paused_at: Option<Instant>,
}

impl Timers {
    pub(crate) fn set(&mut self, id: TimerId, after: Duration) {
        self.cancel(id);
        let now = self.paused_at.unwrap_or_else(Instant::now);
        // A time beyond what the clock can hold never comes.
        if let Some(at) = now.checked_add(after) {
            self.by_id.insert(id, at);
            self.queue.insert((at, id));
        }
    }

    pub(crate) fn cancel(&mut self, id: TimerId) {
        if let Some(at) = self.by_id.remove(&id) {
            self.queue.remove(&(at, id));
        }
    }

    /// When the next one runs out.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes one that has run out.
    pub(crate) fn due(&mut self, now: Instant) -> Option<TimerId> {
        let (at, id) = *self.queue.first()?;
        (at <= now).then(|| {
            self.cancel(id);
            id
        })
    }

    /// Stops them all.
    pub(crate) fn pause(&mut self, now: Instant) {
        self.paused_at.get_or_insert(now);
    }

    /// Lets them go on; the time in between doesn't count.
    pub(crate) fn resume(&mut self, now: Instant) {
        if let Some(since) = self.paused_at.take() {
            let held = now.saturating_duration_since(since);
            let queue = std::mem::take(&mut self.queue);
            self.queue = queue.into_iter().map(|(at, id)| (at + held, id)).collect();
            self.by_id = self.queue.iter().map(|(at, id)| (*id, *at)).collect();
        }
    }

    /// What is left of each, in milliseconds (rounded up), for a snapshot.
    pub(crate) fn remaining_ms(&self) -> impl Iterator<Item = (TimerId, u64)> {
        let now = self.paused_at.unwrap_or_else(Instant::now);
        self.queue.iter().map(move |(at, id)| {
            let left = at.saturating_duration_since(now);
            (*id, u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_is_set_again_or_cancelled_runs_out_once_or_never() {
        let mut timers = Timers::default();
        timers.set(TimerId(1), Duration::from_secs(5));
        timers.set(TimerId(1), Duration::ZERO);
        timers.set(TimerId(2), Duration::ZERO);
        timers.cancel(TimerId(2));
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(timers.due(later), Some(TimerId(1)));
        assert_eq!(timers.due(later), None);
    }

    #[test]
    fn a_timer_stands_still_while_the_member_holds_still() {
        let mut timers = Timers::default();
        let begin = Instant::now();
        timers.set(TimerId(1), Duration::from_secs(5));
        timers.pause(begin);
        timers.resume(begin + Duration::from_secs(100));
        assert_eq!(timers.due(begin + Duration::from_secs(104)), None);
        assert_eq!(timers.due(begin + Duration::from_secs(106)), Some(TimerId(1)));
    }
}
