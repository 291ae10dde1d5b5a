//! The exit codes. They are part of the command's interface: `docs/cli.md` and `stillframe --help` list them.

use std::process::ExitCode;

/// How a command ended, as its caller sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Ok,
    /// It ran, and the answer is bad: a verification or a restore failed, or the command itself did.
    Failed,
    /// The command line, an environment variable or the settings file is wrong; nothing was done.
    Usage,
    /// The snapshot that was waited for was aborted.
    Aborted,
    /// `--wait` ran out first; what was asked for goes on.
    TimedOut,
    /// The coordinator, its database or the archive can't be reached.
    Unreachable,
    /// The coordinator refused the request: unknown cluster, conflict, malformed request.
    Refused,
    /// A signal (Ctrl-C) ended it before it was done.
    Interrupted,
}

/// The codes, for `--help`.
pub const EXIT_CODES_HELP: &str = "\
Exit codes:
  0  ok
  1  failed (a verification or a restore failed, or the command did)
  2  usage (the command line, an environment variable or the settings file is wrong)
  3  aborted (the snapshot that was waited for was aborted)
  4  timed out (--wait ran out first; what was asked for goes on)
  5  unreachable (the coordinator, its database or the archive)
  6  refused by the coordinator (unknown cluster, conflict, ...)
  130  interrupted (Ctrl-C ended `demo` before it was done)";

impl Exit {
    /// The number that the process exits with.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Aborted => 3,
            Self::TimedOut => 4,
            Self::Unreachable => 5,
            Self::Refused => 6,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
