//! Stands between members and cuts their connections at random.

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

/// A proxy in front of one member. Each connection is cut after some bytes, until it is told to stop doing that.
pub(crate) struct CuttingProxy {
    pub(crate) address: SocketAddr,
    pub(crate) cuts: Arc<AtomicU64>,
    pub(crate) calm: watch::Sender<bool>,
    pub(crate) target: watch::Sender<Option<String>>,
}

impl CuttingProxy {
    pub(crate) async fn new(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cuts = Arc::new(AtomicU64::new(0));
        let (calm, is_calm) = watch::channel(false);
        let (target, mut has_target) = watch::channel(None::<String>);
        let counted = Arc::clone(&cuts);
        tokio::spawn(async move {
            let mut random = seed | 1;
            while let Ok((caller, _)) = listener.accept().await {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let after = if *is_calm.borrow() { u64::MAX } else { (random >> 33) % 20_000 };
                let Ok(to) = has_target.wait_for(Option::is_some).await.map(|to| to.clone().unwrap_or_default()) else { return };
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    if let Ok(callee) = TcpStream::connect(to).await {
                        carry(caller, callee, after).await;
                        counted.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Self { address, cuts, calm, target }
    }
}

/// Carries bytes both ways until so many have passed (in the middle of a frame, most likely).
async fn carry(mut caller: TcpStream, mut callee: TcpStream, mut left: u64) {
    let (mut forth, mut back) = ([0; 1500], [0; 1500]);
    while left > 0 {
        let (read, to, bytes): (_, &mut TcpStream, &[u8]) = tokio::select! {
            read = caller.read(&mut forth) => (read, &mut callee, &forth),
            read = callee.read(&mut back) => (read, &mut caller, &back),
        };
        let Ok(read) = read else { return };
        let carried = read.min(usize::try_from(left).unwrap_or(usize::MAX));
        if read == 0 || to.write_all(&bytes[..carried]).await.is_err() {
            return;
        }
        left -= carried as u64;
    }
}
