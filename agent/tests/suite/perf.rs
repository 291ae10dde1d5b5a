//! temporary
use crate::{
    cluster::{config, eventually, spawn},
    ledger::{Bank, Seen},
    plane::{Plane, name},
};
use bytes::Bytes;
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use stillframe_agent::*;

struct Pour {
    to: MemberName,
    seen: Arc<Seen>,
    message: Bytes,
}
impl Pour {
    fn pour(&mut self, cx: &mut Context<'_>) {
        while let Ok(Room::Ready) = cx.send(&self.to, self.message.clone()) {}
    }
}
impl Application for Pour {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.pour(cx);
    }
    fn on_message(&mut self, _: &mut Context<'_>, _: &MemberName, _: Bytes) {
        self.seen.delivered.fetch_add(1, Ordering::Relaxed);
    }
    fn on_ready(&mut self, cx: &mut Context<'_>, _: &MemberName) {
        self.pour(cx);
    }
    fn capture(&mut self) -> Capture {
        Capture::encode(7u64)
    }
    fn restore(&mut self, _: StateReader) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore]
async fn throughput() {
    for size in [100usize, 1000] {
        let plane = Plane::new(Duration::from_secs(30)).await;
        let seen = Arc::new(Seen::default());
        let pour = |to: &str| Pour { to: name(to), seen: Arc::clone(&seen), message: vec![1u8; size].into() };
        let a = spawn(&plane, config(&plane, "a"), pour("b"));
        let b = spawn(&plane, config(&plane, "b"), pour("a"));
        plane.registered(2).await;
        plane.run_all(1);
        eventually("x", || seen.delivered() > 100_000).await;
        for round in 0..3 {
            for every in [0u64, 1000, 100] {
                let begin = Instant::now();
                let from = seen.delivered();
                let mut snaps = 0;
                let mut worst = Duration::ZERO;
                while begin.elapsed() < Duration::from_secs(3) {
                    if every == 0 {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                    let t = Instant::now();
                    let c = plane.snapshot(1, 16 << 10, &["a", "b"]).await;
                    worst = worst.max(t.elapsed());
                    snaps += 1;
                    let _ = c.in_flight;
                    tokio::time::sleep(Duration::from_millis(every).saturating_sub(t.elapsed())).await;
                }
                let rate = (seen.delivered() - from) as f64 / begin.elapsed().as_secs_f64();
                println!("round {round} {size} B every {every} ms: {rate:.0} msg/s, {snaps} snapshots, worst {worst:?}");
            }
        }
        a.kill().await;
        b.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore]
async fn latency() {
    let plane = Plane::new(Duration::from_secs(30)).await;
    let seen = Arc::new(Seen::default());
    let names: Vec<String> = (0..16).map(|n| format!("m{n}")).collect();
    let view: Vec<&str> = names.iter().map(String::as_str).collect();
    let _p: Vec<_> = view.iter().zip(1..).map(|(of, n)| spawn(&plane, config(&plane, of), Bank::new(n, &seen))).collect();
    plane.registered(16).await;
    plane.run_all(1);
    eventually("x", || seen.delivered() > 20_000).await;
    for quiet in [false, true] {
        seen.quiet.store(quiet, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut times = Vec::new();
        for _ in 0..100 {
            let t = Instant::now();
            plane.snapshot(1, 16 << 10, &view).await;
            times.push(t.elapsed());
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        times.sort();
        println!("16 members quiet={quiet}: p50 {:?} p99 {:?}", times[50], times[98]);
    }
}
