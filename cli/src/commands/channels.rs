//! How the messages under way at a cut get into a snapshot, on the command line of `stillframe cluster`.

use clap::{Args, ValueEnum};
use stillframe_api::{
    DurationOrZero, HumanDuration,
    channel_state::{Alignment, ChannelSettings, ChannelState},
    cluster::Cluster,
};

/// [`ChannelState`], as written on the command line.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Keeper {
    /// The receiver records what comes between its cut and the marker
    #[default]
    Marker,
    /// The sender logs what it hasn't seen acknowledged: snapshots wait for no queue
    #[value(alias = "sender_logged")]
    SenderLogged,
}

impl From<Keeper> for ChannelState {
    fn from(keeper: Keeper) -> Self {
        match keeper {
            Keeper::Marker => Self::Marker,
            Keeper::SenderLogged => Self::SenderLogged,
        }
    }
}

/// [`Alignment`], as written on the command line.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Holding {
    /// Members hold no channel back
    #[default]
    Unaligned,
    /// Members hold channels back behind their markers, so that nothing is under way at the cut
    Aligned,
}

impl From<Holding> for Alignment {
    fn from(holding: Holding) -> Self {
        match holding {
            Holding::Unaligned => Self::Unaligned,
            Holding::Aligned => Self::Aligned,
        }
    }
}

/// Those of a new cluster.
#[derive(Debug, Clone, Args)]
pub struct ChannelArgs {
    /// Who puts the messages under way at a cut into a snapshot
    #[arg(long, value_enum, default_value_t)]
    pub(super) channel_state: Keeper,
    /// Whether members hold channels back so that there are none
    #[arg(long, value_enum, default_value_t)]
    pub(super) alignment: Holding,
    /// For how long they do at most; 0s for as long as it takes
    #[arg(long, value_name = "DURATION", default_value_t)]
    pub(super) aligned_timeout: DurationOrZero,
}

/// Those to change.
#[derive(Debug, Clone, Args)]
pub struct ChannelChanges {
    /// Who puts the messages under way at a cut into a snapshot, from the next generation (the next restore) on
    #[arg(long, value_enum, group = "change")]
    pub(super) channel_state: Option<Keeper>,
    /// Whether members hold channels back so that there are none, from the next generation on
    #[arg(long, value_enum, group = "change")]
    pub(super) alignment: Option<Holding>,
    /// For how long they do at most, from the next generation on; 0s for as long as it takes
    #[arg(long, value_name = "DURATION", group = "change")]
    pub(super) aligned_timeout: Option<DurationOrZero>,
}

/// No time at all says none.
pub(super) fn timeout(given: DurationOrZero) -> Option<HumanDuration> {
    HumanDuration::new(given.get()).ok()
}

/// In a line.
fn words(channels: &ChannelSettings) -> String {
    let ChannelSettings { channel_state, alignment, aligned_timeout } = channels;
    match (alignment, aligned_timeout) {
        (Alignment::Unaligned, _) => format!("{channel_state}, {alignment}"),
        (Alignment::Aligned, None) => alignment.to_string(),
        (Alignment::Aligned, Some(timeout)) => format!("{alignment} for {timeout} at most"),
    }
}

/// What is wanted, and what is in force until the next generation where that is something else.
pub(super) fn describe(cluster: &Cluster) -> String {
    let Cluster { channel_state, alignment, aligned_timeout, in_force, .. } = cluster;
    let wanted =
        words(&ChannelSettings { channel_state: *channel_state, alignment: *alignment, aligned_timeout: *aligned_timeout });
    match in_force.as_ref().map(words).filter(|in_force| *in_force != wanted) {
        Some(in_force) => format!("{wanted}, from the next generation on; {in_force} in this one"),
        None => wanted,
    }
}
