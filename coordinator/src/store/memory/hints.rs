//! Telling other replicas of changes: a channel with a bounded memory, as lossy as a hint may be.

use tokio::sync::{Mutex, broadcast};

use crate::store::{Hint, StoreError};

/// How many hints a replica may be behind before it misses the oldest.
pub(super) const CAPACITY: usize = 1_024;

/// A replica's ear.
#[derive(Debug)]
pub(super) struct Listener(Mutex<broadcast::Receiver<Hint>>);

impl Listener {
    pub(super) fn new(hints: &broadcast::Sender<Hint>) -> Self {
        Self(Mutex::new(hints.subscribe()))
    }

    /// The next hint; those that were missed are passed over.
    pub(super) async fn next(&self) -> Result<Hint, StoreError> {
        let mut hints = self.0.lock().await;
        loop {
            match hints.recv().await {
                Ok(hint) => return Ok(hint),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => {
                    return Err(StoreError::Unavailable { reason: "nobody announces anything any more".to_owned() });
                }
            }
        }
    }
}
