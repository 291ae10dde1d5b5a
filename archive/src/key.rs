//! Object keys: where in the archive an object is. Relative to the archive's root, and only of the layout of `docs/archive-format.md`,
//! so that a key out of a manifest can't point outside it.

use std::{fmt, str::FromStr, sync::Arc};

use object_store::path::Path;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use stillframe_protocol::{ClusterName, Incarnation, MemberName, SnapshotId};

use crate::object::Role;

pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const CLUSTERS: &str = "clusters";
const SNAPSHOTS: &str = "snapshots";
const PARTS: &str = "parts";

/// The key of an object of a snapshot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<str>);

/// A text that isn't a key of an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is not an object key: expected clusters/<cluster>/snapshots/<snapshot>/manifest.json or \
     clusters/<cluster>/snapshots/<snapshot>/parts/<member>.<incarnation>/<state|channels>"
)]
pub struct KeyError {
    found: String,
}

impl ObjectKey {
    /// The key of a member's state.
    #[must_use]
    pub fn state_key(cluster: &ClusterName, snapshot: SnapshotId, member: &MemberName, incarnation: Incarnation) -> Self {
        Self::part_key(cluster, snapshot, member, incarnation, Role::State)
    }

    /// The key of the messages recorded for a member's incoming channels, with its unsent messages and timers.
    #[must_use]
    pub fn channels_key(cluster: &ClusterName, snapshot: SnapshotId, member: &MemberName, incarnation: Incarnation) -> Self {
        Self::part_key(cluster, snapshot, member, incarnation, Role::Channels)
    }

    /// The key of an object of a member's part.
    #[must_use]
    pub fn part_key(
        cluster: &ClusterName,
        snapshot: SnapshotId,
        member: &MemberName,
        incarnation: Incarnation,
        role: Role,
    ) -> Self {
        Self(format!("{}{PARTS}/{member}.{incarnation}/{role}", snapshot_prefix(cluster, snapshot)).into())
    }

    /// The key of a snapshot's manifest.
    #[must_use]
    pub fn manifest_key(cluster: &ClusterName, snapshot: SnapshotId) -> Self {
        Self(format!("{}{MANIFEST}", snapshot_prefix(cluster, snapshot)).into())
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the key of a part of that snapshot.
    #[must_use]
    pub fn belongs_to(&self, cluster: &ClusterName, snapshot: SnapshotId) -> bool {
        self.0.strip_prefix(&snapshot_prefix(cluster, snapshot)).is_some_and(|rest| rest.starts_with(PARTS))
    }

    /// The snapshot that it is of.
    #[must_use]
    pub fn snapshot(&self) -> SnapshotId {
        // clusters/<cluster>/snapshots/<snapshot>/..: nothing else can be made.
        self.0.split('/').nth(3).and_then(|snapshot| snapshot.parse().ok()).unwrap_or(SnapshotId(uuid::Uuid::nil()))
    }

    /// Whether it is a manifest's.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        self.0.ends_with(MANIFEST)
    }

    pub(crate) fn path(&self) -> Path {
        Path::from(&*self.0)
    }
}

/// What the keys of a snapshot begin with, `/` included.
pub(crate) fn snapshot_prefix(cluster: &ClusterName, snapshot: SnapshotId) -> String {
    format!("{}{SNAPSHOTS}/{snapshot}/", cluster_prefix(Some(cluster)))
}

/// What the keys of a cluster, or of all clusters, begin with, `/` included.
pub(crate) fn cluster_prefix(cluster: Option<&ClusterName>) -> String {
    match cluster {
        Some(cluster) => format!("{CLUSTERS}/{cluster}/"),
        None => format!("{CLUSTERS}/"),
    }
}

/// The snapshot whose manifest this is the key of; nothing for any other key.
pub(crate) fn snapshot_of_manifest(key: &str) -> Option<(ClusterName, SnapshotId)> {
    let key: ObjectKey = key.parse().ok()?;
    let mut segments = key.0.split('/');
    let cluster = segments.nth(1)?.parse().ok()?;
    let snapshot = segments.nth(1)?.parse().ok()?;
    (segments.next() == Some(MANIFEST)).then_some((cluster, snapshot))
}

impl FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        parse(text).filter(|key| &*key.0 == text).ok_or_else(|| KeyError { found: text.chars().take(300).collect() })
    }
}

fn parse(text: &str) -> Option<ObjectKey> {
    let segments: Vec<&str> = text.split('/').collect();
    let [CLUSTERS, cluster, SNAPSHOTS, snapshot, rest @ ..] = segments.as_slice() else { return None };
    let (cluster, snapshot) = (cluster.parse().ok()?, snapshot.parse().ok()?);
    match rest {
        [MANIFEST] => Some(ObjectKey::manifest_key(&cluster, snapshot)),
        [PARTS, part, role] => {
            let (member, incarnation) = part.rsplit_once('.')?;
            let role = Role::ALL.into_iter().find(|known| known.as_str() == *role)?;
            Some(ObjectKey::part_key(&cluster, snapshot, &member.parse().ok()?, Incarnation(incarnation.parse().ok()?), role))
        }
        _ => None,
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for ObjectKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ObjectKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_from_their_text() {
        let cluster = ClusterName::new("bank").expect("well-formed");
        let member = MemberName::new("p1.eu").expect("well-formed");
        let snapshot = SnapshotId(uuid::Uuid::from_u128(7));
        let state = ObjectKey::state_key(&cluster, snapshot, &member, Incarnation(3));
        assert_eq!(state.as_str(), format!("clusters/bank/snapshots/{snapshot}/parts/p1.eu.3/state"));
        let manifest = ObjectKey::manifest_key(&cluster, snapshot);
        for key in [&state, &manifest, &ObjectKey::channels_key(&cluster, snapshot, &member, Incarnation(3))] {
            assert_eq!(key.as_str().parse::<ObjectKey>().as_ref(), Ok(key));
            assert_eq!(key.path().as_ref(), key.as_str());
        }
        assert!(state.belongs_to(&cluster, snapshot));
        assert_eq!((state.snapshot(), manifest.snapshot()), (snapshot, snapshot));
        assert!(manifest.is_manifest() && !state.is_manifest());
        assert!(!state.belongs_to(&cluster, SnapshotId(uuid::Uuid::from_u128(8))));
        assert_eq!(snapshot_of_manifest(manifest.as_str()), Some((cluster, snapshot)));
        assert_eq!(snapshot_of_manifest(state.as_str()), None);
    }

    #[test]
    fn a_key_that_leaves_the_layout_is_refused() {
        let id = "00000000-0000-0000-0000-000000000007";
        for text in [
            String::new(),
            "format.json".to_owned(),
            "../../etc/passwd".to_owned(),
            format!("/clusters/bank/snapshots/{id}/manifest.json"),
            format!("clusters/../snapshots/{id}/manifest.json"),
            format!("clusters/bank/snapshots/{id}/parts/../state"),
            format!("clusters/bank/snapshots/{id}/parts/p1.03/state"),
            format!("clusters/bank/snapshots/{id}/parts/p1/state"),
            format!("clusters/bank/snapshots/{id}/parts/p1.3/other"),
            format!("clusters/bank/snapshots/{id}/parts/p1.3/state/more"),
        ] {
            assert!(text.parse::<ObjectKey>().is_err(), "{text}");
        }
    }
}
