//! Delimiting frames: a length of four bytes (big endian), then the frame. A length of 0 is a beat: it only says that its sender is there.

use bytes::{Buf, Bytes, BytesMut};
use stillframe_protocol::{Frame, FrameError};

const LENGTH_BYTES: usize = 4;

/// Says that this end is there, and nothing else.
pub(crate) const BEAT: [u8; LENGTH_BYTES] = [0; LENGTH_BYTES];

/// What a frame may be longer than its payload: the fixed part, 1024 markers or 4096 ranges of two numbers.
const MAX_OVERHEAD_BYTES: usize = 128 << 10;

/// Bytes that aren't frames. The connection can't be read any further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("a frame of {found} bytes is announced: at most {limit} are taken (Limits::max_message_bytes)")]
    TooLong { found: usize, limit: usize },
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Appends a frame with its length.
pub(crate) fn put(frame: &Frame, out: &mut BytesMut) {
    let start = out.len();
    out.reserve(LENGTH_BYTES + frame.encoded_len());
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    frame.encode(out);
    // No participant makes a frame of 4 GiB: messages are limited long before.
    let length = u32::try_from(out.len() - start - LENGTH_BYTES).unwrap_or(u32::MAX);
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Takes frames off a buffer that is read into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Splitter {
    limit: usize,
}

impl Splitter {
    pub(crate) fn new(max_message_bytes: usize) -> Self {
        Self { limit: max_message_bytes.saturating_add(MAX_OVERHEAD_BYTES) }
    }

    /// The length of the next frame with its prefix, once the prefix is there.
    fn next_len(self, buffer: &[u8]) -> Result<Option<usize>, CodecError> {
        let Some(&prefix) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let found = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
        if found > self.limit {
            return Err(CodecError::TooLong { found, limit: self.limit });
        }
        Ok(Some(LENGTH_BYTES + found))
    }

    /// Takes every frame that is there completely, and says how many bytes the next one still needs at least.
    pub(crate) fn split(self, buffer: &mut BytesMut, frames: &mut Vec<Frame>) -> Result<usize, CodecError> {
        let mut complete = 0;
        let needed = loop {
            match self.next_len(&buffer[complete..])? {
                Some(length) if length <= buffer.len() - complete => complete += length,
                Some(length) => break length - (buffer.len() - complete),
                None => break LENGTH_BYTES - (buffer.len() - complete),
            }
        };
        if complete > 0 {
            // One freeze for all of them: their payloads share the memory of this read.
            let mut bytes: Bytes = buffer.split_to(complete).freeze();
            while let Some(length) = self.next_len(&bytes)? {
                let mut frame = bytes.split_to(length);
                frame.advance(LENGTH_BYTES);
                if !frame.is_empty() {
                    frames.push(Frame::decode(frame)?);
                }
            }
        }
        Ok(needed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_protocol::{Epoch, FrameBody, Generation, Incarnation, MemberId, Seq};

    use super::*;

    fn data(seq: u64, length: usize) -> Frame {
        Frame {
            generation: Generation(1),
            from: MemberId(1),
            from_incarnation: Incarnation(1),
            to: MemberId(2),
            to_incarnation: Incarnation(2),
            epoch: Epoch(3),
            markers: Vec::new(),
            body: FrameBody::Data { seq: Seq(seq), payload: vec![seq as u8; length].into() },
        }
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_and_beats_not_at_all_however_the_stream_is_cut(lengths in proptest::collection::vec(0usize..2000, 1..20), cut in 1usize..700) {
            let sent: Vec<Frame> = lengths.iter().enumerate().map(|(n, length)| data(n as u64 + 1, *length)).collect();
            let mut stream = BytesMut::new();
            for frame in &sent {
                put(frame, &mut stream);
                stream.extend_from_slice(&BEAT);
            }
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for piece in stream.chunks(cut) {
                buffer.extend_from_slice(piece);
                let needed = Splitter::new(4096).split(&mut buffer, &mut found).unwrap();
                prop_assert!(needed > 0);
            }
            prop_assert_eq!(found, sent);
            prop_assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_frame_that_is_announced_too_long_is_refused_before_it_is_read() {
        let mut buffer = BytesMut::from(&[0xff; 4][..]);
        assert!(matches!(Splitter::new(1000).split(&mut buffer, &mut Vec::new()), Err(CodecError::TooLong { .. })));
    }
}
