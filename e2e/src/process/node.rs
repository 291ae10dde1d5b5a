//! `stillframe`, under a name that Cargo builds for a package of tests. The same code, but it ends with the test that started it.

use std::process::ExitCode;

/// Runs `stillframe` with this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    end_with_parent();
    stillframe::main()
}

/// Whether this process was started by a test, as one of its nodes.
#[must_use]
pub fn is_one() -> bool {
    std::env::var_os(super::PARENT).is_some()
}

/// Asks the system to kill this process when its parent ends, so that a test run that is killed leaves nothing behind.
#[cfg(target_os = "linux")]
fn end_with_parent() {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    let Some(parent) = std::env::var(super::PARENT).ok().and_then(|id| id.parse::<i32>().ok()) else { return };
    let asked = set_parent_process_death_signal(Some(Signal::KILL));
    // The parent may have ended before it was asked.
    if asked.is_err() || getppid().is_none_or(|id| id.as_raw_pid() != parent) {
        std::process::exit(1);
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent() {}
