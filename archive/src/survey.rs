//! What is in a place: the archives, its own and those in folders of it, and the snapshots that have a manifest. Found by listing everything, with no
//! database at all.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use stillframe_protocol::{ClusterName, SnapshotId};

use crate::{
    archive::{Archive, FORMAT_KEY, store_error},
    error::ArchiveError,
    key::{self, CLUSTERS},
};

/// A folder of a place, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The folder; nothing for the place itself.
    pub prefix: Option<String>,
    /// Whether there is a `format.json`. Without one the rest isn't an archive.
    pub has_format: bool,
    /// The snapshots that have a manifest, by cluster and age.
    pub manifests: Vec<(ClusterName, SnapshotId)>,
}

impl Archive {
    /// Lists the whole place: this archive, and those in its folders. Costs a request for each thousand objects.
    ///
    /// # Errors
    /// [`ArchiveError::Denied`] or [`ArchiveError::Unreachable`]; the survey is whole or not at all.
    pub async fn survey(&self) -> Result<Vec<Survey>, ArchiveError> {
        let mut folders: BTreeMap<String, Survey> = BTreeMap::new();
        let mut objects = self.inner.store.list(None);
        while let Some(object) = objects.try_next().await.map_err(|error| store_error(self.url(), error))? {
            let Some((folder, found)) = place(object.location.as_ref()) else { continue };
            let prefix = (!folder.is_empty()).then(|| folder.to_owned());
            let new = || Survey { prefix, has_format: false, manifests: Vec::new() };
            let survey = folders.entry(folder.to_owned()).or_insert_with(new);
            match found {
                Some(manifest) => survey.manifests.push(manifest),
                None => survey.has_format = true,
            }
        }
        for survey in folders.values_mut() {
            survey.manifests.sort_unstable();
        }
        Ok(folders.into_values().collect())
    }
}

/// The folder that a key says something about: that it is an archive, or has a manifest. No folder's name has a segment `clusters`.
fn place(key: &str) -> Option<(&str, Option<(ClusterName, SnapshotId)>)> {
    if let Some(folder) = key.strip_suffix(FORMAT_KEY).filter(|folder| folder.is_empty() || folder.ends_with('/')) {
        let inside = folder.split('/').any(|segment| segment == CLUSTERS);
        return (!inside).then(|| (folder.trim_end_matches('/'), None));
    }
    let start = key.split('/').take_while(|segment| *segment != CLUSTERS).map(|segment| segment.len() + 1).sum::<usize>();
    let manifest = key::snapshot_of_manifest(key.get(start..)?)?;
    Some((key[..start].trim_end_matches('/'), Some(manifest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_its_folder() {
        let id = "00000000-0000-0000-0000-000000000007";
        let manifest = || Some(("bank".parse().expect("a name"), id.parse().expect("an id")));
        for (key, expected) in [
            ("format.json".to_owned(), Some(("", None))),
            ("a/b/format.json".to_owned(), Some(("a/b", None))),
            (format!("clusters/bank/snapshots/{id}/manifest.json"), Some(("", manifest()))),
            (format!("a/b/clusters/bank/snapshots/{id}/manifest.json"), Some(("a/b", manifest()))),
            (format!("clusters/bank/snapshots/{id}/parts/p1.1/state"), None),
            ("a/myformat.json".to_owned(), None),
            ("clusters/format.json".to_owned(), None),
            ("probe/x/small".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(place(&key), expected, "{key}");
        }
    }
}
