//! Telling a person what is going on meanwhile, on standard error: one live line on a terminal, plain lines elsewhere, nothing with `--json`.

use std::{
    io::{self, IsTerminal},
    sync::Mutex,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{output::note, text::printable};

/// Where progress goes.
pub struct Progress(Kind);

enum Kind {
    Live(ProgressBar),
    Lines(Mutex<String>),
    Silent,
}

impl Progress {
    /// Progress for a person, unless a program reads (`--json`).
    #[must_use]
    pub fn new(json: bool) -> Self {
        if json {
            return Self(Kind::Silent);
        }
        if !io::stderr().is_terminal() {
            return Self(Kind::Lines(Mutex::default()));
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::default_spinner());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(Kind::Live(bar))
    }

    /// Whether it is a live line that can change often.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.0, Kind::Live(_))
    }

    /// Says what is going on. Saying the same again prints nothing new.
    pub fn show(&self, text: &str) {
        match &self.0 {
            Kind::Live(bar) => bar.set_message(printable(text)),
            Kind::Lines(last) => {
                let Ok(mut last) = last.lock() else { return };
                if *last != text {
                    note(text);
                    text.clone_into(&mut last);
                }
            }
            Kind::Silent => {}
        }
    }

    /// Prints a line that stays, above the live one.
    pub fn keep(&self, text: &str) {
        match &self.0 {
            Kind::Live(bar) => bar.suspend(|| note(text)),
            Kind::Lines(_) => note(text),
            Kind::Silent => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Kind::Live(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
