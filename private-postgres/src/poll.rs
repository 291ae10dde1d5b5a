//! Waiting for a condition.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_millis(10);

/// Asks `check` every few milliseconds until it has an answer, for at most `limit`.
///
/// Files, locks and processes of [`std`] are polled rather than awaited, because a server may outlive the runtime that started it.
pub(crate) async fn until<T>(limit: Duration, mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let mut ticks = ticks();
    loop {
        if let Some(answer) = check() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        ticks.tick().await;
    }
}

/// The rhythm of [`until`], for a loop whose condition is itself asynchronous.
pub(crate) fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
