//! Handshakes at the worst moment.

use std::collections::BTreeMap;

use bytes::Bytes;
use stillframe_protocol::{
    ChannelCounters,
    ChannelOrdering::{Fifo, Unordered},
    Epoch, FrameBody, Incarnation, Missing, Output, Participant, ReceiveError, SendError, Seq, SeqRanges, Unacknowledged,
};

use super::{A, B, C, connect, drain, frames, identity, pair, process, receive_all, send, short, story, transmissions};

#[test]
fn nothing_is_sent_before_the_handshake_is_complete() {
    let (mut a, mut b) = (process(A), process(B));
    assert_eq!(a.send(B, Bytes::new()), Err(SendError::NotOpen { to: B }));
    a.open(B, Incarnation(1), Fifo);
    assert_eq!(a.send(B, Bytes::new()), Err(SendError::NotOpen { to: B }));
    receive_all(&mut b, frames(&mut a));
    receive_all(&mut a, frames(&mut b));
    assert_eq!(a.send(B, Bytes::new()), Ok(Seq(1)));
    a.disconnected(B);
    assert_eq!(a.send(B, Bytes::new()), Err(SendError::NotOpen { to: B }));
}

#[test]
fn data_before_an_open_is_refused_and_cuts_nothing() {
    let (mut a, _) = pair(Unordered);
    a.begin(Epoch(1));
    drain(&mut a);
    let data = send(&mut a, B);
    let mut stranger = process(B);
    assert_eq!(stranger.receive(data[0].clone()), Err(ReceiveError::UnknownChannel { from: A }));
    assert_eq!((stranger.epoch(), stranger.poll()), (Epoch(0), None));
}

#[test]
fn a_channel_that_opens_during_a_snapshot_needs_no_marker_for_it() {
    // The receiver is ahead: the opener cuts before it uses the channel.
    let (mut a, mut b) = (process(A), process(B));
    connect(&mut process(C), &mut b, Fifo);
    b.begin(Epoch(1));
    drain(&mut b);
    a.open(B, Incarnation(1), Fifo);
    receive_all(&mut b, frames(&mut a));
    receive_all(&mut a, frames(&mut b));
    assert_eq!(
        drain(&mut a).iter().map(short).collect::<Vec<_>>(),
        ["capture 1..=1", "sealed 1", "marker 1", "opened 2"],
        "the marker is superfluous, but true"
    );
    assert_eq!(b.missing(Epoch(1)).len(), 1, "only C's channel is waited for");
    // The opener is ahead: the receiver cuts before it knows the channel.
    let (mut a, mut b) = (process(A), process(B));
    a.begin(Epoch(1));
    drain(&mut a);
    a.open(B, Incarnation(1), Fifo);
    receive_all(&mut b, frames(&mut a));
    assert_eq!(story(&mut b), ["capture 1..=1", "sealed 1"]);
}

#[test]
fn an_opener_that_cuts_while_its_open_is_under_way_sends_the_marker_after_the_accept() {
    for ordering in [Fifo, Unordered] {
        let (mut a, mut b) = (process(A), process(B));
        a.open(B, Incarnation(1), ordering);
        let open = frames(&mut a);
        a.begin(Epoch(1));
        assert_eq!(frames(&mut a), []);
        receive_all(&mut b, open);
        let accept = frames(&mut b);
        b.begin(Epoch(1));
        assert_eq!(b.missing(Epoch(1)), [Missing { from: A, received: 0, expected: None }]);
        receive_all(&mut a, accept);
        receive_all(&mut b, frames(&mut a));
        assert_eq!(story(&mut b), ["capture 1..=1", "sealed 1"]);
    }
}

#[test]
fn a_channel_that_is_opened_again_transmits_markers_in_their_place() {
    let (mut a, mut b) = pair(Fifo);
    receive_all(&mut b, send(&mut a, B));
    send(&mut a, B);
    a.begin(Epoch(1));
    drain(&mut a);
    send(&mut a, B);
    a.disconnected(B);
    a.begin(Epoch(2));
    assert_eq!(frames(&mut a), [], "the transport is gone");
    b.begin(Epoch(2));
    drain(&mut b);
    a.open(B, Incarnation(1), Fifo);
    receive_all(&mut b, frames(&mut a));
    receive_all(&mut a, frames(&mut b));
    let again = drain(&mut a);
    assert_eq!(
        again.iter().map(short).collect::<Vec<_>>(),
        ["acknowledged 2", "data 2", "marker 1", "data 3", "marker 2", "opened 2"]
    );
    receive_all(&mut b, transmissions(again));
    assert_eq!(story(&mut b), ["record 2 for 1,2", "deliver 2", "sealed 1", "record 3 for 2", "deliver 3", "sealed 2"]);
}

#[test]
fn an_accept_of_an_older_open_serves_and_what_it_repeats_is_dropped() {
    let (mut a, mut b) = pair(Fifo);
    let first = send(&mut a, B);
    a.disconnected(B);
    a.open(B, Incarnation(1), Fifo);
    receive_all(&mut b, frames(&mut a));
    let old_accept = frames(&mut b);
    a.disconnected(B);
    a.open(B, Incarnation(1), Fifo);
    let open = frames(&mut a);
    // The broken connection still brings message 1, the accept of the first open arrives after the second open.
    receive_all(&mut b, first);
    receive_all(&mut a, old_accept);
    let again = frames(&mut a);
    assert!(a.is_open(B));
    receive_all(&mut b, open);
    let accept = frames(&mut b);
    receive_all(&mut b, again);
    assert_eq!(story(&mut b), [] as [&str; 0], "message 1 was delivered before");
    receive_all(&mut b, send(&mut a, B));
    receive_all(&mut a, accept);
    assert_eq!(drain(&mut a).iter().map(short).collect::<Vec<_>>(), ["acknowledged 2"], "the channel was open already");
    assert_eq!(a.unacknowledged(B), Unacknowledged { messages: 1, bytes: 5 });
    assert_eq!(story(&mut b), ["deliver 2"]);
}

