//! Members that vanish, move, come back as another process, or don't keep up.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use stillframe_agent::{Application, Capture, Context, Limits, MemberName, RestoreError, SendError, StateReader, TimerId};

use crate::{
    cluster::{config, eventually, money, spawn},
    ledger::{Bank, START, Seen},
    plane::{Plane, name},
    proxy::Proxy,
};

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn connections_whose_other_end_vanished_without_a_word_are_made_anew() {
    let plane = Plane::new(LEASE).await;
    let seen = Arc::new(Seen::default());
    let view = ["p1", "p2"];
    let limits = Limits { silence: Duration::from_secs(1), ..Limits::default() };
    let (mut proxies, mut processes) = (Vec::new(), Vec::new());
    for (of, n) in view.iter().zip(1u64..) {
        let proxy = Proxy::calm().await;
        let config = config(&plane, of).listen(proxy.choose_port()).advertise(proxy.address.to_string());
        processes.push(spawn(&plane, config.limits(limits.clone()), Bank::new(n * 31, &seen)));
        proxies.push(proxy);
    }
    plane.registered(2).await;
    plane.run_all(1);
    for _ in 0..2 {
        let delivered = seen.delivered();
        eventually("traffic", || seen.delivered() > delivered + 500).await;
        proxies.iter().for_each(Proxy::swallow);
    }
    let delivered = seen.delivered();
    eventually("traffic over new connections", || seen.delivered() > delivered + 500).await;
    let committed = plane.snapshot(1, 16 << 10, &view).await;
    assert_eq!(money(&plane, &committed).await, 2 * START);
    assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new(), "nothing lost, nothing twice, order kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_elsewhere_is_dialled_there_at_once() {
    let plane = Plane::new(LEASE).await;
    let (at_p1, at_p2) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
    let proxy = Proxy::calm().await;
    let behind = proxy.choose_port();
    let _p1 = spawn(&plane, config(&plane, "p1"), Bank::new(1, &at_p1));
    let _p2 = spawn(&plane, config(&plane, "p2").listen(behind).advertise(proxy.address.to_string()), Bank::new(2, &at_p2));
    plane.registered(2).await;
    plane.run_all(1);
    eventually("traffic", || at_p2.delivered() > 200).await;
    // The way there is gone, without a word. The silence would be noticed after longer than this test waits for anything.
    proxy.swallow_all();
    plane.move_to("p2", behind.to_string());
    let delivered = at_p2.delivered();
    eventually("traffic at the new address", || at_p2.delivered() > delivered + 200).await;
    let committed = plane.snapshot(1, 16 << 10, &["p1", "p2"]).await;
    assert_eq!(money(&plane, &committed).await, 2 * START);
    assert_eq!(*at_p2.wrong.lock().unwrap(), Vec::<String>::new());
}

/// Sends numbers, or notes them.
struct Numbers {
    to: Option<MemberName>,
    next: u64,
    noted: Arc<Mutex<Vec<u64>>>,
}

impl Application for Numbers {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        cx.set_timer(TimerId(1), Duration::ZERO);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) {
        if let Some(to) = &self.to {
            let _ = cx.send(to, self.next.to_be_bytes().to_vec()).unwrap();
            self.next += 1;
            cx.set_timer(timer, Duration::from_millis(1));
        }
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: &MemberName, message: Bytes) {
        self.noted.lock().unwrap().push(u64::from_be_bytes(message[..].try_into().unwrap()));
    }

    fn capture(&mut self) -> Capture {
        Capture::bytes("")
    }

    fn restore(&mut self, _: StateReader) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_comes_back_as_another_process_gets_what_is_sent_to_that_one_in_order() {
    let plane = Plane::new(LEASE).await;
    let numbers =
        |to: Option<&str>, noted: &Arc<Mutex<Vec<u64>>>| Numbers { to: to.map(name), next: 0, noted: Arc::clone(noted) };
    let (first, second, unused) = (Arc::default(), Arc::default(), Arc::default());
    let _source = spawn(&plane, config(&plane, "source"), numbers(Some("sink"), &unused));
    let sink = spawn(&plane, config(&plane, "sink"), numbers(None, &first));
    plane.registered(2).await;
    plane.run_all(1);
    eventually("numbers", || first.lock().unwrap().len() > 100).await;
    sink.kill().await;
    let _sink = spawn(&plane, config(&plane, "sink"), numbers(None, &second));
    plane.incarnation("sink", 2).await;
    plane.run_all(1);
    eventually("numbers", || second.lock().unwrap().len() > 200).await;
    let (first, second) = (first.lock().unwrap().clone(), second.lock().unwrap().clone());
    assert!(first.iter().copied().eq(0..first.len() as u64));
    // What the old process hadn't acknowledged went with it (a restore would bring it back); from there on everything comes, once and in order.
    let begin = second[0];
    assert!(second.iter().copied().eq(begin..begin + second.len() as u64), "{second:?}");
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

#[derive(Default)]
struct Pressed {
    door: Door,
    accepted: AtomicU64,
    refused: AtomicU64,
    taken: AtomicU64,
    enough: AtomicBool,
}

/// Sends whatever is taken of it, or takes nothing before the door is open.
struct Pusher {
    to: Option<MemberName>,
    pressed: Arc<Pressed>,
}

impl Application for Pusher {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        cx.set_timer(TimerId(1), Duration::ZERO);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) {
        let Some(to) = self.to.clone().filter(|_| !self.pressed.enough.load(Ordering::SeqCst)) else { return };
        loop {
            let number = self.pressed.accepted.load(Ordering::SeqCst);
            match cx.send(&to, number.to_be_bytes().repeat(128)) {
                Ok(_) => _ = self.pressed.accepted.fetch_add(1, Ordering::SeqCst),
                Err(SendError::OutboxFull { .. }) => break,
                Err(other) => panic!("{other}"),
            }
        }
        self.pressed.refused.fetch_add(1, Ordering::SeqCst);
        cx.set_timer(timer, Duration::from_millis(1));
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: &MemberName, message: Bytes) {
        self.pressed.door.pass();
        assert_eq!(message[..8], self.pressed.taken.fetch_add(1, Ordering::SeqCst).to_be_bytes());
    }

    fn capture(&mut self) -> Capture {
        Capture::bytes("")
    }

    fn restore(&mut self, _: StateReader) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_keep_up_costs_its_senders_a_window_and_an_outbox() {
    let plane = Plane::new(LEASE).await;
    let pressed = Arc::new(Pressed::default());
    let limits = Limits { window_messages: 500, window_bytes: 1 << 20, outbox_messages: 300, ..Limits::default() };
    let pusher = |to: Option<&str>| Pusher { to: to.map(name), pressed: Arc::clone(&pressed) };
    let _fast = spawn(&plane, config(&plane, "fast").limits(limits.clone()), pusher(Some("slow")));
    let _slow = spawn(&plane, config(&plane, "slow").limits(limits.clone()), pusher(None));
    plane.registered(2).await;
    plane.run_all(1);
    eventually("a full window and a full outbox", || pressed.accepted.load(Ordering::SeqCst) >= 800).await;
    let refused = pressed.refused.load(Ordering::SeqCst);
    eventually("more tries", || pressed.refused.load(Ordering::SeqCst) > refused + 20).await;
    assert_eq!(pressed.accepted.load(Ordering::SeqCst), 800, "and not one more");
    pressed.enough.store(true, Ordering::SeqCst);
    pressed.door.open();
    eventually("everything that was taken", || pressed.taken.load(Ordering::SeqCst) == 800).await;
}
