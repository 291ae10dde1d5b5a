//! The bytes that go over the application's transport: five that say what this is and of which cluster, then the frame.

use bytes::{BufMut, Bytes, BytesMut};
use stillframe_protocol::{ClusterName, Frame, FrameBody};
use uuid::Uuid;

use super::error::UnwrapError;

/// The first byte of everything that is wrapped. No UTF-8 text begins with it.
const MAGIC: u8 = 0xf5;

/// What stands in front of the frame.
const PREFIX_BYTES: usize = 5;

/// A few bytes by which a frame of another cluster is told from one of this, and garbage from both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClusterTag(u32);

impl ClusterTag {
    /// FNV-1a (64 bits, folded) over the archive's id and the cluster's name: no two clusters of one archive have the same name.
    pub(super) fn new(archive: Uuid, cluster: &ClusterName) -> Self {
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let hash = archive.as_bytes().iter().chain(cluster.as_str().as_bytes()).fold(0xcbf2_9ce4_8422_2325, fnv);
        Self((hash ^ (hash >> 32)) as u32)
    }
}

/// A wrapped message, or a frame of the agent's own: what has to be carried to the other member, as one piece or as header and payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    bytes: Bytes,
    header: usize,
}

impl Envelope {
    pub(super) fn seal(tag: ClusterTag, frame: &Frame) -> Self {
        let payload = match &frame.body {
            FrameBody::Data { payload, .. } => payload.len(),
            FrameBody::Marker | FrameBody::Ack { .. } | FrameBody::Open { .. } | FrameBody::Accept { .. } => 0,
        };
        let header = PREFIX_BYTES + frame.header_len();
        // Exactly as long as needed: the bytes are then handed over without another allocation.
        let mut bytes = BytesMut::with_capacity(header + payload);
        bytes.put_u8(MAGIC);
        bytes.put_u32(tag.0);
        frame.encode(&mut bytes);
        Self { bytes: bytes.freeze(), header }
    }

    /// All of it: the header, and the payload behind it.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// All of it.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The header alone, for transports that have a place for headers. Binary; up to 24 bytes in the common case, more with a marker or an acknowledgement in it.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.bytes[..self.header]
    }

    /// The application's message alone; empty for the agent's own frames.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.header..]
    }
}

/// Reads one frame that a member of this cluster wrapped.
pub(super) fn open(tag: ClusterTag, mut bytes: Bytes) -> Result<Frame, UnwrapError> {
    let Some((&[magic, ref found @ ..], _)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(UnwrapError::Garbage { length: bytes.len() });
    };
    if magic != MAGIC {
        return Err(UnwrapError::Garbage { length: bytes.len() });
    }
    if *found != tag.0.to_be_bytes() {
        return Err(UnwrapError::ForeignCluster);
    }
    bytes::Buf::advance(&mut bytes, PREFIX_BYTES);
    Ok(Frame::decode(bytes)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_protocol::{Epoch, Generation, Incarnation, Marker, MemberId, Seq};

    use super::*;

    fn tag(cluster: &str) -> ClusterTag {
        ClusterTag::new(Uuid::nil(), &ClusterName::new(cluster).unwrap())
    }

    fn data(seq: u64, epoch: u64, payload: Vec<u8>) -> Frame {
        Frame {
            generation: Generation(100),
            from: MemberId(100),
            from_incarnation: Incarnation(100),
            to: MemberId(10_000),
            to_incarnation: Incarnation(100),
            epoch: Epoch(epoch),
            markers: Vec::new(),
            body: FrameBody::Data { seq: Seq(seq), payload: payload.into() },
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened_and_only_with_the_same_tag(seq in 1u64.., payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let frame = data(seq, 3, payload.clone());
            let envelope = Envelope::seal(tag("a"), &frame);
            prop_assert_eq!(envelope.payload(), &payload[..]);
            prop_assert_eq!([envelope.header(), envelope.payload()].concat(), envelope.bytes().to_vec());
            prop_assert_eq!(open(tag("a"), envelope.bytes().clone()).unwrap(), frame);
            prop_assert!(matches!(open(tag("b"), envelope.into_bytes()), Err(UnwrapError::ForeignCluster)));
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), like in any::<bool>()) {
            let mut bytes = bytes;
            if like && bytes.len() >= PREFIX_BYTES {
                bytes[0] = MAGIC;
                bytes[1..PREFIX_BYTES].copy_from_slice(&tag("a").0.to_be_bytes());
            }
            let _ = open(tag("a"), bytes.into());
        }
    }

    #[test]
    fn a_header_costs_at_most_24_bytes_in_the_common_case() {
        // Members up to number 16,383, 2 million snapshots, 268 million messages on the channel, 127 restores and starts of a process.
        let envelope = Envelope::seal(tag("a"), &data((1 << 28) - 1, (1 << 21) - 1, vec![0; 100]));
        assert!(envelope.header().len() <= 24, "{}", envelope.header().len());
        // And with a marker on it, as on an unordered channel for the time of a round trip.
        let marked = Frame {
            markers: vec![Marker { epoch: Epoch((1 << 21) - 1), sent: (1 << 28) - 1 }],
            ..data((1 << 28) - 1, (1 << 21) - 1, vec![])
        };
        assert!(Envelope::seal(tag("a"), &marked).header().len() <= 30);
    }
}
