//! Where the bytes of one spool are.

use std::{
    io::{self, Seek, Write},
    sync::Arc,
};

use super::{
    SpoolError,
    block::{BLOCK_BYTES, Block, BlocksReader},
    budget::{Share, SpoolBudget, SpoolFile},
    writer::FileWriter,
};

#[derive(Debug)]
enum Place {
    /// In memory; the last block is being filled.
    Memory(Vec<Block>),
    /// Full blocks go to a file that another thread writes.
    Behind { block: Block, file: FileWriter },
    /// In a file that this thread writes.
    File(io::BufWriter<Box<dyn SpoolFile>>),
    /// Something went wrong; nothing can be read back.
    Lost,
}

/// The bytes that were kept, to be read.
#[derive(Debug)]
pub(super) enum Content {
    Memory(BlocksReader),
    File(io::BufReader<Box<dyn SpoolFile>>),
}

/// The part of the memory that may be in use without a file. All the rest is for what waits to be written: disks that others use too stand still for a second at times.
const WITHOUT_A_FILE: u64 = 4;

/// Keeps bytes: in memory while no more than a quarter of it is in use, then in a file.
#[derive(Debug)]
pub(super) struct Store {
    place: Place,
    file: Share,
    /// Whether writing may wait for the disk.
    patient: bool,
    budget: Arc<SpoolBudget>,
}

impl Store {
    pub(super) fn new(budget: &Arc<SpoolBudget>) -> Self {
        let file = Share::none_of(&budget.files);
        Self { place: Place::Memory(vec![Block::first(&budget.memory)]), file, patient: false, budget: Arc::clone(budget) }
    }

    pub(super) fn budget(&self) -> &Arc<SpoolBudget> {
        &self.budget
    }

    pub(super) fn in_memory(&self) -> bool {
        matches!(self.place, Place::Memory(_))
    }

    /// From here on, writing may wait for the disk. Waits for what is under way to it.
    pub(super) fn be_patient(&mut self) -> io::Result<()> {
        self.patient = true;
        self.place = match std::mem::replace(&mut self.place, Place::Lost) {
            Place::Behind { block, file } => {
                let mut file = io::BufWriter::with_capacity(BLOCK_BYTES, file.finish()?);
                file.write_all(&block.bytes)?;
                Place::File(file)
            }
            other @ (Place::Memory(_) | Place::File(_) | Place::Lost) => other,
        };
        Ok(())
    }

    /// What was kept, and the share of the files that it takes.
    pub(super) fn read_back(mut self) -> io::Result<(Content, Share)> {
        self.be_patient()?;
        let content = match self.place {
            Place::Memory(blocks) => Content::Memory(BlocksReader::new(blocks)),
            Place::File(writer) => {
                let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.rewind()?;
                Content::File(io::BufReader::with_capacity(BLOCK_BYTES, file))
            }
            Place::Behind { .. } | Place::Lost => return Err(io::Error::other("what was recorded is lost")),
        };
        Ok((content, self.file))
    }

    /// Moves what is in memory to a file that has room for it and so many bytes more. False if no file has.
    fn spill(&mut self, bytes: u64) -> io::Result<bool> {
        let Place::Memory(blocks) = &mut self.place else { return Ok(true) };
        let kept: u64 = blocks.iter().map(|block| block.memory.bytes()).sum();
        if !self.file.take(kept + bytes) {
            return Ok(false);
        }
        let blocks = std::mem::take(blocks);
        self.place = Place::Lost;
        self.place = if self.patient {
            let mut file = io::BufWriter::with_capacity(BLOCK_BYTES, (self.budget.make_file)(&self.budget.dir)?);
            for block in blocks {
                file.write_all(&block.bytes)?;
            }
            Place::File(file)
        } else {
            let mut file = FileWriter::start(&self.budget)?;
            for block in blocks {
                file.write(block)?;
            }
            Place::Behind { block: Block::next(&self.budget.memory), file }
        };
        Ok(true)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let budget = Arc::clone(&self.budget);
        let (memory, more) = (&budget.memory, bytes.len() as u64);
        let full = || SpoolError::Full { memory_bytes: memory.limit, file_bytes: budget.files.limit };
        let io = |source| SpoolError::Io { dir: budget.dir.clone(), source };
        let mut spilled = false;
        if let Place::Memory(blocks) = &mut self.place {
            let fits =
                |blocks: &mut Vec<Block>, limit| blocks.last_mut().is_some_and(|block| block.memory.take_up_to(limit, more));
            if !fits(blocks, memory.limit / WITHOUT_A_FILE) {
                spilled = self.spill(more).map_err(io)?;
                // Without a file, all of the memory is for what is kept.
                if !spilled
                    && let Place::Memory(blocks) = &mut self.place
                    && !fits(blocks, memory.limit)
                {
                    return Err(full());
                }
            }
        }
        match &mut self.place {
            Place::Memory(blocks) => {
                if let Some(block) = blocks.last_mut() {
                    block.bytes.extend_from_slice(bytes);
                    if block.room() == 0 {
                        blocks.push(Block::next(memory));
                    }
                }
                return Ok(());
            }
            Place::Behind { .. } | Place::File(_) => {
                if !spilled && !self.file.take(more) {
                    return Err(full());
                }
            }
            Place::Lost => return Err(io(io::Error::other("what was recorded is lost"))),
        }
        match &mut self.place {
            Place::Behind { block, file } => {
                if !block.memory.take(more) {
                    // Or isn't written at all.
                    if let Some(error) = file.failure() {
                        return Err(io(error));
                    }
                    return Err(SpoolError::Slow { memory_bytes: memory.limit, dir: budget.dir.clone() });
                }
                block.bytes.extend_from_slice(bytes);
                if block.room() == 0 {
                    file.write(std::mem::replace(block, Block::next(memory))).map_err(io)?;
                }
            }
            Place::File(file) => file.write_all(bytes).map_err(io)?,
            Place::Memory(_) | Place::Lost => {}
        }
        Ok(())
    }

    fn room(&self) -> usize {
        match &self.place {
            Place::Memory(blocks) => blocks.last().map_or(BLOCK_BYTES, Block::room),
            Place::Behind { block, .. } => block.room(),
            Place::File(_) | Place::Lost => usize::MAX,
        }
    }
}

impl Write for Store {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(self.room())];
        self.keep(part).map_err(io::Error::other)?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
