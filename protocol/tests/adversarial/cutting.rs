//! Several epochs, aborts and late markers.

use std::collections::BTreeMap;

use stillframe_protocol::{
    ChannelOrdering::{Fifo, Unordered},
    Epoch, Marker, Missing, Output, ReceiveError, SeqRanges,
};

use super::{A, B, connect, drain, frames, marker, pair, receive_all, send, short, story};

#[test]
fn a_process_without_incoming_channels_is_sealed_at_once_behind_its_markers() {
    let (mut a, _) = pair(Fifo);
    a.begin(Epoch(1));
    assert_eq!(drain(&mut a).iter().map(short).collect::<Vec<_>>(), ["capture 1..=1", "marker 1", "sealed 1"]);
    a.begin(Epoch(1));
    assert_eq!(a.poll(), None);
}

#[test]
fn a_process_cuts_before_it_delivers_and_records_before_it_delivers() {
    let (mut a, mut b) = pair(Unordered);
    let early = send(&mut a, B);
    a.begin(Epoch(1));
    drain(&mut a);
    let late = send(&mut a, B);
    receive_all(&mut b, late);
    assert_eq!(story(&mut b), ["capture 1..=1", "deliver 2"]);
    assert_eq!(b.missing(Epoch(1)), [Missing { from: A, received: 0, expected: Some(1) }]);
    receive_all(&mut b, early);
    let outputs = drain(&mut b);
    assert_eq!(outputs.iter().map(short).collect::<Vec<_>>(), ["record 1 for 1", "deliver 1", "sealed 1"]);
    let Some(Output::Sealed { counters, .. }) = outputs.last() else { panic!("{outputs:?}") };
    assert_eq!(counters.recorded, BTreeMap::from([(A, (SeqRanges::prefix(1), 5))]));
    assert_eq!((&counters.sent, &counters.received), (&BTreeMap::new(), &BTreeMap::new()));
}

#[test]
fn a_process_that_learns_of_a_later_epoch_cuts_all_with_one_capture() {
    let (mut a, mut b) = pair(Fifo);
    connect(&mut b, &mut a, Fifo);
    drain(&mut a);
    drain(&mut b);
    a.begin(Epoch(1));
    receive_all(&mut b, frames(&mut a));
    receive_all(&mut a, frames(&mut b));
    drain(&mut a);
    a.begin(Epoch(2));
    frames(&mut a);
    a.begin(Epoch(4));
    let leap = frames(&mut a);
    assert_eq!(leap[0].markers, [Marker { epoch: Epoch(3), sent: 0 }, Marker { epoch: Epoch(4), sent: 0 }]);
    receive_all(&mut b, leap);
    let outputs = drain(&mut b);
    assert_eq!(outputs.iter().map(short).collect::<Vec<_>>(), ["capture 2..=4", "marker 2,3,4", "sealed 3", "sealed 4"]);
    assert_eq!(b.missing(Epoch(2)), [Missing { from: A, received: 0, expected: None }], "its marker is still under way");
}

#[test]
fn a_begin_for_an_epoch_that_is_passed_does_nothing() {
    let (_, mut b) = pair(Fifo);
    b.begin(Epoch(5));
    drain(&mut b);
    b.abort(Epoch(3));
    b.begin(Epoch(3));
    b.begin(Epoch(5));
    assert_eq!(b.poll(), None);
    assert_eq!(b.open_epochs().collect::<Vec<_>>(), [1, 2, 4, 5].map(Epoch));
    assert_eq!(b.epoch(), Epoch(5));
}

#[test]
fn a_late_marker_of_an_aborted_epoch_is_ignored_and_acknowledged() {
    for ordering in [Fifo, Unordered] {
        let (mut a, mut b) = pair(ordering);
        b.begin(Epoch(1));
        b.abort(Epoch(1));
        drain(&mut b);
        a.begin(Epoch(1));
        receive_all(&mut b, frames(&mut a));
        b.acknowledge();
        let outputs = drain(&mut b);
        assert_eq!(outputs.iter().map(short).collect::<Vec<_>>(), ["ack"]);
        assert_eq!((b.epoch(), b.open_epochs().count()), (Epoch(1), 0));
    }
}

#[test]
fn an_epoch_that_was_aborted_before_it_was_cut_is_passed_without_recording() {
    let (_, mut b) = pair(Fifo);
    b.abort(Epoch(2));
    b.begin(Epoch(2));
    assert_eq!(story(&mut b), ["capture 1..=1"]);
    assert_eq!((b.epoch(), b.open_epochs().collect::<Vec<_>>()), (Epoch(2), vec![Epoch(1)]));
    b.abort(Epoch(3));
    b.begin(Epoch(3));
    assert_eq!((b.poll(), b.epoch()), (None, Epoch(3)));
}

