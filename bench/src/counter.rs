//! What member processes count.

use std::{
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, ChildStdout},
};

use anyhow::Context as _;

use crate::stage::Cluster;

/// Asks a member process how many messages it has received, or sent if it does nothing else.
pub(crate) struct Counter {
    ask: ChildStdin,
    answer: BufReader<ChildStdout>,
}

impl Counter {
    /// One for each member of a cluster. The members end with them.
    pub(crate) fn of(cluster: &mut Cluster) -> anyhow::Result<Vec<Self>> {
        let counter = |child: &mut std::process::Child| {
            Some(Self { ask: child.stdin.take()?, answer: BufReader::new(child.stdout.take()?) })
        };
        cluster.children.iter_mut().map(|child| counter(child).context("a member without standard input or output")).collect()
    }

    /// Asks.
    pub(crate) fn read(&mut self) -> anyhow::Result<u64> {
        self.ask.write_all(b"?")?;
        let mut line = String::new();
        self.answer.read_line(&mut line)?;
        line.trim().parse().context("a member that doesn't answer with a number")
    }
}
