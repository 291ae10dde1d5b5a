//! What lies between members: connections that break, frames that get lost, and members that can't reach each other.

use std::collections::{BTreeMap, BTreeSet};

/// Which way a frame goes on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the channel's sender.
    There,
    /// From its receiver.
    Back,
}

/// A connection of a fifo channel: from the process that dialled to the one that was dialled.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// When the last frame arrives, each way.
    arrives: [u64; 2],
    /// How many frames were given to it, each way.
    given: [u64; 2],
    /// What still arrives, each way, once it is broken.
    through: Option<[u64; 2]>,
}

impl Connection {
    /// Whether it still takes frames.
    pub(crate) fn is_up(&self) -> bool {
        self.through.is_none()
    }

    /// Takes a frame that travels so long. Gives when it arrives, and its number.
    pub(crate) fn give(&mut self, way: Way, now: u64, delay: u64) -> (u64, u64) {
        let way = way as usize;
        let at = self.arrives[way].max(now + delay);
        self.arrives[way] = at;
        self.given[way] += 1;
        (at, self.given[way])
    }

    /// Whether the frame of this number arrives.
    pub(crate) fn carries(&self, way: Way, number: u64) -> bool {
        self.through.is_none_or(|through| number <= through[way as usize])
    }
}

/// The network between members.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) connections: BTreeMap<u64, Connection>,
    /// Pairs of members that can't reach each other, smaller first, and until when.
    cuts: BTreeMap<(usize, usize), u64>,
    /// Members that can't reach a replica, and until when.
    control_cuts: BTreeMap<(usize, usize), u64>,
    numbers: u64,
}

impl Network {
    pub(crate) fn dial(&mut self, from: u64, to: u64) -> u64 {
        self.numbers += 1;
        let connection = Connection { from, to, arrives: [0; 2], given: [0; 2], through: None };
        self.connections.insert(self.numbers, connection);
        self.numbers
    }

    /// Breaks a connection; of what is on its way, this part of a thousand still arrives. Gives the processes at its ends if it was up.
    pub(crate) fn break_connection(&mut self, number: u64, arrives: u64) -> Option<(u64, u64)> {
        let connection = self.connections.get_mut(&number).filter(|connection| connection.is_up())?;
        connection.through = Some(connection.given.map(|given| given - (given * (1000 - arrives.min(1000))) / 1000));
        Some((connection.from, connection.to))
    }

    /// The connections at whose ends these are that are up.
    pub(crate) fn of(&self, is_end: impl Fn(u64) -> bool) -> Vec<u64> {
        let up = self.connections.iter().filter(|(_, connection)| connection.is_up());
        up.filter(|(_, connection)| is_end(connection.from) || is_end(connection.to)).map(|(number, _)| *number).collect()
    }

    /// Forgets connections that are broken and have nothing more to bring.
    pub(crate) fn tidy(&mut self, now: u64) {
        self.connections.retain(|_, connection| connection.is_up() || connection.arrives.iter().any(|at| *at >= now));
    }

    pub(crate) fn cut(&mut self, one: usize, other: usize, until: u64) {
        self.cuts.insert((one.min(other), one.max(other)), until);
    }

    pub(crate) fn is_cut(&self, one: usize, other: usize, now: u64) -> bool {
        self.cuts.get(&(one.min(other), one.max(other))).is_some_and(|until| *until > now)
    }

    pub(crate) fn cut_control(&mut self, slot: usize, replicas: BTreeSet<usize>, until: u64) {
        self.control_cuts.extend(replicas.into_iter().map(|replica| ((slot, replica), until)));
    }

    pub(crate) fn is_control_cut(&self, slot: usize, replica: usize, now: u64) -> bool {
        self.control_cuts.get(&(slot, replica)).is_some_and(|until| *until > now)
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        self.control_cuts.clear();
    }
}
