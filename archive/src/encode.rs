//! From plain bytes to an object: compressed where that pays, digested on the way, in memory while small and in a temporary file beyond.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tempfile::{SpooledData, SpooledTempFile};

use crate::{
    digest::{Digest, Hasher},
    key::ObjectKey,
    object::{Encoding, ObjectEntry, Place, Role},
};

/// Objects up to this many bytes are kept in memory; longer ones in a temporary file.
pub const MEMORY_LIMIT_BYTES: usize = 1 << 20;

/// Level 1: the state of a running application is on its way to a network, so speed counts for more than ratio.
const ZSTD_LEVEL: i32 = 1;

/// Below this there is little to gain, and setting up a compressor costs more than anything else that is done with such an object.
const WORTH_TRYING_BYTES: usize = 512;

/// Whether to compress is decided on this much of the beginning (on the whole object, when it is shorter).
const SAMPLE_BYTES: usize = 256 << 10;

/// An encoded object: what the store shall keep, with its length and digest.
///
/// Cheap to clone; the temporary file, where there is one, has no name and goes with the last clone.
#[derive(Debug, Clone)]
pub struct EncodedObject {
    content: EncodedContent,
    bytes: u64,
    digest: Digest,
    encoding: Encoding,
    plain_bytes: u64,
}

#[derive(Debug, Clone)]
enum EncodedContent {
    Memory(Bytes),
    /// Behind a lock because reading moves the file's position.
    File(Arc<Mutex<File>>),
}

impl EncodedObject {
    /// Encodes bytes that are in memory already. Compresses on the calling thread: for small objects.
    #[must_use]
    pub fn from_bytes(plain: Bytes) -> Self {
        let plain_bytes = plain.len() as u64;
        let (bytes, encoding) = match compress_if_worth_it(&plain) {
            Some(compressed) => (Bytes::from(compressed), Encoding::Zstd),
            None => (plain, Encoding::Raw),
        };
        let digest = Digest::of(&bytes);
        Self { bytes: bytes.len() as u64, content: EncodedContent::Memory(bytes), digest, encoding, plain_bytes }
    }

    /// Length of the encoded bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Digest of the encoded bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How the bytes are encoded.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Length of the plain bytes.
    #[must_use]
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Describes the object for the manifest: inline when it has at most `inline_limit_bytes` encoded bytes (and is in memory), else under
    /// `key`. In that case the second value is what has to be put there, and has to be put before the part is reported.
    #[must_use]
    pub fn into_entry(self, role: Role, inline_limit_bytes: u64, key: ObjectKey) -> (ObjectEntry, Option<(ObjectKey, Self)>) {
        let Self { bytes, digest, encoding, plain_bytes, .. } = self;
        let entry = |place| ObjectEntry { role, place, bytes, digest, encoding, plain_bytes };
        match &self.content {
            EncodedContent::Memory(content) if bytes <= inline_limit_bytes => (entry(Place::Inline(content.clone())), None),
            EncodedContent::Memory(_) | EncodedContent::File(_) => (entry(Place::Key(key.clone())), Some((key, self))),
        }
    }

    /// The encoded bytes, when they are in memory.
    pub(crate) fn in_memory(&self) -> Option<&Bytes> {
        match &self.content {
            EncodedContent::Memory(bytes) => Some(bytes),
            EncodedContent::File(_) => None,
        }
    }

    /// Up to `length` encoded bytes from `offset`. Blocks on the temporary file, where there is one.
    pub(crate) fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        match &self.content {
            EncodedContent::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(start..start.saturating_add(length).min(bytes.len())))
            }
            EncodedContent::File(file) => {
                // A poisoned lock only means that a reader panicked; the position is set anew each time.
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(offset))?;
                let mut buffer = Vec::with_capacity(length);
                Read::by_ref(&mut *file).take(length as u64).read_to_end(&mut buffer)?;
                Ok(buffer.into())
            }
        }
    }
}

fn compress_if_worth_it(plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < WORTH_TRYING_BYTES {
        return None;
    }
    let compressed = zstd::bulk::compress(plain, ZSTD_LEVEL).ok()?;
    pays(plain.len(), compressed.len()).then_some(compressed)
}

/// Compression pays from 5 % on; below that, the reader's time is worth more than the space.
fn pays(plain: usize, compressed: usize) -> bool {
    compressed as u128 * 100 <= plain as u128 * 95
}

/// Takes plain bytes and encodes them as they come. It blocks on the processor and, for objects beyond 1 MiB, on the disk: use it on a
/// blocking thread.
pub struct ObjectWriter {
    stage: Stage,
    spill_dir: PathBuf,
    plain_bytes: u64,
}

