//! Uploads are kept only while their part is wanted, and until they are forgotten.

use std::time::Duration;

use stillframe_api::agent::Upload;
use stillframe_archive::ObjectKey;
use stillframe_coordinator::store::{UploadRow, Uploads};
use stillframe_protocol::{Incarnation, SnapshotId};

use super::{
    steps::{bank, cluster, member},
    subject::Subject,
};

fn upload(id: SnapshotId, name: &str, upload: &str) -> UploadRow {
    let (member, incarnation) = (member(name), Incarnation(1));
    let key = ObjectKey::state_key(&bank(), id, &member, incarnation);
    UploadRow { cluster: bank(), member, incarnation, upload: Upload { snapshot: id, key, upload: upload.to_owned() } }
}

async fn told(s: &Subject, of: Uploads<'_>) -> Vec<String> {
    s.store().uploads(of).await.expect("a list").into_iter().map(|upload| upload.upload).collect()
}

pub(super) async fn an_upload_is_kept_while_its_part_is_wanted_and_until_it_is_forgotten(s: &Subject) {
    let id = s.running(2).await;
    let begun_at = s.now().await;
    let row = upload(id, "p1", "u1");
    assert!(s.store().put_upload(&row).await.expect("an answer"));
    s.pass(Duration::from_secs(1)).await;
    assert!(s.other().await.put_upload(&row).await.expect("an answer"), "once more changes nothing");
    assert!(s.store().put_upload(&upload(id, "p2", "u0")).await.expect("an answer"));
    let [first, _] = <[_; 2]>::try_from(s.store().uploads(Uploads::Of(id)).await.expect("a list")).expect("two, the older first");
    assert_eq!((first.upload.as_str(), &first.key, first.begun_at), ("u1", &row.upload.key, begun_at));
    assert_eq!((&first.cluster, first.snapshot, first.ended_at), (&bank(), id, None));
    s.store().forget_upload(id, &row.upload.key, "u1").await.expect("forgotten");
    s.store().forget_upload(id, &row.upload.key, "u1").await.expect("also twice");
    assert_eq!(told(s, Uploads::Of(id)).await, ["u0"]);
}

pub(super) async fn an_upload_that_nobody_wants_is_not_kept(s: &Subject) {
    let id = s.running(1).await;
    let stale = UploadRow { incarnation: Incarnation(2), ..upload(id, "p1", "u1") };
    let foreign = UploadRow { cluster: cluster("other"), ..upload(id, "p1", "u1") };
    for row in [stale, foreign, upload(id, "p9", "u1")] {
        assert!(!s.store().put_upload(&row).await.expect("an answer"), "{row:?}");
    }
    s.abort(id).await;
    assert!(!s.store().put_upload(&upload(id, "p1", "u1")).await.expect("an answer"));
    assert!(told(s, Uploads::Of(id)).await.is_empty());
}

pub(super) async fn what_was_under_way_is_told_once_the_snapshot_has_ended_and_is_stray_after_a_while(s: &Subject) {
    let id = s.running(1).await;
    assert!(s.store().put_upload(&upload(id, "p1", "u1")).await.expect("an answer"));
    let (name, hour) = (bank(), Duration::from_secs(3600));
    s.pass(hour * 2).await;
    assert!(told(s, Uploads::Ended(&name)).await.is_empty());
    assert!(told(s, Uploads::Stray(hour)).await.is_empty(), "as long as the snapshot is open, it isn't");
    s.abort(id).await;
    assert_eq!(told(s, Uploads::Ended(&name)).await, ["u1"]);
    assert!(told(s, Uploads::Stray(hour)).await.is_empty());
    s.pass(hour).await;
    assert_eq!(told(s, Uploads::Stray(hour)).await, ["u1"]);
    assert!(told(s, Uploads::Ended(&cluster("other"))).await.is_empty());
}
