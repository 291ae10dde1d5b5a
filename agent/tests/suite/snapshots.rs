//! Snapshots: what is captured, and when they can't be completed.

use std::{
    sync::{Arc, Condvar, Mutex, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use stillframe_agent::{Agent, Application, Capture, Context, Limits, MemberName, RestoreError, StateReader, transport::Memory};
use stillframe_api::{agent::ReportEvent, snapshot::AbortReason};

use crate::{
    cluster::{config, eventually, money, spawn, spawn_agent},
    ledger::{Bank, START, Seen},
    plane::{Plane, name},
};

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn every_snapshot_of_a_busy_cluster_holds_all_the_money() {
    let plane = Plane::new(LEASE).await;
    let seen: Vec<_> = (0..4).map(|_| Arc::new(Seen::default())).collect();
    let view = ["p1", "p2", "p3", "p4"];
    let _processes: Vec<_> = view
        .iter()
        .zip(&seen)
        .zip(1..)
        .map(|((of, seen), n)| spawn(&plane, config(&plane, of), Bank::new(n * 77, seen)))
        .collect();
    plane.registered(4).await;
    plane.run_all(1);
    let mut in_flight = 0;
    let mut ids = Vec::new();
    for round in 0..20u64 {
        let delivered = seen[0].delivered();
        eventually("traffic", || seen[0].delivered() > delivered + 50).await;
        // Some parts inline, some as objects; some snapshots overlap.
        let (snapshot, epoch) = plane.begin(1, if round % 2 == 0 { 16 << 10 } else { 0 });
        let second = (round % 5 == 0).then(|| plane.begin(1, 16 << 10));
        let mut ends = vec![(snapshot, epoch)];
        ends.extend(second);
        ids.extend(ends.iter().map(|(snapshot, _)| *snapshot));
        if round % 10 == 0 {
            // The younger one commits first, and is told of after the older one.
            ends.reverse();
        }
        for (snapshot, epoch) in ends {
            let committed = plane.commit(1, snapshot, epoch, &view).await;
            assert_eq!(money(&plane, &committed).await, 4 * START);
            in_flight += committed.in_flight;
        }
    }
    assert!(in_flight > 0, "no snapshot caught a message in flight: the test shows too little");
    for seen in &seen {
        eventually("every commit", || seen.committed.lock().unwrap().len() == ids.len()).await;
        assert_eq!(*seen.committed.lock().unwrap(), ids, "each commit once, in order");
        assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_one_process_need_no_network() {
    let plane = Plane::new(LEASE).await;
    let network = Memory::new("p1");
    let seen = Arc::new(Seen::default());
    let view = ["p1", "p2", "p3"];
    let _processes: Vec<_> = view
        .iter()
        .zip(1..)
        .map(|(of, n)| {
            let agent = Agent::new(config(&plane, of), Bank::new(n * 99, &seen)).with_control_plane(Arc::<Plane>::clone(&plane));
            spawn_agent(agent.with_transport(Arc::new(network.at(*of))))
        })
        .collect();
    plane.registered(3).await;
    plane.run_all(1);
    eventually("traffic", || seen.delivered() > 500).await;
    let committed = plane.snapshot(1, 16 << 10, &view).await;
    assert_eq!(money(&plane, &committed).await, 3 * START);
    assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_snapshot_is_dropped_and_the_next_one_works() {
    let plane = Plane::new(LEASE).await;
    let seen = Arc::new(Seen::default());
    let view = ["p1", "p2"];
    let _processes: Vec<_> = view.iter().zip(1..).map(|(of, n)| spawn(&plane, config(&plane, of), Bank::new(n, &seen))).collect();
    plane.registered(2).await;
    plane.run_all(1);
    for _ in 0..10 {
        let (snapshot, _) = plane.begin(1, 16 << 10);
        plane.end(snapshot, false);
    }
    let committed = plane.snapshot(1, 16 << 10, &view).await;
    assert_eq!(money(&plane, &committed).await, 2 * START);
    eventually("the commit", || seen.committed.lock().unwrap().len() == 2).await;
    assert_eq!(*seen.committed.lock().unwrap(), [committed.snapshot; 2], "aborted snapshots aren't announced");
}

/// A door that a callback waits at.
#[derive(Default)]
struct Door {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Door {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let _open = self.opened.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap();
    }
}

/// Sends a lot to `to`, or waits at a door before it takes anything.
struct Flooder {
    to: Option<MemberName>,
    door: Arc<Door>,
    seen: Arc<Seen>,
}

impl Application for Flooder {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        if let Some(to) = &self.to {
            for _ in 0..200 {
                let _ = cx.send(to, vec![1; 1000]).unwrap();
            }
        }
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: &MemberName, _: Bytes) {
        self.seen.delivered.fetch_add(1, Ordering::SeqCst);
        self.door.pass();
    }

    fn capture(&mut self) -> Capture {
        Capture::bytes("state")
    }

    fn restore(&mut self, _: StateReader) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_ends_the_snapshot_naming_the_channel_and_nothing_else() {
    let plane = Plane::new(LEASE).await;
    let (door, seen) = (Arc::new(Door::default()), Arc::new(Seen::default()));
    let limits = Limits { spool_memory_bytes: 10_000, spool_file_bytes: 50_000, ..Limits::default() };
    let flooder = |to: Option<&str>| Flooder { to: to.map(name), door: Arc::clone(&door), seen: Arc::clone(&seen) };
    let _sender = spawn(&plane, config(&plane, "sender"), flooder(Some("slow")));
    let _slow = spawn(&plane, config(&plane, "slow").limits(limits), flooder(None));
    plane.registered(2).await;
    plane.run_all(1);
    // All 200 messages are under way, and the receiver is busy with the first, when the snapshot begins.
    eventually("the first message", || seen.delivered() == 1).await;
    _sender.status("all sent", |status| status.sent == 200).await;
    let polls = plane.polls();
    let (failing, _) = plane.begin(1, 16 << 10);
    eventually("both heard of it", || plane.polls() >= polls + 2).await;
    door.open();
    let (reason, detail, channel) = plane
        .reported("the failure", |member, event| match event {
            ReportEvent::Failed { snapshot, reason, detail, channel } if *snapshot == failing => {
                assert_eq!(*member, name("slow"));
                Some((*reason, detail.clone(), channel.clone()))
            }
            _ => None,
        })
        .await;
    assert_eq!(reason, AbortReason::SpoolOverflow);
    assert!(detail.contains("sender -> slow") && detail.contains("spool_memory_bytes"), "{detail}");
    assert_eq!(channel.map(|c| (c.from, c.to)), Some((name("sender"), name("slow"))));
    plane.end(failing, false);
    eventually("every message", || seen.delivered() == 200).await;
    plane.snapshot(1, 16 << 10, &["sender", "slow"]).await;
}

struct Broken;

impl Application for Broken {
    fn on_message(&mut self, _: &mut Context<'_>, _: &MemberName, _: Bytes) {}

    fn capture(&mut self) -> Capture {
        Capture::from_fn(|_| panic!("no state today"))
    }

    fn restore(&mut self, _: StateReader) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_panics_fails_the_snapshot_and_not_the_member() {
    let plane = Plane::new(LEASE).await;
    let process = spawn(&plane, config(&plane, "p1"), Broken);
    plane.registered(1).await;
    plane.run_all(1);
    for _ in 0..2 {
        let (failing, _) = plane.begin(1, 16 << 10);
        let detail = plane
            .reported("the failure", |_, event| match event {
                ReportEvent::Failed { snapshot, detail, .. } if *snapshot == failing => Some(detail.clone()),
                _ => None,
            })
            .await;
        assert!(detail.contains("no state today"), "{detail}");
        plane.end(failing, false);
    }
    assert!(!process.task.is_finished());
}
