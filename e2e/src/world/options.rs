//! What a test wants of its world.

use std::path::PathBuf;

use stillframe_api::{
    channel_state::{Alignment, ChannelSettings, ChannelState},
    cluster::OnLoss,
};

/// What a test wants of its world.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// The program: `env!("CARGO_BIN_EXE_stillframe-e2e-node")`.
    pub program: PathBuf,
    /// The members' names.
    pub members: Vec<&'static str>,
    /// Bytes that make each member's state large: above 16 KiB its state is an object of its own, not inline.
    pub ballast_bytes: usize,
    /// How many transfers each member sends a second, about.
    pub transfers_per_second: u32,
    /// How long a member's lease is. Long enough that a member which is frozen for a moment keeps it.
    pub lease: String,
    /// What happens when a member is lost.
    pub on_loss: OnLoss,
    /// How the messages under way at a cut get into a snapshot.
    pub channels: ChannelSettings,
    /// Whether the store is the test's own, with a gate, even when `STILLFRAME_TEST_S3_*` names another.
    pub own_store: bool,
    /// How many coordinators there are. The members know all of them.
    pub replicas: usize,
    /// Whether each member asks another coordinator first; else all ask the first.
    pub spread: bool,
    /// Whether the database is a server of the test's own, which it may restart, with a line to it from each coordinator, which it may cut.
    pub own_postgres: bool,
}

impl WorldOptions {
    /// Three members with a small state.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            members: vec!["a", "b", "c"],
            ballast_bytes: 0,
            transfers_per_second: 400,
            lease: "30s".to_owned(),
            on_loss: OnLoss::RestoreLatest,
            channels: ChannelSettings::default(),
            own_store: false,
            replicas: 1,
            spread: true,
            own_postgres: false,
        }
    }

    /// States too large to travel inline, in a store of the test's own, which has a gate.
    #[must_use]
    pub fn with_large_states(mut self) -> Self {
        self.ballast_bytes = 64 * 1024;
        self.own_store = true;
        self
    }

    /// Senders log what is under way at a cut.
    #[must_use]
    pub fn with_sender_logged_channels(mut self) -> Self {
        self.channels.channel_state = ChannelState::SenderLogged;
        self
    }

    /// Members hold channels back until all are aligned.
    #[must_use]
    pub fn with_aligned_channels(mut self) -> Self {
        self.channels.alignment = Alignment::Aligned;
        self
    }

    /// Two coordinators.
    #[must_use]
    pub fn with_two_replicas(mut self) -> Self {
        self.replicas = 2;
        self
    }

    /// A database server of the test's own, and lines to it.
    #[must_use]
    pub fn with_own_postgres(mut self) -> Self {
        self.own_postgres = true;
        self
    }

    /// A store of the test's own, which has a gate.
    #[must_use]
    pub fn with_gate(mut self) -> Self {
        self.own_store = true;
        self
    }
}
