//! Aligned channels: nothing of them is stored, what comes too early waits, and the wait has an end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use stillframe_agent::{Application, Capture, Context, MemberName, RestoreError, StateReader, TimerId};
use stillframe_api::agent::ReportEvent;
use stillframe_protocol::ChannelState;

use crate::{
    cluster::{Process, config, eventually, spawn},
    plane::{PATIENCE, Plane, name},
};

const LEASE: Duration = Duration::from_secs(30);

/// A door that callbacks wait at while it is shut.
#[derive(Default)]
struct Door {
    shut: Mutex<bool>,
    changed: Condvar,
}

impl Door {
    fn set_shut(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.changed.notify_all();
    }

    fn pass(&self) {
        drop(self.changed.wait_while(self.shut.lock().unwrap(), |shut| *shut).unwrap());
    }
}

/// What a test sees of a member, and does to it.
#[derive(Default)]
struct Seen {
    /// How many messages came from each other member.
    taken: Mutex<BTreeMap<MemberName, u64>>,
    wrong: Mutex<Vec<String>>,
    /// Timers wait here.
    door: Door,
    /// Whether it is at the door, or was.
    ticks: Mutex<u64>,
}

impl Seen {
    fn taken(&self, from: &str) -> u64 {
        self.taken.lock().unwrap().get(&name(from)).copied().unwrap_or(0)
    }

    fn ticks(&self) -> u64 {
        *self.ticks.lock().unwrap()
    }
}

/// Passes what it takes on, to one receiver after the other; with `begins`, sends to them by itself.
struct Stage {
    begins: bool,
    to: Vec<MemberName>,
    sent: BTreeMap<MemberName, u64>,
    seen: Arc<Seen>,
}

const TICK: TimerId = TimerId(1);

impl Stage {
    fn send(&mut self, cx: &mut Context<'_>) {
        let total: u64 = self.sent.values().sum();
        let Some(to) = self.to.get(total as usize % self.to.len().max(1)).cloned() else { return };
        let number = self.sent.entry(to.clone()).or_default();
        if cx.send(&to, number.to_le_bytes().to_vec()).is_ok() {
            *number += 1;
        }
    }
}

impl Application for Stage {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        if self.begins {
            cx.set_timer(TICK, Duration::from_millis(1));
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: TimerId) {
        *self.seen.ticks.lock().unwrap() += 1;
        self.seen.door.pass();
        (0..5).for_each(|_| self.send(cx));
        cx.set_timer(TICK, Duration::from_millis(1));
    }

    fn on_message(&mut self, cx: &mut Context<'_>, from: &MemberName, message: Bytes) {
        let found = u64::from_le_bytes(message[..].try_into().unwrap());
        let mut taken = self.seen.taken.lock().unwrap();
        let next = taken.entry(from.clone()).or_default();
        if found != *next {
            self.seen.wrong.lock().unwrap().push(format!("message {found} of {from} came: expected {next}"));
        }
        *next = found + 1;
        drop(taken);
        self.send(cx);
    }

    fn capture(&mut self) -> Capture {
        Capture::encode((self.sent.clone(), self.seen.taken.lock().unwrap().clone()))
    }

    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError> {
        let (sent, taken) = state.decode()?;
        self.sent = sent;
        *self.seen.taken.lock().unwrap() = taken;
        Ok(())
    }
}

/// Members, and to whom each of them sends.
struct Graph {
    plane: Arc<Plane>,
    seen: BTreeMap<&'static str, Arc<Seen>>,
    processes: BTreeMap<&'static str, Process>,
}

