//! The `channels` object: what of a member isn't in the application's state. The messages recorded for its incoming channels or logged of its
//! outgoing ones, the messages that the application had handed over and that weren't sent yet, and its timers.
//!
//! The format is described in `docs/archive-format.md`: a header, records in the order of writing, and an end record with their number.
//! Integers are LEB128, so that a small object stays small.

use std::io::{self, Read, Write};

use bytes::Bytes;
use stillframe_protocol::{MemberName, Seq, name::MAX_NAME_BYTES};

/// What the object's plain bytes begin with.
const MAGIC: &[u8; 4] = b"SFCH";
/// The version of an object without logged messages: the bytes of before there were any.
const VERSION: u8 = 1;
/// The version of an object with logged messages, which come first.
const VERSION_LOGGED: u8 = 2;

const END: u8 = 0;
const RECORDED: u8 = 1;
const UNSENT: u8 = 2;
const TIMER: u8 = 3;
const LOGGED: u8 = 4;

/// The longest payload of one message.
pub const MAX_PAYLOAD_BYTES: u64 = 256 << 20;

/// How much is set aside for a payload before its bytes have come: a wrong length costs no more than this.
const FIRST_ALLOCATION_BYTES: u64 = 64 << 10;

/// One record of a `channels` object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelRecord {
    /// A message that was in flight at the cut: sent before the sender's cut, received after the receiver's.
    Recorded {
        /// The sender.
        from: MemberName,
        /// Its number on the channel.
        seq: Seq,
        /// The message.
        payload: Bytes,
    },
    /// A message that was sent and not seen acknowledged at the cut of its sender, whose object this is. Whether it was in flight the receiver's part says:
    /// it may have been received. Comes before all records of other kinds, and those of one channel in the order of their numbers.
    Logged {
        /// The receiver.
        to: MemberName,
        /// Its number on the channel.
        seq: Seq,
        /// The message.
        payload: Bytes,
    },
    /// A message that the application had handed over and that had no sequence number at the cut: it belongs to the member's own state, not
    /// to a channel.
    Unsent {
        /// For whom it is.
        to: MemberName,
        /// The message.
        payload: Bytes,
    },
    /// A timer that was running at the cut.
    Timer {
        /// The application's number for it.
        id: u64,
        /// What was left of it at the cut, in milliseconds.
        remaining_ms: u64,
    },
}

/// Writes a `channels` object. Without [`ChannelsWriter::finish`] the object is incomplete, and readers say so.
#[derive(Debug)]
pub struct ChannelsWriter<W> {
    to: W,
    records: u64,
    /// Whether all records so far are logged messages.
    logs: bool,
    scratch: Vec<u8>,
}

impl<W: Write> ChannelsWriter<W> {
    /// Begins an object.
    #[must_use]
    pub fn new(to: W) -> Self {
        Self { to, records: 0, logs: true, scratch: Vec::new() }
    }