enum Stage {
    /// Collecting the bytes on which to decide.
    Sampling(Vec<u8>),
    Compressing(Box<zstd::stream::write::Encoder<'static, Sink>>),
    Copying(Box<Sink>),
    /// A write failed: what came before is incomplete.
    Failed,
}

impl ObjectWriter {
    /// An empty object. Beyond 1 MiB its bytes go to an unnamed temporary file in `spill_dir`, which must exist by then.
    #[must_use]
    pub fn new(spill_dir: &Path) -> Self {
        Self { stage: Stage::Sampling(Vec::new()), spill_dir: spill_dir.to_owned(), plain_bytes: 0 }
    }

    /// How many plain bytes were written so far.
    #[must_use]
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Ends the object.
    ///
    /// # Errors
    /// What the temporary file answered, now or at an earlier write. There is no object then; begin again.
    pub fn finish(self) -> io::Result<EncodedObject> {
        let plain_bytes = self.plain_bytes;
        let (sink, encoding) = match self.stage {
            Stage::Sampling(sample) => return Ok(EncodedObject::from_bytes(sample.into())),
            Stage::Compressing(encoder) => (encoder.finish()?, Encoding::Zstd),
            Stage::Copying(sink) => (*sink, Encoding::Raw),
            Stage::Failed => return Err(failed_before()),
        };
        sink.finish(encoding, plain_bytes)
    }

    fn leave_sampling(&self, sample: &[u8]) -> io::Result<Stage> {
        let mut sink = Sink::new(&self.spill_dir);
        if compress_if_worth_it(sample).is_some() {
            let mut encoder = zstd::stream::write::Encoder::new(sink, ZSTD_LEVEL)?;
            encoder.write_all(sample)?;
            Ok(Stage::Compressing(Box::new(encoder)))
        } else {
            sink.write_all(sample)?;
            Ok(Stage::Copying(Box::new(sink)))
        }
    }
}

fn failed_before() -> io::Error {
    io::Error::other("an earlier write of this object failed: begin the object again")
}

impl Write for ObjectWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let stage = std::mem::replace(&mut self.stage, Stage::Failed);
        let (stage, written) = match stage {
            Stage::Sampling(mut sample) => {
                let taken = buffer.len().min(SAMPLE_BYTES - sample.len());
                sample.extend_from_slice(&buffer[..taken]);
                if sample.len() < SAMPLE_BYTES {
                    (Stage::Sampling(sample), taken)
                } else {
                    (self.leave_sampling(&sample)?, taken)
                }
            }
            Stage::Compressing(mut encoder) => {
                let written = encoder.write(buffer)?;
                (Stage::Compressing(encoder), written)
            }
            Stage::Copying(mut sink) => {
                let written = sink.write(buffer)?;
                (Stage::Copying(sink), written)
            }
            Stage::Failed => return Err(failed_before()),
        };
        self.stage = stage;
        self.plain_bytes += written as u64;
        Ok(written)
    }

    /// Does nothing: an object is complete at [`ObjectWriter::finish`] and not before.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for ObjectWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectWriter").field("plain_bytes", &self.plain_bytes).finish_non_exhaustive()
    }
}

/// Where bytes go: memory, then a temporary file; counted and digested.
pub(crate) struct Sink {
    spool: SpooledTempFile,
    hasher: Hasher,
    bytes: u64,
}

impl Sink {
    pub(crate) fn new(spill_dir: &Path) -> Self {
        Self { spool: tempfile::spooled_tempfile_in(MEMORY_LIMIT_BYTES, spill_dir), hasher: Hasher::default(), bytes: 0 }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn digest(&self) -> Digest {
        self.hasher.finish()
    }

    pub(crate) fn into_content(self) -> io::Result<Content> {
        Ok(match self.spool.into_inner() {
            SpooledData::InMemory(cursor) => Content::Memory(cursor.into_inner().into()),
            SpooledData::OnDisk(mut file) => {
                file.rewind()?;
                Content::File(file)
            }
        })
    }

    fn finish(self, encoding: Encoding, plain_bytes: u64) -> io::Result<EncodedObject> {
        let (bytes, digest) = (self.bytes(), self.digest());
        let content = match self.into_content()? {
            Content::Memory(bytes) => EncodedContent::Memory(bytes),
            Content::File(file) => EncodedContent::File(Arc::new(Mutex::new(file))),
        };
        Ok(EncodedObject { content, bytes, digest, encoding, plain_bytes })
    }
}

impl Write for Sink {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.spool.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.spool.flush()
    }
}

/// Bytes in memory, or in an unnamed temporary file that stands at its beginning.
#[derive(Debug)]
pub(crate) enum Content {
    Memory(Bytes),
    File(File),
}
