//! The way of one caller to one server, and its weather.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

/// What happens to bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weather {
    /// Everything passes.
    #[default]
    Fair,
    /// Connections break, and no new one comes about.
    Cut,
    /// Bytes in these directions don't move, and no new connection comes about; nothing breaks, and when the weather is fair again they go on,
    /// as TCP does after a partition.
    Held {
        /// From the caller to the server.
        forth: bool,
        /// From the server to the caller.
        back: bool,
    },
    /// Each chunk takes so much longer.
    Slow(Duration),
    /// Of every so many chunks that go forth, one is cut in its middle, and its connection with it.
    Tearing {
        /// One in how many.
        one_in: u64,
    },
    /// Of every so many chunks that come back, one doesn't, and its connection breaks: the server has done its work by then.
    Forgetful {
        /// One in how many.
        one_in: u64,
    },
}

/// A direction of travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the caller to the server.
    Forth,
    /// From the server to the caller.
    Back,
}

impl Weather {
    /// Whether bytes of this direction don't move.
    #[must_use]
    pub fn holds(self, direction: Direction) -> bool {
        match (self, direction) {
            (Self::Held { forth, .. }, Direction::Forth) => forth,
            (Self::Held { back, .. }, Direction::Back) => back,
            (Self::Fair | Self::Cut | Self::Slow(_) | Self::Tearing { .. } | Self::Forgetful { .. }, _) => false,
        }
    }

    /// Whether a new connection has to wait: its handshake needs both directions.
    #[must_use]
    pub fn holds_calls(self) -> bool {
        self.holds(Direction::Forth) || self.holds(Direction::Back)
    }
}

/// The way of one caller to one server. Clones are the same line.
#[derive(Debug, Clone, Default)]
pub struct Line {
    weather: Arc<watch::Sender<Weather>>,
    chunks: Arc<AtomicU64>,
}

impl Line {
    /// Changes the weather, for connections that are open too.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// The weather now.
    #[must_use]
    pub fn weather(&self) -> Weather {
        *self.weather.borrow()
    }

    /// Waits for weather like this, and says which it is.
    pub(super) async fn wait_for(&self, like: impl Fn(Weather) -> bool) -> Weather {
        let mut weather = self.weather.subscribe();
        // The sender lives in this line: waiting can't fail.
        weather.wait_for(|weather| like(*weather)).await.map_or_else(|_| Weather::Fair, |weather| *weather)
    }

    /// Whether this chunk is the one in so many.
    pub(super) fn hits(&self, one_in: u64) -> bool {
        self.chunks.fetch_add(1, Ordering::Relaxed).is_multiple_of(one_in.max(1))
    }
}
