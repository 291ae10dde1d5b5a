//! Whether the numbers of a cluster go on from the last that was given out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::Incarnation;

/// Whether the numbers of a cluster go on from the last that was given out, or the database may have lost transactions that gave out more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContinuityFacts {
    /// The server and timeline that the facts were read on, where it tells. Read only.
    #[serde(default, skip_serializing)]
    pub here: Option<String>,
    /// Those of the last decision.
    #[serde(default)]
    pub home: Option<String>,
    /// New incarnations are above it.
    #[serde(default)]
    pub incarnation_floor: Incarnation,
    /// Why the catalog may know less than the archive; none when it is known not to.
    #[serde(default)]
    pub behind: Option<String>,
    /// When the word of an agent was last taken as evidence that transactions were lost.
    #[serde(default)]
    pub claimed_at: Option<Timestamp>,
    /// What else speaks for lost transactions, as whoever asks for the decision knows it. Never stored.
    #[serde(skip)]
    pub evidence: Option<String>,
}

impl ContinuityFacts {
    /// Why transactions may have been lost since the last decision; nothing when none can have been.
    #[must_use]
    pub fn moved(&self) -> Option<String> {
        match (&self.here, &self.home) {
            (Some(here), Some(home)) if here != home => {
                Some(format!("the database is the server and timeline {here}, and was {home}: its last transactions may be lost"))
            }
            _ => self.evidence.clone(),
        }
    }
}
