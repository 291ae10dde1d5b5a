//! What all spools of a member may hold together, and who holds how much of it.

use std::{
    fmt,
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A temporary file.
pub(crate) trait SpoolFile: Read + Write + Seek + Send + fmt::Debug {}

impl<F: Read + Write + Seek + Send + fmt::Debug> SpoolFile for F {}

/// How temporary files are made: in a directory, without a name, so that none stays whatever becomes of the process.
type MakeFile = fn(&Path) -> io::Result<Box<dyn SpoolFile>>;

fn temporary_file(dir: &Path) -> io::Result<Box<dyn SpoolFile>> {
    Ok(Box::new(tempfile::tempfile_in(dir)?))
}

/// One of the two things that are limited.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) limit: u64,
    used: AtomicU64,
}

impl Pool {
    fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// What all spools of a member may hold together.
#[derive(Debug)]
pub(crate) struct SpoolBudget {
    pub(super) memory: Arc<Pool>,
    pub(super) files: Arc<Pool>,
    pub(super) dir: PathBuf,
    pub(super) make_file: MakeFile,
}

impl SpoolBudget {
    pub(crate) fn new(memory_bytes: u64, file_bytes: u64, dir: &Path) -> Arc<Self> {
        Self::with_files(memory_bytes, file_bytes, dir, temporary_file)
    }

    pub(super) fn with_files(memory_bytes: u64, file_bytes: u64, dir: &Path, make_file: MakeFile) -> Arc<Self> {
        let (memory, files) = (Arc::new(Pool::new(memory_bytes)), Arc::new(Pool::new(file_bytes)));
        Arc::new(Self { memory, files, dir: dir.to_owned(), make_file })
    }
}

/// A holder's share of a pool. It is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    pool: Arc<Pool>,
    bytes: u64,
}

impl Share {
    pub(super) fn none_of(pool: &Arc<Pool>) -> Self {
        Self { pool: Arc::clone(pool), bytes: 0 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes some more, if no more than this is used by all together then.
    pub(super) fn take_up_to(&mut self, limit: u64, bytes: u64) -> bool {
        let room = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        let taken = self.pool.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        self.bytes += if taken { bytes } else { 0 };
        taken
    }

    /// Takes some more, if the pool has it.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        self.take_up_to(self.pool.limit, bytes)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
