//! Sender-logged channels: nothing of a snapshot waits for what is queued, and the log is checked before anything of it is used.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use stillframe_agent::{Application, Capture, Context, Limits, MemberName, RestoreError, StateReader};
use stillframe_api::{
    agent::{PrepareProblem, ReportEvent},
    snapshot::AbortReason,
};
use stillframe_archive::ChannelRecord;
use stillframe_protocol::{ChannelState, SeqRanges};

use crate::{
    cluster::{config, eventually, spawn},
    plane::{Committed, Plane, name},
};

const LEASE: Duration = Duration::from_secs(30);

/// What is sent, and how much of it at most at once.
const MESSAGES: u64 = 200;

/// Lets messages through, one for each permit.
#[derive(Default)]
struct Turnstile {
    permits: Mutex<u64>,
    given: Condvar,
    taken: AtomicU64,
}

impl Turnstile {
    fn permit(&self, messages: u64) {
        *self.permits.lock().unwrap() += messages;
        self.given.notify_all();
    }

    fn pass(&self) {
        let mut permits = self.given.wait_while(self.permits.lock().unwrap(), |permits| *permits == 0).unwrap();
        *permits -= 1;
        drop(permits);
        self.taken.fetch_add(1, Ordering::SeqCst);
    }

    fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }
}

/// Sends numbered messages to `slow` at the start; the other end takes them through a turnstile, in their order.
struct Sluggish {
    sends: bool,
    next: u64,
    turnstile: Arc<Turnstile>,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Application for Sluggish {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        if self.sends {
            (0..MESSAGES).for_each(|n| {
                let _ = cx.send(&name("slow"), n.to_le_bytes().to_vec()).unwrap();
            });
        }
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: &MemberName, message: Bytes) {
        self.turnstile.pass();
        let found = u64::from_le_bytes(message[..].try_into().unwrap());
        if found != self.next {
            self.wrong.lock().unwrap().push(format!("message {found} came: expected {}", self.next));
        }
        self.next = found + 1;
    }

    fn capture(&mut self) -> Capture {
        Capture::encode(self.next)
    }

    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError> {
        self.next = state.decode()?;
        Ok(())
    }
}

struct Pair {
    plane: Arc<Plane>,
    turnstile: Arc<Turnstile>,
    wrong: Arc<Mutex<Vec<String>>>,
    _processes: Vec<crate::cluster::Process>,
}

impl Pair {
    /// All messages are under way, and the receiver is at the first of them.
    async fn stuck(sender: Limits) -> Self {
        let plane = Plane::new(LEASE).await;
        plane.set_channel_state(ChannelState::SenderLogged, None);
        let (turnstile, wrong) = (Arc::<Turnstile>::default(), Arc::<Mutex<Vec<String>>>::default());
        let app = |sends| Sluggish { sends, next: 0, turnstile: Arc::clone(&turnstile), wrong: Arc::clone(&wrong) };
        let busy = spawn(&plane, config(&plane, "busy").limits(sender), app(true));
        let slow = spawn(&plane, config(&plane, "slow"), app(false));
        plane.registered(2).await;
        plane.run_all(1);
        busy.status("all are sent", |status| status.sent == MESSAGES).await;
        Self { plane, turnstile, wrong, _processes: vec![busy, slow] }
    }

