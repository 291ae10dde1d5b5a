//! Putting a cluster back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use stillframe_agent::{AgentError, Application, Capture, Context, MemberName, Phase, RestoreError, StateReader, TimerId};
use stillframe_api::agent::{PrepareProblem, ReportEvent};
use stillframe_archive::{ChannelRecord, Role};
use stillframe_protocol::{ChannelState, Epoch, Generation, RestoreId};
use uuid::Uuid;

use crate::{
    cluster::{Process, config, eventually, money, spawn},
    ledger::{Bank, START, Seen},
    plane::{Committed, Names, PATIENCE, Plane, name},
};

const LEASE: Duration = Duration::from_secs(30);
const VIEW: [&str; 4] = ["p1", "p2", "p3", "p4"];

fn start(plane: &Arc<Plane>, of: &str, seed: u64, seen: &Arc<Seen>) -> Process {
    spawn(plane, config(plane, of), Bank::new(seed, seen))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_and_a_restore_nothing_is_lost_or_counted_twice() {
    kill_and_restore(ChannelState::Marker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_and_a_restore_of_what_senders_logged_nothing_is_lost_or_counted_twice() {
    let (arrived, missing) = kill_and_restore(ChannelState::SenderLogged).await;
    assert!(arrived > 0 && missing > 0, "of what was logged {arrived} had arrived and {missing} not: the test shows too little");
}

/// How many of the messages that were logged had arrived, and how many not.
async fn kill_and_restore(channel_state: ChannelState) -> (u64, u64) {
    let plane = Plane::new(LEASE).await;
    plane.set_channel_state(channel_state, None);
    let mut logged = (0, 0);
    let seen = Arc::new(Seen::default());
    let mut processes: Vec<_> = VIEW.iter().zip(1..).map(|(of, n)| start(&plane, of, n * 31, &seen)).collect();
    plane.registered(4).await;
    plane.run_all(1);
    let mut put_back_to = Vec::new();
    for generation in 1..4u64 {
        let delivered = seen.delivered();
        eventually("traffic", || seen.delivered() > delivered + 500).await;
        let committed = plane.snapshot(generation, 16 << 10, &VIEW).await;
        assert_eq!(money(&plane, &committed).await, 4 * START);
        let (arrived, missing) = committed.logged();
        logged = (logged.0 + arrived, logged.1 + missing);
        let delivered = seen.delivered();
        eventually("traffic past the snapshot", || seen.delivered() > delivered + 200).await;
        processes.remove(0).kill().await;
        processes.insert(0, start(&plane, "p1", 1, &seen));
        plane.incarnation("p1", generation + 1).await;
        plane.restore(&committed, generation + 1).await;
        put_back_to.push(committed.snapshot);
    }
    assert_eq!(seen.restored.load(Ordering::SeqCst), 3 * 4);
    let told: Vec<_> = put_back_to.iter().flat_map(|snapshot| [*snapshot; 4]).collect();
    assert_eq!(*seen.put_back_to.lock().unwrap(), told, "each member is told once what it was put back to");
    let delivered = seen.delivered();
    eventually("traffic after the restore", || seen.delivered() > delivered + 500).await;
    // The application counts the messages of each channel in its state, so it would have noticed.
    assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new());
    let last = plane.snapshot(4, 16 << 10, &VIEW).await;
    assert_eq!(money(&plane, &last).await, 4 * START);
    logged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_damaged_leaves_the_application_untouched_and_names_the_object() {
    let plane = Plane::new(LEASE).await;
    let seen = Arc::new(Seen::default());
    let processes: Vec<_> = VIEW.iter().zip(1..).map(|(of, n)| start(&plane, of, n * 31, &seen)).collect();
    plane.registered(4).await;
    plane.run_all(1);
    let older = plane.snapshot(1, 16 << 10, &VIEW).await;
    eventually("traffic", || seen.delivered() > 500).await;
    let damaged = plane.snapshot(1, 0, &VIEW).await;
    let object = damaged.parts[&name("p2")].objects.iter().find(|object| object.role == Role::State).unwrap().clone();
    let key = object.key().unwrap().to_string();
    let file = plane.dir.path().join("archive").join(&key);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&file, bytes).unwrap();

    let restore = plane.prepare(&damaged, 2);
    let detail = plane
        .reported("the failure", |member, event| match event {
            ReportEvent::PrepareFailed { restore: r, detail, problem, attempt: 0, .. } if *r == restore => {
                assert_eq!((member, *problem), (&name("p2"), PrepareProblem::Unreadable));
                Some(detail.clone())
            }
            _ => None,
        })
        .await;
    assert!(detail.contains(&key), "{detail}");
    for process in &processes {
        process.phase(Phase::Preparing).await;
    }
    // The generation is burned; the old one goes on where it was.
    plane.run_all(1);
    let delivered = seen.delivered();
    eventually("traffic after the failure", || seen.delivered() > delivered + 500).await;
    assert_eq!(seen.restored.load(Ordering::SeqCst), 0);
    plane.restore(&older, 3).await;
    assert_eq!(seen.restored.load(Ordering::SeqCst), 4);
    let last = plane.snapshot(3, 16 << 10, &VIEW).await;
    assert_eq!(money(&plane, &last).await, 4 * START);
    assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new());
}

/// Sends ten messages to `b` at the start, and one when its timer runs out.
struct Patient {
    seen: Arc<Seen>,
}

impl Application for Patient {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        if cx.me().as_str() == "a" {
            for n in 0..10u8 {
                let _ = cx.send(&name("b"), vec![n]).unwrap();
            }
            let me = cx.me().clone();
            let _ = cx.send(&me, vec![99]).unwrap();
            cx.set_timer(TimerId(1), Duration::from_secs(3600));
            cx.set_timer(TimerId(2), Duration::from_millis(1));
        }
    }

    fn on_message(&mut self, _: &mut Context<'_>, from: &MemberName, message: Bytes) {
        if from.as_str() == "a" && message[0] != 99 {
            let expected = self.seen.delivered.fetch_add(1, Ordering::SeqCst);
            assert_eq!(u64::from(message[0]), expected);
        }
    }

    fn on_timer(&mut self, _: &mut Context<'_>, timer: TimerId) {
        assert_eq!(timer, TimerId(2));
        self.seen.ready.fetch_add(1, Ordering::SeqCst);
    }

    fn capture(&mut self) -> Capture {
        Capture::bytes(Bytes::new())
    }

    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError> {
        assert!(state.bytes()?.is_empty());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unsent_messages_and_timers_belong_to_the_snapshot() {
    let plane = Plane::new(LEASE).await;
    let seen = Arc::new(Seen::default());
    let patient = || Patient { seen: Arc::clone(&seen) };
    let a = spawn(&plane, config(&plane, "a"), patient());
    let b = spawn(&plane, config(&plane, "b"), patient());
    plane.registered(2).await;
    // Only a runs: what it sends to b has to wait.
    plane.run("a", 1, Epoch(0), None);
    eventually("the short timer", || seen.ready.load(Ordering::SeqCst) == 1).await;
    let committed = plane.snapshot(1, 16 << 10, &["a"]).await;
    let records = plane.channels_of(&committed.parts[&name("a")]).await;
    let unsent = records.iter().filter(|r| matches!(r, ChannelRecord::Unsent { to, .. } if *to == name("b"))).count();
    assert_eq!(unsent, 10);
    assert!(
        records.iter().any(|r| matches!(r, ChannelRecord::Timer { id: 1, remaining_ms } if *remaining_ms > 3_000_000)),
        "{records:?}"
    );

    a.kill().await;
    let _a = spawn(&plane, config(&plane, "a"), patient());
    plane.incarnation("a", 2).await;
    plane.restore(&committed, 2).await;
    b.phase(Phase::Waiting).await;
    plane.run("b", 2, Epoch(1), None);
    eventually("all ten", || seen.delivered() == 10).await;
    // Taken again, the snapshot shows that the timer was armed again.
    let again = plane.snapshot(2, 16 << 10, &["a", "b"]).await;
    let records = plane.channels_of(&again.parts[&name("a")]).await;
    assert!(matches!(records[..], [ChannelRecord::Timer { id: 1, .. }]), "{records:?}");
}

/// The bank, whose ledger has the names of members in it: it changes them itself, as every application has to.
struct Renaming {
    bank: Bank,
    names: Names,
}

impl Application for Renaming {
    fn on_message(&mut self, cx: &mut Context<'_>, from: &MemberName, message: Bytes) {
        self.bank.on_message(cx, from, message);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) {
        self.bank.on_timer(cx, timer);
    }

    fn capture(&mut self) -> Capture {
        self.bank.capture()
    }

    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError> {
        self.bank.restore(state)?;
        let ledger = &mut self.bank.ledger;
        for numbers in [&mut ledger.sent, &mut ledger.received] {
            *numbers = std::mem::take(numbers).into_iter().map(|(of, n)| (self.names[&of].clone(), n)).collect();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_other_names_channels_go_on_with_their_numbers_and_nothing_is_lost_or_counted_twice() {
    restore_under_other_names(ChannelState::Marker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_other_names_what_senders_logged_is_sent_again_once() {
    restore_under_other_names(ChannelState::SenderLogged).await;
}

async fn restore_under_other_names(channel_state: ChannelState) {
    let plane = Plane::new(LEASE).await;
    plane.set_channel_state(channel_state, None);
    let seen = Arc::new(Seen::default());
    let old: Vec<_> = VIEW.iter().zip(1..).map(|(of, n)| start(&plane, of, n * 31, &seen)).collect();
    plane.registered(4).await;
    plane.run_all(1);
    eventually("traffic", || seen.delivered() > 500).await;
    // p1 and p2 change places, p3 and p4 get names that are new.
    let names: Names = [("p1", "p2"), ("p2", "p1"), ("p3", "q3"), ("p4", "q4")].map(|(part, now)| (name(part), name(now))).into();
    let committed = plane.snapshot(1, 16 << 10, &VIEW).await;
    let records = plane.channels_of(&committed.parts[&name("p1")]).await;
    assert!(!records.is_empty(), "something has a name in it");
    for process in old {
        process.kill().await;
    }
    let renaming = |n| Renaming { bank: Bank::new(n, &seen), names: names.clone() };
    let _new: Vec<_> =
        ["p1", "p2", "q3", "q4"].iter().zip(1..).map(|(of, n)| spawn(&plane, config(&plane, of), renaming(n))).collect();
    for (of, incarnation) in [("p1", 2), ("p2", 2), ("q3", 1), ("q4", 1)] {
        plane.incarnation(of, incarnation).await;
    }
    plane.restore_as(&committed, 2, &names).await;
    let delivered = seen.delivered();
    eventually("traffic after the restore", || seen.delivered() > delivered + 500).await;
    // The application knows the number of the last message of each channel, by the name of now.
    assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new());
    let again = plane.snapshot(2, 16 << 10, &["p1", "p2", "q3", "q4"]).await;
    assert_eq!(money(&plane, &again).await, 4 * START);
    let sent = |parts: &crate::plane::Committed, from: &str, to: &str| {
        parts.parts[&name(from)].sent.iter().find(|s| s.to == name(to)).map_or(0, |s| s.messages)
    };
    assert!(sent(&again, "p2", "q3") >= sent(&committed, "p1", "p3"), "numbers go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_could_not_be_loaded_is_loaded_when_the_coordinator_asks_again() {
    let plane = Plane::new(LEASE).await;
    let seen = Arc::new(Seen::default());
    let _processes: Vec<_> = VIEW.iter().zip(1..).map(|(of, n)| start(&plane, of, n * 31, &seen)).collect();
    plane.registered(4).await;
    plane.run_all(1);
    eventually("traffic", || seen.delivered() > 100).await;
    let committed = plane.snapshot(1, 0, &VIEW).await;
    let object = committed.parts[&name("p2")].objects.iter().find(|object| object.role == Role::State).unwrap().clone();
    let file = plane.dir.path().join("archive").join(object.key().unwrap().to_string());
    let away = file.with_extension("away");
    std::fs::rename(&file, &away).unwrap();
    let restore = plane.prepare(&committed, 2);
    let failed = |attempt| {
        move |_: &MemberName, event: &ReportEvent| match event {
            ReportEvent::PrepareFailed { restore: r, attempt: a, .. } if *r == restore && *a == attempt => Some(()),
            _ => None,
        }
    };
    plane.reported("the first failure", failed(0)).await;
    plane.prepare_as(&committed, 2, restore, 1, &Names::new());
    plane.reported("the second failure", failed(1)).await;
    std::fs::rename(&away, &file).unwrap();
    plane.prepare_as(&committed, 2, restore, 2, &Names::new());
    let bytes = plane
        .reported("it is prepared", |member, event| match event {
            ReportEvent::Prepared { restore: r, bytes, .. } if *r == restore && *member == name("p2") => Some(*bytes),
            _ => None,
        })
        .await;
    assert_eq!(bytes, committed.parts[&name("p2")].objects.iter().map(|object| object.bytes).sum::<u64>());
    assert_eq!(seen.restored.load(Ordering::SeqCst), 0, "nothing was given to the application yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_began_unheard_is_run_in_however_many_restores_after_it_fail() {
    let plane = Plane::new(LEASE).await;
    let seen = Arc::new(Seen::default());
    let _processes: Vec<_> = VIEW.iter().zip(1..).map(|(of, n)| start(&plane, of, n * 31, &seen)).collect();
    plane.registered(4).await;
    plane.run_all(1);
    eventually("traffic", || seen.delivered() > 100).await;
    let committed = plane.snapshot(1, 16 << 10, &VIEW).await;
    let first = prepared_by_all(&plane, &committed, 2).await;
    // Generation 2 begins, and before anybody hears of that, other restores do, and fail.
    plane.begin_unheard(2);
    for generation in 3..6 {
        prepared_by_all(&plane, &committed, generation).await;
    }
    for of in VIEW {
        plane.run(of, 2, Epoch(1), Some(first));
    }
    for of in VIEW {
        let running = |member: &MemberName, event: &ReportEvent| match event {
            ReportEvent::Running { generation: Generation(2) } if *member == name(of) => Some(()),
            _ => None,
        };
        plane.reported("it runs", running).await;
    }
    assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_a_part_for_the_generation_that_has_begun_ends_so_that_the_cluster_can_be_put_back() {
    let plane = Plane::new(LEASE).await;
    let seen = Arc::new(Seen::default());
    let process = start(&plane, "p1", 1, &seen);
    plane.registered(1).await;
    let restore = RestoreId(Uuid::now_v7());
    plane.run("p1", 2, Epoch(1), Some(restore));
    let ended = tokio::time::timeout(PATIENCE, process.task).await.expect("it ends in time").expect("no panic");
    let error = ended.expect_err("it can't run");
    assert!(matches!(error, AgentError::NoPart { generation: Generation(2), restore: of } if of == restore), "{error}");
}

async fn prepared_by_all(plane: &Plane, committed: &Committed, generation: u64) -> RestoreId {
    let restore = plane.prepare(committed, generation);
    for of in VIEW {
        let prepared = |member: &MemberName, event: &ReportEvent| match event {
            ReportEvent::Prepared { restore: r, .. } if *r == restore && *member == name(of) => Some(()),
            _ => None,
        };
        plane.reported("it is prepared", prepared).await;
    }
    restore
}
