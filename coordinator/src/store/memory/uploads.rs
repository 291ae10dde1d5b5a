//! Uploads in pieces that may be unfinished.

use jiff::Timestamp;
use stillframe_archive::ObjectKey;
use stillframe_protocol::SnapshotId;

use super::{
    clock::earlier,
    state::{Cluster, Snapshot, State},
};
use crate::store::{UnfinishedUpload, UploadRow, Uploads};

/// How many are told at once.
const MOST: usize = 1_000;

impl State {
    pub(super) fn put_upload(&mut self, row: &UploadRow, now: Timestamp) -> bool {
        let upload = &row.upload;
        let Some(snapshot) = self.wanting(&row.cluster, upload.snapshot, &row.member, row.incarnation) else { return false };
        snapshot.uploads.entry((upload.key.clone(), upload.upload.clone())).or_insert(now);
        true
    }

    pub(super) fn forget_upload(&mut self, snapshot: SnapshotId, key: &ObjectKey, upload: &str) {
        if let Some(snapshot) = self.snapshot_mut(snapshot) {
            snapshot.uploads.remove(&(key.clone(), upload.to_owned()));
        }
    }

    pub(super) fn uploads(&self, of: Uploads<'_>, now: Timestamp) -> Vec<UnfinishedUpload> {
        let is_asked = |cluster: &Cluster, snapshot: &Snapshot, begun_at: Timestamp| {
            let ended_at = snapshot.facts.ended_at;
            match of {
                Uploads::Of(id) => snapshot.facts.id == id,
                Uploads::Ended(name) => cluster.facts.name == *name && ended_at.is_some(),
                Uploads::Stray(after) => ended_at.is_some_and(|ended_at| ended_at.max(begun_at) <= earlier(now, after)),
            }
        };
        let all = self.snapshots().flat_map(|(c, s)| s.uploads.iter().map(move |((key, id), at)| (c, s, key, id, *at)));
        let mut uploads: Vec<UnfinishedUpload> = all
            .filter(|(cluster, snapshot, _, _, begun_at)| is_asked(cluster, snapshot, *begun_at))
            .map(|(cluster, snapshot, key, id, begun_at)| UnfinishedUpload {
                cluster: cluster.facts.name.clone(),
                archive_prefix: cluster.facts.archive_prefix.clone(),
                snapshot: snapshot.facts.id,
                key: key.clone(),
                upload: id.clone(),
                begun_at,
                ended_at: snapshot.facts.ended_at,
            })
            .collect();
        uploads.sort_by(|a, b| (a.begun_at, &a.upload).cmp(&(b.begun_at, &b.upload)));
        uploads.truncate(MOST);
        uploads
    }
}