    /// Takes a snapshot while the receiver takes a message now and then.
    async fn snapshot(&self) -> Committed {
        let (snapshot, epoch) = self.plane.begin(1, 16 << 10);
        let mut commit = std::pin::pin!(self.plane.commit(1, snapshot, epoch, &["busy", "slow"]));
        let mut now_and_then = tokio::time::interval(Duration::from_millis(10));
        loop {
            tokio::select! {
                committed = &mut commit => return committed,
                _ = now_and_then.tick() => self.turnstile.permit(1),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_does_not_wait_for_what_is_queued_and_its_restore_sends_that_again_in_order() {
    let pair = Pair::stuck(Limits::default()).await;
    let committed = pair.snapshot().await;
    let taken = pair.turnstile.taken();
    assert!(taken < MESSAGES / 2, "{taken} of {MESSAGES} messages had to be taken first");
    let in_flight = MESSAGES - committed.received(&name("busy"), &name("slow")).len();
    assert_eq!(committed.in_flight, in_flight);
    let records = pair.plane.channels_of(&committed.parts[&name("busy")]).await;
    assert!(
        records.iter().all(|record| matches!(record, ChannelRecord::Logged { to, .. } if *to == name("slow"))),
        "{records:?}"
    );
    assert!(records.len() as u64 >= in_flight, "{} were logged, and {in_flight} in flight", records.len());
    assert!(pair.plane.channels_of(&committed.parts[&name("slow")]).await.is_empty(), "nothing is recorded");

    // It goes on for a while, and back.
    pair.turnstile.permit(5);
    eventually("five more", || pair.turnstile.taken() >= taken + 5).await;
    let before = pair.turnstile.taken();
    let restore = pair.plane.restore(&committed, 2);
    tokio::pin!(restore);
    let mut now_and_then = tokio::time::interval(Duration::from_millis(10));
    loop {
        tokio::select! {
            () = &mut restore => break,
            // It has to come to the end of a message before it can hear of anything.
            _ = now_and_then.tick() => pair.turnstile.permit(1),
        }
    }
    pair.turnstile.permit(2 * MESSAGES);
    let between = pair.turnstile.taken() - before;
    eventually("all of them", || pair.turnstile.taken() >= before + in_flight).await;
    let last = pair.plane.snapshot(2, 16 << 10, &["busy", "slow"]).await;
    let state: u64 = postcard::from_bytes(&pair.plane.state_of(&last.parts[&name("slow")]).await).unwrap();
    assert_eq!(state, MESSAGES, "{between} were taken before the restore");
    assert_eq!(*pair.wrong.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_too_large_ends_the_snapshot_naming_the_channel_and_nothing_else() {
    let pair = Pair::stuck(Limits { spool_memory_bytes: 500, spool_file_bytes: 1000, ..Limits::default() }).await;
    let (failing, _) = pair.plane.begin(1, 16 << 10);
    let (reason, detail, channel) = pair
        .plane
        .reported("the failure", |member, event| match event {
            ReportEvent::Failed { snapshot, reason, detail, channel } if *snapshot == failing => {
                assert_eq!(*member, name("busy"));
                Some((*reason, detail.clone(), channel.clone()))
            }
            _ => None,
        })
        .await;
    assert_eq!(reason, AbortReason::SpoolOverflow);
    assert!(detail.contains("busy -> slow") && detail.contains("spool_memory_bytes"), "{detail}");
    assert_eq!(channel.map(|c| (c.from, c.to)), Some((name("busy"), name("slow"))));
    pair.plane.end(failing, false);
    pair.turnstile.permit(MESSAGES);
    eventually("every message", || pair.turnstile.taken() == MESSAGES).await;
    let committed = pair.plane.snapshot(1, 16 << 10, &["busy", "slow"]).await;
    assert_eq!(committed.received(&name("busy"), &name("slow")).len(), MESSAGES);
    assert_eq!(*pair.wrong.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_the_one_of_the_manifest_is_found_before_anything_of_it_is_used() {
    let pair = Pair::stuck(Limits::default()).await;
    let mut committed = pair.snapshot().await;
    let log = &mut committed.parts.get_mut(&name("busy")).unwrap().logged[0];
    log.ranges = log.ranges.minus(&SeqRanges::from_pairs(vec![(MESSAGES, MESSAGES)]).unwrap());
    let restore = pair.plane.prepare(&committed, 2);
    let (problem, detail) = pair
        .plane
        .reported("the failure", |member, event| match event {
            ReportEvent::PrepareFailed { restore: r, problem, detail, .. } if *r == restore => {
                assert_eq!(*member, name("busy"));
                Some((*problem, detail.clone()))
            }
            _ => None,
        })
        .await;
    assert_eq!(problem, PrepareProblem::Unreadable);
    assert!(detail.contains("logged messages") && detail.contains("channels"), "{detail}");
    pair.turnstile.permit(2 * MESSAGES);
}
