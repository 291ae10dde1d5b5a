//! Uploads in pieces that may be unfinished.

use std::time::Duration;

use jiff::Timestamp;
use stillframe_api::agent::Upload;
use stillframe_archive::ObjectKey;
use stillframe_protocol::{ClusterName, Incarnation, MemberName, SnapshotId};

/// An upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRow {
    /// The cluster that it was reported to.
    pub cluster: ClusterName,
    /// Who uploads.
    pub member: MemberName,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The upload.
    pub upload: Upload,
}

/// Which uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploads<'a> {
    /// Those of a snapshot.
    Of(SnapshotId),
    /// Those of a cluster's snapshots that have ended.
    Ended(&'a ClusterName),
    /// Those that were begun so long ago, and whose snapshot ended so long ago: whoever was at them has given up.
    Stray(Duration),
}

/// An upload that may be unfinished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedUpload {
    /// The cluster.
    pub cluster: ClusterName,
    /// The folder of the archive.
    pub archive_prefix: Option<String>,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The object's key.
    pub key: ObjectKey,
    /// The store's id of it.
    pub upload: String,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// When the snapshot ended.
    pub ended_at: Option<Timestamp>,
}
