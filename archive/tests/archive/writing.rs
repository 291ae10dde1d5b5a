//! Creating, writing once, listing, deleting.

use stillframe_archive::{Archive, ArchiveError, DeletedSnapshot, Digest, EncodedObject, Encoding, ObjectKey, Pace, Role};
use stillframe_protocol::Incarnation;

use crate::{
    fixture::{self, cluster, encode, member, noise, snapshot},
    places::Place,
};

pub(crate) async fn an_archive_is_created_once_whoever_comes_first(place: Place) {
    let all = futures::future::join_all((0..8).map(|_| place.archive())).await;
    let id = all[0].id();
    assert!(all.iter().all(|archive| archive.id() == id));
    let again = Archive::open_with(&place.url, &place.options).await.expect("it exists now");
    assert_eq!((again.id(), again.url()), (id, &place.url));
    again.check().await.expect("it is there");
    let format = std::fs::read_to_string(place.file("format.json")).expect("format.json");
    assert_eq!(format, format!("{{\"format\":1,\"archive\":\"{id}\"}}\n"));

    std::fs::write(place.file("format.json"), format.replace(&id.to_string(), &uuid::Uuid::nil().to_string())).expect("replaced");
    assert!(matches!(again.check().await, Err(ArchiveError::OtherArchive { .. })));
}

pub(crate) async fn a_place_without_an_archive_is_not_opened(place: Place) {
    let error = Archive::open_with(&place.url, &place.options).await.expect_err("nothing is there");
    assert!(matches!(error, ArchiveError::NotAnArchive { .. }), "{error}");
    assert!(error.to_string().contains(&place.url.to_string()), "{error}");
    assert_eq!(place.everything(), Vec::<String>::new(), "looking creates nothing");

    place.archive().await;
    std::fs::write(place.file("format.json"), "<html>").expect("overwritten");
    let error = Archive::open_or_create_with(&place.url, &place.options).await.expect_err("something else is there");
    assert!(matches!(error, ArchiveError::NotAnArchive { .. }), "{error}");
}

