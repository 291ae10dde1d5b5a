//! The gate: holds or fails requests whose key matches, and counts them.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use s3s::{S3Error, S3Result, s3_error};
use tokio::sync::watch;

use crate::wait;

/// What a request wants of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Writes a whole object.
    Put,
    /// Begins a multipart upload.
    CreateUpload,
    /// Writes a part of a multipart upload.
    UploadPart,
    /// Makes an object of the parts.
    CompleteUpload,
    /// Gives a multipart upload up.
    AbortUpload,
    /// Reads an object, or a range of it.
    Get,
    /// Asks for an object's length and tag.
    Head,
    /// Deletes an object.
    Delete,
    /// Lists objects; the key is the prefix.
    List,
}

/// Some of the requests, by what they want and which key they name.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    operations: Vec<Operation>,
    parts: Vec<String>,
    end: String,
}

impl Requests {
    /// Requests of this kind.
    #[must_use]
    pub fn of(operation: Operation) -> Self {
        Self { operations: vec![operation], ..Self::default() }
    }

    /// Requests that make an object appear: a put, or the completion of a multipart upload.
    #[must_use]
    pub fn writes() -> Self {
        Self { operations: vec![Operation::Put, Operation::CompleteUpload], ..Self::default() }
    }

    /// Only those whose key has this in it.
    #[must_use]
    pub fn key_with(mut self, part: impl Into<String>) -> Self {
        self.parts.push(part.into());
        self
    }

    /// Only those whose key ends with this.
    #[must_use]
    pub fn key_ending(mut self, end: impl Into<String>) -> Self {
        self.end = end.into();
        self
    }

    fn include(&self, operation: Operation, key: &str) -> bool {
        (self.operations.is_empty() || self.operations.contains(&operation))
            && self.parts.iter().all(|part| key.contains(part.as_str()))
            && key.ends_with(&self.end)
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} *{}*{}", self.operations, self.parts.join("*"), self.end)
    }
}

/// Where on its way a request is held or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Before anything is done.
    BeforeTheWork,
    /// When the work is done and only the answer is missing.
    BeforeTheAnswer,
}

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// 503, as a busy store answers.
    SlowDown,
    /// 500.
    InternalError,
    /// 403.
    AccessDenied,
}

