//! The numbers that a catalog began anew with when it was rebuilt: what the next one has to stay above, should this one be lost before it committed
//! a snapshot that shows them.

use futures::TryStreamExt;
use object_store::{ObjectStoreExt, PutMode, PutPayload, path::Path as StorePath};
use serde::{Deserialize, Serialize};
use stillframe_protocol::{ClusterName, Epoch, Generation, Incarnation};
use uuid::Uuid;

use crate::{
    archive::{Archive, FORMAT, store_error},
    digest::Digest,
    error::{ArchiveError, StoreFailure},
    key,
};

/// A file of floors is a line.
const MAX_BYTES: u64 = 64 << 10;

/// Numbers of a cluster that may all have been given out; what comes is above them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Floors {
    /// Epochs.
    pub epoch: Epoch,
    /// Generations.
    pub generation: Generation,
    /// Incarnations, of any member.
    pub incarnation: Incarnation,
    /// Numbers of members.
    pub member_id: u32,
}

impl Floors {
    /// The higher ones of both.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            epoch: self.epoch.max(other.epoch),
            generation: self.generation.max(other.generation),
            incarnation: self.incarnation.max(other.incarnation),
            member_id: self.member_id.max(other.member_id),
        }
    }
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    archive: Uuid,
    cluster: ClusterName,
    #[serde(flatten)]
    floors: Floors,
}

fn folder(cluster: &ClusterName) -> StorePath {
    StorePath::from(format!("{}floors", key::cluster_prefix(Some(cluster))))
}

/// Whether this is the key of floors. They belong to the cluster itself, and stay for as long as its archive does.
#[must_use]
pub fn is_key(key: &str) -> bool {
    let parts: Vec<&str> = key.split('/').collect();
    let ["clusters", cluster, "floors", file] = parts.as_slice() else { return false };
    let digest = file.strip_suffix(".json").unwrap_or_default();
    cluster.parse::<ClusterName>().is_ok() && digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Archive {
    /// Writes floors of a cluster, under a key of their own that tells the numbers, so that writing them twice is writing the same.
    ///
    /// # Errors
    /// [`ArchiveError::Denied`], [`ArchiveError::Unreachable`] (write again).
    pub async fn write_floors(&self, cluster: &ClusterName, floors: Floors) -> Result<(), ArchiveError> {
        let written = Written { format: FORMAT, archive: self.id(), cluster: cluster.clone(), floors };
        let mut json = serde_json::to_vec(&written)
            .map_err(|error| ArchiveError::Unusable { url: self.url().to_string(), source: Box::new(error) })?;
        json.push(b'\n');
        let name = Digest::of(&json).to_string().replace("blake3:", "");
        let key = folder(cluster).join(format!("{name}.json"));
        let put = self.inner.store.put_opts(&key, PutPayload::from(json), PutMode::Create.into()).await;
        match put.map_err(|error| (StoreFailure::of(&error), error)) {
            Ok(_) | Err((StoreFailure::Exists, _)) => Ok(()),
            Err((StoreFailure::Unsupported, _)) => {
                Err(ArchiveError::Unusable { url: self.url().to_string(), source: "the store has no create-if-absent".into() })
            }
            Err((_, error)) => Err(store_error(self.url(), error)),
        }
    }

    /// The highest floors that were ever written of a cluster; zeros when none were.
    ///
    /// # Errors
    /// [`ArchiveError::Denied`], [`ArchiveError::Unreachable`]; [`ArchiveError::Corrupted`] when one can't be read, for then nobody knows.
    pub async fn floors(&self, cluster: &ClusterName) -> Result<Floors, ArchiveError> {
        let unreachable = |error| store_error(self.url(), error);
        let listed: Vec<_> = self.inner.store.list(Some(&folder(cluster))).try_collect().await.map_err(unreachable)?;
        let mut highest = Floors::default();
        for object in listed {
            let wrong = |found: String| ArchiveError::Corrupted {
                key: object.location.to_string(),
                expected: "floors of the cluster".to_owned(),
                found,
            };
            if object.size > MAX_BYTES {
                return Err(wrong(format!("{} bytes", object.size)));
            }
            let bytes = self.inner.store.get(&object.location).await.map_err(unreachable)?.bytes().await.map_err(unreachable)?;
            let written: Written = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
            if (written.archive, &written.cluster) == (self.id(), cluster) {
                highest = highest.max(written.floors);
            }
        }
        Ok(highest)
    }
}
