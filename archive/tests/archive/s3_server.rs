//! A real S3 server over HTTP on the loopback, with real signatures, whose answers can be lost after the work was done.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use hyper::{Method, Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) const BUCKET: &str = "bucket";
pub(crate) const ACCESS_KEY_ID: &str = "stillframe";
pub(crate) const SECRET_ACCESS_KEY: &str = "stillframe-secret";

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The next put is done, and the connection closed without a word.
    LosePut,
    /// The next completion of an upload in pieces is done, and the connection closed without a word.
    LoseCompletion,
    /// The second piece of the next upload is refused.
    RefusePiece,
    /// The second piece of the next upload is never answered.
    HangAtPiece,
}

pub(crate) struct S3Server {
    pub(crate) address: SocketAddr,
    fault: Arc<Mutex<Option<Fault>>>,
    /// How many requests to abort an upload are answered 503 yet.
    busy_aborts: Arc<AtomicU32>,
    accepting: JoinHandle<()>,
}

impl S3Server {
    pub(crate) async fn start(root: &Path) -> Self {
        std::fs::create_dir(root.join(BUCKET)).expect("the bucket's directory");
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).expect("a store in the directory"));
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (fault, busy_aborts) = (Arc::new(Mutex::new(None)), Arc::<AtomicU32>::default());
        // s3s-fs looks for the key and then writes it: one writer at a time makes create-if-absent exact.
        let writing = Arc::new(tokio::sync::Mutex::new(()));
        let accepting = tokio::spawn({
            let (fault, busy_aborts, buckets) = (fault.clone(), busy_aborts.clone(), root.to_owned());
            async move {
                while let Ok((socket, _)) = listener.accept().await {
                    let (service, fault, writing) = (service.clone(), fault.clone(), writing.clone());
                    let (buckets, busy_aborts) = (buckets.clone(), busy_aborts.clone());
                    let serve = service_fn(move |request: Request<Incoming>| {
                        let (service, fault, writing, buckets) =
                            (service.clone(), fault.clone(), writing.clone(), buckets.clone());
                        let left = |busy: u32| busy.checked_sub(1);
                        let busy =
                            is_abort(&request) && busy_aborts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok();
                        async move {
                            if busy {
                                return Ok(answer(hyper::StatusCode::SERVICE_UNAVAILABLE, "SlowDown"));
                            }
                            if !buckets.join(bucket(&request)).is_dir() {
                                return Ok(no_such_bucket());
                            }
                            let fault = fault_of(&request)
                                .and_then(|kind| fault.lock().expect("not poisoned").take_if(|next| kind.contains(next)));
                            let _one_writer = if writes(&request) { Some(writing.lock().await) } else { None };
                            match fault {
                                Some(Fault::RefusePiece) => return Ok(answer(hyper::StatusCode::FORBIDDEN, "AccessDenied")),
                                Some(Fault::HangAtPiece) => std::future::pending().await,
                                Some(Fault::LosePut | Fault::LoseCompletion) | None => {}
                            }
                            let answer = service.call(request.map(s3s::Body::from)).await;
                            match fault {
                                Some(_) => Err(io::Error::other("the answer is lost")),
                                None => answer.map_err(|error| io::Error::other(format!("{error:?}"))),
                            }
                        }
                    });
                    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), serve));
                }
            }
        });
        Self { address, fault, busy_aborts, accepting }
    }

    /// The next so many requests to abort an upload are answered 503.
    pub(crate) fn be_busy_at_aborts(&self, requests: u32) {
        self.busy_aborts.store(requests, Ordering::Relaxed);
    }

    pub(crate) fn busy_aborts(&self) -> u32 {
        self.busy_aborts.load(Ordering::Relaxed)
    }

    pub(crate) fn break_next(&self, fault: Fault) {
        *self.fault.lock().expect("not poisoned") = Some(fault);
    }

    pub(crate) fn has_broken(&self) -> bool {
        self.fault.lock().expect("not poisoned").is_none()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn bucket(request: &Request<Incoming>) -> &str {
    request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default()
}

/// s3s-fs would make the bucket at the first put; S3 answers this.
fn no_such_bucket() -> s3s::HttpResponse {
    answer(hyper::StatusCode::NOT_FOUND, "NoSuchBucket")
}

fn answer(status: hyper::StatusCode, code: &str) -> s3s::HttpResponse {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>said the test</Message></Error>");
    let mut answer = hyper::Response::new(s3s::Body::from(body));
    *answer.status_mut() = status;
    answer
}

fn writes(request: &Request<Incoming>) -> bool {
    matches!(*request.method(), Method::PUT | Method::POST) && !is_piece(request)
}

fn is_piece(request: &Request<Incoming>) -> bool {
    request.uri().query().is_some_and(|query| query.contains("partNumber"))
}

fn is_abort(request: &Request<Incoming>) -> bool {
    *request.method() == Method::DELETE && request.uri().query().is_some_and(|query| query.contains("uploadId"))
}

/// The faults that can hit a request.
fn fault_of(request: &Request<Incoming>) -> Option<&'static [Fault]> {
    let query = request.uri().query().unwrap_or_default();
    match *request.method() {
        Method::PUT if !is_piece(request) => Some(&[Fault::LosePut]),
        Method::PUT if query.contains("partNumber=2") => Some(&[Fault::RefusePiece, Fault::HangAtPiece]),
        Method::POST if query.contains("uploadId") => Some(&[Fault::LoseCompletion]),
        _ => None,
    }
}
