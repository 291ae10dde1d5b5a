//! Stands between members and cuts their connections, or lets them fall silent.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// After how many bytes a connection is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// From whoever dialled.
    pub(crate) forth: u64,
    /// To whoever dialled.
    pub(crate) back: u64,
}

const NEVER: Cut = Cut { forth: u64::MAX, back: u64::MAX };

/// A proxy in front of one member.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// Connections that were made, cut or not.
    pub(crate) connections: Arc<AtomicU64>,
    pub(crate) cuts: Arc<AtomicU64>,
    /// It doesn't cut any more.
    pub(crate) calm: watch::Sender<bool>,
    pub(crate) target: watch::Sender<Option<String>>,
    /// The first so many connections stay open and carry nothing: as if the other machine were gone.
    swallowed: watch::Sender<u64>,
}

impl Proxy {
    /// Cuts each connection where this says; it gets the number of the connection.
    pub(crate) async fn new(mut cut: impl FnMut(u64) -> Cut + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cuts, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (calm, is_calm) = watch::channel(false);
        let (swallowed, swallows) = watch::channel(0);
        let (target, mut has_target) = watch::channel(None::<String>);
        let (counted, numbers) = (Arc::clone(&cuts), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                let number = numbers.fetch_add(1, Ordering::SeqCst);
                let cut = if *is_calm.borrow() { NEVER } else { cut(number) };
                let Ok(to) = has_target.wait_for(Option::is_some).await.map(|to| to.clone().unwrap_or_default()) else { return };
                let (counted, mut swallows) = (Arc::clone(&counted), swallows.clone());
                tokio::spawn(async move {
                    let Ok(callee) = TcpStream::connect(to).await else { return };
                    let mut pair = (caller, callee);
                    tokio::select! {
                        () = carry(&mut pair, cut) => {
                            counted.fetch_add(1, Ordering::SeqCst);
                        }
                        // Both ends stay open until the proxy is gone.
                        true = async { swallows.wait_for(|swallowed| number < *swallowed).await.is_ok() } => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, connections, cuts, calm, target, swallowed }
    }

    /// Cuts at random, each direction after up to 20,000 bytes.
    pub(crate) async fn cutting(seed: u64) -> Self {
        let mut random = seed | 1;
        let mut draw = move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % 20_000
        };
        Self::new(move |_| Cut { forth: draw(), back: draw() }).await
    }

    /// Cuts nothing.
    pub(crate) async fn calm() -> Self {
        Self::new(|_| NEVER).await
    }

    /// Every connection that there is falls silent; new ones are carried.
    pub(crate) fn swallow(&self) {
        self.swallowed.send_replace(self.connections.load(Ordering::SeqCst));
    }

    /// Every connection, new ones too.
    pub(crate) fn swallow_all(&self) {
        self.swallowed.send_replace(u64::MAX);
    }

    /// A free port for the member behind the proxy, which has to know it before it listens.
    pub(crate) fn choose_port(&self) -> SocketAddr {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        self.target.send_replace(Some(port.to_string()));
        port
    }
}

/// Carries bytes both ways until so many have passed (in the middle of a frame, most likely).
async fn carry((caller, callee): &mut (TcpStream, TcpStream), cut: Cut) {
    let Cut { forth: mut forth_left, back: mut back_left } = cut;
    let (mut forth, mut back) = ([0; 1500], [0; 1500]);
    loop {
        let (read, to, bytes, left): (_, &mut TcpStream, &[u8], &mut u64) = tokio::select! {
            read = caller.read(&mut forth) => (read, &mut *callee, &forth, &mut forth_left),
            read = callee.read(&mut back) => (read, &mut *caller, &back, &mut back_left),
        };
        let Ok(read) = read else { return };
        let carried = read.min(usize::try_from(*left).unwrap_or(usize::MAX));
        if read == 0 || to.write_all(&bytes[..carried]).await.is_err() {
            return;
        }
        *left -= carried as u64;
        if *left == 0 {
            return;
        }
    }
}
