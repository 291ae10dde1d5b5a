//! Every object of a cluster, whatever it is.

use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::path::Path as StorePath;
use stillframe_protocol::ClusterName;

use crate::{
    archive::{Archive, store_error},
    error::ArchiveError,
    key,
    pace::Pace,
};

/// An object as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key, relative to the archive; perhaps none of ours.
    pub key: String,
    /// Its length.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub last_modified: Timestamp,
}

impl Archive {
    /// Every object under a cluster's keys. About 200 bytes of memory each.
    ///
    /// # Errors
    /// [`ArchiveError::Denied`] or [`ArchiveError::Unreachable`]; the list is whole or not at all.
    pub async fn objects(&self, cluster: &ClusterName) -> Result<Vec<ListedObject>, ArchiveError> {
        let prefix = StorePath::from(key::cluster_prefix(Some(cluster)));
        let listed = self.inner.store.list(Some(&prefix)).map_ok(|object| {
            let at = (object.last_modified.timestamp(), object.last_modified.timestamp_subsec_nanos());
            // A time that isn't one is taken for the newest: it can only keep the object.
            let nanos = i32::try_from(at.1).unwrap_or(0);
            let last_modified = Timestamp::new(at.0, nanos).unwrap_or(Timestamp::MAX);
            ListedObject { key: object.location.to_string(), bytes: object.size, last_modified }
        });
        listed.try_collect().await.map_err(|error| store_error(self.url(), error))
    }

    /// Deletes these objects, no faster than the pace. One that isn't there any more is no error.
    ///
    /// # Errors
    /// [`ArchiveError::Denied`], [`ArchiveError::Unreachable`]; part of them may be gone then.
    pub async fn delete_objects(&self, keys: &[crate::ObjectKey], pace: &Pace) -> Result<(), ArchiveError> {
        self.delete_paths(keys.iter().map(crate::ObjectKey::path).collect(), pace).await
    }
}
