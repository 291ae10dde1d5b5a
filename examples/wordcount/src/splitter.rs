//! A splitter: cuts text into words and sends each word to the one counter that counts it.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stillframe_agent::{Application, Capture, Context, MemberName, RestoreError, Room, StateReader};

use crate::{Counts, message::Message, words};

/// Credits that are held back while a counter has no room: the whole state of a splitter.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Owed {
    credits: u32,
}

/// Cuts text into words.
#[derive(Debug)]
pub struct Splitter {
    source: MemberName,
    counters: Vec<MemberName>,
    full: BTreeSet<MemberName>,
    owed: Owed,
}

impl Splitter {
    /// A splitter between this source and these counters.
    #[must_use]
    pub fn new(source: MemberName, counters: Vec<MemberName>) -> Self {
        Self { source, counters, full: BTreeSet::new(), owed: Owed::default() }
    }

    fn counter_of(&self, word: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        word.hash(&mut hasher);
        usize::try_from(hasher.finish() % self.counters.len().max(1) as u64).unwrap_or(0)
    }

    fn send(&mut self, cx: &mut Context<'_>, counter: usize, message: &Message) {
        let to = &self.counters[counter];
        match cx.send(to, message.encode()) {
            Ok(Room::Ready) => {}
            Ok(Room::Full) => {
                self.full.insert(to.clone());
            }
            // The source sends a few chunks at a time, so an outbox can't fill up; losing words silently would be wrong.
            Err(error) => tracing::error!(%to, %error, "can't hand over words"),
        }
    }

    fn pay_credits(&mut self, cx: &mut Context<'_>) {
        while self.full.is_empty() && self.owed.credits > 0 && cx.send(&self.source, Message::Credit.encode()).is_ok() {
            self.owed.credits -= 1;
        }
    }
}

impl Application for Splitter {
    fn on_message(&mut self, cx: &mut Context<'_>, _from: &MemberName, message: Bytes) {
        match Message::decode(&message) {
            Some(Message::Text(text)) => {
                let mut counts = Counts::new();
                words::count_into(&text, &mut counts);
                let mut by_counter = vec![Vec::new(); self.counters.len()];
                for (word, count) in counts {
                    let counter = self.counter_of(&word);
                    by_counter[counter].push((word, count));
                }
                for (counter, words) in by_counter.into_iter().enumerate().filter(|(_, words)| !words.is_empty()) {
                    self.send(cx, counter, &Message::Words(words));
                }
                self.owed.credits += 1;
                self.pay_credits(cx);
            }
            Some(Message::End) => {
                for counter in 0..self.counters.len() {
                    self.send(cx, counter, &Message::End);
                }
            }
            Some(Message::Credit | Message::Words(_)) | None => {}
        }
    }

    fn on_ready(&mut self, cx: &mut Context<'_>, to: &MemberName) {
        self.full.remove(to);
        self.pay_credits(cx);
    }

    fn capture(&mut self) -> Capture {
        Capture::encode(self.owed.clone())
    }

    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError> {
        self.owed = state.decode()?;
        self.full.clear();
        Ok(())
    }
}
