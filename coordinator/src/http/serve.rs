//! Serving: connections are taken while there is room, each is given up when its client doesn't go on, and all end when the coordinator stops.

use std::{
    convert::Infallible,
    io,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    connection::{Connection, TrackedStream},
    deadlines::{Deadline, Deadlines, Patience},
};
use crate::{open_files, service::registry::Registry};

/// How often the log is told of the same trouble at most.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How long after an accept that failed the next one is tried.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// Answers requests until it is told to stop, and those under way after that.
///
/// Above `most` connections, or as many as [`open_files::connections`] allows, further ones wait in the listener's backlog: members find another replica by themselves, and
/// what is served goes on.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    registry: Arc<Registry>,
    (patience, most): (Patience, usize),
    stopping: CancellationToken,
) {
    let deadlines = Deadlines::new(patience);
    let mut connections = JoinSet::new();
    let mut told = Told::default();
    {
        let mut keeping = pin!(deadlines.keep());
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = accept(&listener, &deadlines, most, &mut told) => accepted,
                () = &mut keeping => return,
                () = stopping.cancelled() => break,
            };
            let Some(stream) = accepted else { continue };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY could not be set");
            }
            let guard = registry.opened();
            let deadline = deadlines.opened(guard.id());
            let stream = TrackedStream::new(stream, guard, deadline.clone());
            connections.spawn(connection(stream, deadline, router.clone(), stopping.clone()));
        }
    }
    // Whoever knocks now is to find another replica.
    drop(listener);
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = deadlines.keep() => {}
    }
}

/// The next connection, once there is room for it; none when that failed.
async fn accept(listener: &TcpListener, deadlines: &Deadlines, most: usize, told: &mut Told) -> Option<TcpStream> {
    let room = || open_files::connections(most);
    if deadlines.count() >= room() {
        if told.may_be_told() {
            tracing::warn!(
                connections = room(),
                "as many connections as are served at once: others wait until one closes; raise the limit of open files \
                 (ulimit -n, LimitNOFILE=), or add replicas"
            );
        }
        deadlines.below(room).await;
    }
    match listener.accept().await {
        Ok((stream, _)) => Some(stream),
        // The client's doing, before it was served.
        Err(error) if is_of_the_connection(&error) => None,
        Err(error) => {
            if told.may_be_told() {
                tracing::error!(%error, "no connection can be taken; trying again");
            }
            tokio::time::sleep(ACCEPT_AGAIN).await;
            None
        }
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves one connection until it closes, its client is too slow, or the coordinator stops.
async fn connection(stream: TrackedStream, deadline: Arc<Deadline>, router: Router, stopping: CancellationToken) {
    let id = stream.connection();
    let served = deadline.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (router, deadline) = (router.clone(), served.clone());
        deadline.asked();
        async move {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(Connection(id)));
            let response = router.oneshot(request).await;
            deadline.answered();
            response.map_err(|never: Infallible| never)
        }
    });
    let mut serving = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let mut ending = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::trace!(%error, "a connection ended");
                }
                return;
            }
            () = deadline.over() => {
                tracing::debug!("a connection is closed: its client began no request, or did not go on, in time");
                return;
            }
            () = stopping.cancelled(), if !ending => {
                ending = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// When the log was told.
#[derive(Debug, Default)]
struct Told(Option<Instant>);

impl Told {
    fn may_be_told(&mut self) -> bool {
        let may = self.0.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        if may {
            self.0 = Some(Instant::now());
        }
        may
    }
}
