//! Carrying a request out once, however often it is sent (draft-ietf-httpapi-idempotency-key-header). Who claims the key carries it out, and keeps
//! its answer; whoever asks meanwhile waits for it. Should the replica die in between, the next to ask carries it out again: what it makes gets the
//! id that was given with the claim, so it is found made, and everything else that can be asked for comes to the same the second time.

use std::time::Duration;

use uuid::Uuid;

use super::{Service, ServiceError};
use crate::store::idempotency::{Claim, KeptAnswer, KeyedRequest};

/// How long an answer is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long a claim holds without a word of whoever carries the request out.
const HOLD: Duration = Duration::from_millis(1_500);

/// How often whoever carries it out says so.
pub(crate) const KEEP_EVERY: Duration = Duration::from_millis(400);

/// How long a repeated request waits for the first one.
const WAIT: Duration = Duration::from_secs(10);

/// How often it looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// That a request is carried out under a key, in whose name, and for which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyed {
    /// The id of what it makes.
    pub seed: Uuid,
    /// Which attempt it is, from 1.
    pub attempt: u32,
}

impl Keyed {
    /// Whether what it makes may be there already.
    #[must_use]
    pub fn is_repeated(self) -> bool {
        self.attempt > 1
    }
}

/// What is to be done with a request.
#[derive(Debug)]
pub enum Turn {
    /// Carry it out.
    Carry(Keyed),
    /// Give this answer.
    Answer(KeptAnswer),
}

impl Service {
    /// Claims a request, or waits for the answer of whoever has it.
    ///
    /// # Errors
    /// [`ServiceError::KeyReused`], [`ServiceError::StillUnderWay`], or that the store is away.
    pub async fn turn(&self, request: &KeyedRequest) -> Result<Turn, ServiceError> {
        let until = tokio::time::Instant::now() + WAIT;
        loop {
            match self.store.claim(request, Uuid::now_v7(), HOLD).await? {
                Claim::Mine { seed, attempt } => return Ok(Turn::Carry(Keyed { seed, attempt })),
                Claim::Answered(answer) => return Ok(Turn::Answer(answer)),
                Claim::OtherRequest => return Err(ServiceError::KeyReused(request.key.clone())),
                Claim::UnderWay if tokio::time::Instant::now() >= until => {
                    return Err(ServiceError::StillUnderWay(request.key.clone()));
                }
                Claim::UnderWay => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Says that a request is still being carried out.
    pub async fn keep_turn(&self, key: &str, keyed: Keyed) {
        if let Err(error) = self.store.keep_claim(key, keyed.attempt, HOLD).await {
            tracing::debug!(%error, key, "a claim could not be kept: the request may be carried out again elsewhere");
        }
    }

    /// Keeps a request's answer; none when it is to be carried out again if it is sent again.
    pub async fn end_turn(&self, key: &str, keyed: Keyed, answer: Option<KeptAnswer>) {
        if let Err(error) = self.store.settle_claim(key, keyed.attempt, answer).await {
            tracing::debug!(%error, key, "an answer could not be kept: the request is carried out again if it is sent again");
        }
    }
}
