//! Whether a snapshot can be taken up into a catalog: its manifest is its own, its certificate holds, and every object that it names is there with
//! its recorded length. Reads no object but the manifest; [`Archive::verify_snapshot`] reads them all.

use futures::{FutureExt, StreamExt, stream};
use stillframe_protocol::{ClusterName, MemberName, SnapshotId};

use crate::{
    archive::Archive,
    manifest::Manifest,
    object::ObjectEntry,
    verify::{Problem, VerifyError, check_part},
};

/// Objects asked for at once.
const OBJECTS_IN_FLIGHT: usize = 16;

/// A snapshot that is proved committed.
#[derive(Debug, Clone)]
pub struct ProvedSnapshot {
    /// The manifest.
    pub manifest: Manifest,
    /// Messages in flight at the cut.
    pub messages_in_flight: u64,
}

impl Archive {
    /// Proves a snapshot by its manifest: the shape of its parts, what is inline, the certificate, and that every object exists with its length.
    ///
    /// # Errors
    /// [`VerifyError`] with everything that is wrong, at most one thing a part besides its objects.
    pub async fn prove_snapshot(&self, cluster: &ClusterName, snapshot: SnapshotId) -> Result<ProvedSnapshot, VerifyError> {
        let failed = |problems| VerifyError { cluster: cluster.clone(), snapshot, problems };
        let manifest = self.read_manifest(cluster, snapshot).await.map_err(|error| failed(vec![Problem::Manifest(error)]))?;
        let spill_dir = self.spill_dir().to_owned();
        let checked = tokio::task::spawn_blocking(move || {
            let part = |part| check_part(&manifest.cluster, manifest.snapshot, part, &spill_dir).err();
            let mut problems: Vec<Problem> = manifest.parts.iter().filter_map(part).collect();
            let certificate = manifest.certify();
            let messages_in_flight = match certificate {
                Ok(certificate) => certificate.messages_in_flight(),
                Err(violations) => {
                    problems.extend(violations.into_iter().map(Problem::Certificate));
                    0
                }
            };
            (manifest, messages_in_flight, problems)
        });
        let (manifest, messages_in_flight, mut problems) = match checked.await {
            Ok(checked) => checked,
            // It panicked, which is a fault of ours and no proof of anything.
            Err(error) => {
                let error = crate::archive::store_error(self.url(), error.into());
                return Err(failed(vec![Problem::Manifest(error)]));
            }
        };
        let mut heads = Vec::new();
        for part in &manifest.parts {
            for object in &part.objects {
                heads.push(self.is_there(part.member.clone(), object.clone()).boxed());
            }
        }
        let missing: Vec<Option<Problem>> = stream::iter(heads).buffered(OBJECTS_IN_FLIGHT).collect().await;
        problems.extend(missing.into_iter().flatten());
        if problems.is_empty() { Ok(ProvedSnapshot { manifest, messages_in_flight }) } else { Err(failed(problems)) }
    }

    async fn is_there(&self, member: MemberName, object: ObjectEntry) -> Option<Problem> {
        let missing = self.head(&object).await.err();
        missing.map(|error| Problem::Object { member, role: object.role, error })
    }
}
