//! Members whose application carries the messages, over a network with any weather.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use stillframe_agent::{
    AgentConfig, Capture, ChannelOrdering, Limits, MemberName, Phase, Room, SnapshotId,
    wrap::{Action, Actions, Carrier, Member, Setup, UnwrapError, WrapError},
};
use stillframe_api::{agent::ReportEvent, snapshot::AbortReason};
use stillframe_archive::ChannelRecord;
use stillframe_protocol::{ChannelState, Generation};

use crate::{
    cluster::{config, eventually, money, small_limits},
    ledger::{Ledger, START, Transfer},
    plane::{PATIENCE, Plane, name},
};

const LEASE: Duration = Duration::from_secs(30);
const VIEW: [&str; 3] = ["p1", "p2", "p3"];
const UDP_LIKE: Carrier = Carrier::lossy(ChannelOrdering::Unordered, Duration::from_millis(20));
const BROKER_LIKE: Carrier = Carrier::lossy(ChannelOrdering::Fifo, Duration::from_millis(20));
const TCP_LIKE: Carrier = Carrier::reliable(ChannelOrdering::Fifo);

/// What happens to frames on their way, in percent.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    lost: u64,
    repeated: u64,
    late: u64,
}

/// A network in one process.
struct Net {
    boxes: Mutex<HashMap<MemberName, mpsc::Sender<Bytes>>>,
    late: Mutex<Vec<(MemberName, Bytes)>>,
    random: Mutex<fastrand_like::Random>,
    weather: Weather,
}

/// The few random numbers that the weather needs, by a seed.
mod fastrand_like {
    pub(super) struct Random(pub(super) u64);

    impl Random {
        /// Below `n`; xorshift64*.
        pub(super) fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % n
        }
    }
}

impl Net {
    fn new(weather: Weather) -> Arc<Self> {
        let random = Mutex::new(fastrand_like::Random(0x5eed));
        Arc::new(Self { boxes: Mutex::default(), late: Mutex::default(), random, weather })
    }

    fn join(&self, of: &MemberName) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel();
        self.boxes.lock().unwrap().insert(of.clone(), sender);
        receiver
    }

    fn put(&self, to: &MemberName, frame: Bytes) {
        if let Some(sender) = self.boxes.lock().unwrap().get(to) {
            let _ = sender.send(frame);
        }
    }

    fn carry(&self, to: &MemberName, frame: Bytes) {
        let [lost, repeated, late, which] = std::array::from_fn(|_| self.random.lock().unwrap().below(100));
        if late < self.weather.late {
            self.late.lock().unwrap().push((to.clone(), frame));
            return;
        }
        if lost >= self.weather.lost {
            self.put(to, frame.clone());
        }
        if repeated < self.weather.repeated {
            self.put(to, frame);
        }
        // One that was held back comes behind others.
        let held = {
            let mut late = self.late.lock().unwrap();
            if which < 30 && !late.is_empty() { Some(late.swap_remove(0)) } else { None }
        };
        if let Some((to, frame)) = held {
            self.put(&to, frame);
        }
    }
}

/// What a test sees.
#[derive(Default)]
struct Seen {
    delivered: AtomicU64,
    refused: AtomicU64,
    kept: AtomicU64,
    wrong: Mutex<Vec<String>>,
    committed: Mutex<Vec<SnapshotId>>,
    quiet: AtomicBool,
}

/// One member and its event loop, on a thread.
struct Process {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Process {
    fn start(plane: &Arc<Plane>, net: &Arc<Net>, of: &str, carrier: Carrier, limits: Limits, seen: &Arc<Seen>) -> Self {
        let member = member(plane, of, carrier, limits);
        let (stop, net, seen) = (Arc::new(AtomicBool::new(false)), Arc::clone(net), Arc::clone(seen));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || Loop::new(member, net, seen, carrier).run(&stopped));
        Self { stop, thread: Some(thread) }
    }

