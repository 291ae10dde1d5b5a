//! What a member does when the coordinator is away, or has replaced it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use stillframe_agent::{AgentError, Application, Capture, Context, MemberName, Phase, RestoreError, StateReader};
use stillframe_api::agent::Desired;

use crate::{
    cluster::{config, eventually, money, spawn},
    ledger::{Bank, START, Seen},
    plane::Plane,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_holds_still_when_its_lease_runs_out_until_the_coordinator_is_back() {
    let plane = Plane::new(Duration::from_millis(300)).await;
    let seen = Arc::new(Seen::default());
    let view = ["p1", "p2"];
    let processes: Vec<_> = view.iter().zip(1..).map(|(of, n)| spawn(&plane, config(&plane, of), Bank::new(n, &seen))).collect();
    plane.registered(2).await;
    plane.run_all(1);
    let delivered = seen.delivered();
    eventually("traffic", || seen.delivered() > delivered + 100).await;
    plane.set_away(true);
    for process in &processes {
        process.phase(Phase::LeaseExpired).await;
    }
    let held = seen.delivered();
    // Between these there is time for many of the application's timers.
    let refused = plane.refused();
    eventually("more polls in vain", || plane.refused() > refused + 4).await;
    assert_eq!(seen.delivered(), held);
    plane.set_away(false);
    for process in &processes {
        process.phase(Phase::Running).await;
    }
    eventually("traffic goes on", || seen.delivered() > held + 100).await;
    let committed = plane.snapshot(1, 16 << 10, &view).await;
    assert_eq!(money(&plane, &committed).await, 2 * START);
    assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_comes_up_late_is_waited_for() {
    let plane = Plane::new(Duration::from_secs(30)).await;
    plane.set_away(true);
    let seen = Arc::new(Seen::default());
    let process = spawn(&plane, config(&plane, "p1"), Bank::new(1, &seen));
    process.phase(Phase::Registering).await;
    plane.set_away(false);
    plane.registered(1).await;
    plane.run_all(1);
    process.phase(Phase::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_replaced_ends_and_says_by_whom() {
    let plane = Plane::new(Duration::from_secs(30)).await;
    let seen = Arc::new(Seen::default());
    let old = spawn(&plane, config(&plane, "p1"), Bank::new(1, &seen));
    plane.registered(1).await;
    plane.run_all(1);
    old.phase(Phase::Running).await;
    let _new = spawn(&plane, config(&plane, "p1"), Bank::new(1, &seen));
    let error = old.task.await.unwrap().unwrap_err();
    assert!(matches!(error, AgentError::Fenced { .. }) && error.to_string().contains("has taken over"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_told_to_wait_delivers_nothing() {
    let plane = Plane::new(Duration::from_secs(30)).await;
    let seen = Arc::new(Seen::default());
    let processes: Vec<_> =
        ["p1", "p2"].iter().zip(1..).map(|(of, n)| spawn(&plane, config(&plane, of), Bank::new(n, &seen))).collect();
    plane.registered(2).await;
    plane.run_all(1);
    eventually("traffic", || seen.delivered() > 100).await;
    for of in ["p1", "p2"] {
        plane.desire(of, Desired::Wait { why: "a test".to_owned() });
    }
    for process in &processes {
        process.phase(Phase::Waiting).await;
    }
    let (delivered, sent) = (seen.delivered(), processes[0].handle.status().borrow().sent);
    for _ in 0..5 {
        let polls = plane.polls();
        plane.desire("p1", Desired::Wait { why: "still a test".to_owned() });
        eventually("both heard of it", || plane.polls() >= polls + 2).await;
    }
    assert_eq!(seen.delivered(), delivered);
    plane.run_all(1);
    eventually("traffic goes on", || seen.delivered() > delivered + 100).await;
    let status = processes[0].status("more sent", |status| status.sent > sent).await;
    assert_eq!(status.generation.0, 1, "the same generation goes on");
    assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new());
}

/// Ends on the first message, or at once.
struct Brief {
    seen: Arc<Seen>,
}

impl Application for Brief {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let peer = cx.peers().next().cloned();
        if let (Some(peer), "a") = (peer, cx.me().as_str()) {
            let _ = cx.send(&peer, "the last word").unwrap();
            cx.shutdown();
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, _: &MemberName, _: Bytes) {
        self.seen.delivered.fetch_add(1, Ordering::SeqCst);
        cx.shutdown();
    }

    fn capture(&mut self) -> Capture {
        Capture::bytes("")
    }

    fn restore(&mut self, _: StateReader) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_a_shutdown_arrives() {
    let plane = Plane::new(Duration::from_secs(30)).await;
    let seen = Arc::new(Seen::default());
    let a = spawn(&plane, config(&plane, "a"), Brief { seen: Arc::clone(&seen) });
    let b = spawn(&plane, config(&plane, "b"), Brief { seen: Arc::clone(&seen) });
    plane.registered(2).await;
    plane.run_all(1);
    a.task.await.unwrap().unwrap();
    b.task.await.unwrap().unwrap();
    assert_eq!(seen.delivered(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_ends_an_agent_in_any_phase() {
    let plane = Plane::new(Duration::from_secs(30)).await;
    let seen = Arc::new(Seen::default());
    plane.set_away(true);
    let registering = spawn(&plane, config(&plane, "a"), Bank::new(1, &seen));
    registering.phase(Phase::Registering).await;
    registering.handle.shutdown();
    registering.task.await.unwrap().unwrap();
    plane.set_away(false);
    let waiting = spawn(&plane, config(&plane, "a"), Bank::new(1, &seen));
    plane.registered(1).await;
    waiting.phase(Phase::Waiting).await;
    waiting.handle.shutdown();
    waiting.task.await.unwrap().unwrap();
}

/// Panics on its first message to itself.
struct Panicking;

impl Application for Panicking {
    fn on_start(&mut self, _: &mut Context<'_>) {
        panic!("on purpose");
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: &MemberName, _: Bytes) {}

    fn capture(&mut self) -> Capture {
        Capture::bytes("")
    }

    fn restore(&mut self, _: StateReader) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_application_ends_the_agent_with_an_error() {
    let plane = Plane::new(Duration::from_secs(30)).await;
    let process = spawn(&plane, config(&plane, "a"), Panicking);
    plane.registered(1).await;
    plane.run_all(1);
    assert!(matches!(process.task.await.unwrap(), Err(AgentError::Panicked)));
}
