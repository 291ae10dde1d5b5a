//! Recorded and logged messages of one snapshot: in memory up to a limit, then in a temporary file up to a limit, then no more.
//!
//! They are kept as the `channels` object's plain bytes, so that sealing has only to add the unsent messages and the timers, and to compress. Whoever records never
//! waits for the disk: if it doesn't keep up, the snapshot is given up.
//!
//! | to find | look in |
//! | --- | --- |
//! | what all spools of a member may hold together | [`budget`] |
//! | where the bytes of one are | [`store`], [`block`] |
//! | writing the file on another thread | [`writer`] |

mod block;
mod budget;
mod store;
mod writer;

use std::{
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use stillframe_api::snapshot::AbortReason;
use stillframe_archive::{ChannelRecord, ChannelsWriter};

pub(crate) use budget::SpoolBudget;

use budget::Share;
use store::{Content, Store};

/// What a logged message takes besides its payload, about.
const LOGGED_OVERHEAD_BYTES: u64 = 80;

/// Why a message couldn't be recorded. The snapshot has to be given up; the application goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    #[error(
        "the spool is full: {memory_bytes} bytes of memory and {file_bytes} bytes of files are used up (Limits::spool_memory_bytes, \
         spool_file_bytes)"
    )]
    Full { memory_bytes: u64, file_bytes: u64 },
    #[error(
        "the disk under {} is slower than what is to be recorded: {memory_bytes} bytes of memory (Limits::spool_memory_bytes) are full of what \
         waits to be written; give it more memory, or a faster spool_dir", dir.display()
    )]
    Slow { memory_bytes: u64, dir: PathBuf },
    #[error("the spool's temporary file in {} can't be written: {source}; check its space and permissions", dir.display())]
    Io { dir: PathBuf, source: io::Error },
}

impl SpoolError {
    /// What the snapshot is aborted with.
    pub(crate) fn reason(&self) -> AbortReason {
        match self {
            Self::Full { .. } | Self::Slow { .. } => AbortReason::SpoolOverflow,
            Self::Io { .. } => AbortReason::MemberFailed,
        }
    }
}

/// The recorded messages of one snapshot.
#[derive(Debug)]
pub(crate) struct Spool {
    records: ChannelsWriter<Store>,
    recorded: u64,
    /// What the sender logs at the cut, all at once: it is in memory already, as the channels' windows, so it is neither copied nor written before there is time for it.
    logged: Vec<ChannelRecord>,
    /// The room that it will take.
    reserved: [Share; 2],
}

impl Spool {
    pub(crate) fn new(budget: &Arc<SpoolBudget>) -> Self {
        let reserved = [Share::none_of(&budget.files), Share::none_of(&budget.memory)];
        Self { records: ChannelsWriter::new(Store::new(budget)), recorded: 0, logged: Vec::new(), reserved }
    }

    /// Keeps one message. Never waits.
    pub(crate) fn push(&mut self, record: &ChannelRecord) -> Result<(), SpoolError> {
        let bytes = match record {
            ChannelRecord::Recorded { payload, .. }
            | ChannelRecord::Logged { payload, .. }
            | ChannelRecord::Unsent { payload, .. } => payload.len() as u64,
            ChannelRecord::Timer { .. } => 0,
        };
        match record {
            ChannelRecord::Logged { .. } if self.records.records() == 0 => self.log(record, bytes)?,
            ChannelRecord::Recorded { .. }
            | ChannelRecord::Logged { .. }
            | ChannelRecord::Unsent { .. }
            | ChannelRecord::Timer { .. } => self.write(record)?,
        }
        self.recorded += bytes;
        Ok(())
    }

    fn log(&mut self, record: &ChannelRecord, bytes: u64) -> Result<(), SpoolError> {
        let length = bytes + LOGGED_OVERHEAD_BYTES;
        let [file, memory] = &mut self.reserved;
        // All of it in one place, as it will be written to one.
        if !(memory.bytes() == 0 && file.take(length) || file.bytes() == 0 && memory.take(length)) {
            let SpoolBudget { memory, files, .. } = &**self.records.get_ref().budget();
            return Err(SpoolError::Full { memory_bytes: memory.limit, file_bytes: files.limit });
        }
        self.logged.push(record.clone());
        Ok(())
    }

    /// What is logged comes first in the object.
    fn write(&mut self, record: &ChannelRecord) -> Result<(), SpoolError> {
        self.write_logged()?;
        self.records.write(record).map_err(|error| self.unwrap(error))
    }

    fn write_logged(&mut self) -> Result<(), SpoolError> {
        if self.logged.is_empty() {
            return Ok(());
        }
        let budget = Arc::clone(self.records.get_ref().budget());
        self.reserved = [Share::none_of(&budget.files), Share::none_of(&budget.memory)];
        for record in std::mem::take(&mut self.logged) {
            self.records.write(&record).map_err(|error| self.unwrap(error))?;
        }
        Ok(())
    }

    /// The error that the store wrapped, to bring it through the writer.
    fn unwrap(&self, error: io::Error) -> SpoolError {
        unwrap(error, self.records.get_ref().budget())
    }

    /// Payload bytes kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.recorded
    }

    /// Whether reading it back touches no file.
    pub(crate) fn in_memory(&self) -> bool {
        self.records.get_ref().in_memory()
    }

    /// Adds what the capture holds besides the state, ends the object and gives its plain bytes. Waits for the disk if there is a file.
    pub(crate) fn finish(mut self, more: &[ChannelRecord]) -> Result<SpoolReader, SpoolError> {
        let patient = self.records.get_mut().be_patient();
        patient.map_err(|error| self.unwrap(error))?;
        self.write_logged()?;
        for record in more {
            self.push(record)?;
        }
        let budget = Arc::clone(self.records.get_ref().budget());
        let read_back = self.records.finish().and_then(Store::read_back);
        let (content, file) = read_back.map_err(|error| unwrap(error, &budget))?;
        Ok(SpoolReader { content, _file: file })
    }
}

fn unwrap(error: io::Error, budget: &SpoolBudget) -> SpoolError {
    error.downcast().unwrap_or_else(|source| SpoolError::Io { dir: budget.dir.clone(), source })
}

/// The plain bytes of a `channels` object.
#[derive(Debug)]
pub(crate) struct SpoolReader {
    content: Content,
    _file: Share,
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.content {
            Content::Memory(blocks) => blocks.read(buffer),
            Content::File(file) => file.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests;
