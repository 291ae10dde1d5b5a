//! Aligned channels: the cut waits for the last marker, and what comes behind the others is held.

use stillframe_protocol::{
    ChannelOrdering::{Fifo, Unordered},
    ChannelState, Epoch, Frame, Incarnation, MemberId, Missing, Participant, ReceiveError,
    topology::find_cycle,
};

use super::{A, B, C, connect, drain, frames, process, receive_all, send, story};

fn aligned(member: MemberId) -> Participant {
    process(member).with_channel_state(ChannelState::Aligned)
}

/// A and B, which send to C.
fn into_one() -> (Participant, Participant, Participant) {
    let (mut a, mut b, mut c) = (aligned(A), aligned(B), aligned(C));
    connect(&mut a, &mut c, Fifo);
    connect(&mut b, &mut c, Fifo);
    drain(&mut a);
    drain(&mut b);
    (a, b, c)
}

fn held(participant: &mut Participant, frame: &Frame, from: MemberId, epoch: u64, cut: u64) {
    let because = ReceiveError::Held { from, epoch: Epoch(epoch), cut: Epoch(cut) };
    assert_eq!(participant.receive(frame.clone()), Err(because));
}

#[test]
fn a_member_cuts_at_the_last_marker_and_takes_nothing_from_behind_the_first() {
    let (mut a, mut b, mut c) = into_one();
    a.begin(Epoch(1));
    let marker = drain(&mut a);
    assert_eq!(
        marker.iter().map(super::short).collect::<Vec<_>>(),
        ["capture 1..=1", "marker 1", "sealed 1"],
        "nothing leads to it"
    );
    receive_all(&mut c, super::transmissions(marker));
    let later = send(&mut a, C).remove(0);
    held(&mut c, &later, A, 1, 0);
    c.begin(Epoch(1));
    assert_eq!(story(&mut c), [] as [&str; 0]);
    assert_eq!(c.missing(Epoch(1)), [Missing { from: B, received: 0, expected: None }]);
    receive_all(&mut c, send(&mut b, C));
    b.begin(Epoch(1));
    receive_all(&mut c, frames(&mut b));
    assert_eq!(story(&mut c), ["deliver 1", "capture 1..=1", "sealed 1", "resume 1"]);
    receive_all(&mut c, vec![later]);
    assert_eq!(story(&mut c), ["deliver 1"]);
}

#[test]
fn an_abort_lets_go_of_what_is_held() {
    let (mut a, _, mut c) = into_one();
    a.begin(Epoch(1));
    receive_all(&mut c, frames(&mut a));
    let later = send(&mut a, C).remove(0);
    held(&mut c, &later, A, 1, 0);
    c.abort(Epoch(1));
    assert_eq!((story(&mut c), c.epoch()), (vec!["resume 1".to_owned()], Epoch(1)));
    receive_all(&mut c, vec![later]);
    assert_eq!(story(&mut c), ["deliver 1"]);
}

#[test]
fn an_older_epoch_that_still_aligns_keeps_a_newer_aborted_one_waiting() {
    let (mut a, mut b, mut c) = into_one();
    a.begin(Epoch(1));
    a.begin(Epoch(2));
    receive_all(&mut c, frames(&mut a));
    c.abort(Epoch(2));
    assert_eq!((c.poll(), c.epoch()), (None, Epoch(0)));
    b.begin(Epoch(1));
    receive_all(&mut c, frames(&mut b));
    assert_eq!((story(&mut c), c.epoch()), (vec!["capture 1..=1".to_owned(), "sealed 1".to_owned()], Epoch(2)));
}

#[test]
fn an_alignment_that_takes_too_long_goes_over_to_recording() {
    let (mut a, mut b, mut c) = into_one();
    a.begin(Epoch(1));
    receive_all(&mut c, frames(&mut a));
    held(&mut c, &send(&mut a, C)[0], A, 1, 0);
    c.unalign(Epoch(1));
    assert_eq!(story(&mut c), ["capture 1..=1", "resume 1"]);
    receive_all(&mut c, send(&mut b, C));
    b.begin(Epoch(1));
    receive_all(&mut c, frames(&mut b));
    assert_eq!(story(&mut c), ["record 1 for 1", "deliver 1", "sealed 1"]);
    c.unalign(Epoch(1));
    assert_eq!(c.poll(), None);
}

#[test]
fn a_message_says_that_its_sender_has_cut_though_the_marker_was_given_up() {
    let (mut a, mut b, mut c) = into_one();
    a.begin(Epoch(1));
    drain(&mut a);
    let later = send(&mut a, C).remove(0);
    held(&mut c, &later, A, 1, 0);
    b.begin(Epoch(1));
    receive_all(&mut c, frames(&mut b));
    assert_eq!(story(&mut c), ["capture 1..=1", "sealed 1", "resume 1"]);
}

#[test]
fn a_channel_to_a_member_that_has_cut_more_is_used_only_behind_the_own_cut() {
    let (mut a, mut b, mut c) = (aligned(A), aligned(B), aligned(C));
    connect(&mut a, &mut b, Fifo);
    drain(&mut a);
    c.begin(Epoch(1));
    drain(&mut c);
    b.open(C, Incarnation(1), Fifo);
    receive_all(&mut c, frames(&mut b));
    let accept = frames(&mut c).remove(0);
    held(&mut b, &accept, C, 1, 0);
    assert!(!b.is_open(C));
    a.begin(Epoch(1));
    receive_all(&mut b, frames(&mut a));
    assert_eq!(story(&mut b), ["capture 1..=1", "sealed 1", "resume 3"]);
    receive_all(&mut b, vec![accept]);
    assert!(b.is_open(C));
}

#[test]
fn only_fifo_channels_are_aligned() {
    let (mut a, mut b) = (aligned(A), aligned(B));
    a.open(B, Incarnation(1), Unordered);
    assert_eq!(b.receive(frames(&mut a).remove(0)), Err(ReceiveError::NotFifo { from: A }));
    assert_eq!(find_cycle([(A, B), (B, C), (C, A)]), Some(vec![A, B, C]));
}
