//! The manifest: the object that describes a committed snapshot. A public format, see `docs/archive-format.md`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::{
    CertifiedSnapshot, ClusterName, Departed, Epoch, Generation, Incarnation, Logged, MemberName, PartCounters, Received,
    Recorded, Sent, SnapshotId, ViewMember, Violation, certificate,
};
use uuid::Uuid;

use crate::{archive::FORMAT, digest::Digest, object::ObjectEntry};

/// The digest of a manifest's bytes.
pub type ManifestDigest = Digest;

/// What a manifest should stay under; [`inline_limit`] is chosen for it.
pub const MANIFEST_TARGET_BYTES: u64 = 8 << 20;

/// No manifest longer than this is written or read.
pub const MAX_MANIFEST_BYTES: u64 = 256 << 20;

/// The largest object that is ever stored inline, in encoded bytes.
const MAX_INLINE_BYTES: u64 = 16 << 10;

/// What a part takes up besides its inline objects: names, digests and a few channels.
const PART_OVERHEAD_BYTES: u64 = 1 << 10;

/// Up to how many encoded bytes an object may have to be stored inline, in a snapshot of so many members: at most 16 KiB, and so little
/// that the manifest stays under 8 MiB.
#[must_use]
pub fn inline_limit(members: u64) -> u64 {
    let part = (MANIFEST_TARGET_BYTES / members.max(1)).saturating_sub(PART_OVERHEAD_BYTES);
    // Two objects a part, and base64 makes four bytes of three.
    (part / 2 / 4 * 3).min(MAX_INLINE_BYTES)
}

/// A committed snapshot: its parts, the digest of every object, and the counters that make up the certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format's number, [`FORMAT`].
    pub format: u32,
    /// The id of the archive it was written for.
    pub archive: Uuid,
    /// The cluster.
    pub cluster: ClusterName,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The snapshot's epoch.
    pub epoch: Epoch,
    /// The cluster's generation at the cut.
    pub generation: Generation,
    /// When the coordinator began the snapshot, by the database's clock.
    pub started_at: Timestamp,
    /// What the user wrote on it.
    pub labels: BTreeMap<String, String>,
    /// One part for each member of the view.
    pub parts: Vec<Part>,
    /// The members that had left before the snapshot began and that a part still counts a channel with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub departed: Vec<Departed>,
}

/// One member's contribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The member.
    pub member: MemberName,
    /// The incarnation that took part.
    pub incarnation: Incarnation,
    /// Its objects.
    pub objects: Vec<ObjectEntry>,
    /// Messages sent at its cut, for each outgoing channel.
    pub sent: Vec<Sent>,
    /// Messages received at its cut, for each incoming channel.
    pub received: Vec<Received>,
    /// Messages recorded after its cut, for each incoming channel.
    pub recorded: Vec<Recorded>,
    /// Messages that it had sent and not seen acknowledged at its cut, for each outgoing channel; only where the senders log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logged: Vec<Logged>,
    /// The incarnations that the counters speak of, for peers of which something is logged or which were replaced in the member's life.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<ViewMember>,
}

impl Part {
    /// Its counters, as [`stillframe_protocol::certificate::verify`] takes them.
    #[must_use]
    pub fn counters(&self, generation: Generation) -> PartCounters {
        PartCounters {
            member: self.member.clone(),
            incarnation: self.incarnation,
            generation,
            sent: self.sent.clone(),
            received: self.received.clone(),
            recorded: self.recorded.clone(),
            logged: self.logged.clone(),
            peers: self.peers.clone(),
        }
    }
}

/// Bytes that aren't a manifest that this version can read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not the JSON that was expected.
    #[error("expected the JSON of docs/archive-format.md: {0}")]
    Json(#[from] serde_json::Error),
    /// A format that this version doesn't know.
    #[error("expected format {FORMAT}, found {found}; use a newer stillframe")]
    Format {
        /// The format found.
        found: u64,
    },
    /// A member has two parts.
    #[error("expected one part for each member, found two for {member}")]
    TwoParts {
        /// The member.
        member: MemberName,
    },
    /// Longer than any manifest may be.
    #[error("expected at most {MAX_MANIFEST_BYTES} bytes, found {found}")]
    TooLong {
        /// The length found.
        found: u64,
    },
    /// It describes something else than its key says.
    #[error("expected the manifest of {expected}, found that of {found}")]
    OtherSnapshot {
        /// The archive, cluster and snapshot by the key.
        expected: String,
        /// Those in the manifest.
        found: String,
    },
}

