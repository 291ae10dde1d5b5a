//! What a seed stands for: the cluster, its channels, its settings, and how badly it fares.

use fastrand::Rng;
use stillframe_api::cluster::OnLoss;
use stillframe_protocol::{ChannelOrdering, ChannelState};

/// One millisecond of virtual time.
pub(crate) const MS: u64 = 1_000;

/// A channel that applications use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channel {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) ordering: ChannelOrdering,
}

/// What is drawn before anything happens.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// How many members there may be.
    pub(crate) members: usize,
    /// How many of them there are at first.
    pub(crate) initial: usize,
    pub(crate) channels: Vec<Channel>,
    pub(crate) channel_state: ChannelState,
    /// How long members wait until their channels are aligned, before they go over to recording; if they ever do.
    pub(crate) aligned_timeout_us: Option<u64>,
    pub(crate) replicas: usize,
    pub(crate) on_loss: OnLoss,
    pub(crate) snapshot_timeout_ms: u64,
    pub(crate) max_concurrent: u32,
    pub(crate) min_pause_ms: u64,
    pub(crate) restore_fallback: u32,
    pub(crate) rollback_limit: u32,
    pub(crate) lease_us: u64,
    /// Whether a connection's first words say which generation and incarnation it is for, as the agent's do. Without, the participant's own fences do
    /// all the work.
    pub(crate) preamble: bool,
    /// Whether a process that is started again has the address of the one before, and gets what is still on its way to that.
    pub(crate) addresses_reused: bool,
    /// For how long there are faults.
    pub(crate) faults_for_us: u64,
    /// The mean pause between two faults.
    pub(crate) fault_every_us: u64,
    /// Of a thousand frames of unordered channels.
    pub(crate) frames_lost: u32,
    pub(crate) frames_repeated: u32,
    pub(crate) frames_late: u32,
    /// Of a thousand messages between members and the coordinator.
    pub(crate) words_lost: u32,
    pub(crate) words_repeated: u32,
    /// The longest that a frame takes.
    pub(crate) frame_delay_us: u64,
    /// The longest that a word to or from the coordinator takes.
    pub(crate) word_delay_us: u64,
    /// The mean pause between two messages of an application.
    pub(crate) send_every_us: u64,
}

impl Plan {
    /// Whether the numbers of a channel's messages are those of the application for ever: not where a log is sent again and wasn't at its end.
    pub(crate) fn numbers_stay(&self, ordering: ChannelOrdering) -> bool {
        ordering == ChannelOrdering::Fifo || self.channel_state != ChannelState::SenderLogged
    }

    pub(crate) fn of_seed(rng: &mut Rng) -> Self {
        let members = rng.usize(2..=8);
        let initial = rng.usize(2..=members);
        let mut channels = Vec::new();
        let unordered_of_8 = [0, 2, 4, 8][rng.usize(0..4)];
        let dense = rng.bool();
        for from in 0..members {
            for to in (0..members).filter(|to| *to != from) {
                // Everybody is on a cycle; the rest is as it comes.
                let on_cycle = to == (from + 1) % members;
                if on_cycle || rng.usize(0..8) < if dense { 5 } else { 1 } {
                    let unordered = rng.usize(0..8) < unordered_of_8;
                    let ordering = if unordered { ChannelOrdering::Unordered } else { ChannelOrdering::Fifo };
                    channels.push(Channel { from, to, ordering });
                }
            }
        }
        let channel_state = match rng.usize(0..8) {
            0..=3 => ChannelState::Marker,
            4..=5 => ChannelState::SenderLogged,
            _ => ChannelState::Aligned,
        };
        let aligned_timeout_us = rng.bool().then(|| rng.u64(2..=200) * MS);
        if channel_state == ChannelState::Aligned {
            channels.retain(|channel| channel.from < channel.to);
            channels.iter_mut().for_each(|channel| channel.ordering = ChannelOrdering::Fifo);
        }
        let lossy = rng.bool();
        Self {
            members,
            initial,
            channels,
            channel_state,
            aligned_timeout_us,
            replicas: rng.usize(1..=3),
            on_loss: if rng.usize(0..5) == 0 { OnLoss::Halt } else { OnLoss::RestoreLatest },
            snapshot_timeout_ms: rng.u64(300..=2_500),
            max_concurrent: rng.u32(1..=4),
            min_pause_ms: if rng.bool() { 0 } else { rng.u64(10..=300) },
            restore_fallback: rng.u32(0..=2),
            rollback_limit: rng.u32(0..=6),
            lease_us: rng.u64(400..=1_500) * MS,
            preamble: rng.bool(),
            addresses_reused: rng.bool(),
            faults_for_us: rng.u64(4_000..=9_000) * MS,
            fault_every_us: rng.u64(40..=400) * MS,
            frames_lost: if lossy { rng.u32(0..=200) } else { 0 },
            frames_repeated: if lossy { rng.u32(0..=100) } else { 0 },
            frames_late: if rng.bool() { rng.u32(0..=60) } else { 0 },
            words_lost: if rng.bool() { rng.u32(0..=150) } else { 0 },
            words_repeated: if rng.bool() { rng.u32(0..=100) } else { 0 },
            frame_delay_us: rng.u64(1..=60) * MS,
            word_delay_us: rng.u64(1..=60) * MS,
            send_every_us: rng.u64(20..=150) * MS,
        }
    }
}
