//! What isn't a member, and messages that are too large.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use stillframe_agent::{Application, Capture, Context, Limits, MemberName, RestoreError, SendError, StateReader, TimerId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    cluster::{config, eventually, money, spawn},
    ledger::{Bank, START, Seen},
    plane::{Plane, name},
};

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_is_refused_without_harm() {
    let plane = Plane::new(LEASE).await;
    let seen = Arc::new(Seen::default());
    let view = ["p1", "p2"];
    let _processes: Vec<_> = view.iter().zip(1..).map(|(of, n)| spawn(&plane, config(&plane, of), Bank::new(n, &seen))).collect();
    plane.registered(2).await;
    plane.run_all(1);
    let address = plane.member("p1").address;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SFRM\x02\xff\xff", b"SFRM\x02\x00\x04abcd", &[0; 4096], &[0xff; 4096]] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let _ = stream.write_all(garbage).await;
        let mut answer = Vec::new();
        // Closed without a word, or reset: either way it is over.
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer))
            .await
            .expect("the connection is closed");
        assert!(answer.is_empty(), "{answer:?}");
    }
    // Another version is told so.
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(b"SFRM\x09\x00\x00").await.unwrap();
    let mut answer = [0; 14];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer[..6], b"SFRM\x02\x01");
    let delivered = seen.delivered();
    eventually("traffic goes on", || seen.delivered() > delivered + 200).await;
    let committed = plane.snapshot(1, 16 << 10, &view).await;
    assert_eq!(money(&plane, &committed).await, 2 * START);
}

/// How many connections a test may hold open: a fifth of the files that this process may have.
fn many() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find(|line| line.starts_with("Max open files"));
    let files = files.and_then(|line| line.split_whitespace().nth(3)).and_then(|soft| soft.parse::<usize>().ok());
    (files.unwrap_or(1024) / 5).min(2000)
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_connections_that_say_nothing_or_nonsense_keep_no_member_out() {
    let plane = Plane::new(LEASE).await;
    let seen = Arc::new(Seen::default());
    let mut processes = vec![spawn(&plane, config(&plane, "p1"), Bank::new(1, &seen))];
    plane.registered(1).await;
    plane.run_all(1);
    let address = plane.member("p1").address;
    let mut strangers = Vec::new();
    let mut random = 1u64;
    for n in 0..many() {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        if n % 2 == 0 {
            let nonsense: Vec<u8> = (0..n % 100)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (random >> 56) as u8
                })
                .collect();
            let _ = stream.write_all(&nonsense).await;
        }
        strangers.push(stream);
    }
    // They are all still there; a second member comes, and both talk.
    processes.push(spawn(&plane, config(&plane, "p2"), Bank::new(2, &seen)));
    plane.registered(2).await;
    plane.run_all(1);
    eventually("traffic", || seen.delivered() > 200).await;
    let committed = plane.snapshot(1, 16 << 10, &["p1", "p2"]).await;
    assert_eq!(money(&plane, &committed).await, 2 * START);
    // All but the latest few were closed: their number is bounded by the member, not by its callers.
    let closed = async |stream: &mut TcpStream| matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_));
    let oldest = strangers.len().saturating_sub(600);
    for stream in &mut strangers[..oldest] {
        assert!(tokio::time::timeout(Duration::from_secs(20), closed(stream)).await.unwrap_or(false));
    }
}

/// Sends messages of these lengths, one a millisecond, and notes what it is told.
struct Sizes {
    to: MemberName,
    lengths: VecDeque<usize>,
    told: Arc<Mutex<Vec<Result<usize, SendError>>>>,
    taken: Arc<Mutex<Vec<usize>>>,
}

impl Application for Sizes {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.on_timer(cx, TimerId(1));
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) {
        // The first one opens the channel: what the other member takes is known once it has come back.
        if self.told.lock().unwrap().len() == 1 && self.taken.lock().unwrap().is_empty() {
            cx.set_timer(timer, Duration::from_millis(1));
        } else if let Some(length) = self.lengths.pop_front() {
            let sent = cx.send(&self.to, vec![7; length]).map(|_| length);
            self.told.lock().unwrap().push(sent);
            cx.set_timer(timer, Duration::from_millis(1));
        }
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: &MemberName, message: Bytes) {
        self.taken.lock().unwrap().push(message.len());
    }

    fn capture(&mut self) -> Capture {
        Capture::bytes("")
    }

    fn restore(&mut self, _: StateReader) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_here_or_there_is_refused_where_it_is_sent() {
    let plane = Plane::new(LEASE).await;
    let (told, taken) = (Arc::default(), Arc::default());
    let sizes = |lengths: &[usize]| Sizes {
        to: name("b"),
        lengths: lengths.iter().copied().collect(),
        told: Arc::clone(&told),
        taken: Arc::clone(&taken),
    };
    let limits = |max_message_bytes| Limits { max_message_bytes, ..Limits::default() };
    let _a = spawn(&plane, config(&plane, "a").limits(limits(100_000)), sizes(&[10, 100_001, 1001, 1000, 0]));
    let _b = spawn(&plane, config(&plane, "b").limits(limits(1000)), sizes(&[]));
    plane.registered(2).await;
    plane.run_all(1);
    eventually("the last message", || taken.lock().unwrap().len() == 3).await;
    let too_large = |limit, found| Err(SendError::TooLarge { limit, found });
    assert_eq!(*told.lock().unwrap(), [Ok(10), too_large(100_000, 100_001), too_large(1000, 1001), Ok(1000), Ok(0)]);
    assert_eq!(*taken.lock().unwrap(), [10, 1000, 0]);
}
