//! What the members say to each other.

use serde::{Deserialize, Serialize};

/// A message between members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Source to splitter: text to cut.
    Text(String),
    /// Splitter to source: one text is dealt with, and there is room for another.
    Credit,
    /// Splitter to counter: words and how often each came.
    Words(Vec<(String, u64)>),
    /// Nothing more comes from this member.
    End,
}

impl Message {
    /// The message as bytes. Encoding a value of this type can't fail.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Reads a message; None, with a line in the log, when the bytes are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).inspect_err(|error| tracing::error!(%error, "a message that isn't wordcount's")).ok()
    }
}
