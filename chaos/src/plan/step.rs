//! What operators ask for while things break. (A schedule takes snapshots beside it, all the time.)

use std::{fmt, time::Duration};

/// A request, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// When, after the beginning of the round.
    pub at: Duration,
    /// The replica that is asked first; when it gives no answer, the next one is.
    pub replica: usize,
    /// What for.
    pub ask: Ask,
}

/// What is asked for. `pick` chooses among what there is then: it is taken modulo the length of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    /// A snapshot.
    Snapshot,
    /// A snapshot that may take only so long.
    HastySnapshot {
        /// Its timeout.
        timeout: Duration,
    },
    /// The abort of the newest snapshot.
    Abort,
    /// A restore of the latest committed snapshot.
    RestoreLatest,
    /// A restore of one of the older ones.
    RestoreOlder {
        /// Which.
        pick: u64,
    },
    /// The deletion of a committed snapshot.
    Delete {
        /// Which.
        pick: u64,
    },
    /// A hold on a committed snapshot.
    Hold {
        /// Which.
        pick: u64,
        /// When it expires; never when nothing.
        expires_in: Option<Duration>,
    },
    /// The release of a hold that was asked for and accepted.
    Release {
        /// Which.
        pick: u64,
    },
    /// Everything that the retention lets go, and every object that nobody owns, is to go at once.
    CollectGarbage,
}

impl Ask {
    /// Its name, to be counted by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::HastySnapshot { .. } => "snapshot with a short timeout",
            Self::Abort => "abort",
            Self::RestoreLatest => "restore of the latest",
            Self::RestoreOlder { .. } => "restore of an older one",
            Self::Delete { .. } => "deletion",
            Self::Hold { .. } => "hold",
            Self::Release { .. } => "release of a hold",
            Self::CollectGarbage => "garbage collection",
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
