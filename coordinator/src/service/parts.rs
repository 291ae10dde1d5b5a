//! Taking parts. They come all at once at the end of a snapshot, so they are gathered for a moment and inserted together; and when they are the
//! last that a snapshot waits for, the certificate is verified at once and the snapshot goes to `committing` in the same commit.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use stillframe_protocol::{MemberName, SnapshotId};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Caller, Service, ServiceError,
    commit::{MANY_PARTS, verify},
    reports::{Answer, BATCH},
};
use crate::{
    decide::{part, snapshot},
    store::{CompleteSnapshot, PartRow, StoreError, Taken},
};

/// How long a part that isn't the last waits for others to go with it.
const GATHER_FOR: Duration = Duration::from_millis(5);

/// How many bytes of inline objects a batch holds, about, so that a statement stays of reasonable size.
const BATCH_BYTES: u64 = 16 << 20;

/// A part, and who waits for the answer.
type Reported = (PartRow, Answer<bool>);

/// Whose part of which snapshot.
type Key = (SnapshotId, MemberName);

fn key(row: &PartRow) -> Key {
    (row.report.snapshot, row.member.clone())
}

/// What became of parts. Those that are neither are of no use any more.
#[derive(Debug, Default)]
struct Stored {
    there: HashSet<Key>,
    failed: HashMap<Key, Arc<ServiceError>>,
}

/// Starts the task that empties the queue.
pub(super) fn serve(service: &Arc<Service>, mut parts: mpsc::Receiver<Reported>) {
    let weak = Arc::downgrade(service);
    tokio::spawn(async move {
        let mut batch = Vec::new();
        while parts.recv_many(&mut batch, BATCH).await > 0 {
            let Some(service) = weak.upgrade() else { return };
            let until = Instant::now() + GATHER_FOR;
            while batch.len() < BATCH && !service.completes_all(batch.iter().map(|(row, _)| row)) {
                match tokio::time::timeout_at(until, parts.recv_many(&mut batch, BATCH)).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                }
            }
            service.take_parts(std::mem::take(&mut batch)).await;
        }
    });
}

impl Service {
    async fn take_parts(self: &Arc<Self>, batch: Vec<Reported>) {
        let mut rest = batch.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut rows, mut answers, mut bytes) = (Vec::new(), Vec::new(), 0);
            while let Some((row, answer)) = rest.next_if(|_| bytes < BATCH_BYTES) {
                bytes += part::bytes(&row.report).min(32 << 10);
                answers.push((key(&row), answer));
                rows.push(row);
            }
            let stored = self.store_parts(rows).await;
            for (part, answer) in answers {
                let result =
                    stored.failed.get(&part).map_or_else(|| Ok(stored.there.contains(&part)), |error| Err(Arc::clone(error)));
                // Whoever hung up will report again.
                drop(answer.send(result));
            }
        }
    }

    /// Stores parts.
    async fn store_parts(self: &Arc<Self>, mut rows: Vec<PartRow>) -> Stored {
        let mut stored = Stored::default();
        for (complete, last) in self.take_last(&mut rows) {
            let id = complete.id;
            match self.store_last_parts(complete, &last).await {
                Ok(true) => stored.there.extend(last.iter().map(key)),
                Ok(false) => rows.extend(last),
                // As parts like any others, then: what is wrong with one snapshot keeps no other's parts back.
                Err(error) => {
                    tracing::debug!(snapshot = %id, %error, "the last parts were not stored together with the step to committing");
                    rows.extend(last);
                }
            }
        }
        if rows.is_empty() {
            return stored;
        }
        match self.store.insert_parts(&rows).await {
            Err(StoreError::Fault { reason }) if rows.len() > 1 => {
                tracing::warn!(reason, parts = rows.len(), "the database refuses parts; each is tried alone");
                for row in rows {
                    let result = self.store.insert_parts(std::slice::from_ref(&row)).await;
                    self.take_result(&mut stored, vec![row], result);
                }
            }
            result => self.take_result(&mut stored, rows, result),
        }
        stored
    }

    fn take_result(self: &Arc<Self>, stored: &mut Stored, rows: Vec<PartRow>, result: Result<Taken, StoreError>) {
        match result {
            Ok(Taken { there, all_new }) => {
                stored.there.extend(there);
                if all_new {
                    self.gather(rows);
                } else {
                    self.ask_soon(rows.iter().map(|row| row.report.snapshot).collect());
                }
            }
            Err(error) => {
                let error = Arc::new(ServiceError::from(error));
                stored.failed.extend(rows.iter().map(|row| (key(row), Arc::clone(&error))));
            }
        }
    }

    /// Stores the last parts of a snapshot together with its going to `committing`, where nothing speaks against it; else changes nothing.
    async fn store_last_parts(self: &Arc<Self>, complete: CompleteSnapshot, last: &[PartRow]) -> Result<bool, ServiceError> {
        let id = complete.id;
        let remembered = self.hub.channel(&complete.cluster).remembered();
        let Some(mut before) = remembered.filter(|facts| facts.is_calm()) else { return Ok(false) };
        if complete.parts.len() >= MANY_PARTS {
            // Verified on a thread of its own, once they are stored.
            return Ok(false);
        }
        let verdict = verify(&complete);
        if verdict.is_err() {
            return Ok(false);
        }
        before.know_complete(id);
        let decision = snapshot::certified(&before, &self.occasion(&Caller::coordinator()), id, &verdict);
        if self.remembered_transition(&before, decision, last, None).await?.is_none() {
            return Ok(false);
        }
        self.forget_gathered(id);
        self.commit_soon(CompleteSnapshot { committing: true, ..complete });
        Ok(true)
    }
}
