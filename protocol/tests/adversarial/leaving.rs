//! Members that leave in good order.

use stillframe_protocol::{ChannelOrdering::Fifo, Epoch, Frame, FrameBody, Incarnation, Output, SeqRanges};

use super::{A, B, C, connect, drain, frames, pair, process, receive_all, send, story};

/// Everything but the acknowledgements of `from` reaches `to`.
fn is_marker(frame: &Frame) -> bool {
    matches!(frame.body, FrameBody::Marker)
}

#[test]
fn a_member_that_left_is_counted_until_that_is_heard_and_never_after() {
    let (mut a, mut b) = pair(Fifo);
    receive_all(&mut b, send(&mut a, B));
    drain(&mut b);
    assert_eq!((a.sent(B), b.counters().received[&A].clone()), (1, SeqRanges::prefix(1)));
    a.begin(Epoch(1));
    let counted = drain(&mut a).into_iter().find_map(|output| match output {
        Output::Sealed { counters, .. } => Some(counters.sent),
        _ => None,
    });
    assert_eq!(counted.expect("sealed: nobody sends to it")[&B], 1);
    a.depart(B, Incarnation(1));
    a.begin(Epoch(2));
    let outputs = drain(&mut a);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Transmit { .. })), "{outputs:?}");
    assert!(outputs.iter().any(|output| matches!(output, Output::Sealed { counters, .. } if counters.sent.is_empty())));
    assert_eq!((a.sent(B), a.counters()), (0, Default::default()));
}

#[test]
fn an_epoch_that_waits_for_the_marker_of_a_member_that_left_is_sealed_with_what_it_sent() {
    let (mut a, mut b) = pair(Fifo);
    receive_all(&mut b, send(&mut a, B));
    let late = send(&mut a, B);
    b.begin(Epoch(1));
    drain(&mut b);
    // Sent before a's cut, received after b's: it is the channel's state. Then a cuts, and its marker is lost with its end.
    receive_all(&mut b, late);
    assert_eq!(story(&mut b), ["record 2 for 1", "deliver 2"]);
    a.begin(Epoch(1));
    assert!(frames(&mut a).iter().any(is_marker));
    b.depart(A, Incarnation(1));
    let sealed = drain(&mut b).into_iter().find_map(|output| match output {
        Output::Sealed { epoch, counters } => Some((epoch, counters)),
        _ => None,
    });
    let (epoch, counters) = sealed.expect("nothing else will come");
    assert_eq!(epoch, Epoch(1));
    assert_eq!(
        (counters.received[&A].clone(), counters.recorded[&A].0.clone()),
        (SeqRanges::prefix(1), {
            let mut second = SeqRanges::new();
            second.insert(stillframe_protocol::Seq(2));
            second
        })
    );
}

#[test]
fn only_the_channels_of_who_left_are_forgotten() {
    let (mut a, mut b) = pair(Fifo);
    connect(&mut process(C), &mut b, Fifo);
    receive_all(&mut b, send(&mut a, B));
    b.begin(Epoch(1));
    drain(&mut b);
    b.depart(A, Incarnation(1));
    assert_eq!(story(&mut b), Vec::<String>::new());
    assert_eq!(b.missing(Epoch(1)).iter().map(|missing| missing.from).collect::<Vec<_>>(), [C]);
    // Of an incarnation before the one that is known nothing is left to forget.
    b.depart(C, Incarnation(0));
    assert_eq!(b.missing(Epoch(1)).len(), 1);
}

#[test]
fn a_member_that_comes_back_after_it_left_begins_new_channels() {
    let (mut a, mut b) = pair(Fifo);
    receive_all(&mut b, send(&mut a, B));
    drain(&mut b);
    a.depart(B, Incarnation(1));
    let mut again = stillframe_protocol::Participant::new(super::identity(B, 2, 1), Epoch(0));
    connect(&mut a, &mut again, Fifo);
    receive_all(&mut again, send(&mut a, B));
    assert_eq!(story(&mut again), ["deliver 1"]);
    // News of the end of the one before changes nothing for it.
    a.depart(B, Incarnation(1));
    assert_eq!(a.sent(B), 1);
}
