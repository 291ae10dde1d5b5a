//! A deadline that may be moved while it is being waited for.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// When something is given up; clones move together.
#[derive(Debug, Clone)]
pub(crate) struct Deadline(Arc<Mutex<Instant>>);

impl Deadline {
    pub(crate) fn at(at: Instant) -> Self {
        Self(Arc::new(Mutex::new(at)))
    }

    pub(crate) fn get(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn move_to(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// How long until then; nothing when it is past.
    pub(crate) fn left(&self) -> Duration {
        self.get().saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_it_sees_it_move() {
        let deadline = Deadline::at(Instant::now());
        let waited_for = deadline.clone();
        assert!(waited_for.left().is_zero());
        deadline.move_to(Instant::now() + Duration::from_secs(3600));
        assert!(waited_for.left() > Duration::from_secs(3000));
    }
}
