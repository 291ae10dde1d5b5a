//! A TCP proxy between processes: the network, with its weather.
//!
//! | module | concept |
//! | --- | --- |
//! | [`line`] | the way of one caller to one server, and its weather |
//! | [`network`] | the proxies, on threads of their own |
//! | [`carry`] | one connection, carried through the weather |
//! | [`socket`] | where a private Postgres listens |
//! | [`caller`] | which member calls, read from the first bytes of its call |

pub mod caller;
pub mod carry;
pub mod line;
pub mod network;
pub mod socket;

pub use line::{Line, Weather};
pub use network::{Lines, Network, Proxy, Switch, Upstream};
pub use socket::socket_of;
