//! Idempotency keys.

use std::{collections::btree_map::Entry, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    MemoryStore,
    clock::{earlier, later},
};
use crate::store::{
    StoreError,
    idempotency::{Claim, KeptAnswer, KeyedRequest, Keys},
};

/// How many keys are forgotten at once.
const TRIM: usize = 1_000;

/// A key, and what it stands for.
#[derive(Debug)]
pub(super) struct Key {
    fingerprint: String,
    /// What the request makes gets this id, whichever attempt makes it.
    seed: Uuid,
    attempts: u32,
    claimed_until: Timestamp,
    answer: Option<KeptAnswer>,
    created_at: Timestamp,
}

#[async_trait]
impl Keys for MemoryStore {
    async fn claim(&self, request: &KeyedRequest, seed: Uuid, hold: Duration) -> Result<Claim, StoreError> {
        let now = self.shared.clock.now();
        if !(1..=255).contains(&request.key.chars().count()) {
            return Err(StoreError::Fault { reason: "a key has 1 to 255 characters".to_owned() });
        }
        let claimed_until = later(now, hold);
        let mut state = self.lock();
        let key = match state.keys.entry(request.key.clone()) {
            Entry::Vacant(vacant) => {
                let fingerprint = request.fingerprint.clone();
                vacant.insert(Key { fingerprint, seed, attempts: 1, claimed_until, answer: None, created_at: now });
                return Ok(Claim::Mine { seed, attempt: 1 });
            }
            Entry::Occupied(occupied) => occupied.into_mut(),
        };
        if key.fingerprint != request.fingerprint {
            return Ok(Claim::OtherRequest);
        }
        if let Some(answer) = &key.answer {
            return Ok(Claim::Answered(answer.clone()));
        }
        if key.claimed_until > now {
            return Ok(Claim::UnderWay);
        }
        key.attempts = key.attempts.saturating_add(1);
        key.claimed_until = claimed_until;
        Ok(Claim::Mine { seed: key.seed, attempt: key.attempts })
    }

    async fn keep_claim(&self, key: &str, attempt: u32, hold: Duration) -> Result<bool, StoreError> {
        let until = later(self.shared.clock.now(), hold);
        let mut state = self.lock();
        let mine = state.keys.get_mut(key).filter(|key| key.attempts == attempt && key.answer.is_none());
        Ok(mine.map(|key| key.claimed_until = until).is_some())
    }

    async fn settle_claim(&self, key: &str, attempt: u32, answer: Option<KeptAnswer>) -> Result<(), StoreError> {
        let now = self.shared.clock.now();
        if let Some(status) = answer.as_ref().map(|answer| answer.status).filter(|status| !(200..500).contains(status)) {
            return Err(StoreError::Fault {
                reason: format!("expected the status of an answer to keep, 200 to 499, found {status}"),
            });
        }
        let mut state = self.lock();
        let Some(key) = state.keys.get_mut(key).filter(|key| key.answer.is_none()) else { return Ok(()) };
        match answer {
            // The first answer stays, whichever attempt it is of: they have done the same.
            Some(answer) => key.answer = Some(answer),
            // It keeps its seed: an earlier attempt may have made something.
            None if key.attempts == attempt => key.claimed_until = now,
            None => {}
        }
        Ok(())
    }

    async fn trim_keys(&self, older: Duration) -> Result<u64, StoreError> {
        let since = earlier(self.shared.clock.now(), older);
        let mut state = self.lock();
        let old = state.keys.iter().filter(|(_, key)| key.created_at < since);
        let mut old: Vec<(Timestamp, String)> = old.map(|(name, key)| (key.created_at, name.clone())).collect();
        old.sort();
        old.truncate(TRIM);
        for (_, name) in &old {
            state.keys.remove(name);
        }
        Ok(old.len() as u64)
    }
}
