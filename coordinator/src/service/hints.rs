//! What the other replicas are to be told: the newest revision of each cluster that changed here.

use std::{collections::BTreeMap, sync::Mutex};

use stillframe_protocol::ClusterName;

use super::lock;

/// Revisions that are to be announced, and those that were.
#[derive(Debug, Default)]
pub struct Announcements {
    revisions: Mutex<BTreeMap<ClusterName, (u64, u64)>>,
}

impl Announcements {
    /// A cluster has this revision now. True when that is news.
    pub(crate) fn put(&self, cluster: &ClusterName, revision: u64) -> bool {
        let mut revisions = lock(&self.revisions);
        let (newest, _) = revisions.entry(cluster.clone()).or_default();
        let news = revision > *newest;
        *newest = revision.max(*newest);
        news
    }

    /// A cluster's revision was made known by somebody else.
    pub(crate) fn known(&self, cluster: &ClusterName, revision: u64) {
        let mut revisions = lock(&self.revisions);
        let (newest, announced) = revisions.entry(cluster.clone()).or_default();
        (*newest, *announced) = (revision.max(*newest), revision.max(*announced));
    }

    /// What is to be announced, each once.
    pub(crate) fn take(&self) -> Vec<(ClusterName, u64)> {
        let mut revisions = lock(&self.revisions);
        let due = revisions.iter_mut().filter(|(_, (newest, announced))| newest > announced);
        due.map(|(cluster, (newest, announced))| {
            *announced = *newest;
            (cluster.clone(), *newest)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_revision_is_announced_once_and_only_the_newest() {
        let announcements = Announcements::default();
        let cluster: ClusterName = "bank".parse().expect("a name");
        assert!(announcements.put(&cluster, 3) && announcements.put(&cluster, 5) && !announcements.put(&cluster, 4));
        assert_eq!(announcements.take(), vec![(cluster.clone(), 5)]);
        assert!(announcements.take().is_empty());
        announcements.known(&cluster, 9);
        assert!(!announcements.put(&cluster, 8) && announcements.take().is_empty());
    }
}
