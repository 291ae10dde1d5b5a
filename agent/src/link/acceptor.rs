//! Taking connections: who calls is checked before a single frame is read.

use std::{sync::Arc, time::Duration};

use stillframe_protocol::{ClusterName, Generation, Incarnation, MemberName};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};

use super::{
    Input,
    preamble::{self, PATIENCE, Preamble, PreambleError, Verdict},
};
use crate::transport::{Link, Listener};

/// How long a caller of a newer generation is kept waiting for this member to get there.
const WAIT_FOR_GENERATION: Duration = Duration::from_secs(10);

/// How many callers may be checked at once; more wait in the operating system.
const MAX_CALLERS: usize = 256;

/// What a caller must fit.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) cluster: ClusterName,
    pub(crate) member: MemberName,
    pub(crate) incarnation: Incarnation,
    /// Changes with each restore.
    pub(crate) generation: watch::Receiver<Generation>,
}

/// A connection whose caller fits.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) preamble: Preamble,
    pub(crate) link: Link,
}

impl Gate {
    /// The verdict on a caller as things are, or nothing when it is of a newer generation.
    fn judge(&self, preamble: &Preamble) -> Option<Verdict> {
        let generation = *self.generation.borrow();
        if preamble.cluster != self.cluster {
            return Some(Verdict::OtherCluster);
        }
        if preamble.to != self.member {
            return Some(Verdict::OtherMember);
        }
        if preamble.to_incarnation != self.incarnation {
            return Some(Verdict::OtherIncarnation { incarnation: self.incarnation });
        }
        match preamble.generation.cmp(&generation) {
            std::cmp::Ordering::Less => Some(Verdict::OldGeneration { generation }),
            std::cmp::Ordering::Equal => Some(Verdict::Welcome),
            std::cmp::Ordering::Greater => None,
        }
    }

    async fn verdict(&mut self, preamble: &Preamble) -> Verdict {
        let wait = async {
            loop {
                if let Some(verdict) = self.judge(preamble) {
                    return verdict;
                }
                if self.generation.changed().await.is_err() {
                    return Verdict::NotYet { generation: *self.generation.borrow() };
                }
            }
        };
        match tokio::time::timeout(WAIT_FOR_GENERATION, wait).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::NotYet { generation: *self.generation.borrow() },
        }
    }
}

/// Takes connections until it is dropped.
pub(crate) async fn serve(mut listener: Box<dyn Listener>, gate: Gate, inputs: mpsc::Sender<Input>) {
    let places = Arc::new(Semaphore::new(MAX_CALLERS));
    let mut callers = JoinSet::new();
    loop {
        while callers.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok(link) => {
                let (gate, inputs) = (gate.clone(), inputs.clone());
                callers.spawn(async move {
                    let _place = place;
                    if let Err(error) = admit(link, gate, inputs).await {
                        tracing::debug!(%error, "a connection was refused");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: trying at once would only burn the processor.
                tracing::warn!(%error, "can't take connections of other members; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn admit(mut link: Link, mut gate: Gate, inputs: mpsc::Sender<Input>) -> Result<(), PreambleError> {
    let call = tokio::time::timeout(PATIENCE, preamble::read_call(&mut link.reader)).await;
    let preamble = match call {
        Ok(Ok(preamble)) => preamble,
        Ok(Err(PreambleError::Version(version))) => {
            preamble::answer(Verdict::OtherVersion { version: preamble::VERSION }, &mut link.writer).await?;
            return Err(PreambleError::Version(version));
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => return Err(PreambleError::Garbage("it said nothing")),
    };
    let verdict = gate.verdict(&preamble).await;
    preamble::answer(verdict, &mut link.writer).await?;
    match verdict {
        Verdict::Welcome => {
            let _ = inputs.send(Input::Accepted(Box::new(Accepted { preamble, link }))).await;
        }
        refused => {
            tracing::debug!(from = %preamble.from, generation = %preamble.generation, incarnation = %preamble.from_incarnation, %refused, "a member was refused");
        }
    }
    Ok(())
}
