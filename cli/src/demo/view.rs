//! What is shown while the demo runs: live lines on a terminal, plain lines elsewhere, nothing with `--json`. All of it goes
//! to standard error; standard output is for the outcome.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use stillframe_api::snapshot::{ListSnapshots, Snapshot};
use stillframe_bank::MemberStatus;
use stillframe_protocol::MemberName;

use super::{members::Members, stage::Stage};
use crate::{error::CliError, output};

/// How often a plain line is printed where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(1);

/// How often the list of snapshots is asked for.
const LIST_EVERY: Duration = Duration::from_millis(500);

/// How many of the last snapshots are shown.
const SNAPSHOTS: u32 = 5;

/// The live lines.
pub(super) struct View {
    terminal: Option<MultiProgress>,
    lines: Vec<ProgressBar>,
    quiet: bool,
    printed: Instant,
    listed: Option<Instant>,
    snapshots: Vec<Snapshot>,
}

impl View {
    /// A view on standard error; with `quiet` (for `--json`) it shows nothing.
    pub(super) fn new(quiet: bool) -> Self {
        let terminal = (!quiet && std::io::stderr().is_terminal()).then(MultiProgress::new);
        Self { terminal, lines: Vec::new(), quiet, printed: Instant::now(), listed: None, snapshots: Vec::new() }
    }

    /// Says what happens.
    pub(super) fn say(&self, what: &str) {
        if self.quiet {
            return;
        }
        match &self.terminal {
            // A terminal that takes no more output is no reason to end.
            Some(terminal) => drop(terminal.println(what)),
            None => output::note(what),
        }
    }

    /// Draws a line for each member and for each of the last snapshots.
    pub(super) async fn draw(&mut self, stage: &Stage, members: &Members) -> Result<(), CliError> {
        if self.quiet || (self.terminal.is_none() && self.printed.elapsed() < PLAIN_EVERY) {
            return Ok(());
        }
        self.printed = Instant::now();
        if self.listed.is_none_or(|at| at.elapsed() >= LIST_EVERY) {
            self.listed = Some(Instant::now());
            let query = ListSnapshots { limit: Some(SNAPSHOTS), ..ListSnapshots::default() };
            self.snapshots = stage.client.list_snapshots(&stage.cluster, &query).await?.items;
        }
        let people = members.names().map(|name| member_line(name, members.status(name).as_ref()));
        match &self.terminal {
            None => {
                let transfers: u64 = members.names().filter_map(|name| members.status(name)).map(|s| s.sent).sum();
                let last = self.snapshots.first().map(snapshot_line).unwrap_or_default();
                output::note(format!("{transfers} transfers; last snapshot: {last}"));
            }
            Some(terminal) => {
                let lines: Vec<String> = people.chain(self.snapshots.iter().map(snapshot_line)).collect();
                while self.lines.len() < lines.len() {
                    self.lines.push(terminal.add(ProgressBar::new_spinner().with_style(style())));
                }
                for (bar, line) in self.lines.iter().zip(lines) {
                    bar.set_message(line);
                    bar.tick();
                }
            }
        }
        Ok(())
    }

    /// Takes the live lines away: what they showed is over.
    pub(super) fn end(&mut self) {
        for line in self.lines.drain(..) {
            line.finish_and_clear();
        }
        if let Some(terminal) = &self.terminal {
            // A terminal that takes no more output is no reason to end.
            drop(terminal.clear());
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn member_line(name: &MemberName, status: Option<&MemberStatus>) -> String {
    match status {
        None => format!("  {name:<4} is starting"),
        Some(s) if s.generation == 0 => format!("  {name:<4} waits"),
        Some(s) => format!(
            "  {name:<4} generation {:<3} sent {:>9}  received {:>9}  balance {:>8}",
            s.generation, s.sent, s.received, s.balance
        ),
    }
}

fn snapshot_line(snapshot: &Snapshot) -> String {
    let epoch = snapshot.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
    let took = snapshot.ended_at.map(|ended| ended.duration_since(snapshot.created_at).as_millis());
    let took = took.map_or_else(String::new, |ms| format!(" in {ms} ms"));
    let flight = snapshot.messages_in_flight.map_or_else(String::new, |n| format!(", {n} messages in flight"));
    let why = snapshot.abort.as_ref().map_or_else(String::new, |abort| format!(": {}", abort.reason));
    format!("  epoch {epoch:<5} {}{took}{flight}{why}", snapshot.state)
}
