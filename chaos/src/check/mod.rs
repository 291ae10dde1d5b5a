//! What must hold after each heal, within a bound.
//!
//! | module | concept |
//! | --- | --- |
//! | [`calm`] | everything serves and runs again, and snapshots are taken |
//! | [`history`] | what is known of every snapshot, and what it may become |
//! | [`chronicle`] | what the audit tells of the past: numbers, ends, holds, slots |
//! | [`bucket`] | the archive alone: every committed snapshot verifies and adds up, nothing has no owner |
//! | [`audit`] | the audit's chain is as it was written |
//! | [`logs`] | no process has panicked |

pub mod audit;
pub mod bucket;
pub mod calm;
pub mod chronicle;
pub mod history;
pub mod logs;

use std::time::{Duration, Instant};

pub use chronicle::Chronicle;
pub use history::History;

/// How long it may take after a heal until everything is as it must be. Generous: the machine may be busy with other things.
pub const BOUND: Duration = Duration::from_secs(90);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Looks until `probe` finds what it wants.
///
/// # Errors
/// When it hasn't by [`BOUND`], with what was found last.
pub async fn within_bound<T>(what: &str, mut probe: impl AsyncFnMut() -> Result<T, String>) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        match probe().await {
            Ok(found) => return Ok(found),
            Err(found) if begun.elapsed() > BOUND => {
                return Err(format!("expected within {BOUND:?}: {what}; found last: {found}"));
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
