//! How the messages that are under way at a cut get into a snapshot.

use serde::{Deserialize, Serialize};
use stillframe_api::{
    HumanDuration,
    channel_state::{Alignment, ChannelSettings, ChannelState},
};

/// As it is wanted, or as it is in force in a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChannelFacts {
    /// Who puts the state of channels into a snapshot.
    #[serde(default)]
    pub channel_state: ChannelState,
    /// Whether channels are held back, so that there is none.
    #[serde(default)]
    pub alignment: Alignment,
    /// After how long a member stops holding them back, in milliseconds; never, without.
    #[serde(default)]
    pub aligned_timeout_ms: Option<u64>,
}

impl ChannelFacts {
    /// Whether members hold channels back for as long as it takes: then a cycle of channels would hold for ever.
    #[must_use]
    pub fn waits_for_ever(&self) -> bool {
        self.alignment == Alignment::Aligned && self.aligned_timeout_ms.is_none()
    }

    /// As members and operators are told.
    #[must_use]
    pub fn settings(&self) -> ChannelSettings {
        let aligned_timeout = self.aligned_timeout_ms.map(HumanDuration::from_millis);
        ChannelSettings { channel_state: self.channel_state, alignment: self.alignment, aligned_timeout }
    }
}

impl From<ChannelSettings> for ChannelFacts {
    fn from(settings: ChannelSettings) -> Self {
        let ChannelSettings { channel_state, alignment, aligned_timeout } = settings;
        let aligned_timeout_ms = aligned_timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(1));
        Self { channel_state, alignment, aligned_timeout_ms }
    }
}
