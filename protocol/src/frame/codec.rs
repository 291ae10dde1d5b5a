//! The bytes of a frame.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    Frame, FrameBody, FrameError, MAX_MARKERS, MAX_RANGES, Marker,
    varint::{self, Reader, Scratch},
};
use crate::{
    ids::{Epoch, Generation, Incarnation, MemberId, Seq},
    participant::ChannelOrdering,
    ranges::SeqRanges,
};

/// The version of the layout: the upper half of the first byte.
const VERSION: u8 = 1;

const DATA: u8 = 0;
const MARKER: u8 = 1;
const ACK: u8 = 2;
const OPEN: u8 = 3;
const ACCEPT: u8 = 4;

/// First byte, then generation, from, from_incarnation, to, to_incarnation, epoch and the count of markers at their longest.
const MAX_FIXED: usize = 1 + 10 + 5 + 10 + 5 + 10 + 10 + 2;

/// The signed distance of two numbers in a form that is small when they are near: 0, -1, 1, -2, ... become 0, 1, 2, 3, ...
const fn distance(from: u64, to: u64) -> u64 {
    let signed = to.wrapping_sub(from) as i64;
    ((signed << 1) ^ (signed >> 63)) as u64
}

const fn at_distance(from: u64, distance: u64) -> u64 {
    from.wrapping_add((distance >> 1) ^ (distance & 1).wrapping_neg())
}

fn ranges_len(ranges: &SeqRanges) -> usize {
    let mut before = 0;
    let mut length = varint::len(ranges.pairs().len() as u64);
    for &(first, last) in ranges.pairs() {
        length += varint::len(first - before) + varint::len(last - first);
        before = last;
    }
    length
}

fn put_ranges(ranges: &SeqRanges, out: &mut BytesMut) {
    let mut scratch = Scratch::<10>::new();
    scratch.number(ranges.pairs().len() as u64);
    out.extend_from_slice(scratch.as_slice());
    let mut before = 0;
    for &(first, last) in ranges.pairs() {
        let mut scratch = Scratch::<20>::new();
        scratch.number(first - before);
        scratch.number(last - first);
        out.extend_from_slice(scratch.as_slice());
        before = last;
    }
}

fn take_ranges(reader: &mut Reader<'_>) -> Result<SeqRanges, FrameError> {
    let count = reader.count("ranges", MAX_RANGES, 2)?;
    let mut pairs = Vec::with_capacity(count);
    let mut before = 0u64;
    for _ in 0..count {
        let first = before.checked_add(reader.number()?).ok_or(FrameError::Ranges)?;
        let last = first.checked_add(reader.number()?).ok_or(FrameError::Ranges)?;
        pairs.push((first, last));
        before = last;
    }
    SeqRanges::from_pairs(pairs).map_err(|_| FrameError::Ranges)
}

fn take_markers(reader: &mut Reader<'_>, epoch: Epoch) -> Result<Vec<Marker>, FrameError> {
    let count = reader.count("markers", MAX_MARKERS, 2)?;
    let mut markers = Vec::with_capacity(count);
    let mut before = epoch.0;
    for _ in 0..count {
        let marker = Marker { epoch: Epoch(at_distance(before, reader.number()?)), sent: reader.number()? };
        if markers.last().is_some_and(|last: &Marker| last.epoch >= marker.epoch || last.sent > marker.sent) {
            return Err(FrameError::Markers);
        }
        before = marker.epoch.0;
        markers.push(marker);
    }
    Ok(markers)
}

impl Frame {
    fn kind(&self) -> u8 {
        match self.body {
            FrameBody::Data { .. } => DATA,
            FrameBody::Marker => MARKER,
            FrameBody::Ack { .. } => ACK,
            FrameBody::Open { .. } => OPEN,
            FrameBody::Accept { .. } => ACCEPT,
        }
    }

    /// How many bytes [`Frame::encode`] writes besides the payload.
    #[must_use]
    pub fn header_len(&self) -> usize {
        let mut length = 1
            + varint::len(self.generation.0)
            + varint::len(self.from.0.into())
            + varint::len(self.from_incarnation.0)
            + varint::len(self.to.0.into())
            + varint::len(self.to_incarnation.0)
            + varint::len(self.epoch.0)
            + varint::len(self.markers.len() as u64);
        let mut before = self.epoch.0;
        for marker in &self.markers {
            length += varint::len(distance(before, marker.epoch.0)) + varint::len(marker.sent);
            before = marker.epoch.0;
        }
        length
            + match &self.body {
                FrameBody::Data { seq, .. } => varint::len(seq.0),
                FrameBody::Marker => 0,
                FrameBody::Open { .. } => 1,
                FrameBody::Ack { received, markers_through } | FrameBody::Accept { received, markers_through } => {
                    varint::len(markers_through.0) + ranges_len(received)
                }
            }
    }