impl Failure {
    fn error(self) -> S3Error {
        match self {
            Self::SlowDown => s3_error!(SlowDown, "the gate fails this request"),
            Self::InternalError => s3_error!(InternalError, "the gate fails this request"),
            Self::AccessDenied => s3_error!(AccessDenied, "the gate fails this request"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Held,
    LetThrough,
    ThrownAway,
}

#[derive(Debug, Clone, Copy)]
enum Effect {
    Hold,
    Fail(Failure),
}

#[derive(Debug)]
struct Rule {
    requests: Requests,
    point: Point,
    effect: Effect,
    /// How many requests it still takes.
    left: Mutex<usize>,
    taken: watch::Sender<usize>,
    verdict: watch::Sender<Verdict>,
}

impl Rule {
    fn take(&self, operation: Operation, key: &str, point: Point) -> bool {
        if self.point != point || !self.requests.include(operation, key) {
            return false;
        }
        let mut left = lock(&self.left);
        if *left == 0 {
            return false;
        }
        *left -= 1;
        self.taken.send_modify(|taken| *taken += 1);
        true
    }
}

#[derive(Debug, Default)]
struct Shared {
    rules: Mutex<Vec<Arc<Rule>>>,
    seen: Mutex<Vec<(Operation, String)>>,
}

/// The gate of one server. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Shared>);

impl Gate {
    /// Holds the next `at_most` of these requests until the returned value says what becomes of them.
    ///
    /// The work of a held request is carried out when it is let through, even if its client has died meanwhile: so this is also how a late
    /// request of a dead process is made.
    #[must_use = "the requests are let through when it is dropped"]
    pub fn hold(&self, requests: Requests, point: Point, at_most: usize) -> Held {
        Held(self.add(requests, point, Effect::Hold, at_most))
    }

    /// Fails these requests until the returned value is dropped.
    #[must_use = "requests fail only until it is dropped"]
    pub fn fail(&self, requests: Requests, point: Point, failure: Failure) -> Failing {
        Failing(self.add(requests, point, Effect::Fail(failure), usize::MAX))
    }

    /// How many of these requests have come so far, held and failed ones included.
    #[must_use]
    pub fn count(&self, requests: &Requests) -> usize {
        lock(&self.0.seen).iter().filter(|(operation, key)| requests.include(*operation, key)).count()
    }

    fn add(&self, requests: Requests, point: Point, effect: Effect, at_most: usize) -> Placed {
        let rule = Arc::new(Rule {
            requests,
            point,
            effect,
            left: Mutex::new(at_most),
            taken: watch::Sender::new(0),
            verdict: watch::Sender::new(Verdict::Held),
        });
        lock(&self.0.rules).push(Arc::clone(&rule));
        Placed { gate: self.clone(), rule }
    }

    pub(super) fn saw(&self, operation: Operation, key: &str) {
        lock(&self.0.seen).push((operation, key.to_owned()));
    }

    /// Stops a request here if a rule says so.
    pub(super) async fn pass(&self, operation: Operation, key: &str, point: Point) -> S3Result<()> {
        let rule = lock(&self.0.rules).iter().find(|rule| rule.take(operation, key, point)).cloned();
        let Some(rule) = rule else { return Ok(()) };
        match rule.effect {
            Effect::Fail(failure) => Err(failure.error()),
            Effect::Hold => {
                let mut verdict = rule.verdict.subscribe();
                // The sender lives in the rule, which this future holds: waiting can't fail.
                let said = verdict.wait_for(|verdict| *verdict != Verdict::Held).await.map(|verdict| *verdict);
                match said {
                    Ok(Verdict::ThrownAway) => Err(s3_error!(ServiceUnavailable, "the gate has thrown this request away")),
                    Ok(Verdict::Held | Verdict::LetThrough) | Err(_) => Ok(()),
                }
            }
        }
    }
}

/// A rule in its place.
#[derive(Debug)]
struct Placed {
    gate: Gate,
    rule: Arc<Rule>,
}

impl Placed {
    fn end(&self, verdict: Verdict) {
        lock(&self.gate.0.rules).retain(|rule| !Arc::ptr_eq(rule, &self.rule));
        self.rule.verdict.send_if_modified(|now| {
            let held = *now == Verdict::Held;
            if held {
                *now = verdict;
            }
            held
        });
    }

    async fn taken(&self, at_least: usize, how: &str) {
        let mut taken = self.rule.taken.subscribe();
        let waiting = taken.wait_for(|taken| *taken >= at_least);
        if tokio::time::timeout(wait::DEADLINE, waiting).await.is_err() {
            let found = *self.rule.taken.borrow();
            panic!(
                "expected {at_least} requests {how} at the gate within {:?}: {}; found {found}",
                wait::DEADLINE,
                self.rule.requests
            );
        }
    }
}

/// Requests that are held. Let through when dropped.
#[derive(Debug)]
pub struct Held(Placed);

impl Held {
    /// Waits until so many requests are held.
    ///
    /// # Panics
    ///
    /// When they don't come within [`wait::DEADLINE`].
    pub async fn arrived(&self, at_least: usize) {
        self.0.taken(at_least, "held").await;
    }

    /// Lets the held requests go their way, also those whose client is gone, and holds no more.
    pub fn let_through(self) {
        self.0.end(Verdict::LetThrough);
    }

    /// Throws the held requests away: those held before the work leave no trace. Holds no more.
    pub fn throw_away(self) {
        self.0.end(Verdict::ThrownAway);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.end(Verdict::LetThrough);
    }
}

/// Requests that fail, until this is dropped.
#[derive(Debug)]
pub struct Failing(Placed);

impl Failing {
    /// Waits until so many requests have failed.
    ///
    /// # Panics
    ///
    /// When they don't come within [`wait::DEADLINE`].
    pub async fn arrived(&self, at_least: usize) {
        self.0.taken(at_least, "failed").await;
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        self.0.end(Verdict::LetThrough);
    }
}

/// A panic of a test mustn't make the gate unusable for the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
