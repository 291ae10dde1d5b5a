//! Members that come, that leave in good order, and those that stay.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use stillframe_agent::{Application, Capture, Context, Limits, MemberName, RestoreError, SendError, StateReader, TimerId};
use stillframe_api::agent::{Leave, ReportEvent, SentBy};
use stillframe_archive::ChannelRecord;
use stillframe_protocol::{Departed, Incarnation};

use crate::{
    cluster::{Process, config, eventually, spawn},
    plane::{PATIENCE, Plane, name},
};

const TICK: TimerId = TimerId(1);

/// What a test sees of a member, and tells it.
#[derive(Debug, Default)]
struct Seen {
    /// Messages taken in.
    received: u64,
    /// The last words that came.
    last: Vec<String>,
    /// To whom it sends.
    peers: Vec<MemberName>,
    /// It was told to leave.
    told: bool,
    /// Nothing comes any more.
    drained: bool,
    /// What came of sending to one that isn't among the peers.
    to_stranger: Option<Result<(), SendError>>,
    /// What came of sending after the last word.
    after: Option<SendError>,
}

/// Sends something to every peer all the time.
struct Chatter {
    stranger: MemberName,
    seen: Arc<Mutex<Seen>>,
}

impl Application for Chatter {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        cx.set_timer(TICK, Duration::from_millis(2));
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: TimerId) {
        cx.set_timer(TICK, Duration::from_millis(2));
        let peers: Vec<MemberName> = cx.peers().cloned().collect();
        for peer in &peers {
            let _ = cx.send(peer, "word");
        }
        let to_stranger = (!peers.contains(&self.stranger)).then(|| cx.send(&self.stranger, "word").map(drop));
        let mut seen = self.seen.lock().unwrap();
        (seen.peers, seen.to_stranger) = (peers, to_stranger.or(seen.to_stranger.take()));
    }

    fn on_message(&mut self, cx: &mut Context<'_>, _: &MemberName, message: Bytes) {
        let mut seen = self.seen.lock().unwrap();
        assert!(!seen.drained || message.starts_with(b"own"), "nothing can come any more");
        seen.received += 1;
        if message.starts_with(b"last") {
            seen.last.push(String::from_utf8_lossy(&message).into_owned());
        }
        if message.starts_with(b"own") {
            let to = cx.peers().next().unwrap().clone();
            seen.after = cx.send(&to, "too late").err();
        }
    }

    fn on_peers(&mut self, cx: &mut Context<'_>) {
        for peer in cx.peers().cloned().collect::<Vec<_>>() {
            let _ = cx.send(&peer, "welcome");
        }
    }

    fn on_leave(&mut self, cx: &mut Context<'_>) {
        self.seen.lock().unwrap().told = true;
        cx.leave();
        cx.leave();
    }

    fn on_drained(&mut self, cx: &mut Context<'_>) {
        self.seen.lock().unwrap().drained = true;
        let me = cx.me().clone();
        let _ = cx.send(&me, "own");
        for peer in cx.peers().cloned().collect::<Vec<_>>() {
            cx.send(&peer, format!("last of {me}")).map(drop).unwrap();
        }
    }

    fn capture(&mut self) -> Capture {
        Capture::encode(self.seen.lock().unwrap().received)
    }

    fn restore(&mut self, _: StateReader) -> Result<(), RestoreError> {
        Ok(())
    }
}

struct Cluster {
    plane: Arc<Plane>,
    members: Vec<(Process, Arc<Mutex<Seen>>)>,
}

/// a, b and c, which talk to each other; c will be the one to leave.
async fn cluster() -> Cluster {
    let plane = Plane::new(Duration::from_secs(30)).await;
    let mut members = Vec::new();
    for member in ["a", "b", "c"] {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let config = config(&plane, member).limits(Limits::default());
        members.push((spawn(&plane, config, Chatter { stranger: name("c"), seen: Arc::clone(&seen) }), seen));
    }
    plane.registered(3).await;
    plane.run_all(1);
    for (_, seen) in &members {
        eventually("everybody to hear of the others", || seen.lock().unwrap().received > 20).await;
    }
    Cluster { plane, members }
}

/// What a peer says it has sent to c, once it sends nothing more.
async fn drained(plane: &Plane, by: &str) -> SentBy {
    let sent = plane.reported("a peer that sends nothing more", |member, event| match event {
        ReportEvent::Drained { member: of, leaving: Incarnation(1), sent, .. } if *member == name(by) && *of == name("c") => {
            Some(*sent)
        }
        _ => None,
    });
    SentBy { member: name(by), messages: sent.await }
}

