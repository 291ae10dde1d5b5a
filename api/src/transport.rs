//! Carrying a request to whichever replica answers. Every request can be repeated without harm: reading changes nothing, what operators change
//! goes under an idempotency key, and what agents say is idempotent by itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Method, Response, header};
use serde::Serialize;
use url::Url;
use uuid::Uuid;

use crate::{ClientError, Coordinators, Problem, backoff::Backoff};

/// The header under which a change is carried out once (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// How long an answer may take, besides what the coordinator is asked to hold it, when there is nobody else to ask.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// The same where there are other replicas: a replica that is frozen keeps its connections open and says nothing.
const ANSWER_WITHIN_OF_SEVERAL: Duration = Duration::from_secs(5);

/// How long it is tried again, after a round of all replicas, before it is given up; with one address there is one try.
const PATIENCE_WITH_SEVERAL: Duration = Duration::from_secs(5);

/// The bounds of the pause between two rounds; each pause is drawn evenly between zero and the bound.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The whole answer to a request, whose status says success.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) bytes: bytes::Bytes,
}

/// What is asked, wherever it is asked.
#[derive(Debug)]
pub(crate) struct Asked<'a, Q, B> {
    pub(crate) method: Method,
    pub(crate) path: &'a [&'a str],
    pub(crate) query: Option<&'a Q>,
    pub(crate) body: Option<&'a B>,
    /// How long the coordinator is asked to hold the answer.
    pub(crate) held: Duration,
    /// Whether it goes under an idempotency key.
    pub(crate) keyed: bool,
}

/// The replicas of one coordinator. Clones share connections, and the knowledge of who answered last.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    coordinators: Arc<Coordinators>,
    /// The index of the address that answered last.
    preferred: Arc<AtomicUsize>,
    http: reqwest::Client,
    answer_within: Duration,
    patience: Duration,
    /// Whether a request is tried at one address only, and the next one elsewhere.
    one_try: bool,
}

impl Transport {
    pub(crate) fn new(coordinators: Coordinators) -> Result<Self, ClientError> {
        let bad = |error: reqwest::Error| ClientError::BadUrl { found: coordinators.to_string(), reason: error.to_string() };
        let http = reqwest::Client::builder()
            .connect_timeout(if coordinators.urls().len() > 1 { Duration::from_secs(2) } else { Duration::from_secs(5) })
            .tcp_nodelay(true)
            .no_proxy()
            .build()
            .map_err(bad)?;
        let several = coordinators.urls().len() > 1;
        Ok(Self {
            preferred: Arc::default(),
            http,
            answer_within: if several { ANSWER_WITHIN_OF_SEVERAL } else { ANSWER_WITHIN },
            patience: if several { PATIENCE_WITH_SEVERAL } else { Duration::ZERO },
            one_try: false,
            coordinators: Arc::new(coordinators),
        })
    }

    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn one_try(mut self, answer_within: Duration) -> Self {
        (self.one_try, self.answer_within) = (true, answer_within);
        self
    }

    pub(crate) fn coordinators(&self) -> &Coordinators {
        &self.coordinators
    }

    /// The index and address that is asked next.
    fn next(&self) -> (usize, &Url) {
        let urls = self.coordinators.urls();
        let index = self.preferred.load(Ordering::Relaxed) % urls.len();
        (index, &urls[index])
    }

    /// The address that is asked next.
    pub(crate) fn url(&self) -> &Url {
        self.next().1
    }

