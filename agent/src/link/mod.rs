//! One connection of the data plane: who is at its ends, and the frames on it.
//!
//! | to find | look in |
//! | --- | --- |
//! | the first bytes of a connection, and the answer to them | [`preamble`] |
//! | delimiting frames | [`codec`] |
//! | the tasks that read and write a connection | [`connection`] |
//! | taking connections, refusing strangers, and not too many of them | [`acceptor`], [`callers`] |
//! | connecting to another member | [`dialer`] |

pub(crate) mod acceptor;
mod callers;
pub(crate) mod codec;
pub(crate) mod connection;
pub(crate) mod dialer;
pub(crate) mod preamble;

use stillframe_protocol::{Frame, MemberId};

pub(crate) use acceptor::{Accepted, Gate};
pub(crate) use connection::{Connection, ConnectionId, Ended, Terms};
pub(crate) use dialer::{DialError, Dialed};

/// What connections tell the driver, in the order of each connection.
#[derive(Debug)]
pub(crate) enum Input {
    /// Frames came in.
    Frames {
        /// On this connection.
        connection: ConnectionId,
        /// In their order, never empty.
        frames: Vec<Frame>,
    },
    /// The connection is gone.
    Broken {
        /// This connection.
        connection: ConnectionId,
        /// Why.
        reason: Ended,
    },
    /// A member connected and was let in.
    Accepted(Box<Accepted>),
    /// A call is over.
    Dialed {
        /// Whom it was to.
        peer: MemberId,
        /// Which call.
        attempt: u64,
        /// The connection, or why there is none.
        result: Result<Dialed, DialError>,
    },
}
