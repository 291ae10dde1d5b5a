//! What is in a part's channels object: whether that is what the manifest says, and what becomes of it when the member goes on from there.

use std::{
    collections::BTreeMap,
    fmt,
    io::{Seek, SeekFrom},
};

use bytes::Bytes;
use stillframe_api::agent::PrepareRestore;
use stillframe_archive::{ChannelRecord, ChannelsError, ChannelsReader, PlainObject};
use stillframe_protocol::{MemberName, Seq, SeqRanges};

/// By the other end of the channel, by its name of now.
type ByChannel = BTreeMap<MemberName, SeqRanges>;

/// What a record means to a member that goes on from the part, by the names of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Restored {
    /// It was in flight to this member: it is delivered before anything new.
    InFlight {
        /// Its sender.
        from: MemberName,
        /// The message.
        payload: Bytes,
    },
    /// It waits to be sent, behind what was read before it: the application had handed it over, or it was logged and had not arrived.
    Unsent {
        /// For whom it is.
        to: MemberName,
        /// The message.
        payload: Bytes,
    },
    /// A timer that was running.
    Timer {
        /// The application's number for it.
        id: u64,
        /// What was left of it, in milliseconds.
        remaining_ms: u64,
    },
    /// It was logged, and its receiver had it at its own cut.
    Arrived,
}

/// How records are to be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    /// Members that have other names now than in the part.
    renamed: BTreeMap<MemberName, MemberName>,
    /// What of the logged messages their receivers had at their cuts.
    arrived: ByChannel,
}

impl Reading {
    pub(crate) fn of(part: &PrepareRestore) -> Self {
        let arrived = part.arrived.iter().map(|arrived| (arrived.to.clone(), arrived.ranges.clone())).collect();
        Self { renamed: part.renamed.clone(), arrived }
    }

    /// A member's name now.
    fn now(&self, name: MemberName) -> MemberName {
        self.renamed.get(&name).cloned().unwrap_or(name)
    }

    /// What a record means.
    pub(crate) fn restored(&self, record: ChannelRecord) -> Restored {
        match record {
            ChannelRecord::Recorded { from, payload, .. } => Restored::InFlight { from: self.now(from), payload },
            ChannelRecord::Logged { to, seq, payload } => {
                let to = self.now(to);
                let has_arrived = self.arrived.get(&to).is_some_and(|arrived| arrived.contains(seq));
                if has_arrived { Restored::Arrived } else { Restored::Unsent { to, payload } }
            }
            ChannelRecord::Unsent { to, payload } => Restored::Unsent { to: self.now(to), payload },
            ChannelRecord::Timer { id, remaining_ms } => Restored::Timer { id, remaining_ms },
        }
    }
}

/// The numbers of the messages in a channels object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    recorded: ByChannel,
    logged: ByChannel,
}

/// A channels object that no member writes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContentError {
    #[error(transparent)]
    Unreadable(#[from] ChannelsError),
    #[error(
        "holds the logged message {seq} for {to} behind message {behind}: expected the log of a channel in the order of its numbers"
    )]
    OutOfOrder { to: MemberName, seq: Seq, behind: u64 },
}

impl From<std::io::Error> for ContentError {
    fn from(error: std::io::Error) -> Self {
        Self::Unreadable(error.into())
    }
}

impl Numbers {
    /// What the manifest says.
    pub(crate) fn expected(part: &PrepareRestore) -> Self {
        let recorded = part.recorded.iter().map(|recorded| (recorded.from.clone(), recorded.ranges.clone()));
        let logged = part.logged.iter().map(|logged| (logged.to.clone(), logged.ranges.clone()));
        let some = |(_, ranges): &(MemberName, SeqRanges)| !ranges.is_empty();
        Self { recorded: recorded.filter(some).collect(), logged: logged.filter(some).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.recorded.is_empty() && self.logged.is_empty()
    }

    /// Reads every record once, and gives the object back at its beginning.
    ///
    /// # Errors
    /// [`ContentError`].
    pub(crate) fn count(mut channels: PlainObject, reading: &Reading) -> Result<(PlainObject, Self), ContentError> {
        let mut found = Self::default();
        for record in ChannelsReader::new(&mut channels) {
            match record? {
                ChannelRecord::Recorded { from, seq, .. } => {
                    found.recorded.entry(reading.now(from)).or_default().insert(seq);
                }
                ChannelRecord::Logged { to, seq, .. } => {
                    let to = reading.now(to);
                    let logged = found.logged.entry(to.clone()).or_default();
                    // What is sent again is sent in the order in which it is read. (That logs come before unsent messages, the reader sees to.)
                    let behind = logged.max();
                    if behind >= seq.0 {
                        return Err(ContentError::OutOfOrder { to, seq, behind });
                    }
                    logged.insert(seq);
                }
                ChannelRecord::Unsent { .. } | ChannelRecord::Timer { .. } => {}
            }
        }
        channels.seek(SeekFrom::Start(0))?;
        Ok((channels, found))
    }

    /// What isn't as expected, in words.
    pub(crate) fn differs_from(&self, expected: &Self) -> Option<String> {
        let differ = |what: &str, found: &dyn fmt::Debug, expected: &dyn fmt::Debug| {
            Some(format!("holds the {what} messages {found:?}: expected {expected:?}, as in the manifest"))
        };
        match () {
            () if self.recorded != expected.recorded => differ("recorded", &self.recorded, &expected.recorded),
            () if self.logged != expected.logged => differ("logged", &self.logged, &expected.logged),
            () => None,
        }
    }
}
