//! What a bad network does to datagrams, decided by a seed: loses them, repeats them, lets others overtake them.

use bytes::Bytes;
use clap::Args;

/// How bad it is.
#[derive(Debug, Clone, Copy, Args)]
pub struct WeatherArgs {
    /// How many datagrams of a hundred are lost on purpose.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=90))]
    pub lose: u8,
    /// How many of a hundred are sent twice.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub repeat: u8,
    /// How many of a hundred are held back until a later one was sent.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub hold_back: u8,
    /// The seed of these decisions.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// The most datagrams that are held back at once.
const MAX_HELD: usize = 16;

/// The weather between this member and all others.
#[derive(Debug)]
pub struct Weather {
    args: WeatherArgs,
    random: fastrand::Rng,
    held: Vec<(String, Bytes)>,
}

impl Weather {
    /// Weather by this seed.
    #[must_use]
    pub fn new(args: WeatherArgs) -> Self {
        Self { args, random: fastrand::Rng::with_seed(args.seed), held: Vec::new() }
    }

    fn happens(&mut self, of_a_hundred: u8) -> bool {
        self.random.u8(..100) < of_a_hundred
    }

    /// What really goes out when this datagram is sent.
    pub fn send(&mut self, address: &str, datagram: Bytes, mut send: impl FnMut(&str, &[u8])) {
        if self.happens(self.args.lose) {
            return;
        }
        if self.held.len() < MAX_HELD && self.happens(self.args.hold_back) {
            self.held.push((address.to_owned(), datagram));
            return;
        }
        send(address, &datagram);
        if self.happens(self.args.repeat) {
            send(address, &datagram);
        }
        if !self.held.is_empty() && self.random.bool() {
            let (address, datagram) = self.held.swap_remove(self.random.usize(..self.held.len()));
            send(&address, &datagram);
        }
    }
}
