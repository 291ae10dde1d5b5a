//! Messages that were in flight at a snapshot, delivered after its restore: read one by one, however many there are.

use std::{
    fmt,
    io::{Seek, SeekFrom},
};

use bytes::Bytes;
use stillframe_archive::{ChannelRecord, ChannelsReader, PlainObject};
use stillframe_protocol::MemberName;

use crate::{
    prepare::{Renamed, name_now},
    state::RestoreError,
};

/// What is left to deliver.
pub(super) struct Replay {
    records: ChannelsReader<PlainObject>,
    renamed: Renamed,
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
    /// Hands what was unsent to `unsent`, and keeps what was recorded for later. Timers are the application's own here.
    pub(super) fn begin(
        mut channels: PlainObject,
        renamed: Renamed,
        mut unsent: impl FnMut(MemberName, Bytes) -> Result<(), RestoreError>,
    ) -> Result<Self, RestoreError> {
        for record in ChannelsReader::new(&mut channels) {
            match record.map_err(unreadable)? {
                ChannelRecord::Unsent { to, payload } => unsent(name_now(&renamed, to), payload)?,
                ChannelRecord::Recorded { .. } | ChannelRecord::Logged { .. } | ChannelRecord::Timer { .. } => {}
            }
        }
        channels.seek(SeekFrom::Start(0))?;
        Ok(Self { records: ChannelsReader::new(channels), renamed })
    }

    /// The next message and its sender.
    pub(super) fn next(&mut self) -> Result<Option<(MemberName, Bytes)>, RestoreError> {
        for record in self.records.by_ref() {
            match record.map_err(unreadable)? {
                ChannelRecord::Recorded { from, payload, .. } => return Ok(Some((name_now(&self.renamed, from), payload))),
                ChannelRecord::Logged { .. } | ChannelRecord::Unsent { .. } | ChannelRecord::Timer { .. } => {}
            }
        }
        Ok(None)
    }
}
