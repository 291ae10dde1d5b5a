//! A counter: adds up the words that are its own, and writes them to a file once all splitters have ended.

use std::{collections::BTreeSet, io, path::PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stillframe_agent::{Application, Capture, Context, MemberName, RestoreError, StateReader};

use crate::{Counts, message::Message};

/// What was counted so far: the whole state of a counter.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Tally {
    counts: Counts,
    ended: BTreeSet<String>,
}

/// Adds up words.
#[derive(Debug)]
pub struct Counter {
    splitters: usize,
    result: PathBuf,
    tally: Tally,
}

impl Counter {
    /// A counter fed by so many splitters that writes its result to this file.
    #[must_use]
    pub fn new(splitters: usize, result: PathBuf) -> Self {
        Self { splitters, result, tally: Tally::default() }
    }

    /// The final counts depend on the files alone, so writing them again after a rollback writes the same bytes: no harm done.
    fn write(&self) -> io::Result<()> {
        let unfinished = self.result.with_extension("unfinished");
        std::fs::write(&unfinished, serde_json::to_vec(&self.tally.counts)?)?;
        std::fs::rename(unfinished, &self.result)
    }
}

impl Application for Counter {
    fn on_message(&mut self, _cx: &mut Context<'_>, from: &MemberName, message: Bytes) {
        match Message::decode(&message) {
            Some(Message::Words(words)) => {
                for (word, count) in words {
                    *self.tally.counts.entry(word).or_default() += count;
                }
            }
            Some(Message::End) => {
                self.tally.ended.insert(from.to_string());
                if self.tally.ended.len() == self.splitters
                    && let Err(error) = self.write()
                {
                    tracing::error!(path = %self.result.display(), %error, "can't write the result");
                }
            }
            Some(Message::Text(_) | Message::Credit) | None => {}
        }
    }

    fn capture(&mut self) -> Capture {
        Capture::encode(self.tally.clone())
    }

    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError> {
        self.tally = state.decode()?;
        // The rollback may have come after the last End: the result is due again.
        if self.tally.ended.len() == self.splitters {
            self.write().map_err(|error| RestoreError::new(format!("can't write {}: {error}", self.result.display())))?;
        }
        Ok(())
    }
}
