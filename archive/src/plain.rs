//! The plain bytes of an object, which exist only once its length and digest have been found right.

use std::{
    fs::File,
    io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Write},
    path::Path,
};

use bytes::Bytes;

use crate::{
    encode::{Content, Sink},
    error::ArchiveError,
    object::{Encoding, ObjectEntry},
};

/// The largest window of a Zstandard frame that is decoded, as the power of two of its bytes: 8 MiB, what RFC 8878 asks every decoder to take. It is what decoding
/// costs in memory, whatever the object says of its length.
const MAX_WINDOW_LOG: u32 = 23;

/// Verified, decoded bytes of an object, as a reader: in memory up to 1 MiB, in an unnamed temporary file beyond. Reading a file blocks.
#[derive(Debug)]
pub struct PlainObject {
    content: Reader,
    len: u64,
}

#[derive(Debug)]
enum Reader {
    Memory(Cursor<Bytes>),
    File(BufReader<File>),
}

impl PlainObject {
    fn new(content: Content, len: u64) -> Self {
        let content = match content {
            Content::Memory(bytes) => Reader::Memory(Cursor::new(bytes)),
            Content::File(file) => Reader::File(BufReader::with_capacity(64 << 10, file)),
        };
        Self { content, len }
    }

    /// How many plain bytes there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of the bytes, wherever the reader stands; free when they are in memory, else they are read into it (and it blocks).
    ///
    /// # Errors
    /// What the temporary file answered.
    pub fn into_bytes(self) -> io::Result<Bytes> {
        match self.content {
            Reader::Memory(cursor) => Ok(cursor.into_inner()),
            Reader::File(file) => {
                let mut file = file.into_inner();
                file.rewind()?;
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }
}

impl Read for PlainObject {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.content {
            Reader::Memory(cursor) => cursor.read(buffer),
            Reader::File(file) => file.read(buffer),
        }
    }
}

impl Seek for PlainObject {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match &mut self.content {
            Reader::Memory(cursor) => cursor.seek(position),
            Reader::File(file) => file.seek(position),
        }
    }
}

/// Decodes bytes whose digest was found right. Never makes more than the recorded number of plain bytes of them.
pub(crate) fn decode(entry: &ObjectEntry, encoded: Content, spill_dir: &Path) -> Result<PlainObject, ArchiveError> {
    match entry.encoding {
        Encoding::Raw => match entry.plain_bytes == entry.bytes {
            true => Ok(PlainObject::new(encoded, entry.plain_bytes)),
            false => Err(wrong_plain_length(entry, format!("{} (raw)", entry.bytes))),
        },
        Encoding::Zstd => match encoded {
            Content::Memory(bytes) => decompress(entry, Cursor::new(bytes), spill_dir),
            Content::File(file) => decompress(entry, BufReader::new(file), spill_dir),
        },
    }
}

fn decompress(entry: &ObjectEntry, encoded: impl io::BufRead, spill_dir: &Path) -> Result<PlainObject, ArchiveError> {
    let undecodable = |error: io::Error| ArchiveError::Corrupted {
        key: entry.describe(),
        expected: "a Zstandard frame".to_owned(),
        found: format!("bytes that don't decode: {error}"),
    };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(encoded).map_err(undecodable)?;
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(undecodable)?;
    let mut plain = Sink::new(spill_dir);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = decoder.read(&mut buffer).map_err(undecodable)?;
        if read == 0 {
            break;
        }
        if plain.bytes() + read as u64 > entry.plain_bytes {
            return Err(wrong_plain_length(entry, "more".to_owned()));
        }
        plain.write_all(&buffer[..read]).map_err(|source| ArchiveError::Spill { directory: spill_dir.to_owned(), source })?;
    }
    if plain.bytes() != entry.plain_bytes {
        return Err(wrong_plain_length(entry, plain.bytes().to_string()));
    }
    let content = plain.into_content().map_err(|source| ArchiveError::Spill { directory: spill_dir.to_owned(), source })?;
    Ok(PlainObject::new(content, entry.plain_bytes))
}

fn wrong_plain_length(entry: &ObjectEntry, found: String) -> ArchiveError {
    ArchiveError::Corrupted { key: entry.describe(), expected: format!("{} plain bytes", entry.plain_bytes), found }
}
