//! The status that others watch.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{Driver, Hold};
use crate::status::{Phase, Status};

/// How often the status is published at most.
pub(super) const STATUS_EVERY: Duration = Duration::from_millis(100);

impl Driver {
    fn current_status(&self) -> Status {
        let phase = match self.hold {
            None => Phase::Running,
            Some(Hold::Waiting | Hold::NewerGeneration) => Phase::Waiting,
            Some(Hold::Preparing) => Phase::Preparing,
            Some(Hold::LeaseExpired) => Phase::LeaseExpired,
        };
        let incarnation = self.wiring.incarnation;
        let parts_reported = self.outward.parts_reported.load(Ordering::Relaxed);
        let peers = self.directory.len();
        let status =
            Status { phase, incarnation, peers, parts_reported, last_committed: self.last_committed, ..Status::default() };
        match &self.live {
            None => status,
            Some(live) => Status {
                generation: live.generation(),
                epoch: live.participant.epoch(),
                delivered: live.counts.delivered,
                sent: live.counts.sent,
                unsent: live.unsent(),
                refused_frames: live.counts.refused_frames,
                ..status
            },
        }
    }

    pub(super) fn is_unpublished(&self) -> bool {
        self.status.receiver_count() > 0 && *self.status.borrow() != self.current_status()
    }

    pub(super) fn publish(&mut self, at_once: bool) {
        let now = Instant::now();
        if at_once || now.duration_since(self.published_at) >= STATUS_EVERY {
            let newer = self.current_status();
            let published = self.status.send_if_modified(|status| {
                let changed = *status != newer;
                *status = newer;
                changed
            });
            if published {
                self.published_at = now;
            }
        }
    }
}
