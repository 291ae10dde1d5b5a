//! Idempotency keys: who carries a request out, and what was answered.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreError;

/// A request under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRequest {
    /// The key, 1 to 255 characters.
    pub key: String,
    /// A digest of method, path, query and body.
    pub fingerprint: String,
}

/// An answer as it is kept, and given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The status, 200 to 499.
    pub status: u16,
    /// The `content-type`.
    pub content_type: Option<String>,
    /// The `location`.
    pub location: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The caller carries the request out now.
    Mine {
        /// The id of what the request makes.
        seed: Uuid,
        /// Which attempt this is, from 1: an earlier one may have been carried out without its answer being kept.
        attempt: u32,
    },
    /// It was carried out: this was the answer.
    Answered(KeptAnswer),
    /// Somebody else carries it out just now.
    UnderWay,
    /// The key belongs to another request.
    OtherRequest,
}

/// Where keys are kept. Nothing here waits for the disk: a transition that is durable has made its key durable before.
#[async_trait]
pub trait Keys: Send + Sync {
    /// Claims a request for `hold`, if nobody has it.
    async fn claim(&self, request: &KeyedRequest, seed: Uuid, hold: Duration) -> Result<Claim, StoreError>;

    /// Holds on to a claim; false when another attempt has it by now.
    async fn keep_claim(&self, key: &str, attempt: u32, hold: Duration) -> Result<bool, StoreError>;

    /// Keeps the answer. Without one, gives the claim up, so that the request can be carried out again.
    async fn settle_claim(&self, key: &str, attempt: u32, answer: Option<KeptAnswer>) -> Result<(), StoreError>;

    /// Forgets up to a thousand keys that are older; gives how many.
    async fn trim_keys(&self, older: Duration) -> Result<u64, StoreError>;
}
