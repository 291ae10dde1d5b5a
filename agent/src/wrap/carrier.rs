//! What the application's transport does to frames.

use std::time::Duration;

use stillframe_protocol::ChannelOrdering;

/// What the application's transport does to frames. All members of a cluster must have the same one.
///
/// | transport | carrier |
/// | --- | --- |
/// | TCP, QUIC streams, a durable queue with one consumer | [`Carrier::reliable`] with [`ChannelOrdering::Fifo`] |
/// | a durable queue that redelivers or has several consumers | [`Carrier::reliable`] with [`ChannelOrdering::Unordered`] |
/// | a broker that keeps the order and may drop (NATS, Redis pub/sub) | [`Carrier::lossy`] with [`ChannelOrdering::Fifo`] |
/// | UDP, or anything of which nothing is known | [`Carrier::lossy`] with [`ChannelOrdering::Unordered`] |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carrier {
    ordering: ChannelOrdering,
    retransmit_after: Option<Duration>,
}

impl Carrier {
    /// Every frame that is handed to the transport arrives while its receiver lives, in the order that `ordering` names. Frames are acknowledged (that bounds memory)
    /// and only repeated when the application says that a connection was set up anew ([`Member::reconnected`](super::Member::reconnected)).
    #[must_use]
    pub const fn reliable(ordering: ChannelOrdering) -> Self {
        Self { ordering, retransmit_after: None }
    }

    /// Frames may be lost. What isn't acknowledged after this time (at least 1 ms; a few round trips are good) is transmitted again, and then less and less often, at
    /// least once in two seconds.
    #[must_use]
    pub const fn lossy(ordering: ChannelOrdering, retransmit_after: Duration) -> Self {
        let least = Duration::from_millis(1);
        let after = if retransmit_after.as_nanos() < least.as_nanos() { least } else { retransmit_after };
        Self { ordering, retransmit_after: Some(after) }
    }

    /// The order that the transport keeps.
    #[must_use]
    pub const fn ordering(&self) -> ChannelOrdering {
        self.ordering
    }

    /// After what time an unacknowledged frame is transmitted again, if ever.
    #[must_use]
    pub const fn retransmit_after(&self) -> Option<Duration> {
        self.retransmit_after
    }
}