    fn kill(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn settings(plane: &Plane, of: &str, limits: Limits) -> AgentConfig {
    config(plane, of).advertise("net:1").limits(limits)
}

fn member(plane: &Arc<Plane>, of: &str, carrier: Carrier, limits: Limits) -> Member {
    Setup::new(settings(plane, of, limits), carrier).with_control_plane(Arc::<Plane>::clone(plane)).start().unwrap()
}

/// A bank: transfers random amounts, and notices what is lost or repeated in its own state.
struct Loop {
    member: Member,
    net: Arc<Net>,
    seen: Arc<Seen>,
    ledger: Ledger,
    random: fastrand_like::Random,
    fifo: bool,
}

impl Loop {
    fn new(member: Member, net: Arc<Net>, seen: Arc<Seen>, carrier: Carrier) -> Self {
        let seed = member.me().as_str().bytes().fold(7, |seed: u64, byte| seed * 31 + u64::from(byte));
        let fifo = carrier.ordering() == ChannelOrdering::Fifo;
        let mut ledger = Ledger::default();
        ledger.balance = START;
        Self { member, net, seen, ledger, random: fastrand_like::Random(seed), fifo }
    }

    fn run(mut self, stop: &AtomicBool) {
        let frames = self.net.join(&self.member.me().clone());
        while !stop.load(Ordering::SeqCst) {
            let now = Instant::now();
            let wait = self.member.next_timeout().map_or(Duration::from_millis(1), |at| at.saturating_duration_since(now));
            if let Ok(frame) = frames.recv_timeout(wait.min(Duration::from_millis(1))) {
                match self.member.unwrap(frame) {
                    Ok(actions) => Self::carry_out(actions, &self.net, &self.seen, &mut self.ledger, self.fifo),
                    Err(_) => drop(self.seen.refused.fetch_add(1, Ordering::SeqCst)),
                }
            }
            let actions = self.member.on_timeout(Instant::now());
            Self::carry_out(actions, &self.net, &self.seen, &mut self.ledger, self.fifo);
            self.transfer();
        }
    }

    fn transfer(&mut self) {
        let peers: Vec<MemberName> = self.member.peers().cloned().collect();
        if self.seen.quiet.load(Ordering::SeqCst) || self.member.generation() == Generation(0) || peers.is_empty() {
            return;
        }
        let to = &peers[self.random.below(peers.len() as u64) as usize];
        let amount = self.random.below(10).min(self.ledger.balance);
        let number = self.ledger.sent.get(to).copied().unwrap_or(0) + 1;
        match self.member.wrap(to, postcard::to_stdvec(&Transfer { number, amount }).unwrap()) {
            Ok(wrapped) => {
                self.ledger.balance -= amount;
                self.ledger.sent.insert(to.clone(), number);
                match wrapped.envelope {
                    Some(envelope) => self.net.carry(to, envelope.into_bytes()),
                    None => drop(self.seen.kept.fetch_add(1, Ordering::SeqCst)),
                }
            }
            Err(WrapError::OutboxFull { .. }) => {}
            Err(other) => self.seen.wrong.lock().unwrap().push(other.to_string()),
        }
    }

    fn carry_out(mut actions: Actions<'_>, net: &Net, seen: &Seen, ledger: &mut Ledger, fifo: bool) {
        while let Some(action) = actions.next_action() {
            match action {
                Action::Start | Action::Peers | Action::Ready { .. } => {}
                Action::Restore(state) => *ledger = state.decode().unwrap(),
                Action::Capture(request) => actions.answer(request, Capture::encode(ledger.clone())),
                Action::Deliver { from, message } => {
                    let transfer: Transfer = postcard::from_bytes(&message).unwrap();
                    let count = ledger.received.entry(from.clone()).or_default();
                    *count += 1;
                    if fifo && transfer.number != *count {
                        seen.wrong.lock().unwrap().push(format!("message {} of {from} came as the {count}th", transfer.number));
                    }
                    ledger.balance += transfer.amount;
                    seen.delivered.fetch_add(1, Ordering::SeqCst);
                }
                Action::Send { to, envelope } => net.carry(&to, envelope.into_bytes()),
                Action::Committed(committed) => seen.committed.lock().unwrap().push(committed.snapshot),
                Action::Ended(error) => {
                    // A process that was replaced; anything else is wrong.
                    if !error.to_string().contains("fenced") {
                        seen.wrong.lock().unwrap().push(error.to_string());
                    }
                }
            }
        }
    }
}

/// Snapshots under traffic, and kills with restores between them: nothing is lost, nothing counted twice.
async fn holds(carrier: Carrier, weather: Weather, channel_state: ChannelState) {
    let plane = Plane::new(LEASE).await;
    plane.set_channel_state(channel_state, None);
    let mut logged = (0, 0);
    let (net, seen) = (Net::new(weather), Arc::new(Seen::default()));
    let start = |of: &str| Process::start(&plane, &net, of, carrier, small_limits(), &seen);
    let mut processes: Vec<Process> = VIEW.iter().map(|of| start(of)).collect();
    plane.registered(3).await;
    plane.run_all(1);
    let mut in_flight = 0;
    for generation in 1..4 {
        let delivered = seen.delivered.load(Ordering::SeqCst);
        eventually("traffic", || seen.delivered.load(Ordering::SeqCst) > delivered + 200).await;
        let committed = plane.snapshot(generation, 16 << 10, &VIEW).await;
        assert_eq!(money(&plane, &committed).await, 3 * START);
        in_flight += committed.in_flight;
        let (arrived, missing) = committed.logged();
        logged = (logged.0 + arrived, logged.1 + missing);
        let delivered = seen.delivered.load(Ordering::SeqCst);
        eventually("traffic past the snapshot", || seen.delivered.load(Ordering::SeqCst) > delivered + 100).await;
        processes.remove(0).kill();
        processes.insert(0, start("p1"));
        plane.incarnation("p1", generation + 1).await;
        plane.restore(&committed, generation + 1).await;
    }
    let delivered = seen.delivered.load(Ordering::SeqCst);
    eventually("traffic after the restore", || seen.delivered.load(Ordering::SeqCst) > delivered + 100).await;
    assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new());
    assert_eq!(money(&plane, &plane.snapshot(4, 16 << 10, &VIEW).await).await, 3 * START);
    assert!(!seen.committed.lock().unwrap().is_empty());
    assert!(carrier != UDP_LIKE || in_flight > 0, "snapshots of a busy lossy network hold messages in flight");
    let logs = channel_state == ChannelState::SenderLogged;
    assert!(!logs || (logged.0 > 0 && logged.1 > 0), "of what was logged {} had arrived and {} not", logged.0, logged.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_network_that_loses_repeats_and_reorders_nothing_is_lost_or_counted_twice() {
    holds(UDP_LIKE, Weather { lost: 10, repeated: 5, late: 10 }, ChannelState::Marker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_when_senders_log_what_is_under_way() {
    holds(UDP_LIKE, Weather { lost: 10, repeated: 5, late: 10 }, ChannelState::SenderLogged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_reliable_carrier_nothing_is_lost_or_counted_twice() {
    holds(TCP_LIKE, Weather::default(), ChannelState::Marker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_broker_that_keeps_the_order_and_is_away_at_times_the_order_is_kept() {
    // Few losses: one in the middle of a snapshot aborts it, as the order is broken then.
    let plane = Plane::new(LEASE).await;
    let (net, seen) = (Net::new(Weather { lost: 2, ..Weather::default() }), Arc::new(Seen::default()));
    let _processes: Vec<Process> =
        VIEW.iter().map(|of| Process::start(&plane, &net, of, BROKER_LIKE, small_limits(), &seen)).collect();
    plane.registered(3).await;
    plane.run_all(1);
    eventually("traffic", || seen.delivered.load(Ordering::SeqCst) > 2000).await;
    seen.quiet.store(true, Ordering::SeqCst);
    assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new());
}

/// Two members driven by the test itself.
struct Pair {
    plane: Arc<Plane>,
    a: Member,
    b: Member,
}

impl Pair {
    async fn new(carrier: Carrier, limits: Limits, lease: Duration) -> Self {
        let plane = Plane::new(lease).await;
        let (a, b) = (member(&plane, "a", carrier, limits.clone()), member(&plane, "b", carrier, limits));
        plane.registered(2).await;
        plane.run_all(1);
        let mut pair = Self { plane, a, b };
        pair.until("both run", |pair| [&pair.a, &pair.b].iter().all(|member| member.status().phase == Phase::Running)).await;
        pair
    }

    /// Carries frames to and fro until the condition holds.
    async fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) -> Vec<(MemberName, Bytes)> {
        let (begun, mut delivered) = (Instant::now(), Vec::new());
        while !condition(self) {
            assert!(begun.elapsed() < PATIENCE, "waited for {what}");
            self.turn(&mut delivered);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.turn(&mut delivered);
        delivered
    }

    fn turn(&mut self, delivered: &mut Vec<(MemberName, Bytes)>) {
        let (mut to_a, mut to_b) = (Vec::new(), Vec::new());
        drain(self.a.on_timeout(Instant::now()), &mut to_b, delivered);
        drain(self.b.on_timeout(Instant::now()), &mut to_a, delivered);
        self.carry(to_a, to_b, delivered);
    }

    /// Carries these frames, and what they lead to.
    fn carry(&mut self, mut to_a: Vec<Bytes>, mut to_b: Vec<Bytes>, delivered: &mut Vec<(MemberName, Bytes)>) {
        while !to_a.is_empty() || !to_b.is_empty() {
            for frame in std::mem::take(&mut to_b) {
                drain(self.b.unwrap(frame).unwrap(), &mut to_a, delivered);
            }
            for frame in std::mem::take(&mut to_a) {
                drain(self.a.unwrap(frame).unwrap(), &mut to_b, delivered);
            }
        }
    }

    /// A pair whose channel a -> b is open.
    async fn opened(carrier: Carrier, limits: Limits) -> Self {
        Self::opened_for(carrier, limits, LEASE).await
    }

    async fn opened_for(carrier: Carrier, limits: Limits, lease: Duration) -> Self {
        let mut pair = Self::new(carrier, limits, lease).await;
        assert_eq!(pair.a.wrap(&name("b"), "first").unwrap().envelope, None, "the channel isn't open yet");
        pair.until("the first message", |pair| pair.b.status().delivered == 1).await;
        pair
    }
}

fn drain(mut actions: Actions<'_>, frames: &mut Vec<Bytes>, delivered: &mut Vec<(MemberName, Bytes)>) {
    while let Some(action) = actions.next_action() {
        match action {
            Action::Send { envelope, .. } => frames.push(envelope.into_bytes()),
            Action::Deliver { from, message } => delivered.push((from, message)),
            Action::Capture(request) => actions.answer(request, Capture::bytes("state")),
            Action::Start | Action::Restore(_) | Action::Ready { .. } | Action::Peers | Action::Committed(_) => {}
            Action::Ended(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapped_message_can_travel_whole_or_as_header_and_payload() {
    for carrier in [UDP_LIKE, TCP_LIKE] {
        let mut pair = Pair::opened(carrier, Limits::default()).await;
        let (whole, parts) = (pair.a.wrap(&name("b"), "whole").unwrap(), pair.a.wrap(&name("b"), "parts").unwrap());
        let (whole, parts) = (whole.envelope.unwrap(), parts.envelope.unwrap());
        assert!(whole.header().len() <= 24 && whole.payload() == b"whole", "{whole:?}");
        let mut delivered = Vec::new();
        drain(pair.b.unwrap(whole.into_bytes()).unwrap(), &mut Vec::new(), &mut delivered);
        drain(pair.b.unwrap_parts(parts.header(), parts.payload().to_vec()).unwrap(), &mut Vec::new(), &mut delivered);
        let a = name("a");
        assert_eq!(delivered, [(a.clone(), Bytes::from("whole")), (a, Bytes::from("parts"))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_frame_for_this_member_is_refused_with_what_to_do_and_changes_nothing() {
    let mut pair = Pair::opened(UDP_LIKE, Limits::default()).await;
    let good = pair.a.wrap(&name("b"), "good").unwrap().envelope.unwrap().into_bytes();
    assert!(matches!(pair.b.unwrap("GET / HTTP/1.1"), Err(UnwrapError::Garbage { length: 14 })));
    assert!(matches!(pair.b.unwrap(good.slice(..7)), Err(UnwrapError::Frame(_))));
    let mut damaged = good.to_vec();
    damaged[5] = 0xff;
    assert!(matches!(pair.b.unwrap(damaged), Err(UnwrapError::Frame(_))));
    assert!(matches!(pair.a.unwrap(good.clone()), Err(UnwrapError::Refused(_))), "it is for b");
    let mut other = Pair::opened(UDP_LIKE, Limits::default()).await;
    let error = other.b.unwrap(good.clone()).unwrap_err();
    assert!(error == UnwrapError::ForeignCluster && error.to_string().contains("check"), "{error}");
    assert!(matches!(pair.a.wrap(&name("nobody"), ""), Err(WrapError::UnknownMember { .. })));
    assert!(matches!(pair.a.wrap(&name("a"), ""), Err(WrapError::ToItself { .. })));
    let mut delivered = Vec::new();
    drain(pair.b.unwrap(good.clone()).unwrap(), &mut Vec::new(), &mut delivered);
    drain(pair.b.unwrap(good).unwrap(), &mut Vec::new(), &mut delivered);
    assert_eq!(delivered.len(), 1, "a repeated frame is dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_window_says_so_and_goes_on_when_there_is_room() {
    let limits = Limits { window_messages: 4, outbox_messages: 3, ..Limits::default() };
    let mut pair = Pair::opened(TCP_LIKE, limits).await;
    pair.until("the acknowledgement", |pair| pair.a.status().sent == 1).await;
    let mut frames = Vec::new();
    let mut full_after = None;
    for n in 0..20 {
        match pair.a.wrap(&name("b"), format!("{n}")) {
            Ok(wrapped) => {
                if wrapped.room == Room::Full {
                    full_after.get_or_insert(n);
                }
                frames.extend(wrapped.envelope.map(stillframe_agent::wrap::Envelope::into_bytes));
            }
            Err(WrapError::OutboxFull { message, messages, .. }) => {
                assert_eq!((message, messages), (Bytes::from(format!("{n}")), 3));
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(full_after.is_some_and(|n| n <= 4), "{full_after:?}");
    pair.carry(Vec::new(), frames, &mut Vec::new());
    pair.until("what waited", |pair| pair.a.status().unsent == 0 && pair.a.status().sent == pair.b.status().delivered).await;
    assert_eq!(pair.a.wrap(&name("b"), "more").unwrap().room, Room::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_that_were_left_come_first_and_in_order() {
    let mut pair = Pair::opened(TCP_LIKE, Limits::default()).await;
    let frames: Vec<Bytes> =
        (0..3).map(|n| pair.a.wrap(&name("b"), format!("{n}")).unwrap().envelope.unwrap().into_bytes()).collect();
    for frame in frames {
        drop(pair.b.unwrap(frame).unwrap());
    }
    assert!(pair.b.next_timeout().is_some_and(|at| at <= Instant::now()), "there is something to do");
    let mut delivered = Vec::new();
    drain(pair.b.on_timeout(Instant::now()), &mut Vec::new(), &mut delivered);
    let messages: Vec<Bytes> = delivered.into_iter().map(|(_, message)| message).collect();
    assert_eq!(messages, ["0", "1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_is_not_answered_aborts_its_snapshot_and_nothing_else() {
    let mut pair = Pair::opened(TCP_LIKE, Limits::default()).await;
    let (snapshot, _) = pair.plane.begin(1, 16 << 10);
    let mut asked = None;
    let begun = Instant::now();
    while asked.is_none() {
        assert!(begun.elapsed() < PATIENCE, "waited for the request");
        let mut actions = pair.a.on_timeout(Instant::now());
        while let Some(action) = actions.next_action() {
            if let Action::Capture(request) = action {
                asked = Some(request);
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Too late: other actions were asked for since.
    pair.a.on_timeout(Instant::now()).answer(asked.unwrap(), Capture::bytes("late"));
    pair.turn(&mut Vec::new());
    let reason = pair
        .plane
        .reported("the failure", |member, event| match event {
            ReportEvent::Failed { snapshot: of, reason, .. } if *of == snapshot && *member == name("a") => Some(*reason),
            _ => None,
        })
        .await;
    assert_eq!(reason, AbortReason::MemberFailed);
    pair.plane.end(snapshot, false);
    let sent = pair.a.wrap(&name("b"), "goes on").unwrap().envelope.unwrap();
    let mut delivered = Vec::new();
    drain(pair.b.unwrap(sent.into_bytes()).unwrap(), &mut Vec::new(), &mut delivered);
    assert_eq!(delivered.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_wrapped_before_a_pending_capture_is_answered_belongs_to_the_captured_state() {
    let mut pair = Pair::opened(UDP_LIKE, Limits::default()).await;
    let (snapshot, epoch) = pair.plane.begin(1, 16 << 10);
    let begun = Instant::now();
    'asked: loop {
        assert!(begun.elapsed() < PATIENCE, "waited for the request");
        let mut actions = pair.a.on_timeout(Instant::now());
        while let Some(action) = actions.next_action() {
            if let Action::Capture(request) = action {
                let wrapped = actions.wrap(&name("b"), "between").unwrap();
                assert_eq!(wrapped.envelope, None, "it must not overtake the marker, nor be missing in the state");
                actions.answer(request, Capture::bytes("state"));
                break 'asked;
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let plane = Arc::clone(&pair.plane);
    let reported = |pair: &Pair| [&pair.a, &pair.b].iter().all(|member| member.status().parts_reported == 1);
    let carry = pair.until("the message", |pair| pair.b.status().delivered == 2 && reported(pair));
    let (committed, _) = tokio::join!(plane.commit(1, snapshot, epoch, &["a", "b"]), carry);
    let records = plane.channels_of(&committed.parts[&name("a")]).await;
    assert_eq!(records, [ChannelRecord::Unsent { to: name("b"), payload: "between".into() }]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_member_holds_still_frames_and_messages_wait_within_their_bounds_and_nothing_is_lost() {
    let limits = Limits { outbox_messages: 2, ..Limits::default() };
    let mut pair = Pair::opened_for(TCP_LIKE, limits, Duration::from_millis(500)).await;
    let frames: Vec<Bytes> =
        (0..3).map(|n| pair.a.wrap(&name("b"), format!("{n}")).unwrap().envelope.unwrap().into_bytes()).collect();
    pair.plane.set_away(true);
    let expired = |pair: &Pair| [&pair.a, &pair.b].iter().all(|member| member.status().phase == Phase::LeaseExpired);
    pair.until("both leases run out", expired).await;
    for frame in &frames[..2] {
        drain(pair.b.unwrap(frame.clone()).unwrap(), &mut Vec::new(), &mut Vec::new());
    }
    match pair.b.unwrap(frames[2].clone()) {
        Err(UnwrapError::Holding { frames: 2, frame, .. }) => assert_eq!(frame, frames[2], "it is handed back as it came"),
        other => panic!("{other:?}"),
    }
    assert_eq!(pair.b.status().delivered, 1, "nothing is delivered");
    assert_eq!(pair.a.wrap(&name("b"), "late").unwrap().envelope, None, "nothing is sent");
    pair.plane.set_away(false);
    let running = |pair: &Pair| [&pair.a, &pair.b].iter().all(|member| member.status().phase == Phase::Running);
    while !running(&pair) {
        // Each alone, so that nothing overtakes the frame that was handed back.
        drain(pair.b.on_timeout(Instant::now()), &mut Vec::new(), &mut Vec::new());
        let mut early = Vec::new();
        if pair.b.status().phase == Phase::Running {
            drain(pair.a.on_timeout(Instant::now()), &mut early, &mut Vec::new());
            let mut delivered = Vec::new();
            drain(pair.b.unwrap(frames[2].clone()).unwrap(), &mut Vec::new(), &mut delivered);
            pair.carry(Vec::new(), early, &mut delivered);
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    pair.until("all of them", |pair| pair.b.status().delivered == 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapped_member_of_an_aligned_cluster_ends_and_says_why() {
    let plane = Plane::new(LEASE).await;
    plane.set_channel_state(ChannelState::Aligned, None);
    let mut member = member(&plane, "a", TCP_LIKE, Limits::default());
    plane.registered(1).await;
    plane.run_all(1);
    let news = member.news();
    let error = loop {
        let mut actions = member.on_timeout(Instant::now());
        match actions.next_action() {
            Some(Action::Ended(error)) => break error,
            Some(_) => {}
            None => tokio::time::timeout(PATIENCE, news.wait()).await.expect("it hears of its cluster"),
        }
    };
    assert!(error.to_string().contains("set its alignment to unaligned"), "{error}");
}
