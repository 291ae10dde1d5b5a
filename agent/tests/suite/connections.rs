//! Connections that are cut, and members that flood each other.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use stillframe_agent::{AgentError, Application, Capture, Context, MemberName, RestoreError, Room, StateReader};

use crate::{
    cluster::{config, eventually, money, small_limits, spawn},
    ledger::{Bank, START, Seen},
    plane::{Plane, name},
    proxy::{Cut, Proxy},
};

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_nothing_repeat_nothing_and_keep_the_order() {
    let plane = Plane::new(LEASE).await;
    let seen = Arc::new(Seen::default());
    let view = ["p1", "p2", "p3"];
    let (mut proxies, mut processes) = (Vec::new(), Vec::new());
    for (of, n) in view.iter().zip(1u64..) {
        let proxy = Proxy::cutting(n * 12345).await;
        let config = config(&plane, of).listen(proxy.choose_port()).advertise(proxy.address.to_string());
        processes.push(spawn(&plane, config, Bank::new(n * 31, &seen)));
        proxies.push(proxy);
    }
    plane.registered(3).await;
    plane.run_all(1);
    for _ in 0..10 {
        let delivered = seen.delivered();
        eventually("traffic", || seen.delivered() > delivered + 1000).await;
        let committed = plane.snapshot(1, 16 << 10, &view).await;
        assert_eq!(money(&plane, &committed).await, 3 * START);
    }
    let cuts: u64 = proxies.iter().map(|proxy| proxy.cuts.load(Ordering::SeqCst)).sum();
    assert!(cuts > 20, "only {cuts} cuts: the test shows too little");
    proxies.iter().for_each(|proxy| _ = proxy.calm.send_replace(true));
    assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new());
}

/// How many bytes in, from either end, connections are cut one after the other: through the handshake, the opening of the channel, and messages with their acknowledgements.
const EVERY_BYTE: u64 = 160;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_may_be_cut_at_any_byte_of_either_direction() {
    let plane = Plane::new(LEASE).await;
    let seen = Arc::new(Seen::default());
    let view = ["p1", "p2"];
    let (mut proxies, mut processes) = (Vec::new(), Vec::new());
    for (of, n) in view.iter().zip(1u64..) {
        // Every other connection lives for some messages, so that there is progress in between and nobody's patience grows.
        let proxy = Proxy::new(|number| match (number % 3, number / 3) {
            (0, byte) => Cut { forth: byte % EVERY_BYTE, back: u64::MAX },
            (1, byte) => Cut { forth: u64::MAX, back: byte % EVERY_BYTE },
            _ => Cut { forth: 600, back: 600 },
        })
        .await;
        let config = config(&plane, of).listen(proxy.choose_port()).advertise(proxy.address.to_string());
        processes.push(spawn(&plane, config, Bank::new(n * 31, &seen)));
        proxies.push(proxy);
    }
    plane.registered(2).await;
    plane.run_all(1);
    let all = |proxies: &[Proxy]| proxies.iter().all(|proxy| proxy.cuts.load(Ordering::SeqCst) >= 3 * EVERY_BYTE);
    while !all(&proxies) {
        let committed = plane.snapshot(1, 16 << 10, &view).await;
        assert_eq!(money(&plane, &committed).await, 2 * START);
    }
    assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new());
}

/// Sends as much as it can, and counts.
struct Flood {
    to: MemberName,
    left: u64,
    next: u64,
    expected: u64,
    seen: Arc<Seen>,
}

impl Flood {
    fn pour(&mut self, cx: &mut Context<'_>) {
        while self.left > 0 {
            self.left -= 1;
            let message = self.next.to_be_bytes().repeat(16);
            self.next += 1;
            match cx.send(&self.to, message).unwrap() {
                Room::Ready => {}
                Room::Full => {
                    self.seen.full.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
        }
    }
}

impl Application for Flood {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.pour(cx);
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: &MemberName, message: Bytes) {
        assert_eq!(message[..8], self.expected.to_be_bytes());
        self.expected += 1;
        self.seen.delivered.fetch_add(1, Ordering::SeqCst);
    }

    fn on_ready(&mut self, cx: &mut Context<'_>, to: &MemberName) {
        assert_eq!(*to, self.to);
        self.seen.ready.fetch_add(1, Ordering::SeqCst);
        self.pour(cx);
    }

    fn capture(&mut self) -> Capture {
        Capture::bytes("")
    }

    fn restore(&mut self, _: StateReader) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_that_flood_each_other_do_not_deadlock() {
    let plane = Plane::new(LEASE).await;
    let seen = Arc::new(Seen::default());
    const EACH: u64 = 50_000;
    let flood = |to: &str| Flood { to: name(to), left: EACH, next: 0, expected: 0, seen: Arc::clone(&seen) };
    let _a = spawn(&plane, config(&plane, "a").limits(small_limits()), flood("b"));
    let _b = spawn(&plane, config(&plane, "b").limits(small_limits()), flood("a"));
    plane.registered(2).await;
    plane.run_all(1);
    plane.snapshot(1, 16 << 10, &["a", "b"]).await;
    eventually("every message", || seen.delivered() == 2 * EACH).await;
    let (full, ready) = (seen.full.load(Ordering::SeqCst), seen.ready.load(Ordering::SeqCst));
    assert!(full > 10 && ready >= full - 2, "full {full} times, ready {ready} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_may_flood_itself() {
    let plane = Plane::new(LEASE).await;
    let seen = Arc::new(Seen::default());
    let flood = Flood { to: name("a"), left: 20_000, next: 0, expected: 0, seen: Arc::clone(&seen) };
    let _a = spawn(&plane, config(&plane, "a").limits(small_limits()), flood);
    plane.registered(1).await;
    plane.run_all(1);
    plane.snapshot(1, 16 << 10, &["a"]).await;
    eventually("every message", || seen.delivered() == 20_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_said_with_what_to_do() {
    let plane = Plane::new(LEASE).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let seen = Arc::new(Seen::default());
    let process = spawn(&plane, config(&plane, "a").listen(taken.local_addr().unwrap()), Bank::new(1, &seen));
    let error = process.task.await.unwrap().unwrap_err();
    assert!(matches!(error, AgentError::Listen { .. }) && error.to_string().contains("port 0"), "{error}");
}
