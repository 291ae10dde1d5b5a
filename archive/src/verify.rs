//! Proving a snapshot from the archive alone: every object's length and digest, the recorded and logged messages against the counters, and the
//! certificate.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::BufReader,
    path::Path,
};

use futures::{StreamExt, stream};
use stillframe_protocol::{CertifiedSnapshot, ClusterName, MemberName, Seq, SeqRanges, SnapshotId, Violation};

use crate::{
    archive::Archive,
    channels::{ChannelRecord, ChannelsError, ChannelsReader},
    error::ArchiveError,
    get::open_inline,
    manifest::{Manifest, Part},
    object::{ObjectEntry, Place, Role},
    plain::PlainObject,
};

/// Objects fetched at once.
const OBJECTS_IN_FLIGHT: usize = 8;

/// A snapshot of which everything was found right: every object exists with its recorded length and digest, the recorded messages are those
/// that the counters say, and the certificate proves the cut consistent and the channel states exact.
#[derive(Debug)]
pub struct VerifiedSnapshot {
    /// The manifest.
    pub manifest: Manifest,
    /// The proof.
    pub certificate: CertifiedSnapshot,
    /// Objects checked, inline ones included.
    pub objects: u64,
    /// Their encoded bytes.
    pub bytes: u64,
    /// Messages in flight at the cut.
    pub messages_in_flight: u64,
}

/// A snapshot that isn't what it should be, with everything that is wrong.
#[derive(Debug)]
pub struct VerifyError {
    /// The cluster.
    pub cluster: ClusterName,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// What is wrong; never empty.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is no manifest, or it can't be read.
    #[error(transparent)]
    Manifest(ArchiveError),
    /// An object is missing, truncated, corrupted, or couldn't be read.
    #[error("{role} of {member}: {error}")]
    Object {
        /// The member.
        member: MemberName,
        /// Which of its objects.
        role: Role,
        /// What is wrong.
        error: ArchiveError,
    },
    /// An object's key isn't one of this snapshot.
    #[error("{role} of {member} is under {key}: expected a key of this snapshot")]
    ForeignKey {
        /// The member.
        member: MemberName,
        /// Which of its objects.
        role: Role,
        /// The key.
        key: String,
    },
    /// A part hasn't the objects that it should have.
    #[error("part of {member}: expected {expected}, found {found} {role} objects")]
    Objects {
        /// The member.
        member: MemberName,
        /// Of which role.
        role: Role,
        /// How many there should be.
        expected: &'static str,
        /// How many there are.
        found: usize,
    },
    /// A `channels` object can't be read to its end.
    #[error("channels of {member}: {error}")]
    Channels {
        /// The member.
        member: MemberName,
        /// What is wrong.
        error: ChannelsError,
    },
    /// The messages in a `channels` object aren't those that the counters say.
    #[error("channels of {member}: expected the messages {expected} of {from} -> {member}, found {found}")]
    RecordedMessages {
        /// The receiver, whose part it is.
        member: MemberName,
        /// The sender.
        from: MemberName,
        /// What the manifest says was recorded.
        expected: String,
        /// What the object holds.
        found: String,
    },
    /// As [`RecordedMessages`](Self::RecordedMessages), for messages that the sender logged.
    #[error("channels of {member}: expected the logged messages {expected} of {member} -> {to}, found {found}")]
    LoggedMessages {
        /// The sender, whose part it is.
        member: MemberName,
        /// The receiver.
        to: MemberName,
        /// What the manifest says was logged.
        expected: String,
        /// What the object holds.
        found: String,
    },
    /// The counters don't add up.
    #[error("{0}")]
    Certificate(Violation),
}

impl VerifyError {
    /// Whether it only couldn't be verified now, because the store can't be reached; nothing was found wrong.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.problems.iter().all(|problem| match problem {
            Problem::Manifest(error) | Problem::Object { error, .. } => error.is_transient(),
            Problem::ForeignKey { .. }
            | Problem::Objects { .. }
            | Problem::Channels { .. }
            | Problem::RecordedMessages { .. }
            | Problem::LoggedMessages { .. }
            | Problem::Certificate(_) => false,
        })
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot {} of {} could not be verified:", self.snapshot, self.cluster)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for VerifyError {}

