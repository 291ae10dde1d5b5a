//! A command that ends with its parent.
//!
//! The command runs below a small shell (`supervise.sh`) whose standard input is a pipe from this process. The kernel closes the
//! pipe when this process ends, also by SIGKILL, and the shell then ends the command. `PR_SET_PDEATHSIG` would be shorter, but it
//! is only on Linux, is cleared by setuid, and fires when the *thread* that started the command ends. The pipe is close-on-exec,
//! so that no other child of this process keeps it open.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::poll;

const SCRIPT: &str = include_str!("supervise.sh");

/// What to run.
pub(crate) struct Job<'a> {
    /// The shell's command, which carries user and environment: `run_as.command(Job::SHELL)`.
    pub(crate) shell: Command,
    /// The program and its arguments.
    pub(crate) argv: Vec<OsString>,
    /// Where its output and errors go. Locks on this file last as long as any of the processes.
    pub(crate) output: &'a File,
    /// How to end the program, such as `INT`.
    pub(crate) stop_signal: &'static str,
    /// What to remove when the parent has ended.
    pub(crate) remove: [Option<&'a Path>; 2],
}

impl Job<'_> {
    /// The shell that supervises.
    pub(crate) const SHELL: &'static str = "/bin/sh";
}

/// A running command. Dropping it tells the command to end, and doesn't wait for that.
#[derive(Debug)]
pub(crate) struct Supervised {
    shell: Option<Child>,
    lifeline: Option<ChildStdin>,
}

impl Supervised {
    /// Starts the job, in a process group of its own: a Ctrl-C in the terminal is for the parent, which ends the job when it is
    /// done with it.
    pub(crate) fn spawn(job: Job<'_>) -> io::Result<Self> {
        let mut command = job.shell;
        command.args(["-c", &without_comments(SCRIPT), "supervise", job.stop_signal]);
        for path in job.remove {
            command.arg(path.map_or_else(OsString::new, |path| path.as_os_str().to_owned()));
        }
        command
            .args(job.argv)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(job.output.try_clone()?)
            .stderr(job.output.try_clone()?);
        let mut shell = command.spawn()?;
        let lifeline = shell.stdin.take();
        Ok(Self { shell: Some(shell), lifeline })
    }

    /// Tells the command to end.
    pub(crate) fn let_go(&mut self) {
        self.lifeline = None;
    }

    /// How the command ended, if it did.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.shell.as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// Waits until the command has ended; `None` when it still runs after `limit`.
    pub(crate) async fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        poll::until(limit, || self.try_wait().transpose()).await.transpose()
    }
}

/// The script as it appears in the list of processes.
fn without_comments(script: &str) -> String {
    script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.let_go();
        if let Some(mut shell) = self.shell.take()
            && matches!(shell.try_wait(), Ok(None))
        {
            // So that no zombie stays. Without a thread it would only stay until this process ends.
            let _ = std::thread::Builder::new().name("reap-postgres".to_owned()).spawn(move || shell.wait());
        }
    }
}
