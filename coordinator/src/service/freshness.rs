//! How fresh this replica's word is. One that is cut off from the database goes on answering polls with what it knew, so that an outage of the
//! database stops no member; it says how old its word is, so that a member can look for a replica that knows more.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{Service, lock};

/// From when on the database counts as away, for what can do without it.
const AWAY_AFTER: Duration = Duration::from_secs(1);

/// When the database last answered.
#[derive(Debug)]
pub struct Freshness {
    heard: Mutex<Instant>,
}

impl Default for Freshness {
    /// A replica has just connected when it starts.
    fn default() -> Self {
        Self { heard: Mutex::new(Instant::now()) }
    }
}

impl Freshness {
    /// The database answered what was asked then, and what it said is known here.
    pub(crate) fn heard(&self, asked: Instant) {
        let mut heard = lock(&self.heard);
        *heard = asked.max(*heard);
    }

    /// How old the newest word is.
    #[must_use]
    pub fn age(&self) -> Duration {
        lock(&self.heard).elapsed()
    }
}

impl Service {
    /// How often to look whether there is news: often enough that an age tells a replica that is cut off from one that is not.
    pub(crate) fn look_every(&self) -> Duration {
        self.settings.look_every.min(self.settings.lease / 10).max(Duration::from_millis(10))
    }

    /// Whether the database has been silent for so long that asking it more is in vain.
    pub(crate) fn seems_cut_off(&self) -> bool {
        self.freshness.age() > AWAY_AFTER.max(self.look_every() * 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_to_an_early_question_makes_nothing_older() {
        let freshness = Freshness::default();
        let now = Instant::now();
        freshness.heard(now);
        freshness.heard(now - Duration::from_secs(60));
        assert!(freshness.age() < Duration::from_secs(30));
    }
}
