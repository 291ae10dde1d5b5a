//! What is refused, and that it changes nothing.

use stillframe_protocol::{
    ChannelOrdering::{Fifo, Unordered},
    Epoch, Frame, FrameBody, Generation, Incarnation, MemberId, Participant, ReceiveError, Seq, SeqRanges,
};

use super::{A, B, drain, frames, identity, marker, pair, process, receive_all, send, story};

/// Refuses the frame, and nothing else happens.
fn fenced(participant: &mut Participant, frame: Frame, because: ReceiveError) {
    let before = format!("{participant:?}");
    assert_eq!(participant.receive(frame), Err(because));
    assert_eq!(format!("{participant:?}"), before);
}

#[test]
fn a_fenced_frame_changes_nothing() {
    let (mut a, mut b) = pair(Fifo);
    a.begin(Epoch(9));
    let good = frames(&mut a).remove(0);
    let me = MemberId(77);
    fenced(&mut b, Frame { to: me, ..good.clone() }, ReceiveError::NotForMe { from: A, expected: B, found: me });
    let old = Generation(0);
    let because = ReceiveError::OldGeneration { from: A, expected: Generation(1), found: old };
    fenced(&mut b, Frame { generation: old, ..good.clone() }, because);
    let (expected, found) = (Incarnation(1), Incarnation(2));
    let because = |of| ReceiveError::WrongIncarnation { from: A, of, expected, found };
    fenced(&mut b, Frame { to_incarnation: found, ..good.clone() }, because(B));
    fenced(&mut b, Frame { from_incarnation: found, ..good.clone() }, because(A));
    fenced(&mut b, Frame { from: me, ..good.clone() }, ReceiveError::UnknownChannel { from: me });
    let changed = FrameBody::Open { ordering: Unordered };
    let because = ReceiveError::OrderingChanged { from: A, expected: Fifo, found: Unordered };
    fenced(&mut b, Frame { body: changed, ..good.clone() }, because);
    b.receive(good).unwrap();
    assert_eq!(b.epoch(), Epoch(9));
}

#[test]
fn a_newer_generation_is_told_once_and_not_taken() {
    let (mut a, mut b) = pair(Fifo);
    let data = Frame { generation: Generation(3), ..send(&mut a, B).remove(0) };
    for expected in [vec!["newer generation 3".to_owned()], vec![]] {
        let because = ReceiveError::NewerGeneration { from: A, expected: Generation(1), found: Generation(3) };
        assert_eq!(b.receive(data.clone()), Err(because));
        assert_eq!(story(&mut b), expected);
    }
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_is_refused() {
    let (mut a, mut b) = pair(Fifo);
    receive_all(&mut b, send(&mut a, B));
    b.acknowledge();
    let ack = frames(&mut b).remove(0);
    let body = FrameBody::Ack { received: SeqRanges::prefix(2), markers_through: Epoch(0) };
    fenced(&mut a, Frame { body, ..ack }, ReceiveError::NotSent { from: B, sent: 1, found: Seq(2) });
}

#[test]
fn ends_that_do_not_go_on_from_the_same_snapshot_do_not_connect() {
    let mut a = process(A);
    let counters = stillframe_protocol::ChannelCounters { received: [(A, SeqRanges::prefix(5))].into(), ..Default::default() };
    let mut b = Participant::restored(identity(B, 1, 1), Epoch(0), counters);
    a.open(B, Incarnation(1), Fifo);
    receive_all(&mut b, frames(&mut a));
    fenced(&mut a, frames(&mut b).remove(0), ReceiveError::NotSent { from: B, sent: 0, found: Seq(5) });
}

#[test]
fn a_gap_on_a_fifo_channel_aborts_what_is_open_and_a_new_open_repairs_it() {
    let (mut a, mut b) = pair(Fifo);
    send(&mut a, B);
    let second = send(&mut a, B).remove(0);
    b.begin(Epoch(1));
    drain(&mut b);
    let because = ReceiveError::Fifo { from: A, expected: Seq(1), found: Seq(2) };
    assert_eq!(b.receive(second.clone()), Err(because));
    assert_eq!(story(&mut b), ["violated 1: 2 for 1"]);
    assert_eq!(b.receive(second), Err(because));
    assert_eq!(story(&mut b), [] as [&str; 0], "it was told before");
    a.disconnected(B);
    a.open(B, Incarnation(1), Fifo);
    receive_all(&mut b, frames(&mut a));
    receive_all(&mut a, frames(&mut b));
    receive_all(&mut b, frames(&mut a));
    assert_eq!(story(&mut b), ["deliver 1", "deliver 2"]);
}

#[test]
fn a_step_back_on_a_fifo_channel_is_a_violation() {
    let (mut a, mut b) = pair(Fifo);
    let first = send(&mut a, B);
    receive_all(&mut b, first.clone());
    drain(&mut b);
    assert_eq!(b.receive(first[0].clone()), Err(ReceiveError::Fifo { from: A, expected: Seq(2), found: Seq(1) }));
    assert_eq!(story(&mut b), ["violated : 1 for 2"]);
}

#[test]
fn a_marker_that_stands_behind_a_lost_message_is_a_violation() {
    let (mut a, mut b) = pair(Fifo);
    let lost = send(&mut a, B).remove(0);
    assert_eq!(b.receive(marker(lost, 1, 1)), Err(ReceiveError::Fifo { from: A, expected: Seq(1), found: Seq(2) }));
    assert_eq!(story(&mut b), ["capture 1..=1", "violated 1: 2 for 1"]);
}
