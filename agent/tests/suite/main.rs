//! Agents over real connections, with a coordinator in memory and an archive in a temporary directory.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test as its body may")]

mod aligned;
mod certs;
mod cluster;
mod connections;
mod control;
mod docs;
mod flood;
mod leaving;
mod ledger;
mod logged;
mod peers;
mod plane;
mod proxy;
mod restores;
mod snapshots;
mod strangers;
mod tls;
mod wrapped;