impl Graph {
    async fn start(channels: &[(&'static str, &[&'static str])], begin: &[&str], aligned_timeout: Option<Duration>) -> Self {
        let plane = Plane::new(LEASE).await;
        plane.set_channel_state(ChannelState::Aligned, aligned_timeout);
        let seen: BTreeMap<_, _> = channels.iter().map(|(of, _)| (*of, Arc::<Seen>::default())).collect();
        let mut graph = Self { plane, seen, processes: BTreeMap::new() };
        for (of, to) in channels {
            graph.spawn(of, to, begin.contains(of));
        }
        graph.plane.registered(channels.len()).await;
        graph.plane.run_all(1);
        graph
    }

    fn spawn(&mut self, of: &'static str, to: &[&str], begins: bool) {
        let to = to.iter().map(|to| name(to)).collect();
        let app = Stage { begins, to, sent: BTreeMap::new(), seen: Arc::clone(&self.seen[of]) };
        self.processes.insert(of, spawn(&self.plane, config(&self.plane, of), app));
    }

    /// Two sources into one member, `count`; `b` is at a shut door.
    async fn one_source_stuck(aligned_timeout: Option<Duration>) -> Self {
        let graph = Self::start(&[("a", &["count"]), ("b", &["count"]), ("count", &[])], &["a", "b"], aligned_timeout).await;
        let count = &graph.seen["count"];
        eventually("messages of both", || count.taken("a") > 20 && count.taken("b") > 20).await;
        let b = &graph.seen["b"];
        b.door.set_shut(true);
        let ticks = b.ticks();
        eventually("the door", || b.ticks() > ticks).await;
        graph
    }

    /// Waits until nothing comes from `a` any more, because it is held back; it goes on sending.
    async fn a_is_held_back(&self) {
        let (a, count) = (&self.seen["a"], &self.seen["count"]);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let (taken, ticks) = (count.taken("a"), a.ticks());
            // Each tick sends five messages.
            eventually("ticks", || a.ticks() > ticks + 20).await;
            if count.taken("a") == taken {
                return;
            }
        }
        panic!("waited {PATIENCE:?} for messages to be held back");
    }

    fn nothing_wrong(&self) {
        for (of, seen) in &self.seen {
            assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new(), "{of}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_a_busy_pipeline_holds_no_messages() {
    let channels: [(&'static str, &[&'static str]); 4] =
        [("source", &["split1", "split2"]), ("split1", &["count"]), ("split2", &["count"]), ("count", &[])];
    let graph = Graph::start(&channels, &["source"], None).await;
    let count = &graph.seen["count"];
    for _ in 0..10 {
        let taken = count.taken("split1");
        eventually("traffic", || count.taken("split1") > taken + 20).await;
        let committed = graph.plane.snapshot(1, 16 << 10, &["source", "split1", "split2", "count"]).await;
        assert_eq!(committed.in_flight, 0);
        for (member, part) in &committed.parts {
            assert!(part.recorded.is_empty() && part.logged.is_empty(), "{member}: {part:?}");
        }
    }
    graph.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kills_and_restores_a_pipeline_has_lost_and_repeated_nothing() {
    let channels: [(&'static str, &[&'static str]); 4] =
        [("source", &["split1", "split2"]), ("split1", &["count"]), ("split2", &["count"]), ("count", &[])];
    let view = ["source", "split1", "split2", "count"];
    let mut graph = Graph::start(&channels, &["source"], None).await;
    for (generation, victim) in (1..).zip(["split1", "count", "source"]) {
        let count = Arc::clone(&graph.seen["count"]);
        let taken = count.taken("split2");
        eventually("traffic", || count.taken("split2") > taken + 20).await;
        let committed = graph.plane.snapshot(generation, 16 << 10, &view).await;
        assert_eq!(committed.in_flight, 0);
        let taken = count.taken("split2");
        eventually("traffic past the snapshot", || count.taken("split2") > taken + 20).await;
        graph.processes.remove(victim).unwrap().kill().await;
        let to = channels.iter().find(|(of, _)| *of == victim).unwrap().1;
        graph.spawn(victim, to, victim == "source");
        graph.plane.incarnation(victim, 2).await;
        graph.plane.restore(&committed, generation + 1).await;
    }
    let count = &graph.seen["count"];
    let taken = count.taken("split1");
    eventually("traffic after the restores", || count.taken("split1") > taken + 20).await;
    graph.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_behind_a_marker_waits_for_the_other_channels_and_loses_nothing() {
    let graph = Graph::one_source_stuck(None).await;
    let (snapshot, epoch) = graph.plane.begin(1, 16 << 10);
    graph.a_is_held_back().await;
    // The coordinator is told what is waited for.
    graph
        .plane
        .reported("what is missing", |member, event| match event {
            ReportEvent::Progress { snapshot: s, missing, .. } if *s == snapshot && *member == name("count") => {
                let from: Vec<_> = missing.iter().map(|channel| channel.from.clone()).collect();
                (from == [name("b")]).then_some(())
            }
            _ => None,
        })
        .await;
    graph.seen["b"].door.set_shut(false);
    let committed = graph.plane.commit(1, snapshot, epoch, &["a", "b", "count"]).await;
    assert_eq!(committed.in_flight, 0);
    let (count, taken) = (&graph.seen["count"], graph.seen["count"].taken("a"));
    eventually("traffic goes on", || count.taken("a") > taken + 100).await;
    graph.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_lets_go_of_what_was_held_back() {
    let graph = Graph::one_source_stuck(None).await;
    let (snapshot, _) = graph.plane.begin(1, 16 << 10);
    graph.a_is_held_back().await;
    let (count, taken) = (&graph.seen["count"], graph.seen["count"].taken("a"));
    graph.plane.end(snapshot, false);
    eventually("traffic goes on", || count.taken("a") > taken + 100).await;
    graph.seen["b"].door.set_shut(false);
    let committed = graph.plane.snapshot(1, 16 << 10, &["a", "b", "count"]).await;
    assert_eq!(committed.in_flight, 0);
    graph.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_timeout_a_member_cuts_and_records_what_still_comes() {
    let graph = Graph::one_source_stuck(Some(Duration::from_millis(100))).await;
    let (count, b) = (&graph.seen["count"], &graph.seen["b"]);
    let (snapshot, epoch) = graph.plane.begin(1, 16 << 10);
    // It cuts though `b` is where it was, and takes what it held back.
    graph.processes["count"].status("its cut", |status| status.epoch >= epoch).await;
    let taken = count.taken("a");
    eventually("traffic goes on", || count.taken("a") > taken + 100).await;
    // What `b` sends before it hears of the snapshot is in flight at this cut.
    b.door.set_shut(false);
    let committed = graph.plane.commit(1, snapshot, epoch, &["a", "b", "count"]).await;
    assert!(committed.in_flight > 0, "`b` had something to send before its cut");
    let recorded = &committed.parts[&name("count")].recorded;
    assert!(recorded.iter().all(|channel| channel.from == name("b")), "{recorded:?}");
    graph.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cycle_every_member_says_for_whom_it_waits_until_the_snapshot_is_aborted() {
    let graph = Graph::start(&[("a", &["b"]), ("b", &["a"])], &["a"], None).await;
    let (a, b) = (&graph.seen["a"], &graph.seen["b"]);
    eventually("traffic both ways", || a.taken("b") > 20 && b.taken("a") > 20).await;
    let (snapshot, _) = graph.plane.begin(1, 16 << 10);
    for (of, other) in [("a", "b"), ("b", "a")] {
        graph
            .plane
            .reported("what is missing", |member, event| match event {
                ReportEvent::Progress { snapshot: s, missing, .. } if *s == snapshot && *member == name(of) => {
                    missing.iter().any(|channel| channel.from == name(other)).then_some(())
                }
                _ => None,
            })
            .await;
    }
    graph.plane.end(snapshot, false);
    let taken = a.taken("b");
    eventually("traffic goes on", || a.taken("b") > taken + 100).await;
    graph.nothing_wrong();
}
