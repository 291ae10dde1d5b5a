//! How many files and connections this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The fewest connections that are served at once.
const FEWEST: usize = 16;

/// What is kept for other things than clients at least: listening, the database, the archive, temporary files.
const RESERVE: usize = 128;

/// Raises the process's soft limit of open files to its hard one: every member holds a connection.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(from = current, to = maximum, "raised the limit of open files"),
        Err(error) => tracing::debug!(%error, from = current, to = maximum, "the limit of open files could not be raised"),
    }
}

/// How many connections may be served at once: at most so many, and no more than what the process may have open just now allows.
#[must_use]
pub fn connections(most: usize) -> usize {
    most.min(connections_of(getrlimit(Resource::Nofile).current))
}

/// An eighth is kept for other things than clients, or [`RESERVE`] if that is more, but never more than half.
fn connections_of(limit: Option<u64>) -> usize {
    let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return usize::MAX };
    let reserve = (limit / 8).max(RESERVE).min(limit / 2);
    (limit - reserve).max(FEWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_everything_else() {
        for (limit, connections) in [(64, 32), (256, 128), (1024, 896), (65_536, 57_344), (1 << 20, 917_504), (8, FEWEST)] {
            assert_eq!(connections_of(Some(limit)), connections, "of {limit}");
        }
        assert_eq!(connections_of(None), usize::MAX);
    }
}
