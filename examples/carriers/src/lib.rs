//! The bank of `examples/bank`, over transports of its own: its members wrap what they send and unwrap what they receive.
//!
//! | to find | look in |
//! | --- | --- |
//! | members that exchange datagrams, a blocking event loop | `bin/udp-bank.rs` |
//! | members behind a NATS broker, an async event loop | `bin/nats-bank.rs` |
//! | the accounts, and carrying out actions | [`teller`] |
//! | loss, repetition and reordering by a seed | [`weather`] |
//! | as much of the NATS protocol as it takes | [`nats`] |
//! | arguments of both | [`args`] |

pub mod args;
pub mod nats;
pub mod teller;
pub mod weather;
