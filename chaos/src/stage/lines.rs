//! The ways between the processes.

use std::{collections::BTreeMap, path::PathBuf};

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

/// The Unix socket in the URL of a private Postgres: `postgres://user@%2Fdir:5432/database`.
pub(super) fn socket_of(url: &str) -> Option<PathBuf> {
    let (_, rest) = url.split_once('@')?;
    let (host, rest) = rest.split_once(':')?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let mut directory = Vec::new();
    let mut bytes = host.bytes();
    while let Some(byte) = bytes.next() {
        directory.push(if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    Some(PathBuf::from(String::from_utf8(directory).ok()?).join(format!(".s.PGSQL.{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_found_in_the_url() {
        let url = "postgres://stillframe@%2Ftmp%2Fpg-1:5432/chaos?sslmode=disable";
        assert_eq!(socket_of(url), Some(PathBuf::from("/tmp/pg-1/.s.PGSQL.5432")));
        assert_eq!(socket_of("postgres://host/db"), None);
    }
}
