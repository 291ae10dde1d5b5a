//! Waiting for a condition, with a deadline. Nothing in these tests waits for time to pass.

use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

/// How long anything may take. Generous: two cores may be running several clusters of processes.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// Looks until `probe` finds what it wants; meanwhile it tells what it found instead.
///
/// # Panics
///
/// When it hasn't by [`DEADLINE`], with what was found last.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match probe().await {
            Ok(found) => return found,
            Err(found) if begun.elapsed() > DEADLINE => panic!("expected within {DEADLINE:?}: {what}; found last: {found}"),
            Err(_) => {}
        }
    }
}
