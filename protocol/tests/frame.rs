//! The frame's bytes.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use stillframe_protocol::{
    ChannelOrdering, Epoch, Frame, FrameBody, FrameError, Generation, Incarnation, Marker, MemberId, Seq, SeqRanges,
};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..200, any::<u64>(), (0u32..64).prop_map(|bits| 1 << bits)]
}

fn markers() -> impl Strategy<Value = Vec<Marker>> {
    let ascending = |mut numbers: Vec<u64>| {
        numbers.sort_unstable();
        numbers
    };
    proptest::collection::vec((number(), number()), 0..6).prop_map(move |pairs| {
        let (epochs, sent): (Vec<u64>, Vec<u64>) = pairs.into_iter().unzip();
        let (mut epochs, sent) = (ascending(epochs), ascending(sent));
        epochs.dedup();
        epochs.into_iter().zip(sent).map(|(epoch, sent)| Marker { epoch: Epoch(epoch), sent }).collect()
    })
}

fn ranges() -> impl Strategy<Value = SeqRanges> {
    proptest::collection::vec(number(), 0..8).prop_map(|seqs| seqs.into_iter().map(Seq).collect())
}

fn body() -> impl Strategy<Value = FrameBody> {
    let payload = proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    prop_oneof![
        (number(), payload).prop_map(|(seq, payload)| FrameBody::Data { seq: Seq(seq), payload }),
        Just(FrameBody::Marker),
        Just(FrameBody::Open { ordering: ChannelOrdering::Fifo }),
        Just(FrameBody::Open { ordering: ChannelOrdering::Unordered }),
        (ranges(), number()).prop_map(|(received, through)| FrameBody::Ack { received, markers_through: Epoch(through) }),
        (ranges(), number()).prop_map(|(received, through)| FrameBody::Accept { received, markers_through: Epoch(through) }),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    let who = || (any::<u32>(), number());
    (number(), who(), who(), number(), markers(), body()).prop_map(|(generation, from, to, epoch, markers, body)| Frame {
        generation: Generation(generation),
        from: MemberId(from.0),
        from_incarnation: Incarnation(from.1),
        to: MemberId(to.0),
        to_incarnation: Incarnation(to.1),
        epoch: Epoch(epoch),
        markers,
        body,
    })
}

fn encode(frame: &Frame) -> Bytes {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes);
    bytes.freeze()
}

proptest! {
    #[test]
    fn every_frame_round_trips_in_its_length(frame in frame()) {
        let bytes = encode(&frame);
        prop_assert_eq!(bytes.len(), frame.encoded_len());
        if let FrameBody::Data { payload, .. } = &frame.body {
            prop_assert_eq!(frame.header_len() + payload.len(), frame.encoded_len());
        }
        prop_assert_eq!(Frame::decode(bytes), Ok(frame));
    }

    #[test]
    fn garbage_is_an_error_or_a_frame_with_these_very_bytes(mut garbage in proptest::collection::vec(any::<u8>(), 0..60), kind in 0u8..6) {
        if let Some(first) = garbage.first_mut() && kind < 5 {
            *first = 0x10 | kind;
        }
        let garbage = Bytes::from(garbage);
        if let Ok(frame) = Frame::decode(garbage.clone()) {
            prop_assert_eq!(encode(&frame), garbage);
        }
    }

    #[test]
    fn a_damaged_frame_is_an_error_or_a_frame_with_these_very_bytes(frame in frame(), at in any::<prop::sample::Index>(), bits in 1u8..) {
        let mut bytes = encode(&frame).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        let bytes = Bytes::from(bytes);
        if let Ok(frame) = Frame::decode(bytes.clone()) {
            prop_assert_eq!(encode(&frame), bytes);
        }
    }

    #[test]
    fn a_frame_that_is_cut_short_or_followed_by_something_is_refused(frame in frame(), to in any::<prop::sample::Index>()) {
        let bytes = encode(&frame);
        let header = frame.header_len();
        prop_assert!(Frame::decode(bytes.slice(..to.index(header))).is_err());
        if !matches!(frame.body, FrameBody::Data { .. }) {
            let longer: Bytes = [&bytes[..], &[0]].concat().into();
            prop_assert_eq!(Frame::decode(longer), Err(FrameError::Trailing { bytes: 1 }));
        }
    }
}

fn common(markers: Vec<Marker>) -> Frame {
    Frame {
        generation: Generation(127),
        from: MemberId(16_383),
        from_incarnation: Incarnation(16_383),
        to: MemberId(16_383),
        to_incarnation: Incarnation(16_383),
        epoch: Epoch((1 << 21) - 1),
        markers,
        body: FrameBody::Data { seq: Seq((1 << 28) - 1), payload: Bytes::from_static(b"payload") },
    }
}

#[test]
fn the_header_of_a_message_takes_at_most_24_bytes_in_the_common_case() {
    assert!(common(vec![]).header_len() <= 18, "{}", common(vec![]).header_len());
    let marked = common(vec![Marker { epoch: Epoch((1 << 21) - 1), sent: (1 << 28) - 1 }]);
    assert!(marked.header_len() <= 24, "{}", marked.header_len());
}

#[test]
fn the_payload_is_a_slice_of_what_was_read() {
    let bytes = encode(&common(vec![]));
    let FrameBody::Data { payload, .. } = Frame::decode(bytes.clone()).unwrap().body else { panic!("not data") };
    assert!(bytes.as_ptr_range().contains(&payload.as_ptr()));
}

#[test]
fn a_claim_of_many_is_refused_before_anything_is_allocated() {
    let header = [0x11, 1, 1, 1, 2, 1, 0];
    let with = |count: &[u8]| Frame::decode([&header[..], count].concat().into());
    assert_eq!(with(&[0x81, 0x08]), Err(FrameError::TooMany { what: "markers", limit: 1024, found: 1025 }));
    assert_eq!(with(&[0x80, 0x08]), Err(FrameError::CutShort { length: 9 }));
    assert_eq!(Frame::decode(Bytes::new()), Err(FrameError::CutShort { length: 0 }));
    assert_eq!(Frame::decode(Bytes::from_static(&[0x20])), Err(FrameError::Version { expected: 1, found: 2 }));
    assert_eq!(Frame::decode(Bytes::from_static(&[0x15])), Err(FrameError::Kind { found: 5 }));
}
