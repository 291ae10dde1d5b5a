//! The ways between the processes.

use std::collections::BTreeMap;

use stillframe_e2e::proxy::Line;

use crate::plan::{Shape, Target};

/// Every way there is.
#[derive(Debug)]
pub struct Lines {
    /// From a member (first) to another.
    pub peers: BTreeMap<(usize, usize), Line>,
    /// From a member to a replica.
    pub control: BTreeMap<(usize, usize), Line>,
    /// From each replica to the database.
    pub database: Vec<Line>,
    /// From everybody to the store.
    pub store: Line,
}

impl Lines {
    /// Lines in fair weather.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let pairs = |many: usize| (0..shape.members).flat_map(move |one| (0..many).map(move |other| (one, other)));
        Self {
            peers: pairs(shape.members).filter(|(from, to)| from != to).map(|pair| (pair, Line::default())).collect(),
            control: pairs(shape.replicas).map(|pair| (pair, Line::default())).collect(),
            database: (0..shape.replicas).map(|_| Line::default()).collect(),
            store: Line::default(),
        }
    }

    /// The line that a fault is about.
    #[must_use]
    pub fn of(&self, target: Target) -> Option<&Line> {
        match target {
            Target::Peers { from, to } => self.peers.get(&(from, to)),
            Target::Control { member, replica } => self.control.get(&(member, replica)),
            Target::Database { replica } => self.database.get(replica),
            Target::Store => Some(&self.store),
            Target::Member(_) | Target::Replica(_) | Target::Postgres => None,
        }
    }
}