    /// Writes one record.
    ///
    /// # Errors
    /// What the writer below answered (the object is unusable then), or [`io::ErrorKind::InvalidInput`] for a payload above
    /// [`MAX_PAYLOAD_BYTES`] or a logged message behind a record of another kind (nothing was written).
    pub fn write(&mut self, record: &ChannelRecord) -> io::Result<()> {
        let is_logged = matches!(record, ChannelRecord::Logged { .. });
        if is_logged && !self.logs {
            let what =
                format!("a logged message can't be record {}: expected it before all records of other kinds", self.records + 1);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        self.begin(if is_logged { VERSION_LOGGED } else { VERSION });
        let payload: &[u8] = match record {
            ChannelRecord::Logged { to, seq, payload } => {
                self.scratch.push(LOGGED);
                push_name(&mut self.scratch, to);
                push_number(&mut self.scratch, seq.0);
                push_number(&mut self.scratch, payload.len() as u64);
                payload
            }
            ChannelRecord::Recorded { from, seq, payload } => {
                self.scratch.push(RECORDED);
                push_name(&mut self.scratch, from);
                push_number(&mut self.scratch, seq.0);
                push_number(&mut self.scratch, payload.len() as u64);
                payload
            }
            ChannelRecord::Unsent { to, payload } => {
                self.scratch.push(UNSENT);
                push_name(&mut self.scratch, to);
                push_number(&mut self.scratch, payload.len() as u64);
                payload
            }
            ChannelRecord::Timer { id, remaining_ms } => {
                self.scratch.push(TIMER);
                push_number(&mut self.scratch, *id);
                push_number(&mut self.scratch, *remaining_ms);
                &[]
            }
        };
        if payload.len() as u64 > MAX_PAYLOAD_BYTES {
            let what = format!("a message of {} bytes can't be recorded: expected at most {MAX_PAYLOAD_BYTES}", payload.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        self.to.write_all(&self.scratch)?;
        self.to.write_all(payload)?;
        self.records += 1;
        self.logs = is_logged;
        Ok(())
    }

    /// How many records were written.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// What is being written to.
    #[must_use]
    pub fn get_ref(&self) -> &W {
        &self.to
    }

    /// What is being written to. Whatever is written to it directly becomes part of the object.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.to
    }

    /// Ends the object and gives the writer below back.
    ///
    /// # Errors
    /// What the writer below answered.
    pub fn finish(mut self) -> io::Result<W> {
        self.begin(VERSION);
        self.scratch.push(END);
        push_number(&mut self.scratch, self.records);
        self.to.write_all(&self.scratch)?;
        Ok(self.to)
    }

    /// Empties the scratch buffer; before the first record it gets the header.
    fn begin(&mut self, version: u8) {
        self.scratch.clear();
        if self.records == 0 {
            self.scratch.extend_from_slice(MAGIC);
            self.scratch.push(version);
        }
    }
}

fn push_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn push_name(to: &mut Vec<u8>, name: &MemberName) {
    push_number(to, name.as_str().len() as u64);
    to.extend_from_slice(name.as_str().as_bytes());
}

/// A `channels` object that can't be read to its end. What came before the error was in the object.
#[derive(Debug, thiserror::Error)]
pub enum ChannelsError {
    /// It ends too early.
    #[error("the channels object is truncated in record {record}: expected {expected}, found the end")]
    Truncated {
        /// The record's number, from 1; 0 is the header.
        record: u64,
        /// What should come there.
        expected: &'static str,
    },
    /// It holds something that no writer writes.
    #[error("the channels object is garbled in record {record}: expected {expected}, found {found}")]
    Garbled {
        /// The record's number, from 1; 0 is the header.
        record: u64,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// It was written by a newer Stillframe.
    #[error("the channels object has version {found}: expected at most {VERSION_LOGGED}; use a newer stillframe")]
    NewerVersion {
        /// The version found.
        found: u8,
    },
    /// The reader below failed.
    #[error("the channels object can't be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads a `channels` object, record by record. After an error, or the end, it gives nothing more. It reads in small pieces: put a
/// [`io::BufReader`] around anything slow.
#[derive(Debug)]
pub struct ChannelsReader<R> {
    from: R,
    /// The record being read, from 1; 0 is the header.
    record: u64,
    /// Whether all records so far are logged messages, and more may come.
    logs: bool,
    done: bool,
    /// Whether the messages' bytes are given.
    with_payloads: bool,
    payload_bytes: u64,
}

impl<R: Read> ChannelsReader<R> {
    /// Reads from the beginning of an object's plain bytes.
    #[must_use]
    pub fn new(from: R) -> Self {
        Self { from, record: 0, logs: true, done: false, with_payloads: true, payload_bytes: 0 }
    }

    /// Reads over the messages' bytes and gives empty payloads: for whoever only counts, in memory that doesn't grow with what a stranger wrote.
    #[must_use]
    pub fn without_payloads(self) -> Self {
        Self { with_payloads: false, ..self }
    }

    /// How many bytes the message of the last record has.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    fn read(&mut self) -> Result<Option<ChannelRecord>, ChannelsError> {
        if self.record == 0 {
            self.header()?;
        }
        self.record += 1;
        let kind = self.byte("a record")?;
        if kind == LOGGED {
            if !self.logs {
                return Err(self.garbled("a logged message only in version 2, before all records of other kinds", "one"));
            }
            let (to, seq, payload) = (self.name()?, Seq(self.number("a sequence number")?), self.payload()?);
            return Ok(Some(ChannelRecord::Logged { to, seq, payload }));
        }
        self.logs = false;
        match kind {
            END => self.end(),
            RECORDED => {
                let (from, seq, payload) = (self.name()?, Seq(self.number("a sequence number")?), self.payload()?);
                Ok(Some(ChannelRecord::Recorded { from, seq, payload }))
            }
            UNSENT => Ok(Some(ChannelRecord::Unsent { to: self.name()?, payload: self.payload()? })),
            TIMER => Ok(Some(ChannelRecord::Timer {
                id: self.number("a timer's id")?,
                remaining_ms: self.number("a timer's remaining time")?,
            })),
            other => Err(self.garbled("a kind of record (0 to 4)", other)),
        }
    }

    fn header(&mut self) -> Result<(), ChannelsError> {
        let mut magic = [0; MAGIC.len()];
        self.exactly(&mut magic, "\"SFCH\"")?;
        if magic != *MAGIC {
            return Err(self.garbled("\"SFCH\"", magic.escape_ascii()));
        }
        match self.byte("a version")? {
            VERSION => {
                self.logs = false;
                Ok(())
            }
            VERSION_LOGGED => Ok(()),
            found => Err(ChannelsError::NewerVersion { found }),
        }
    }

    fn end(&mut self) -> Result<Option<ChannelRecord>, ChannelsError> {
        let records = self.number("the number of records")?;
        if records != self.record - 1 {
            return Err(self.garbled("the number of records before the end", records));
        }
        match self.from.read(&mut [0])? {
            0 => Ok(None),
            _ => Err(self.garbled("nothing after the end", "more bytes")),
        }
    }

    fn name(&mut self) -> Result<MemberName, ChannelsError> {
        let len = self.number("the length of a name")?;
        let mut buffer = [0; MAX_NAME_BYTES];
        let Some(name) = usize::try_from(len).ok().and_then(|len| buffer.get_mut(..len)) else {
            return Err(self.garbled("the length of a name (at most 64)", len));
        };
        self.exactly(name, "a name")?;
        match std::str::from_utf8(name).ok().and_then(|name| MemberName::new(name).ok()) {
            Some(name) => Ok(name),
            None => Err(self.garbled("a member's name", name.escape_ascii())),
        }
    }

    fn payload(&mut self) -> Result<Bytes, ChannelsError> {
        let len = self.number("the length of a message")?;
        if len > MAX_PAYLOAD_BYTES {
            return Err(self.garbled("the length of a message (at most 256 MiB)", len));
        }
        self.payload_bytes = len;
        let mut bytes = Read::by_ref(&mut self.from).take(len);
        let mut payload = Vec::new();
        let read = if self.with_payloads {
            payload.reserve(len.min(FIRST_ALLOCATION_BYTES) as usize);
            bytes.read_to_end(&mut payload)? as u64
        } else {
            io::copy(&mut bytes, &mut io::sink())?
        };
        if read == len { Ok(payload.into()) } else { Err(self.truncated("a message")) }
    }

    fn number(&mut self, expected: &'static str) -> Result<u64, ChannelsError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(expected)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit; an all-zero last byte would be a second way to write the same number.
            if (shift == 63 && bits > 1) || (shift > 0 && byte == 0) {
                return Err(self.garbled(expected, "an overlong integer"));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.garbled(expected, "an overlong integer"))
    }

    fn byte(&mut self, expected: &'static str) -> Result<u8, ChannelsError> {
        let mut byte = [0];
        self.exactly(&mut byte, expected)?;
        Ok(byte[0])
    }

    fn exactly(&mut self, buffer: &mut [u8], expected: &'static str) -> Result<(), ChannelsError> {
        self.from.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.truncated(expected),
            _ => error.into(),
        })
    }

    fn truncated(&self, expected: &'static str) -> ChannelsError {
        ChannelsError::Truncated { record: self.record, expected }
    }

    fn garbled(&self, expected: &'static str, found: impl ToString) -> ChannelsError {
        ChannelsError::Garbled { record: self.record, expected, found: found.to_string() }
    }
}

impl<R: Read> Iterator for ChannelsReader<R> {
    type Item = Result<ChannelRecord, ChannelsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.read().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}
