//! Bodies that have to come in time, and are read to their end although nobody wants the rest: a client that sends before it reads finds its
//! answer, where closing at once would lose it.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::{MAX_REPORT_BYTES, deadlines::Patience, error::Failure};

/// How long the rest of a body that nobody wants is read.
const DRAIN_FOR: Duration = Duration::from_secs(1);

/// How much of it is read.
const DRAIN_BYTES: usize = MAX_REPORT_BYTES;

/// Has the body come in time, and what nobody read of it read before the answer is given.
pub(super) async fn in_time(State(patience): State<Patience>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let waits_to_send = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let body = Timed::new(body, patience);
    let response = next.run(Request::from_parts(parts, Body::new(body.clone()))).await;
    let (over, late, begun) = {
        let inner = body.lock();
        (inner.over || inner.body.is_end_stream(), inner.late, inner.begun)
    };
    if late {
        return Failure::too_slow(format!(
            "the body did not come in time: expected its next piece within {:?} and all of it within {:?}",
            patience.piece, patience.body
        ))
        .into_response();
    }
    if !over && (begun || !waits_to_send) {
        drain(body).await;
    }
    response
}

async fn drain(mut body: Timed) {
    let draining = async {
        let mut read = 0;
        while read < DRAIN_BYTES {
            match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => return,
            }
        }
    };
    if timeout(DRAIN_FOR, draining).await.is_err() {
        tracing::debug!("a body that nobody wants did not end; its connection is closed");
    }
}

/// A body that fails when it doesn't come in time. Clones are the same body.
#[derive(Debug, Clone)]
struct Timed(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    body: Body,
    piece: Duration,
    whole: Instant,
    /// Runs while the next piece is waited for.
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether any of it was asked for.
    begun: bool,
    /// Whether it has ended, well or not.
    over: bool,
    late: bool,
}

impl Timed {
    fn new(body: Body, patience: Patience) -> Self {
        let whole = Instant::now() + patience.body;
        let (piece, sleep) = (patience.piece, None);
        Self(Arc::new(Mutex::new(Inner { body, piece, whole, sleep, begun: false, over: false, late: false })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.begun = true;
        if let Poll::Ready(frame) = Pin::new(&mut inner.body).poll_frame(cx) {
            inner.sleep = None;
            inner.over |= !matches!(frame, Some(Ok(_)));
            return Poll::Ready(frame);
        }
        let until = (Instant::now() + inner.piece).min(inner.whole);
        let sleep = inner.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
        std::task::ready!(sleep.as_mut().poll(cx));
        (inner.over, inner.late) = (true, true);
        Poll::Ready(Some(Err(axum::Error::new(std::io::Error::from(std::io::ErrorKind::TimedOut)))))
    }

    fn is_end_stream(&self) -> bool {
        self.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().body.size_hint()
    }
}
