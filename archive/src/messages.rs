//! The messages that a snapshot holds besides the members' states: those in flight at the cut, and those that weren't sent yet. Whoever adds a
//! snapshot up reads them here, for which messages were in flight is told by both ends of a channel where its sender logged.

use std::{collections::BTreeMap, io::Read};

use bytes::Bytes;
use stillframe_protocol::{MemberName, Seq, SeqRanges};

use crate::{
    channels::{ChannelRecord, ChannelsError, ChannelsReader},
    manifest::{Manifest, Part},
};

/// A message that is in no member's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// It was in flight at the cut: a restore has it delivered.
    InFlight {
        /// Its sender.
        from: MemberName,
        /// Its receiver.
        to: MemberName,
        /// Its number on the channel.
        seq: Seq,
        /// The application's bytes.
        payload: Bytes,
    },
    /// The application had handed it over, and it had no number at the cut: a restore has it sent.
    Unsent {
        /// Its sender.
        from: MemberName,
        /// For whom it is.
        to: MemberName,
        /// The application's bytes.
        payload: Bytes,
    },
}

/// Which messages the receivers of a snapshot's channels have, so that what their senders logged can be told apart.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    /// By sender and receiver.
    received: BTreeMap<(&'a MemberName, &'a MemberName), &'a SeqRanges>,
}

impl<'a> Messages<'a> {
    /// Of a snapshot. Takes time linear in its channels.
    #[must_use]
    pub fn of(manifest: &'a Manifest) -> Self {
        Self::between(&manifest.parts)
    }

    /// Of a snapshot's parts, all of them.
    #[must_use]
    pub fn between(parts: &'a [Part]) -> Self {
        let received = |part: &'a Part| part.received.iter().map(move |r| ((&r.from, &part.member), &r.ranges));
        Self { received: parts.iter().flat_map(received).collect() }
    }

    /// The messages in the `channels` object of a member, read one by one from its plain bytes. A logged message that its receiver has is
    /// passed over: it is in the receiver's state.
    ///
    /// # Errors
    /// Each item is what [`ChannelsReader`] reads; after an error, or the end, there is nothing more.
    pub fn read<R: Read>(
        &self,
        member: &MemberName,
        plain: R,
    ) -> impl Iterator<Item = Result<Message, ChannelsError>> + use<'_, 'a, R> {
        let (me, records) = (member.clone(), ChannelsReader::new(plain));
        records.filter_map(move |record| self.message(&me, record).transpose())
    }

    fn message(&self, me: &MemberName, record: Result<ChannelRecord, ChannelsError>) -> Result<Option<Message>, ChannelsError> {
        Ok(match record? {
            ChannelRecord::Recorded { from, seq, payload } => Some(Message::InFlight { from, to: me.clone(), seq, payload }),
            ChannelRecord::Logged { to, seq, .. } if self.has_received(me, &to, seq) => None,
            ChannelRecord::Logged { to, seq, payload } => Some(Message::InFlight { from: me.clone(), to, seq, payload }),
            ChannelRecord::Unsent { to, payload } => Some(Message::Unsent { from: me.clone(), to, payload }),
            ChannelRecord::Timer { .. } => None,
        })
    }

    fn has_received(&self, from: &MemberName, to: &MemberName, seq: Seq) -> bool {
        self.received.get(&(from, to)).is_some_and(|ranges| ranges.contains(seq))
    }
}
