//! Processes: starting, freezing, killing, and what they logged.
//!
//! | module | concept |
//! | --- | --- |
//! | [`child`] | one process and its signals |
//! | [`log`] | what a process has printed, in files |
//! | [`port`] | ports that nobody else takes while a process is down |
//! | [`coordinator`] | a coordinator replica |
//! | [`member`] | a member of the bank |
//! | [`node`] | the product's program, under a name of the tests' |

pub mod child;
pub mod coordinator;
pub mod log;
pub mod member;
pub mod node;
pub mod port;

pub use child::Process;
pub use coordinator::CoordinatorProcess;
pub use member::MemberProcess;

use std::{path::Path, process::Command};

/// The environment variable that holds the process id of the test; see [`node`].
pub const PARENT: &str = "STILLFRAME_E2E_PARENT";

/// A command that runs this program with nothing in its environment that would tell it about a database, an archive or a coordinator.
#[must_use]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text == "DATABASE_URL" || ["STILLFRAME_", "AWS_", "PG"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}