impl Archive {
    /// Verifies a snapshot from the archive alone: the manifest, every object's length, digest and encoding, the recorded messages against
    /// the counters, and the certificate.
    ///
    /// # Errors
    /// [`VerifyError`] with everything that is wrong, not only the first.
    pub async fn verify_snapshot(&self, cluster: &ClusterName, snapshot: SnapshotId) -> Result<VerifiedSnapshot, VerifyError> {
        let failed = |problems| VerifyError { cluster: cluster.clone(), snapshot, problems };
        let manifest = self.read_manifest(cluster, snapshot).await.map_err(|error| failed(vec![Problem::Manifest(error)]))?;
        let mut problems: Vec<Problem> =
            manifest.parts.iter().flat_map(|part| check_shape(&manifest.cluster, manifest.snapshot, part)).collect();
        let objects: Vec<_> =
            manifest.parts.iter().flat_map(|part| part.objects.iter().map(move |object| (part, object))).collect();
        let found: Vec<Vec<Problem>> = stream::iter(objects.iter().map(|(part, object)| self.check_object(part, object)))
            .buffered(OBJECTS_IN_FLIGHT)
            .collect()
            .await;
        problems.extend(found.into_iter().flatten());
        match manifest.certify() {
            Ok(certificate) if problems.is_empty() => Ok(VerifiedSnapshot {
                objects: objects.len() as u64,
                bytes: objects.iter().map(|(_, object)| object.bytes).sum(),
                messages_in_flight: certificate.messages_in_flight(),
                certificate,
                manifest,
            }),
            Ok(_) => Err(failed(problems)),
            Err(violations) => {
                problems.extend(violations.into_iter().map(Problem::Certificate));
                Err(failed(problems))
            }
        }
    }

    async fn check_object(&self, part: &Part, object: &ObjectEntry) -> Vec<Problem> {
        let member = &part.member;
        match (self.get(object).await, object.role) {
            (Err(error), role) => vec![Problem::Object { member: member.clone(), role, error }],
            (Ok(_), Role::State) => Vec::new(),
            (Ok(plain), Role::Channels) => {
                let part = part.clone();
                let compared = tokio::task::spawn_blocking(move || compare_messages(&part, plain)).await;
                compared.unwrap_or_else(|panicked| {
                    let error = ChannelsError::Io(std::io::Error::other(panicked));
                    vec![Problem::Channels { member: member.clone(), error }]
                })
            }
        }
    }
}

/// What can be told of a part without asking the store, before it is taken: one state, a `channels` object where messages were recorded or logged, no
/// key outside the snapshot; and of inline objects everything: length, digest, encoding, and the recorded and logged messages against the counters.
///
/// Blocks on the processor for as long as decoding the inline objects takes, and on `spill_dir` for those of more than 1 MiB plain.
///
/// # Errors
/// The first [`Problem`].
pub fn check_part(cluster: &ClusterName, snapshot: SnapshotId, part: &Part, spill_dir: &Path) -> Result<(), Problem> {
    check_shape(cluster, snapshot, part).into_iter().next().map_or(Ok(()), Err)?;
    for object in &part.objects {
        let Place::Inline(content) = &object.place else { continue };
        let plain = open_inline(object, content.clone(), spill_dir).map_err(|error| Problem::Object {
            member: part.member.clone(),
            role: object.role,
            error,
        })?;
        if object.role == Role::Channels {
            compare_messages(part, plain).into_iter().next().map_or(Ok(()), Err)?;
        }
    }
    Ok(())
}

