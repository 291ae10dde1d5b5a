//! Messages that were in flight at a snapshot, delivered after its restore: read one by one, however many there are.

use std::{
    fmt,
    io::{Seek, SeekFrom},
};

use bytes::Bytes;
use stillframe_archive::{ChannelsReader, PlainObject};
use stillframe_protocol::MemberName;

use crate::{
    prepare::content::{Reading, Restored},
    state::RestoreError,
};

/// What is left to deliver.
pub(super) struct Replay {
    records: ChannelsReader<PlainObject>,
    reading: Reading,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replay")
    }
}

fn unreadable(error: impl fmt::Display) -> RestoreError {
    RestoreError::new(format!("the channels of the part can't be read: {error}"))
}

impl Replay {
    /// Hands what waits to be sent to `unsent`, and keeps what was recorded for later. Timers are the application's own here.
    pub(super) fn begin(
        mut channels: PlainObject,
        reading: Reading,
        mut unsent: impl FnMut(MemberName, Bytes) -> Result<(), RestoreError>,
    ) -> Result<Self, RestoreError> {
        for record in ChannelsReader::new(&mut channels) {
            match reading.restored(record.map_err(unreadable)?) {
                Restored::Unsent { to, payload } => unsent(to, payload)?,
                Restored::InFlight { .. } | Restored::Timer { .. } | Restored::Arrived => {}
            }
        }
        channels.seek(SeekFrom::Start(0))?;
        Ok(Self { records: ChannelsReader::new(channels), reading })
    }

    /// The next message and its sender.
    pub(super) fn next(&mut self) -> Result<Option<(MemberName, Bytes)>, RestoreError> {
        for record in self.records.by_ref() {
            match self.reading.restored(record.map_err(unreadable)?) {
                Restored::InFlight { from, payload } => return Ok(Some((from, payload))),
                Restored::Unsent { .. } | Restored::Timer { .. } | Restored::Arrived => {}
            }
        }
        Ok(None)
    }
}