#[test]
fn an_accept_that_arrives_after_the_disconnect_opens_nothing() {
    let (mut a, mut b) = (process(A), process(B));
    a.open(B, Incarnation(1), Fifo);
    receive_all(&mut b, frames(&mut a));
    a.disconnected(B);
    receive_all(&mut a, frames(&mut b));
    assert!(!a.is_open(B));
    assert_eq!(a.poll(), None);
}

#[test]
fn two_opens_in_a_row_lose_and_repeat_nothing() {
    let (mut a, mut b) = pair(Fifo);
    let before = send(&mut a, B);
    a.open(B, Incarnation(1), Fifo);
    let first = frames(&mut a);
    a.open(B, Incarnation(1), Fifo);
    let second = frames(&mut a);
    for frames in [before, first, second] {
        receive_all(&mut b, frames);
    }
    let outputs = drain(&mut b);
    assert_eq!(outputs.iter().map(short).collect::<Vec<_>>(), ["deliver 1", "accept", "accept"]);
    receive_all(&mut a, transmissions(outputs));
    assert_eq!(drain(&mut a).iter().map(short).collect::<Vec<_>>(), ["acknowledged 2", "opened 2"]);
    receive_all(&mut b, send(&mut a, B));
    assert_eq!(story(&mut b), ["deliver 2"]);
}

#[test]
fn a_lost_open_or_accept_is_retransmitted_on_a_lossy_channel() {
    let (mut a, mut b) = (process(A), process(B));
    a.open(B, Incarnation(1), Unordered);
    frames(&mut a);
    a.retransmit(B);
    receive_all(&mut b, frames(&mut a));
    frames(&mut b);
    a.retransmit(B);
    receive_all(&mut b, frames(&mut a));
    receive_all(&mut a, frames(&mut b));
    assert_eq!(story(&mut a), ["opened 2"]);
}

#[test]
fn restored_numbers_go_on_and_the_channels_need_no_marker_before_they_are_open() {
    let sent = ChannelCounters { sent: BTreeMap::from([(B, 17)]), ..ChannelCounters::default() };
    let received = ChannelCounters { received: BTreeMap::from([(A, SeqRanges::prefix(17))]), ..ChannelCounters::default() };
    let mut a = Participant::restored(identity(A, 1, 2), Epoch(7), sent);
    let mut b = Participant::restored(identity(B, 2, 2), Epoch(7), received);
    b.begin(Epoch(8));
    let sealed = drain(&mut b);
    let Some(Output::Sealed { counters, .. }) = sealed.last() else { panic!("{sealed:?}") };
    assert_eq!(counters.received, BTreeMap::from([(A, SeqRanges::prefix(17))]));
    connect(&mut a, &mut b, Fifo);
    let outputs = drain(&mut a);
    let Some(Output::Sealed { counters, .. }) = outputs.get(1) else { panic!("{outputs:?}") };
    assert_eq!((a.epoch(), &counters.sent), (Epoch(8), &BTreeMap::from([(B, 17)])));
    let data = send(&mut a, B);
    assert_eq!(data[0].body, FrameBody::Data { seq: Seq(18), payload: Bytes::from_static(b"hello") });
    receive_all(&mut b, data);
    assert_eq!(story(&mut b), ["deliver 18"]);
}

#[test]
fn a_newer_incarnation_begins_anew_and_ends_what_waited_for_the_old_one() {
    let (mut a, mut b) = pair(Fifo);
    connect(&mut b, &mut a, Fifo);
    receive_all(&mut b, send(&mut a, B));
    send(&mut b, A);
    b.begin(Epoch(1));
    drain(&mut b);
    let late = send(&mut a, B);
    let mut reborn = Participant::new(identity(A, 2, 1), Epoch(1));
    reborn.open(B, Incarnation(1), Fifo);
    receive_all(&mut b, frames(&mut reborn));
    let outputs = drain(&mut b);
    assert_eq!(outputs.iter().map(short).collect::<Vec<_>>(), ["replaced by 2: 1", "accept"]);
    assert!(!b.is_open(A), "the channel to the old incarnation is gone with it");
    let refused = ReceiveError::WrongIncarnation { from: A, of: A, expected: Incarnation(2), found: Incarnation(1) };
    assert_eq!(b.receive(late[0].clone()), Err(refused));
    receive_all(&mut reborn, transmissions(outputs));
    drain(&mut reborn);
    receive_all(&mut b, send(&mut reborn, B));
    assert_eq!(story(&mut b), ["deliver 1"]);
    connect(&mut b, &mut reborn, Fifo);
    assert_eq!(b.send(A, Bytes::new()), Ok(Seq(1)));
    // The driver's stale picture of the peer does no harm.
    b.open(A, Incarnation(1), Fifo);
    assert!(b.is_open(A));
}

#[test]
fn an_older_incarnation_cannot_open_once_the_newer_one_is_known() {
    let (mut zombie, mut b) = (process(A), process(B));
    b.open(A, Incarnation(2), Fifo);
    drain(&mut b);
    zombie.open(B, Incarnation(1), Fifo);
    let refused = ReceiveError::WrongIncarnation { from: A, of: A, expected: Incarnation(2), found: Incarnation(1) };
    assert_eq!(b.receive(frames(&mut zombie).remove(0)), Err(refused));
    assert_eq!(b.poll(), None);
}
