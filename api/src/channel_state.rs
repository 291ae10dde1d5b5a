//! How the messages that are under way at a cut get into a snapshot. `docs/channel-state.md` says when to choose what.

use std::fmt;

use serde::{Deserialize, Serialize};
use stillframe_protocol as protocol;
use utoipa::ToSchema;

use crate::duration::HumanDuration;

/// Who puts a channel's state, the messages under way at the cut, into a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelState {
    /// The receiver records what comes between its cut and the marker: exactly what was under way. The marker waits behind whatever is queued.
    #[default]
    Marker,
    /// The sender logs, at its cut, what it hasn't seen acknowledged: a snapshot waits for no queue, and holds up to a window of each channel.
    SenderLogged,
}

impl fmt::Display for ChannelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Marker => "marker",
            Self::SenderLogged => "sender_logged",
        })
    }
}

/// Whether a member holds channels back so that there is no channel state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Alignment {
    /// It never does.
    #[default]
    Unaligned,
    /// It holds a channel back behind its marker until all of its channels have brought theirs, and cuts then: nothing is stored of the channels.
    /// For channels that are all in order and form no cycle.
    Aligned,
}

impl fmt::Display for Alignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unaligned => "unaligned",
            Self::Aligned => "aligned",
        })
    }
}

/// What the members of a generation go by. All of them go by the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ChannelSettings {
    /// Who puts the state of channels into a snapshot.
    #[serde(default)]
    pub channel_state: ChannelState,
    /// Whether channels are held back, so that there is none.
    #[serde(default)]
    pub alignment: Alignment,
    /// With `aligned`: after so long a member stops waiting, cuts, and records what the channels still bring. Null for as long as it takes.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub aligned_timeout: Option<HumanDuration>,
}

impl ChannelSettings {
    /// As a participant takes it.
    #[must_use]
    pub fn participant(&self) -> protocol::ChannelState {
        match (self.alignment, self.channel_state) {
            (Alignment::Aligned, _) => protocol::ChannelState::Aligned,
            (Alignment::Unaligned, ChannelState::Marker) => protocol::ChannelState::Marker,
            (Alignment::Unaligned, ChannelState::SenderLogged) => protocol::ChannelState::SenderLogged,
        }
    }
}
