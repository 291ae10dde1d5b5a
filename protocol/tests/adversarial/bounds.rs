//! Nothing grows without bound.

use stillframe_protocol::{
    ChannelOrdering::{Fifo, Unordered},
    Epoch, Frame, FrameBody, ReceiveError, Seq, Unacknowledged,
    frame::{MAX_MARKERS, MAX_RANGES},
    participant::MAX_OPEN_EPOCHS,
};

use super::{A, B, drain, frames, pair, receive_all, send};

#[test]
fn a_leap_of_epochs_records_only_the_newest() {
    let (mut a, mut b) = pair(Unordered);
    let leap = 1 << 40;
    b.begin(Epoch(leap));
    assert_eq!(b.open_epochs().count(), MAX_OPEN_EPOCHS);
    assert_eq!(b.open_epochs().last(), Some(Epoch(leap)));
    b.begin(Epoch(leap + 5));
    assert_eq!(b.open_epochs().count(), MAX_OPEN_EPOCHS);
    b.begin(Epoch(u64::MAX));
    assert_eq!((b.epoch(), b.open_epochs().count()), (Epoch(u64::MAX), MAX_OPEN_EPOCHS));
    a.begin(Epoch(leap));
    a.begin(Epoch(leap + 5));
    let newest = frames(&mut a).pop().unwrap();
    assert_eq!(newest.markers.len(), MAX_MARKERS, "as many as a frame can carry");
    assert_eq!(newest.markers.last().map(|marker| marker.epoch), Some(Epoch(leap + 5)));
}

#[test]
fn aborts_of_the_future_are_forgotten_beyond_a_bound() {
    let (_, mut b) = pair(Fifo);
    (0..10 * MAX_OPEN_EPOCHS as u64).for_each(|n| b.abort(Epoch(n + 1)));
    b.begin(Epoch(MAX_OPEN_EPOCHS as u64 + 1));
    assert_eq!(b.open_epochs().collect::<Vec<_>>(), [Epoch(MAX_OPEN_EPOCHS as u64 + 1)]);
}

#[test]
fn a_set_with_too_many_holes_takes_no_further_one() {
    let (mut a, mut b) = pair(Unordered);
    let data = send(&mut a, B).remove(0);
    let numbered = |seq| {
        let FrameBody::Data { payload, .. } = data.body.clone() else { panic!("{data:?}") };
        Frame { body: FrameBody::Data { seq: Seq(seq), payload }, ..data.clone() }
    };
    let ranges = MAX_RANGES as u64;
    receive_all(&mut b, (1..=ranges).map(|n| numbered(2 * n)).collect());
    let beyond = 2 * ranges + 2;
    assert_eq!(b.receive(numbered(beyond)), Err(ReceiveError::TooScattered { from: A, seq: Seq(beyond) }));
    assert_eq!(b.receive(numbered(0)), Err(ReceiveError::TooScattered { from: A, seq: Seq(0) }));
    receive_all(&mut b, vec![numbered(beyond - 1), numbered(3), numbered(beyond)]);
    drain(&mut b);
    b.acknowledge();
    let ack = frames(&mut b).remove(0);
    let mut bytes = bytes::BytesMut::new();
    ack.encode(&mut bytes);
    assert_eq!(Frame::decode(bytes.freeze()), Ok(ack));
}

#[test]
fn nothing_stays_of_a_thousand_snapshots() {
    for ordering in [Fifo, Unordered] {
        let (mut a, mut b) = pair(ordering);
        let mut sizes = Vec::new();
        for epoch in 1..=1000 {
            receive_all(&mut b, send(&mut a, B));
            a.begin(Epoch(epoch));
            receive_all(&mut b, frames(&mut a));
            if epoch % 3 == 0 {
                a.abort(Epoch(epoch));
                b.abort(Epoch(epoch));
            }
            b.acknowledge();
            receive_all(&mut a, frames(&mut b));
            drain(&mut a);
            if epoch == 100 || epoch == 999 {
                sizes.push(format!("{a:?}{b:?}").len());
            }
        }
        assert_eq!(a.unacknowledged(B), Unacknowledged::default());
        assert!(sizes[1] <= sizes[0] + 20, "{sizes:?}: only numbers may have become longer");
    }
}

#[test]
fn a_repeated_message_is_acknowledged_again_and_once() {
    let (mut a, mut b) = pair(Unordered);
    let data = send(&mut a, B);
    for _ in 0..2 {
        receive_all(&mut b, [data.clone(), data.clone()].concat());
        b.acknowledge();
        assert_eq!(frames(&mut b).len(), 1);
        b.acknowledge();
        assert_eq!(frames(&mut b).len(), 0);
    }
}