/// One state, at most one `channels` object (none only when nothing was recorded or logged), and no key outside the snapshot.
fn check_shape(cluster: &ClusterName, snapshot: SnapshotId, part: &Part) -> Vec<Problem> {
    let member = &part.member;
    let mut problems = Vec::new();
    let count = |role| part.objects.iter().filter(|object| object.role == role).count();
    let needs_none = part.recorded.iter().map(|recorded| &recorded.ranges).chain(part.logged.iter().map(|logged| &logged.ranges));
    let needs_none = needs_none.into_iter().all(SeqRanges::is_empty);
    let wrong = |role, expected, found| Problem::Objects { member: member.clone(), role, expected, found };
    match count(Role::State) {
        1 => {}
        found => problems.push(wrong(Role::State, "one", found)),
    }
    match count(Role::Channels) {
        0 if needs_none => {}
        1 => {}
        found => problems.push(wrong(Role::Channels, "one (for the recorded or logged messages)", found)),
    }
    for object in &part.objects {
        if let Some(key) = object.key().filter(|key| !key.belongs_to(cluster, snapshot)) {
            problems.push(Problem::ForeignKey { member: member.clone(), role: object.role, key: key.to_string() });
        }
    }
    problems
}

/// Messages of one channel in a `channels` object.
#[derive(Default, PartialEq)]
struct Held {
    seqs: SeqRanges,
    bytes: u64,
    twice: u64,
    /// How many came behind one with a larger number, where that matters.
    late: u64,
}

impl Held {
    fn expected((ranges, bytes): (&SeqRanges, u64)) -> Self {
        Self { seqs: ranges.clone(), bytes, ..Self::default() }
    }

    fn add(&mut self, seq: Seq, bytes: u64) {
        self.bytes += bytes;
        self.twice += u64::from(!self.seqs.insert(seq));
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({} bytes)", self.seqs, self.bytes)?;
        if self.twice > 0 {
            write!(f, ", {} of them again", self.twice)?;
        }
        if self.late > 0 { write!(f, ", {} of them out of order", self.late) } else { Ok(()) }
    }
}

/// The recorded and the logged messages must be exactly those that the certificate speaks of: else it would prove something about other bytes.
fn compare_messages(part: &Part, plain: PlainObject) -> Vec<Problem> {
    let (mut recorded, mut logged): (BTreeMap<MemberName, Held>, BTreeMap<MemberName, Held>) = Default::default();
    let mut records = ChannelsReader::new(BufReader::new(plain)).without_payloads();
    while let Some(record) = records.next() {
        let bytes = records.payload_bytes();
        match record {
            Ok(ChannelRecord::Recorded { from, seq, .. }) => recorded.entry(from).or_default().add(seq, bytes),
            Ok(ChannelRecord::Logged { to, seq, .. }) => {
                let held = logged.entry(to).or_default();
                // They are sent again in the order in which they stand here.
                held.late += u64::from(seq.0 < held.seqs.max());
                held.add(seq, bytes);
            }
            Ok(ChannelRecord::Unsent { .. } | ChannelRecord::Timer { .. }) => {}
            Err(error) => return vec![Problem::Channels { member: part.member.clone(), error }],
        }
    }
    let member = &part.member;
    let expected = part.recorded.iter().map(|channel| (&channel.from, Held::expected((&channel.ranges, channel.bytes))));
    let recorded = differences(expected, recorded, |from, expected, found| Problem::RecordedMessages {
        member: member.clone(),
        from,
        expected,
        found,
    });
    let expected = part.logged.iter().map(|channel| (&channel.to, Held::expected((&channel.ranges, channel.bytes))));
    let logged = differences(expected, logged, |to, expected, found| Problem::LoggedMessages {
        member: member.clone(),
        to,
        expected,
        found,
    });
    recorded.into_iter().chain(logged).collect()
}

/// The channels of which something else was expected than was found.
fn differences<'a>(
    expected: impl Iterator<Item = (&'a MemberName, Held)>,
    mut found: BTreeMap<MemberName, Held>,
    problem: impl Fn(MemberName, String, String) -> Problem,
) -> Vec<Problem> {
    let expected = expected.filter(|(_, held)| !held.seqs.is_empty());
    let mut expected: BTreeMap<MemberName, Held> = expected.map(|(peer, held)| (peer.clone(), held)).collect();
    let peers: BTreeSet<_> = found.keys().chain(expected.keys()).cloned().collect();
    let mut problems = Vec::new();
    for peer in peers {
        let (expected, found) = (expected.remove(&peer).unwrap_or_default(), found.remove(&peer).unwrap_or_default());
        if expected != found {
            problems.push(problem(peer, expected.to_string(), found.to_string()));
        }
    }
    problems
}
