//! A piece of what is recorded. Its memory is counted as long as it is there.

use std::{
    collections::VecDeque,
    io::{self, Read},
    sync::Arc,
};

use super::budget::{Pool, Share};

/// How large a block gets.
pub(super) const BLOCK_BYTES: usize = 256 << 10;

/// Bytes, and their share of the memory.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    pub(super) memory: Share,
}

impl Block {
    /// The first one of a spool: most stay small.
    pub(super) fn first(pool: &Arc<Pool>) -> Self {
        Self { bytes: Vec::new(), memory: Share::none_of(pool) }
    }

    /// One that others follow or precede: it will be full.
    pub(super) fn next(pool: &Arc<Pool>) -> Self {
        Self { bytes: Vec::with_capacity(BLOCK_BYTES), memory: Share::none_of(pool) }
    }

    /// How much more it takes.
    pub(super) fn room(&self) -> usize {
        BLOCK_BYTES.saturating_sub(self.bytes.len())
    }
}

/// Reads blocks one after the other, giving each one's memory back when it is read.
#[derive(Debug)]
pub(super) struct BlocksReader {
    blocks: VecDeque<Block>,
    read: usize,
}

impl BlocksReader {
    pub(super) fn new(blocks: Vec<Block>) -> Self {
        Self { blocks: blocks.into(), read: 0 }
    }
}

impl Read for BlocksReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(block) = self.blocks.front() {
            match (&block.bytes[self.read..]).read(buffer)? {
                0 if !buffer.is_empty() => {
                    self.blocks.pop_front();
                    self.read = 0;
                }
                read => {
                    self.read += read;
                    return Ok(read);
                }
            }
        }
        Ok(0)
    }
}