#[test]
fn the_epoch_of_a_message_is_cut_first_though_its_sender_aborted_it() {
    let (mut a, mut b) = pair(Unordered);
    a.begin(Epoch(2));
    a.abort(Epoch(2));
    drain(&mut a);
    receive_all(&mut b, send(&mut a, B));
    assert_eq!(
        story(&mut b),
        ["capture 1..=2", "sealed 1", "deliver 1"],
        "the marker of 1 rides on the message, that of 2 is gone"
    );
    b.abort(Epoch(2));
    assert_eq!(b.open_epochs().count(), 0);
}

#[test]
fn an_acknowledgement_of_an_aborted_marker_leaves_the_newer_ones() {
    let (mut a, mut b) = pair(Unordered);
    a.begin(Epoch(1));
    let first = frames(&mut a);
    a.abort(Epoch(1));
    a.begin(Epoch(2));
    drain(&mut a);
    receive_all(&mut b, first);
    b.acknowledge();
    receive_all(&mut a, frames(&mut b));
    let data = send(&mut a, B);
    assert_eq!(data[0].markers, [Marker { epoch: Epoch(2), sent: 0 }]);
    receive_all(&mut b, data);
    b.acknowledge();
    receive_all(&mut a, frames(&mut b));
    drain(&mut a);
    assert_eq!(send(&mut a, B)[0].markers, [], "nothing is repeated once it is acknowledged");
}

#[test]
fn a_marker_that_contradicts_another_aborts_its_epoch_alone() {
    let (mut a, mut b) = pair(Unordered);
    b.begin(Epoch(2));
    drain(&mut b);
    let data = send(&mut a, B).remove(0);
    b.receive(marker(data.clone(), 1, 1)).unwrap();
    assert_eq!(b.receive(marker(data.clone(), 1, 2)), Err(ReceiveError::MarkerContradicts { from: A, expected: 1, found: 2 }));
    assert_eq!(story(&mut b), ["violated 1: 2 for 1"]);
    assert_eq!(b.open_epochs().collect::<Vec<_>>(), [Epoch(2)]);
    b.receive(data).unwrap();
    assert_eq!(story(&mut b), ["record 1 for 2", "deliver 1"]);
}

#[test]
fn a_marker_that_makes_an_orphan_aborts_its_epoch() {
    let (mut a, mut b) = pair(Unordered);
    let data = send(&mut a, B);
    receive_all(&mut b, data.clone());
    b.begin(Epoch(1));
    drain(&mut b);
    let refused = b.receive(marker(data[0].clone(), 1, 0));
    assert_eq!(refused, Err(ReceiveError::MarkerContradicts { from: A, expected: 1, found: 0 }));
    assert_eq!(story(&mut b), ["violated 1: 0 for 1"]);
}

#[test]
fn a_part_that_would_not_be_exact_is_never_sealed() {
    let (mut a, mut b) = pair(Unordered);
    let mut data = send(&mut a, B).remove(0);
    b.begin(Epoch(1));
    drain(&mut b);
    // Sent before the cut by its number, after it by its stamp.
    data.epoch = Epoch(1);
    b.receive(marker(data.clone(), 1, 1)).unwrap();
    b.receive(data).unwrap();
    assert_eq!(story(&mut b), ["deliver 1", "violated 1: 1 for 1"]);
}

#[test]
fn an_older_epoch_never_waits_for_a_newer_one() {
    let (mut a, mut b) = pair(Fifo);
    a.begin(Epoch(1));
    let first = frames(&mut a);
    b.begin(Epoch(2));
    drain(&mut b);
    receive_all(&mut b, first);
    assert_eq!(story(&mut b), ["sealed 1"]);
    assert_eq!(b.open_epochs().collect::<Vec<_>>(), [Epoch(2)]);
}

#[test]
fn an_acknowledgement_cuts_like_any_frame() {
    let (mut a, mut b) = pair(Fifo);
    receive_all(&mut b, send(&mut a, B));
    b.begin(Epoch(1));
    b.acknowledge();
    receive_all(&mut a, frames(&mut b));
    assert_eq!(story(&mut a), ["capture 1..=1", "sealed 1", "acknowledged 2"]);
}

#[test]
fn a_retransmission_keeps_its_epoch_and_is_recorded_for_the_newer_one_that_rides_on_it() {
    let (mut a, mut b) = pair(Unordered);
    send(&mut a, B);
    a.begin(Epoch(1));
    drain(&mut a);
    a.retransmit(B);
    let again = frames(&mut a);
    assert_eq!((again[0].epoch, again[0].markers.len()), (Epoch(0), 1));
    receive_all(&mut b, again);
    assert_eq!(story(&mut b), ["capture 1..=1", "record 1 for 1", "deliver 1", "sealed 1"]);
}