    /// Has the next request go to another address than this one, unless another request did so already.
    fn move_on_from(&self, index: usize) {
        let next = (index + 1) % self.coordinators.urls().len();
        // Whoever was faster has moved on already.
        let _ = self.preferred.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Has the next request go to another address.
    pub(crate) fn move_on(&self) {
        self.move_on_from(self.next().0);
    }

    /// Asks the address that answered last, then the others, again and again until the patience is over. The whole answer is read here, so
    /// that one that breaks off is asked for again.
    pub(crate) async fn ask<Q: Serialize, B: Serialize>(&self, asked: &Asked<'_, Q, B>) -> Result<Answer, ClientError> {
        let read = async |base: &Url, response: Response| {
            let (url, status) = (response.url().clone(), response.status().as_u16());
            let bytes = response.bytes().await.map_err(|error| unreachable(base, &error))?;
            Ok(Answer { url, status, bytes })
        };
        self.ask_and(asked, read).await
    }

    /// As [`Transport::ask`], for an answer that is read as it comes; once it comes, it isn't asked for again.
    pub(crate) async fn open<Q: Serialize, B: Serialize>(&self, asked: &Asked<'_, Q, B>) -> Result<Response, ClientError> {
        self.ask_and(asked, async |_: &Url, response| Ok(response)).await
    }

    async fn ask_and<Q: Serialize, B: Serialize, T>(
        &self,
        asked: &Asked<'_, Q, B>,
        read: impl AsyncFn(&Url, Response) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let key = asked.keyed.then(|| Uuid::now_v7().to_string());
        let addresses = if self.one_try { 1 } else { self.coordinators.urls().len() };
        let until = Instant::now() + if self.one_try { Duration::ZERO } else { self.patience };
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let mut failures = Vec::new();
            for _ in 0..addresses {
                let (index, url) = self.next();
                let mut watch = Watch { transport: self, index, until: Instant::now() + asked.held, over: false };
                let answer = match self.try_at(url, asked, key.as_deref()).await {
                    Ok(response) => read(url, response).await,
                    Err(error) => Err(error),
                };
                watch.over = true;
                match answer {
                    Ok(answer) => return Ok(answer),
                    Err(error) if !is_elsewhere_better(&error) => return Err(error),
                    Err(error) => {
                        self.move_on_from(index);
                        failures.push(error);
                    }
                }
            }
            let pause = backoff.next_wait();
            if Instant::now() + pause >= until {
                return Err(most_telling(failures, &self.coordinators));
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_at<Q: Serialize, B: Serialize>(
        &self,
        base: &Url,
        asked: &Asked<'_, Q, B>,
        key: Option<&str>,
    ) -> Result<Response, ClientError> {
        let mut url = base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(asked.path);
        }
        let mut request = self.http.request(asked.method.clone(), url.clone()).timeout(self.answer_within + asked.held);
        request = request.header(header::ACCEPT, "application/json");
        if let Some(query) = asked.query {
            request = request.query(query);
        }
        if let Some(body) = asked.body {
            request = request.json(body);
        }
        if let Some(key) = key {
            // A string of structured fields (RFC 9651) has its quotes.
            request = request.header(IDEMPOTENCY_KEY, format!("\"{key}\""));
        }
        let response = request.send().await.map_err(|error| unreachable(base, &error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = response.bytes().await.map_err(|error| unreachable(base, &error))?;
        Err(match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => ClientError::Refused(Box::new(problem)),
            Err(error) => ClientError::NotStillframe { url, status: status.as_u16(), reason: error.to_string() },
        })
    }
}

/// Has the next request go elsewhere when the caller gives this one up although the answer is overdue: the replica may be frozen.
struct Watch<'a> {
    transport: &'a Transport,
    index: usize,
    until: Instant,
    over: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.over && Instant::now() >= self.until {
            self.transport.move_on_from(self.index);
        }
    }
}

/// Whether another replica may do better: this one didn't answer, or said that it can't serve now.
fn is_elsewhere_better(error: &ClientError) -> bool {
    let away = |status: u16| matches!(status, 502..=504);
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Refused(problem) => away(problem.status),
        ClientError::NotStillframe { status, .. } => away(*status),
        ClientError::BadUrl { .. } => false,
    }
}

/// Of what each address said: what a coordinator says of itself; else that none can be reached, and why.
fn most_telling(failures: Vec<ClientError>, coordinators: &Coordinators) -> ClientError {
    let mut reasons = Vec::new();
    let mut told = None;
    for failure in failures {
        match failure {
            ClientError::Unreachable { url, reason } => reasons.push((url, reason)),
            other @ (ClientError::Refused(_) | ClientError::NotStillframe { .. } | ClientError::BadUrl { .. }) => {
                told = Some(other)
            }
        }
    }
    if let Some(told) = told {
        return told;
    }
    let url = coordinators.urls()[0].clone();
    let reason = match reasons.as_slice() {
        [(_, reason)] => reason.clone(),
        several => several.iter().map(|(url, reason)| format!("{url}: {reason}")).collect::<Vec<_>>().join("; "),
    };
    let url = if let [(only, _)] = reasons.as_slice() { only.clone() } else { url };
    ClientError::Unreachable { url, reason }
}

pub(crate) fn unreachable(base: &Url, error: &reqwest::Error) -> ClientError {
    let mut reason = String::new();
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        reason = error.to_string();
        source = error.source();
    }
    ClientError::Unreachable { url: base.clone(), reason }
}
