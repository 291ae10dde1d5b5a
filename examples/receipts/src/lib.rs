//! Members send each other orders; whoever gets one writes a receipt into a Postgres table that Stillframe knows nothing of. Each order has exactly one
//! receipt in the end, whatever is killed meanwhile: a receipt is written only once a committed snapshot covers it (`docs/agent.md`, "Effects on the
//! outside").
//!
//! | to find | look in |
//! | --- | --- |
//! | the application that the agent drives | [`shop`] |
//! | the table, and the thread that writes to it | [`table`] |

pub mod shop;
pub mod table;

pub use shop::{Shop, ShopArgs};
pub use table::Table;