#[tokio::test]
async fn a_member_leaves_while_all_send_and_snapshots_go_on_with_it_and_without_it() {
    let Cluster { plane, mut members } = cluster().await;
    let (leaver, leaver_seen) = members.pop().unwrap();
    plane.leave("c", Leave::Asked {});
    plane
        .reported("its wish", |member, event| {
            (*member == name("c") && matches!(event, ReportEvent::Leaving { .. })).then_some(())
        })
        .await;
    plane.snapshot(1, 1 << 14, &["a", "b", "c"]).await;
    plane.leave("c", Leave::Draining {});
    let sent = vec![drained(&plane, "a").await, drained(&plane, "b").await];
    for (_, seen) in &members {
        eventually("it to be no peer any more", || !seen.lock().unwrap().peers.contains(&name("c"))).await;
        eventually(
            "it to be refused",
            || matches!(&seen.lock().unwrap().to_stranger, Some(Err(SendError::Leaving { to, .. })) if *to == name("c")),
        )
        .await;
    }
    assert!(!leaver_seen.lock().unwrap().drained);
    plane.snapshot(1, 1 << 14, &["a", "b", "c"]).await;
    plane.leave("c", Leave::Drained { sent: sent.clone() });
    let (its_sent, its_received) = plane
        .reported("its end", |member, event| match event {
            ReportEvent::Left { sent, received, .. } if *member == name("c") => Some((sent.clone(), received.clone())),
            _ => None,
        })
        .await;
    for SentBy { member, messages } in sent {
        let received = its_received.iter().find(|received| received.from == member).unwrap();
        assert_eq!((received.ranges.max(), received.ranges.covers(messages)), (messages, true));
    }
    for (_, seen) in &members {
        eventually("its last word", || seen.lock().unwrap().last == ["last of c"]).await;
    }
    eventually("its own last word", || leaver_seen.lock().unwrap().after == Some(SendError::HasLeft)).await;
    // It is recorded that it has left, and nobody has heard of that yet: what it counted at its end certifies the channels with it.
    let counters = Departed { member: name("c"), incarnation: Incarnation(1), sent: its_sent, received: its_received };
    plane.departed(counters.clone());
    let without = plane.snapshot(1, 1 << 14, &["a", "b"]).await;
    assert_eq!(without.departed, [name("c")]);
    plane.left(counters);
    for (_, seen) in &members {
        eventually(
            "its end to be heard of",
            || matches!(&seen.lock().unwrap().to_stranger, Some(Err(SendError::UnknownMember { to })) if *to == name("c")),
        )
        .await;
    }
    plane.desire("c", stillframe_api::agent::Desired::End {});
    tokio::time::timeout(PATIENCE, leaver.task).await.unwrap().unwrap().unwrap();
    let later = plane.snapshot(1, 1 << 14, &["a", "b"]).await;
    assert_eq!(later.departed, [], "its channels are of the past");
}

#[tokio::test]
async fn a_snapshot_that_waits_for_the_marker_of_one_that_left_and_ended_is_completed_without_it() {
    let Cluster { plane, mut members } = cluster().await;
    let (leaver, _) = members.pop().unwrap();
    plane.leave("c", Leave::Draining {});
    let sent = vec![drained(&plane, "a").await, drained(&plane, "b").await];
    leaver.handle.leave();
    plane.leave("c", Leave::Drained { sent });
    let (sent, received) = plane
        .reported("its end", |member, event| match event {
            ReportEvent::Left { sent, received, .. } if *member == name("c") => Some((sent.clone(), received.clone())),
            _ => None,
        })
        .await;
    plane.departed(Departed { member: name("c"), incarnation: Incarnation(1), sent: sent.clone(), received: received.clone() });
    leaver.kill().await;
    let (snapshot, epoch) = plane.begin(1, 1 << 14);
    for (process, _) in &members {
        process.status("the cut", |status| status.epoch == epoch).await;
    }
    plane.left(Departed { member: name("c"), incarnation: Incarnation(1), sent, received });
    plane.commit(1, snapshot, epoch, &["a", "b"]).await;
}

#[tokio::test]
async fn a_restore_undoes_a_leaving_and_the_operators_wish_is_told_again() {
    let Cluster { plane, members } = cluster().await;
    let committed = plane.snapshot(1, 1 << 14, &["a", "b", "c"]).await;
    plane.leave("c", Leave::Asked {});
    let (_, seen) = &members[2];
    eventually("it to be told", || seen.lock().unwrap().told).await;
    plane.leave("c", Leave::Draining {});
    drained(&plane, "a").await;
    seen.lock().unwrap().told = false;
    plane.leave("c", Leave::Asked {});
    plane.restore(&committed, 2).await;
    eventually("it to be told again", || seen.lock().unwrap().told).await;
    plane.snapshot(2, 1 << 14, &["a", "b", "c"]).await;
    let again = plane.reported("its wish", |member, event| {
        (*member == name("c") && matches!(event, ReportEvent::Leaving { generation } if generation.0 == 2)).then_some(())
    });
    again.await;
}

#[tokio::test]
async fn who_hears_of_a_newcomer_and_of_a_snapshot_without_it_cuts_before_it_sends_it_anything() {
    let Cluster { plane, .. } = cluster().await;
    let (snapshot, epoch) = plane.begin_with_newcomer(1, "d");
    let committed = plane.commit(1, snapshot, epoch, &["a", "b", "c"]).await;
    for part in committed.parts.values() {
        for record in plane.channels_of(part).await {
            if let ChannelRecord::Unsent { to, .. } = record {
                assert_ne!(to, name("d"), "a restore of this snapshot wouldn't know whom to send that to");
            }
        }
    }
}
