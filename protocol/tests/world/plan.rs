//! What happens in a run: drawn by proptest (which shrinks it) or made from a seed (which repeats it).

use proptest::prelude::*;
use stillframe_protocol::{ChannelOrdering, ChannelState};

/// A channel of the topology.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channel {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) ordering: ChannelOrdering,
}

/// One step: three numbers that the world reads as it can, so that any list of steps is a schedule and any part of it as well.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) what: u8,
    pub(crate) which: u16,
    pub(crate) how: u16,
}

/// A whole run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// How many members there are in the end, 2 to 6.
    pub(crate) members: usize,
    /// How many are there from the beginning, at least 2.
    pub(crate) first: usize,
    pub(crate) channels: Vec<Channel>,
    pub(crate) channel_state: ChannelState,
    pub(crate) steps: Vec<Step>,
}

/// Which orderings the channels of a plan have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Orderings {
    Fifo,
    Unordered,
    Mixed,
}

impl Plan {
    /// Any plan. Small member counts come with full meshes, larger ones with sparse topologies; cycles abound in both.
    pub(crate) fn any(orderings: Orderings, steps: usize) -> impl Strategy<Value = Self> {
        let step = (any::<u8>(), any::<u16>(), any::<u16>()).prop_map(|(what, which, how)| Step { what, which, how });
        let draws = (2usize..=6, any::<u8>(), proptest::collection::vec(any::<u8>(), 30));
        (draws, proptest::collection::vec(step, 1..=steps))
            .prop_map(move |((members, first, edges), steps)| Self::new(orderings, members, first, &edges, steps))
    }

    /// The same with channels whose senders log.
    pub(crate) fn sender_logged(self) -> Self {
        Self { channel_state: ChannelState::SenderLogged, ..self }
    }

    /// The same with aligned channels, of which only those stay that make no cycle.
    pub(crate) fn aligned(mut self) -> Self {
        self.channels.retain(|channel| channel.from < channel.to);
        self.channels.iter_mut().for_each(|channel| channel.ordering = ChannelOrdering::Fifo);
        Self { channel_state: ChannelState::Aligned, ..self }
    }

    /// The plan of a seed.
    pub(crate) fn of_seed(seed: u64, steps: usize) -> Self {
        let mut state = seed;
        // SplitMix64 (Steele, Lea, Flood 2014).
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let orderings = [Orderings::Fifo, Orderings::Unordered, Orderings::Mixed][(next() % 3) as usize];
        let members = 2 + (next() % 5) as usize;
        let first = next() as u8;
        let edges: Vec<u8> = (0..30).map(|_| next() as u8).collect();
        let steps =
            (0..steps).map(|_| next()).map(|n| Step { what: n as u8, which: (n >> 8) as u16, how: (n >> 24) as u16 }).collect();
        Self::new(orderings, members, first, &edges, steps)
    }

    fn new(orderings: Orderings, members: usize, first: u8, edges: &[u8], steps: Vec<Step>) -> Self {
        let first = members.min(2 + usize::from(first % 5));
        let pairs = (0..members).flat_map(|from| (0..members).map(move |to| (from, to))).filter(|(from, to)| from != to);
        let density = [255, 200, 140, 110, 90][members - 2];
        let channels = pairs
            .zip(edges)
            .filter(|((from, to), edge)| **edge <= density || (from + 1) % members == *to)
            .map(|((from, to), edge)| {
                let ordering = match orderings {
                    Orderings::Fifo => ChannelOrdering::Fifo,
                    Orderings::Unordered => ChannelOrdering::Unordered,
                    Orderings::Mixed if edge % 2 == 0 => ChannelOrdering::Fifo,
                    Orderings::Mixed => ChannelOrdering::Unordered,
                };
                Channel { from, to, ordering }
            })
            .collect();
        Self { members, first, channels, channel_state: ChannelState::Marker, steps }
    }
}
