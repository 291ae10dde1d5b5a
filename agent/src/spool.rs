//! Recorded and logged messages of one snapshot: in memory up to a limit, then in a temporary file up to a limit, then no more.
//!
//! They are kept as the `channels` object's plain bytes, so that sealing has only to add the unsent messages and the timers, and to compress.

use std::{
    fs::File,
    io::{self, Cursor, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use stillframe_archive::{ChannelRecord, ChannelsWriter};

/// What is gathered before it is written to the file.
const FILE_BUFFER_BYTES: usize = 256 << 10;

/// What all spools of a member may hold together.
#[derive(Debug)]
pub(crate) struct SpoolBudget {
    memory_bytes: u64,
    file_bytes: u64,
    memory_used: AtomicU64,
    file_used: AtomicU64,
    dir: PathBuf,
}

impl SpoolBudget {
    pub(crate) fn new(memory_bytes: u64, file_bytes: u64, dir: &Path) -> Arc<Self> {
        let used = AtomicU64::default;
        Arc::new(Self { memory_bytes, file_bytes, memory_used: used(), file_used: used(), dir: dir.to_owned() })
    }

    fn take(used: &AtomicU64, limit: u64, bytes: u64) -> bool {
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| used.checked_add(bytes).filter(|sum| *sum <= limit))
            .is_ok()
    }
}

/// Why a message couldn't be recorded. The snapshot has to be given up; the application goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    #[error(
        "the spool is full: {memory_bytes} bytes of memory and {file_bytes} bytes of files are used up (Limits::spool_memory_bytes, \
         spool_file_bytes)"
    )]
    Full { memory_bytes: u64, file_bytes: u64 },
    #[error("the spool's temporary file in {} can't be written: {source}; check its space and permissions", dir.display())]
    Io { dir: PathBuf, source: io::Error },
}

/// The recorded messages of one snapshot.
#[derive(Debug)]
pub(crate) struct Spool {
    records: ChannelsWriter<Store>,
    recorded: u64,
}

impl Spool {
    pub(crate) fn new(budget: &Arc<SpoolBudget>) -> Self {
        let store = Store { place: Place::Memory(Vec::new()), memory_taken: 0, file_taken: 0, budget: Arc::clone(budget) };
        Self { records: ChannelsWriter::new(store), recorded: 0 }
    }

    /// Keeps one message.
    pub(crate) fn push(&mut self, record: &ChannelRecord) -> Result<(), SpoolError> {
        self.records.write(record).map_err(|error| self.unwrap(error))?;
        self.recorded += match record {
            ChannelRecord::Recorded { payload, .. }
            | ChannelRecord::Logged { payload, .. }
            | ChannelRecord::Unsent { payload, .. } => payload.len() as u64,
            ChannelRecord::Timer { .. } => 0,
        };
        Ok(())
    }

    /// The error that the store wrapped, to bring it through the writer.
    fn unwrap(&self, error: io::Error) -> SpoolError {
        let dir = self.records.get_ref().budget.dir.clone();
        error.downcast().unwrap_or_else(|source| SpoolError::Io { dir, source })
    }

    /// Payload bytes kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.recorded
    }

    /// Whether reading it back touches no file.
    pub(crate) fn in_memory(&self) -> bool {
        matches!(self.records.get_ref().place, Place::Memory(_))
    }

    /// Adds what the capture holds besides the state, ends the object and gives its plain bytes. Blocks if there is a file.
    pub(crate) fn finish(mut self, more: &[ChannelRecord]) -> Result<SpoolReader, SpoolError> {
        for record in more {
            self.push(record)?;
        }
        let dir = self.records.get_ref().budget.dir.clone();
        Self::rewound(self.records).map_err(|error| error.downcast().unwrap_or_else(|source| SpoolError::Io { dir, source }))
    }

    fn rewound(records: ChannelsWriter<Store>) -> io::Result<SpoolReader> {
        let mut store = records.finish()?;
        let content = match std::mem::replace(&mut store.place, Place::Memory(Vec::new())) {
            Place::Memory(bytes) => SpoolContent::Memory(Cursor::new(bytes)),
            Place::File(writer) => {
                let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.rewind()?;
                SpoolContent::File(io::BufReader::with_capacity(FILE_BUFFER_BYTES, file))
            }
        };
        Ok(SpoolReader { content, _store: store })
    }
}

/// The plain bytes of a `channels` object.
#[derive(Debug)]
pub(crate) struct SpoolReader {
    content: SpoolContent,
    /// Gives the budget back when it is dropped.
    _store: Store,
}

