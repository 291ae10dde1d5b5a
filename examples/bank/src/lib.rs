//! Accounts spread over members that transfer money to each other at random: the sum over all balances and all transfers in flight never
//! changes, so a snapshot whose sum is off is not a consistent one.
//!
//! | to find | look in |
//! | --- | --- |
//! | the balances, without any messaging | [`ledger`] |
//! | the application that the agent drives | [`teller`] |
//! | the member process and its arguments | [`member`] |
//! | the sum of a snapshot, from the archive alone | [`audit`] |

pub mod audit;
pub mod ledger;
pub mod member;
pub mod teller;

pub use member::{MemberArgs, MemberStatus, run_member};
