//! The server: listens on loopback, checks signatures, keeps objects in a temporary directory.

use std::{collections::BTreeMap, net::SocketAddr, thread::JoinHandle, time::SystemTime};

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot};

use super::{
    bucket::{Access, Bucket},
    exact::Exact,
    gate::Gate,
};

/// The key id that the server takes.
const ACCESS_KEY_ID: &str = "stillframe-e2e";

/// The key that signs the requests. No secret: the server is on loopback and lives as long as a test.
const SECRET_ACCESS_KEY: &str = "stillframe-e2e-secret";

/// An S3 server for one test. It runs on threads of its own, so that a test that waits can't stop it, and ends with this value.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    gate: Gate,
    root: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    /// Starts a server without buckets.
    ///
    /// # Panics
    ///
    /// When the machine refuses a temporary directory, a port or a thread.
    #[must_use]
    pub fn start() -> Self {
        let root = tempfile::Builder::new().prefix("stillframe-s3-").tempdir().expect("no temporary directory for the S3 server");
        let gate = Gate::default();
        let store = Exact::new(root.path(), gate.clone()).expect("the S3 server can't use its directory");
        let mut builder = S3ServiceBuilder::new(store);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
        let service = builder.build();

        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("no port for the S3 server");
        let address = listener.local_addr().expect("a bound socket has an address");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("s3".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
                let runtime = runtime.expect("no runtime for the S3 server");
                runtime.block_on(async move {
                    let listener = TcpListener::from_std(listener).expect("the runtime takes the S3 server's socket");
                    tokio::select! {
                        () = serve(listener, service) => {}
                        _ = stopped => {}
                    }
                });
                runtime.shutdown_background();
            })
            .expect("no thread for the S3 server");
        Self { address, gate, root, stop: Some(stop), thread: Some(thread) }
    }

    /// Makes a bucket.
    ///
    /// # Panics
    ///
    /// When the name is taken or is no bucket name.
    #[must_use]
    pub fn bucket(&self, name: &str) -> Bucket {
        assert!(s3s::path::check_bucket_name(name), "{name:?} is no bucket name");
        std::fs::create_dir(self.root.path().join(name)).unwrap_or_else(|error| panic!("no bucket {name:?}: {error}"));
        Bucket::new(Access {
            endpoint: self.endpoint(),
            region: "us-east-1".to_owned(),
            bucket: name.to_owned(),
            prefix: "archive".to_owned(),
            access_key_id: ACCESS_KEY_ID.to_owned(),
            secret_access_key: SECRET_ACCESS_KEY.to_owned(),
        })
    }

    /// Where it listens: `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many files it keeps for uploads that are neither completed nor aborted.
    ///
    /// # Panics
    ///
    /// When its directory is gone.
    #[must_use]
    pub fn unfinished_uploads(&self) -> usize {
        let files = std::fs::read_dir(self.root.path()).expect("the server's directory");
        files.filter(|file| file.as_ref().is_ok_and(|file| file.file_name().to_string_lossy().starts_with(".upload"))).count()
    }

    /// The uploads that have pieces and are neither completed nor aborted, each with the time at which its newest piece came.
    ///
    /// # Panics
    ///
    /// When its directory is gone.
    #[must_use]
    pub fn unfinished_pieces(&self) -> BTreeMap<String, SystemTime> {
        let mut uploads = BTreeMap::new();
        for file in std::fs::read_dir(self.root.path()).expect("the server's directory").flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let Some((upload, _)) = name.strip_prefix(".upload_id-").and_then(|piece| piece.split_once(".part-")) else {
                continue;
            };
            // A piece that is gone by now is none.
            let Ok(written) = file.metadata().and_then(|metadata| metadata.modified()) else { continue };
            let newest = uploads.entry(upload.to_owned()).or_insert(written);
            *newest = written.max(*newest);
        }
        uploads
    }

    /// Holds, fails and counts its requests.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server's thread has been printed, and mustn't become a second one here.
            drop(thread.join());
        }
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    loop {
        // An accept fails when a client is gone already, or the machine is out of descriptors: the next one may do.
        let Ok((socket, _)) = listener.accept().await else { continue };
        let service = service.clone();
        tokio::spawn(async move {
            drop(socket.set_nodelay(true));
            let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service);
            // A client that hangs up is no matter of the server's.
            drop(connection.await);
        });
    }
}