#[derive(Debug)]
enum SpoolContent {
    Memory(Cursor<Vec<u8>>),
    File(io::BufReader<File>),
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.content {
            SpoolContent::Memory(cursor) => cursor.read(buffer),
            SpoolContent::File(file) => file.read(buffer),
        }
    }
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    File(io::BufWriter<File>),
}

#[derive(Debug)]
struct Store {
    place: Place,
    memory_taken: u64,
    file_taken: u64,
    budget: Arc<SpoolBudget>,
}

impl Store {
    /// Takes so many bytes from the budget, moving to a file when there is no memory left.
    fn make_room(&mut self, bytes: u64) -> Result<(), SpoolError> {
        let budget = Arc::clone(&self.budget);
        let io = |source| SpoolError::Io { dir: budget.dir.clone(), source };
        let full = || SpoolError::Full { memory_bytes: budget.memory_bytes, file_bytes: budget.file_bytes };
        if let Place::Memory(kept) = &self.place {
            if SpoolBudget::take(&budget.memory_used, budget.memory_bytes, bytes) {
                self.memory_taken += bytes;
                return Ok(());
            }
            if !SpoolBudget::take(&budget.file_used, budget.file_bytes, self.memory_taken + bytes) {
                return Err(full());
            }
            self.file_taken = self.memory_taken + bytes;
            let file = tempfile::tempfile_in(&budget.dir).map_err(io)?;
            let mut writer = io::BufWriter::with_capacity(FILE_BUFFER_BYTES, file);
            writer.write_all(kept).map_err(io)?;
            self.place = Place::File(writer);
            budget.memory_used.fetch_sub(self.memory_taken, Ordering::Relaxed);
            self.memory_taken = 0;
            return Ok(());
        }
        if SpoolBudget::take(&budget.file_used, budget.file_bytes, bytes) {
            self.file_taken += bytes;
            Ok(())
        } else {
            Err(full())
        }
    }
}

impl Write for Store {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.make_room(bytes.len() as u64).map_err(io::Error::other)?;
        match &mut self.place {
            Place::Memory(kept) => kept.write(bytes),
            Place::File(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.place {
            Place::Memory(_) => Ok(()),
            Place::File(writer) => writer.flush(),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.budget.memory_used.fetch_sub(self.memory_taken, Ordering::Relaxed);
        self.budget.file_used.fetch_sub(self.file_taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_archive::ChannelsReader;
    use stillframe_protocol::{MemberName, Seq};

    use super::*;

    fn message(seq: u64, length: usize) -> ChannelRecord {
        ChannelRecord::Recorded { from: MemberName::new("p1").unwrap(), seq: Seq(seq), payload: vec![seq as u8; length].into() }
    }

    proptest! {
        #[test]
        fn what_was_recorded_is_read_back_from_memory_or_file(lengths in proptest::collection::vec(0usize..300, 0..40), memory in 0u64..4000) {
            let dir = tempfile::tempdir().unwrap();
            let budget = SpoolBudget::new(memory, 1 << 20, dir.path());
            let mut spool = Spool::new(&budget);
            let mut expected: Vec<_> = lengths.iter().enumerate().map(|(n, length)| message(n as u64 + 1, *length)).collect();
            expected.iter().for_each(|record| spool.push(record).unwrap());
            let timer = ChannelRecord::Timer { id: 1, remaining_ms: 5 };
            let reader = spool.finish(std::slice::from_ref(&timer)).unwrap();
            expected.push(timer);
            let found: Vec<_> = ChannelsReader::new(reader).map(Result::unwrap).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(budget.memory_used.load(Ordering::Relaxed), 0);
            prop_assert_eq!(budget.file_used.load(Ordering::Relaxed), 0);
        }

        #[test]
        fn a_spool_never_holds_more_than_its_limits(lengths in proptest::collection::vec(0usize..3000, 1..60), memory in 0u64..9000, file in 0u64..30_000) {
            let dir = tempfile::tempdir().unwrap();
            let budget = SpoolBudget::new(memory, file, dir.path());
            let mut spools = [Spool::new(&budget), Spool::new(&budget)];
            for (n, length) in lengths.iter().enumerate() {
                let pushed = spools[n % 2].push(&message(n as u64 + 1, *length));
                prop_assert!(budget.memory_used.load(Ordering::Relaxed) <= memory);
                prop_assert!(budget.file_used.load(Ordering::Relaxed) <= file);
                let kept: usize = spools.iter().map(|spool| match &spool.records.get_ref().place {
                    Place::Memory(bytes) => bytes.len(),
                    Place::File(_) => 0,
                }).sum();
                prop_assert!(kept as u64 <= memory);
                if let Err(error) = pushed {
                    prop_assert!(matches!(error, SpoolError::Full { .. }), "{}", error);
                    break;
                }
            }
        }
    }
}
