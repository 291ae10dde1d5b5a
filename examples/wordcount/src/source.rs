//! The source: reads the files chunk by chunk and deals them out. A splitter has a few chunks at a time, so nothing piles up anywhere.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stillframe_agent::{Application, Capture, Context, MemberName, RestoreError, StateReader, TimerId};

use crate::{message::Message, words};

const PUMP: TimerId = TimerId(1);

/// How many chunks a splitter has at a time.
const CREDITS: u32 = 4;

/// Where the reading stands: the whole state of the source.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Position {
    file: usize,
    offset: u64,
    under_way: BTreeMap<String, u32>,
    ended: bool,
}

/// Reads the files and deals them out.
#[derive(Debug)]
pub struct Source {
    files: Vec<PathBuf>,
    splitters: Vec<MemberName>,
    pace: Duration,
    position: Position,
}

impl Source {
    /// A source that reads these files for these splitters, one chunk every `pace`.
    #[must_use]
    pub fn new(files: Vec<PathBuf>, splitters: Vec<MemberName>, pace: Duration) -> Self {
        Self { files, splitters, pace, position: Position::default() }
    }

    fn pump(&mut self, cx: &mut Context<'_>) {
        while self.position.file < self.files.len() {
            let under_way = |splitter: &MemberName| self.position.under_way.get(splitter.as_str()).copied().unwrap_or(0);
            let Some(splitter) = self.splitters.iter().min_by_key(|s| under_way(s)).filter(|s| under_way(s) < CREDITS) else {
                return;
            };
            let path = &self.files[self.position.file];
            let chunk = match words::chunk(path, self.position.offset) {
                Ok(chunk) => chunk,
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "can't read; trying again");
                    return;
                }
            };
            if chunk.is_empty() {
                self.position.file += 1;
                self.position.offset = 0;
                continue;
            }
            let text = Message::Text(String::from_utf8_lossy(&chunk).into_owned());
            if cx.send(splitter, text.encode()).is_err() {
                return;
            }
            self.position.offset += chunk.len() as u64;
            *self.position.under_way.entry(splitter.to_string()).or_default() += 1;
            if !self.pace.is_zero() {
                return;
            }
        }
        if !self.position.ended && self.position.under_way.values().all(|n| *n == 0) {
            self.position.ended = self.splitters.iter().all(|splitter| cx.send(splitter, Message::End.encode()).is_ok());
        }
    }
}

impl Application for Source {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        cx.set_timer(PUMP, Duration::from_millis(1));
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _timer: TimerId) {
        self.pump(cx);
        if !self.position.ended {
            cx.set_timer(PUMP, self.pace.max(Duration::from_millis(1)));
        }
    }

    fn on_message(&mut self, _cx: &mut Context<'_>, from: &MemberName, message: Bytes) {
        if let Some(Message::Credit) = Message::decode(&message)
            && let Some(under_way) = self.position.under_way.get_mut(from.as_str())
        {
            *under_way = under_way.saturating_sub(1);
        }
    }

    fn capture(&mut self) -> Capture {
        Capture::encode(self.position.clone())
    }

    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError> {
        self.position = state.decode()?;
        Ok(())
    }
}
