//! One process and its signals. It is killed when its value is dropped, also when the test fails.

use std::{
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};

use super::{PARENT, log::Log};
use crate::wait::eventually;

/// A process of the product's code.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Log,
    stderr: Log,
    began: u64,
}

impl Process {
    /// Starts a process whose output goes to `<directory>/<name>.out` and `.err`, behind what an earlier process of that name has left there.
    ///
    /// To be called on the test's own thread: on Linux a process of `stillframe-e2e-node` ends with the thread that started it.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    #[must_use]
    pub fn start(name: &str, directory: &Path, command: &mut Command) -> Self {
        let (stdout, stderr) = (Log::new(directory.join(format!("{name}.out"))), Log::new(directory.join(format!("{name}.err"))));
        let began = stdout.len();
        command.env(PARENT, std::process::id().to_string()).stdin(Stdio::piped()).stdout(stdout.file()).stderr(stderr.file());
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} can't be started: {error}"));
        Self { name: name.to_owned(), child, stdout, stderr, began }
    }

    /// Its name in this test.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What this process has printed to standard output.
    #[must_use]
    pub fn printed(&self) -> String {
        self.stdout.since(self.began)
    }

    /// The last line that this process has printed to standard output and that `read` can make something of.
    #[must_use]
    pub fn last_printed<T>(&self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.stdout.last(self.began, read)
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    ///
    /// When the system won't tell.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    ///
    /// When it hasn't by the deadline.
    pub async fn end(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, async || self.ended().ok_or_else(|| "it runs".to_owned())).await
    }

    /// SIGKILL, and waits until it is gone. Its connections are closed by then.
    ///
    /// # Panics
    ///
    /// When the system refuses.
    pub fn kill(&mut self) {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .unwrap_or_else(|error| panic!("{} can't be killed: {error}", self.name));
    }

    /// SIGSTOP, and waits until it has stopped. Its connections stay open, and nothing moves on them.
    ///
    /// # Panics
    ///
    /// When it has ended, or doesn't stop by the deadline.
    pub async fn freeze(&self) {
        self.signal(Signal::STOP);
        self.wait_for("stops", WaitIdOptions::STOPPED).await;
    }

    /// SIGCONT, and waits until it goes on; it may have ended by then.
    ///
    /// # Panics
    ///
    /// When it has ended before, or doesn't go on by the deadline.
    pub async fn thaw(&self) {
        self.signal(Signal::CONT);
        self.wait_for("goes on", WaitIdOptions::CONTINUED).await;
    }

    fn signal(&self, signal: Signal) {
        // The process isn't waited for while it is borrowed, so its id can't be another's yet.
        kill_process(Pid::from_child(&self.child), signal).unwrap_or_else(|error| panic!("{}: {signal:?}: {error}", self.name));
    }

    async fn wait_for(&self, what: &str, change: WaitIdOptions) {
        eventually(&format!("{} {what}", self.name), async || {
            match waitid(WaitId::Pid(Pid::from_child(&self.child)), change | WaitIdOptions::NOHANG) {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err("no change".to_owned()),
                // It has ended and can't be waited for in this way any more.
                Err(Errno::CHILD) if change == WaitIdOptions::CONTINUED => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is fine.
        drop(self.child.kill().and_then(|()| self.child.wait()));
        if std::thread::panicking() {
            for (stream, log) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
                if !log.is_empty() {
                    eprintln!("---- the last of {} ({stream}) ----\n{}", self.name, log.tail());
                }
            }
            return;
        }
        // A panic is a bug, also where the process survived it and the test noticed nothing.
        if let Some(said) = self.stderr.panic() {
            panic!("{} has panicked: {said}", self.name);
        }
    }
}
