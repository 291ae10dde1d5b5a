//! Sender-logged channel state: parts that are complete at the cut.

use std::collections::BTreeMap;

use bytes::Bytes;
use stillframe_protocol::{
    ChannelOrdering::{Fifo, Unordered},
    ChannelState, Epoch, FrameBody, Incarnation, Output, Participant, Seq, SeqRanges,
};

use super::{A, B, C, connect, drain, frames, identity, process, receive_all, send, short, story};

fn logging(member: stillframe_protocol::MemberId) -> Participant {
    process(member).with_channel_state(ChannelState::SenderLogged)
}

#[test]
fn a_part_is_sealed_at_the_cut_whatever_is_queued() {
    for ordering in [Fifo, Unordered] {
        let (mut a, mut b) = (logging(A), logging(B));
        connect(&mut a, &mut b, ordering);
        connect(&mut b, &mut a, ordering);
        drain(&mut a);
        let queued: Vec<_> = (0..3).flat_map(|_| send(&mut a, B)).collect();
        a.begin(Epoch(1));
        let outputs = drain(&mut a);
        assert_eq!(outputs.iter().map(short).collect::<Vec<_>>(), ["capture 1..=1", "log 1,2,3 for 1", "marker ", "sealed 1"]);
        let Some(Output::Sealed { counters, .. }) = outputs.last() else { panic!("{outputs:?}") };
        assert_eq!(counters.sent, BTreeMap::from([(B, 3)]));
        assert_eq!(counters.logged, BTreeMap::from([(B, (SeqRanges::prefix(3), 15))]));
        assert_eq!(counters.peers, BTreeMap::from([(B, Incarnation(1))]));
        assert_eq!(a.open_epochs().count(), 0);
        receive_all(&mut b, queued[..2].to_vec());
        b.begin(Epoch(1));
        assert_eq!(story(&mut b)[3..], ["capture 1..=1", "sealed 1"], "its own channel is empty");
        receive_all(&mut b, queued[2..].to_vec());
        assert_eq!(story(&mut b), ["deliver 3"], "nothing is recorded");
    }
}

#[test]
fn an_acknowledgement_from_behind_the_cut_cuts_before_it_counts() {
    let (mut a, mut b) = (logging(A), logging(B));
    connect(&mut a, &mut b, Fifo);
    drain(&mut a);
    let first = send(&mut a, B);
    b.begin(Epoch(1));
    receive_all(&mut b, first);
    b.acknowledge();
    let ack = frames(&mut b);
    receive_all(&mut a, ack);
    assert_eq!(story(&mut a), ["capture 1..=1", "log 1 for 1", "sealed 1", "acknowledged 2"]);
}

#[test]
fn what_was_acknowledged_before_the_cut_is_not_logged() {
    let (mut a, mut b) = (logging(A), logging(B));
    connect(&mut a, &mut b, Unordered);
    drain(&mut a);
    let all: Vec<_> = (0..3).flat_map(|_| send(&mut a, B)).collect();
    b.receive(all[1].clone()).unwrap();
    b.acknowledge();
    receive_all(&mut a, frames(&mut b));
    drain(&mut a);
    a.begin(Epoch(1));
    assert_eq!(story(&mut a), ["capture 1..=1", "log 1,3 for 1", "sealed 1"]);
}

#[test]
fn epochs_that_are_cut_together_share_one_log_and_an_aborted_one_has_none() {
    let (mut a, mut b) = (logging(A), logging(B));
    connect(&mut a, &mut b, Fifo);
    send(&mut a, B);
    a.abort(Epoch(2));
    a.begin(Epoch(3));
    assert_eq!(story(&mut a), ["capture 1..=3", "log 1 for 1,3", "sealed 1", "sealed 3"]);
}

#[test]
fn the_frames_of_a_sender_logged_cluster_carry_no_markers() {
    let (mut a, mut b) = (logging(A), logging(B));
    connect(&mut a, &mut b, Unordered);
    a.begin(Epoch(1));
    let all: Vec<_> = frames(&mut a).into_iter().chain(send(&mut a, B)).collect();
    assert!(all.iter().all(|frame| frame.markers.is_empty() && frame.epoch == Epoch(1)), "{all:?}");
    receive_all(&mut b, all);
    assert_eq!(story(&mut b), ["capture 1..=1", "sealed 1", "deliver 1"]);
}

#[test]
fn a_log_is_taken_though_the_connection_is_gone() {
    let (mut a, mut b) = (logging(A), logging(B));
    connect(&mut a, &mut b, Fifo);
    send(&mut a, B);
    drain(&mut a);
    a.disconnected(B);
    a.begin(Epoch(1));
    assert_eq!(drain(&mut a).iter().map(short).collect::<Vec<_>>(), ["capture 1..=1", "log 1 for 1", "sealed 1"]);
}

#[test]
fn the_counters_name_the_incarnation_of_a_peer_that_was_replaced() {
    for state in [ChannelState::Marker, ChannelState::SenderLogged] {
        let (mut a, mut b) = (process(A).with_channel_state(state), process(B).with_channel_state(state));
        connect(&mut a, &mut b, Fifo);
        connect(&mut a, &mut process(C).with_channel_state(state), Fifo);
        send(&mut a, B);
        a.open(B, Incarnation(2), Fifo);
        drain(&mut a);
        a.begin(Epoch(1));
        let outputs = drain(&mut a);
        let Some(Output::Sealed { counters, .. }) = outputs.last() else { panic!("{outputs:?}") };
        assert_eq!((&counters.sent, &counters.peers), (&BTreeMap::new(), &BTreeMap::from([(B, Incarnation(2))])));
    }
}

#[test]
fn a_restored_channel_goes_on_behind_what_was_logged() {
    let sent = stillframe_protocol::ChannelCounters { sent: BTreeMap::from([(B, 3)]), ..Default::default() };
    let received = stillframe_protocol::ChannelCounters { received: [(A, SeqRanges::prefix(3))].into(), ..Default::default() };
    let restored = |member, counters| Participant::restored(identity(member, 1, 2), Epoch(1), counters);
    let mut a = restored(A, sent).with_channel_state(ChannelState::SenderLogged);
    let mut b = restored(B, received).with_channel_state(ChannelState::SenderLogged);
    a.begin(Epoch(2));
    let outputs = drain(&mut a);
    let Some(Output::Sealed { counters, .. }) = outputs.last() else { panic!("{outputs:?}") };
    assert_eq!((&counters.sent, counters.logged.len()), (&BTreeMap::from([(B, 3)]), 0));
    connect(&mut a, &mut b, Fifo);
    a.send(B, Bytes::from_static(b"hello")).unwrap();
    let data = frames(&mut a).remove(0);
    assert!(matches!(data.body, FrameBody::Data { seq: Seq(4), .. }), "{data:?}");
}
