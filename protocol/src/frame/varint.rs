//! Unsigned LEB128: seven bits a byte, the least significant first, the shortest form only.

use super::FrameError;

/// The most bytes that a 64-bit number takes.
const MAX_BYTES: usize = 10;

/// How many bytes the number takes.
pub(super) const fn len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Small encodings are gathered here before they are copied out in one go: a growth check for each byte would cost more than the bytes.
pub(super) struct Scratch<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Scratch<N> {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; N], used: 0 }
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes[self.used] = byte;
        self.used += 1;
    }

    pub(super) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

/// Reads numbers from the front of a slice.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) const fn position(&self) -> usize {
        self.at
    }

    pub(super) const fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn byte(&mut self) -> Result<u8, FrameError> {
        let byte = *self.bytes.get(self.at).ok_or(FrameError::CutShort { length: self.bytes.len() })?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, FrameError> {
        let begin = self.at;
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for index in 1..MAX_BYTES {
            let byte = self.byte()?;
            let overlong = byte == 0;
            let overflow = index == MAX_BYTES - 1 && byte > 1;
            if overlong || overflow {
                return Err(FrameError::Number { at: begin });
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(FrameError::Number { at: begin })
    }

    pub(super) fn number_u32(&mut self) -> Result<u32, FrameError> {
        let at = self.at;
        u32::try_from(self.number()?).map_err(|_| FrameError::Number { at })
    }

    /// A count of things that take at least `bytes_each`: never more than the limit, nor than the bytes that are left can hold.
    pub(super) fn count(&mut self, what: &'static str, limit: usize, bytes_each: usize) -> Result<usize, FrameError> {
        let found = self.number()?;
        match usize::try_from(found) {
            Ok(count) if count <= limit => {
                if count * bytes_each > self.remaining() {
                    return Err(FrameError::CutShort { length: self.bytes.len() });
                }
                Ok(count)
            }
            _ => Err(FrameError::TooMany { what, limit, found }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_round_trips_in_its_length(value in prop_oneof![any::<u64>(), 0u64..70_000, (0u32..64).prop_map(|bits| 1 << bits)]) {
            let mut scratch = Scratch::<MAX_BYTES>::new();
            scratch.number(value);
            prop_assert_eq!(scratch.as_slice().len(), len(value));
            prop_assert_eq!(Reader::new(scratch.as_slice()).number(), Ok(value));
        }
    }

    #[test]
    fn overlong_and_overflowing_numbers_are_refused() {
        for bytes in [&[0x80, 0x00][..], &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]] {
            assert_eq!(Reader::new(bytes).number(), Err(FrameError::Number { at: 0 }));
        }
        assert_eq!(Reader::new(&[0x80]).number(), Err(FrameError::CutShort { length: 1 }));
    }
}
