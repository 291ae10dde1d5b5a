//! The operator: the product's program as it is typed in a shell, with nothing but the coordinators' URLs in its environment.

use std::process::Stdio;

use serde::de::DeserializeOwned;

use super::World;

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Typed {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Typed {
    /// Checks that it exited so.
    ///
    /// # Panics
    ///
    /// When it didn't.
    #[track_caller]
    #[allow(clippy::return_self_not_must_use, clippy::must_use_candidate, reason = "the check is the point")]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Standard output as what `--json` promises.
    ///
    /// # Panics
    ///
    /// When it is something else.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl World {
    /// Runs `stillframe` with these words, to its end.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    #[must_use]
    pub fn typed(&self, words: &[&str]) -> Typed {
        let mut command = crate::process::command(&self.program);
        command.args(words).env("STILLFRAME_URL", self.urls(0)).stdin(Stdio::null());
        // The environment's end is that of the test: see `process::node`.
        let output = command.env(crate::process::PARENT, std::process::id().to_string()).output();
        let output = output.unwrap_or_else(|error| panic!("stillframe {words:?} can't be started: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Typed { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}
