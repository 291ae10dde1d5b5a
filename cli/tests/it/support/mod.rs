//! Running the command, and what it talks to.

pub(crate) mod fake;
pub(crate) mod real;
pub(crate) mod samples;

use std::{
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The command, with an environment that holds nothing of the developer's own.
pub(crate) fn stillframe(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stillframe"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name == "DATABASE_URL" || (name.starts_with("STILLFRAME_") && name != "STILLFRAME_PG_BIN") {
            command.env_remove(name);
        }
    }
    command
}

/// How a command ended and what it printed.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Standard output as one JSON document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout is no JSON ({error}): {self:?}"))
    }

    /// Standard error as one JSON object.
    pub(crate) fn error(&self) -> Value {
        serde_json::from_str(&self.stderr).unwrap_or_else(|error| panic!("stderr is no JSON ({error}): {self:?}"))
    }

    /// Checks the exit code, and that what went wrong was told without a panic or a backtrace.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
            assert!(!self.stderr.contains(word), "{self:?}");
        }
        self
    }

    /// Checks that standard error says so.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {self:?}");
        }
        self
    }
}

/// Runs it to its end.
pub(crate) fn run(words: &[&str]) -> Ran {
    finish(stillframe(words).spawn().expect("the command can be started"))
}

/// Runs it against this coordinator.
pub(crate) fn run_at(url: &str, words: &[&str]) -> Ran {
    finish(stillframe(words).env("STILLFRAME_URL", url).spawn().expect("the command can be started"))
}

/// Waits for its end and takes what it printed.
pub(crate) fn finish(mut child: Child) -> Ran {
    let stdout = child.stdout.take().map(reader);
    let stderr = child.stderr.take().map(reader);
    let status = wait(&mut child);
    let text = |reader: Option<std::thread::JoinHandle<String>>| {
        reader.map_or_else(String::new, |reader| reader.join().expect("the reader ends"))
    };
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

fn reader(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("what is printed is UTF-8");
        text
    })
}

fn wait(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            return status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().expect("the child can be killed");
            panic!("the command hasn't ended after {PATIENCE:?}");
        }
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