    /// How many bytes [`Frame::encode`] writes, the payload included.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.header_len()
            + match &self.body {
                FrameBody::Data { payload, .. } => payload.len(),
                FrameBody::Marker | FrameBody::Ack { .. } | FrameBody::Open { .. } | FrameBody::Accept { .. } => 0,
            }
    }

    /// Appends the frame's bytes. The length isn't part of them: the transport delimits frames.
    ///
    /// The frame has to be one that a [`Participant`](crate::participant::Participant) made or that [`Frame::decode`] gave: another one may hold more
    /// markers or ranges than allowed, or unsorted ones, which the other side refuses.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut fixed = Scratch::<MAX_FIXED>::new();
        fixed.byte(VERSION << 4 | self.kind());
        fixed.number(self.generation.0);
        fixed.number(self.from.0.into());
        fixed.number(self.from_incarnation.0);
        fixed.number(self.to.0.into());
        fixed.number(self.to_incarnation.0);
        fixed.number(self.epoch.0);
        // A `u16` keeps the scratch's bound for a list that no participant makes.
        fixed.number(u16::try_from(self.markers.len()).unwrap_or(u16::MAX).min(0x3fff).into());
        out.extend_from_slice(fixed.as_slice());
        let mut before = self.epoch.0;
        for marker in &self.markers {
            let mut scratch = Scratch::<20>::new();
            scratch.number(distance(before, marker.epoch.0));
            scratch.number(marker.sent);
            out.extend_from_slice(scratch.as_slice());
            before = marker.epoch.0;
        }
        let mut scratch = Scratch::<10>::new();
        match &self.body {
            FrameBody::Data { seq, payload } => {
                scratch.number(seq.0);
                out.extend_from_slice(scratch.as_slice());
                out.extend_from_slice(payload);
            }
            FrameBody::Marker => {}
            FrameBody::Open { ordering } => {
                scratch.byte(match ordering {
                    ChannelOrdering::Fifo => 0,
                    ChannelOrdering::Unordered => 1,
                });
                out.extend_from_slice(scratch.as_slice());
            }
            FrameBody::Ack { received, markers_through } | FrameBody::Accept { received, markers_through } => {
                scratch.number(markers_through.0);
                out.extend_from_slice(scratch.as_slice());
                put_ranges(received, out);
            }
        }
    }

    /// Reads exactly one frame. The payload is a slice of `bytes`, not a copy. Any input is safe: what is read before an error is bounded by the limits
    /// of the format and by the input's own length.
    ///
    /// # Errors
    /// [`FrameError`] for anything that [`Frame::encode`] doesn't write.
    pub fn decode(mut bytes: Bytes) -> Result<Self, FrameError> {
        let mut reader = Reader::new(&bytes);
        let first = reader.byte()?;
        if first >> 4 != VERSION {
            return Err(FrameError::Version { expected: VERSION, found: first >> 4 });
        }
        let kind = first & 0x0f;
        if kind > ACCEPT {
            return Err(FrameError::Kind { found: kind });
        }
        let generation = Generation(reader.number()?);
        let from = MemberId(reader.number_u32()?);
        let from_incarnation = Incarnation(reader.number()?);
        let to = MemberId(reader.number_u32()?);
        let to_incarnation = Incarnation(reader.number()?);
        let epoch = Epoch(reader.number()?);
        let markers = take_markers(&mut reader, epoch)?;
        let body = match kind {
            DATA => {
                let seq = Seq(reader.number()?);
                let payload = reader.position();
                // Taking the header off costs less than a slice: nobody else needs the whole.
                bytes.advance(payload);
                let body = FrameBody::Data { seq, payload: bytes };
                return Ok(Self { generation, from, from_incarnation, to, to_incarnation, epoch, markers, body });
            }
            MARKER => FrameBody::Marker,
            OPEN => match reader.byte()? {
                0 => FrameBody::Open { ordering: ChannelOrdering::Fifo },
                1 => FrameBody::Open { ordering: ChannelOrdering::Unordered },
                found => return Err(FrameError::Ordering { found }),
            },
            ACK | ACCEPT => {
                let markers_through = Epoch(reader.number()?);
                let received = take_ranges(&mut reader)?;
                if kind == ACK {
                    FrameBody::Ack { received, markers_through }
                } else {
                    FrameBody::Accept { received, markers_through }
                }
            }
            found => return Err(FrameError::Kind { found }),
        };
        if reader.remaining() > 0 {
            return Err(FrameError::Trailing { bytes: reader.remaining() });
        }
        Ok(Self { generation, from, from_incarnation, to, to_incarnation, epoch, markers, body })
    }
}