impl Manifest {
    /// The manifest's bytes: one line of JSON without spaces, fields in the order of this type, parts sorted by member, objects by role and
    /// counters by member, and a line feed. The same content always gives the same bytes.
    ///
    /// # Panics
    /// Never: everything in a manifest has a JSON form.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut json = serde_json::to_vec(&self.sorted()).expect("everything in a manifest has a JSON form");
        json.push(b'\n');
        json.into()
    }

    /// Reads a manifest. Unknown fields are ignored.
    ///
    /// # Errors
    /// [`ManifestError`] for an unknown format number, for anything that isn't a manifest, and for two parts of one member.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Head {
            format: u64,
        }
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLong { found: bytes.len() as u64 });
        }
        // The format comes first: what the other fields mean depends on it.
        let Head { format } = serde_json::from_slice(bytes)?;
        if format != u64::from(FORMAT) {
            return Err(ManifestError::Format { found: format });
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        let mut seen = BTreeSet::new();
        match manifest.parts.iter().find(|part| !seen.insert(&part.member)) {
            Some(part) => Err(ManifestError::TwoParts { member: part.member.clone() }),
            None => Ok(manifest),
        }
    }

    /// The digest of [`Manifest::to_bytes`].
    #[must_use]
    pub fn digest(&self) -> ManifestDigest {
        Digest::of(&self.to_bytes())
    }

    /// The members and incarnations that the snapshot consists of.
    #[must_use]
    pub fn view(&self) -> Vec<ViewMember> {
        self.parts.iter().map(|part| ViewMember { member: part.member.clone(), incarnation: part.incarnation }).collect()
    }

    /// The counters of all parts, as [`stillframe_protocol::certificate::verify`] takes them.
    #[must_use]
    pub fn part_counters(&self) -> Vec<PartCounters> {
        self.parts.iter().map(|part| part.counters(self.generation)).collect()
    }

    /// Checks the counters: whether they prove the cut consistent and the states of all channels exact.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn certify(&self) -> Result<CertifiedSnapshot, Vec<Violation>> {
        certificate::verify_with(self.generation, &self.view(), &self.part_counters(), &self.departed)
    }

    fn sorted(&self) -> Self {
        let mut manifest = self.clone();
        manifest.parts.sort_by(|a, b| a.member.cmp(&b.member));
        for part in &mut manifest.parts {
            part.objects.sort_by_key(|object| object.role);
            part.sent.sort_by(|a, b| a.to.cmp(&b.to));
            part.received.sort_by(|a, b| a.from.cmp(&b.from));
            part.recorded.sort_by(|a, b| a.from.cmp(&b.from));
            part.logged.sort_by(|a, b| a.to.cmp(&b.to));
            part.peers.sort_by(|a, b| a.member.cmp(&b.member));
        }
        manifest.departed.sort_by(|a, b| a.member.cmp(&b.member));
        for departed in &mut manifest.departed {
            departed.sent.sort_by(|a, b| a.to.cmp(&b.to));
            departed.received.sort_by(|a, b| a.from.cmp(&b.from));
        }
        manifest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inline_limit_keeps_a_manifest_under_8_mib() {
        assert_eq!(inline_limit(0), 16 << 10);
        assert_eq!(inline_limit(16), 16 << 10);
        for members in [1, 16, 100, 190, 1_000, 5_000, 10_000, u64::MAX] {
            let part = inline_limit(members).div_ceil(3) * 4 * 2;
            assert!(u128::from(part) * u128::from(members) <= u128::from(MANIFEST_TARGET_BYTES), "{members}");
        }
    }
}