pub(crate) async fn an_archive_of_a_newer_format_is_refused(place: Place) {
    place.archive().await;
    std::fs::write(place.file("format.json"), r#"{"format":2,"archive":"of another kind"}"#).expect("overwritten");
    for opened in
        [Archive::open_with(&place.url, &place.options).await, Archive::open_or_create_with(&place.url, &place.options).await]
    {
        let error = opened.expect_err("a newer format");
        assert!(matches!(error, ArchiveError::NewerFormat { expected: 1, found: 2, .. }), "{error}");
    }
}

pub(crate) async fn objects_of_every_size_come_back_as_they_were(place: Place) {
    let archive = place.archive().await;
    let text = "all work and no play ".repeat(150_000);
    let contents: [(&[u8], Encoding); 7] = [
        (b"", Encoding::Raw),
        (b"x", Encoding::Raw),
        (&noise(1, 5_000), Encoding::Raw),
        (&text.as_bytes()[..5_000], Encoding::Zstd),
        // Compressed to little, and long when decoded.
        (text.as_bytes(), Encoding::Zstd),
        // Beyond what is kept in memory, in one request.
        (&noise(2, 3 << 20), Encoding::Raw),
        // Beyond one request: three pieces, the last a short one.
        (&noise(3, (17 << 20) + 5), Encoding::Raw),
    ];
    for (n, (plain, encoding)) in contents.into_iter().enumerate() {
        let key = ObjectKey::state_key(&cluster("bank"), snapshot(n as u128), &member("p1"), Incarnation(1));
        let encoded = encode(plain, place.spill.path());
        assert_eq!((encoded.encoding(), encoded.plain_bytes()), (encoding, plain.len() as u64));
        let (entry, put) = encoded.into_entry(Role::State, 0, key);
        let Some((key, encoded)) = put else {
            assert!(plain.is_empty(), "only what has no bytes fits into none");
            assert!(archive.get(&entry).await.expect("inline").is_empty());
            continue;
        };
        archive.put(&key, &encoded).await.expect("put");
        archive.put(&key, &encoded).await.expect("put again");
        archive.head(&entry).await.expect("it is there");
        let stored = std::fs::read(place.file(key.as_str())).expect("the object");
        assert_eq!((stored.len() as u64, Digest::of(&stored)), (entry.bytes, entry.digest));
        let found = archive.get(&entry).await.expect("got");
        assert_eq!(found.len(), plain.len() as u64);
        assert_eq!(read_in_the_middle(found, plain.len()), plain);
    }
    let left = std::fs::read_dir(place.spill.path()).expect("the spill directory").count();
    assert_eq!(left, 0, "temporary files have no names and go by themselves");
}

/// Reads half of an object, then all of it.
fn read_in_the_middle(mut object: stillframe_archive::PlainObject, length: usize) -> bytes::Bytes {
    use std::io::{Read, Seek, SeekFrom};
    let mut half = vec![0; length / 2];
    object.read_exact(&mut half).expect("half of it");
    object.seek(SeekFrom::Start(0)).expect("back");
    let mut again = vec![0; length / 2];
    object.read_exact(&mut again).expect("half of it again");
    assert_eq!(half, again);
    object.into_bytes().expect("all of it")
}

pub(crate) async fn a_key_is_never_written_with_other_bytes(place: Place) {
    let archive = place.archive().await;
    for (n, length) in [(1, 100), (2, 9 << 20)] {
        let key = ObjectKey::channels_key(&cluster("bank"), snapshot(n), &member("p1"), Incarnation(1));
        let first = EncodedObject::from_bytes(noise(1, length));
        archive.put(&key, &first).await.expect("put");
        for other in [noise(2, length), noise(1, length - 1)] {
            let error = archive.put(&key, &EncodedObject::from_bytes(other)).await.expect_err("other bytes");
            assert!(matches!(&error, ArchiveError::Conflict { key: named, .. } if *named == key.to_string()), "{error}");
            assert!(!error.is_transient());
        }
        assert_eq!(Digest::of(&std::fs::read(place.file(key.as_str())).expect("the object")), first.digest());
    }
}

pub(crate) async fn a_manifest_is_written_once_and_read_back(place: Place) {
    let archive = place.archive().await;
    let manifest = fixture::parts(&archive, "bank", 1).await;
    let missing = archive.read_manifest(&manifest.cluster, manifest.snapshot).await.expect_err("not written yet");
    assert!(matches!(missing, ArchiveError::NotFound { .. }), "{missing}");
    let digest = archive.write_manifest(&manifest).await.expect("written");
    assert_eq!(digest, manifest.digest());
    assert_eq!(archive.write_manifest(&manifest).await.expect("written again"), digest);
    assert_eq!(archive.read_manifest(&manifest.cluster, manifest.snapshot).await.expect("read"), manifest);
    let mut other = manifest.clone();
    other.labels.clear();
    assert!(matches!(archive.write_manifest(&other).await, Err(ArchiveError::Conflict { .. })));
    assert_eq!(archive.read_manifest(&manifest.cluster, manifest.snapshot).await.expect("read"), manifest);
}

pub(crate) async fn manifests_are_listed_by_cluster_and_age(place: Place) {
    let archive = place.archive().await;
    assert_eq!(archive.manifests(None).await.expect("an empty list"), []);
    for (name, n) in [("wordcount", 5), ("bank", 9), ("bank", 2), ("bank-2", 1)] {
        fixture::committed(&archive, name, n).await;
    }
    // Parts without a manifest aren't a snapshot.
    fixture::parts(&archive, "bank", 3).await;
    let (bank, other) = (cluster("bank"), cluster("nobody"));
    let of_bank = [(bank.clone(), snapshot(2)), (bank.clone(), snapshot(9))];
    assert_eq!(archive.manifests(Some(&bank)).await.expect("a list"), of_bank);
    assert_eq!(archive.manifests(Some(&other)).await.expect("a list"), []);
    let all = archive.manifests(None).await.expect("a list");
    assert_eq!(all[..2], of_bank);
    assert_eq!(all[2..], [(cluster("bank-2"), snapshot(1)), (cluster("wordcount"), snapshot(5))]);
}

pub(crate) async fn a_manifest_under_a_foreign_key_is_refused(place: Place) {
    let archive = place.archive().await;
    let manifest = fixture::committed(&archive, "bank", 1).await;
    let (from, to) = (manifest_file(&place, 1), manifest_file(&place, 2));
    std::fs::create_dir_all(to.parent().expect("a directory")).expect("created");
    std::fs::copy(from, to).expect("copied");
    let error = archive.read_manifest(&manifest.cluster, snapshot(2)).await.expect_err("that of another snapshot");
    assert!(
        error.to_string().contains(&snapshot(1).to_string()) && error.to_string().contains(&snapshot(2).to_string()),
        "{error}"
    );
}

fn manifest_file(place: &Place, n: u128) -> std::path::PathBuf {
    place.file(ObjectKey::manifest_key(&cluster("bank"), snapshot(n)).as_str())
}

pub(crate) async fn nothing_of_a_deleted_snapshot_stays(place: Place) {
    let archive = place.archive().await;
    let kept = fixture::committed(&archive, "bank", 1).await;
    let deleted = fixture::committed(&archive, "bank", 2).await;
    // What a killed writer leaves in a directory; listings hide it.
    if place.server.is_none() {
        std::fs::write(place.file(&format!("clusters/bank/snapshots/{}/manifest.json#1", snapshot(2))), "half").expect("written");
    }
    let done = archive.delete_snapshot(&deleted.cluster, deleted.snapshot, &Pace::new(1_000)).await.expect("deleted");
    assert_eq!(done.objects, 3, "two objects and the manifest; the others are inline");
    assert!(archive.read_manifest(&deleted.cluster, deleted.snapshot).await.is_err());
    if place.server.is_none() {
        let id = deleted.snapshot.to_string();
        assert!(!place.everything().iter().any(|path| path.contains(&id)), "{:?}", place.everything());
    }
    let again = archive.delete_snapshot(&deleted.cluster, deleted.snapshot, &Pace::new(1_000)).await.expect("deleted again");
    assert_eq!(again, DeletedSnapshot::default());
    archive.verify_snapshot(&kept.cluster, kept.snapshot).await.expect("the other is untouched");
    // Aborted snapshots have parts and no manifest.
    let aborted = fixture::parts(&archive, "bank", 3).await;
    assert_eq!(archive.delete_snapshot(&aborted.cluster, aborted.snapshot, &Pace::new(1_000)).await.expect("deleted").objects, 2);
}

pub(crate) async fn a_directory_that_went_away_is_not_silently_made_anew(place: Place) {
    let archive = place.archive().await;
    let before = fixture::committed(&archive, "bank", 1).await;
    let manifest = fixture::parts(&archive, "bank", 2).await;
    let root = place.file("");
    let away = root.with_extension("away");
    std::fs::rename(&root, &away).expect("moved away");
    let error = archive.write_manifest(&manifest).await.expect_err("written into nowhere");
    assert!(!root.exists(), "made anew, though {error}");
    std::fs::rename(&away, &root).expect("moved back");
    archive.write_manifest(&manifest).await.expect("written");
    for one in [before, manifest] {
        archive.verify_snapshot(&one.cluster, one.snapshot).await.expect("whole");
    }
}
