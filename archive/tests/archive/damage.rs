//! Damage is found before anything is handed out, and named.

use std::path::PathBuf;

use stillframe_archive::{Archive, ArchiveError, Digest, Encoding, Manifest, ObjectEntry, Part, Problem, Role};

use crate::{
    fixture::{self, noise, ranges},
    places::Place,
};

async fn damaged(place: &Place, damage: impl Fn(&PathBuf)) -> (Archive, ObjectEntry, ArchiveError, Manifest) {
    let archive = place.archive().await;
    let manifest = fixture::committed(&archive, "bank", 1).await;
    let state = manifest.parts[0].objects[0].clone();
    archive.get(&state).await.expect("sound at first");
    damage(&place.file(&state.describe()));
    let error = archive.get(&state).await.expect_err("damaged");
    assert_eq!(error.key(), Some(&*state.describe()));
    assert!(error.is_damage() && !error.is_transient(), "{error}");
    (archive, state, error, manifest)
}

pub(crate) async fn a_missing_object_is_found_and_named(place: Place) {
    let (archive, state, error, manifest) = damaged(&place, |file| std::fs::remove_file(file).expect("removed")).await;
    assert!(matches!(error, ArchiveError::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("expected 5000 bytes"), "{error}");
    assert!(matches!(archive.head(&state).await, Err(ArchiveError::NotFound { .. })));
    let verified = archive.verify_snapshot(&manifest.cluster, manifest.snapshot).await.expect_err("damaged");
    assert!(verified.to_string().contains(&state.describe()), "{verified}");
}

pub(crate) async fn a_truncated_object_is_found_and_named(place: Place) {
    let truncate = |file: &PathBuf| std::fs::write(file, &noise(1, 5_000)[..4_999]).expect("truncated");
    let (archive, state, error, _) = damaged(&place, truncate).await;
    assert!(matches!(error, ArchiveError::Truncated { expected: 5_000, found: 4_999, .. }), "{error}");
    assert!(matches!(archive.head(&state).await, Err(ArchiveError::Truncated { .. })));
    std::fs::write(place.file(&state.describe()), noise(1, 5_001)).expect("lengthened");
    for error in [archive.get(&state).await.expect_err("longer"), archive.head(&state).await.expect_err("longer")] {
        assert!(matches!(error, ArchiveError::Corrupted { .. }), "{error}");
    }
}

pub(crate) async fn a_corrupted_object_is_found_and_named(place: Place) {
    let flip_one_bit = |file: &PathBuf| {
        let mut bytes = noise(1, 5_000).to_vec();
        bytes[4_321] ^= 1;
        std::fs::write(file, bytes).expect("corrupted");
    };
    let (_, state, error, _) = damaged(&place, flip_one_bit).await;
    let ArchiveError::Corrupted { expected, found, .. } = &error else { panic!("{error}") };
    assert_eq!(*expected, state.digest.to_string());
    assert!(found.starts_with("blake3:") && found != expected);
}

pub(crate) async fn an_object_that_lies_about_its_plain_length_is_found(place: Place) {
    let archive = place.archive().await;
    let zeros = stillframe_archive::EncodedObject::from_bytes(vec![0; 1_000_000].into());
    let key = stillframe_archive::ObjectKey::state_key(
        &fixture::cluster("bank"),
        fixture::snapshot(1),
        &fixture::member("p1"),
        stillframe_protocol::Incarnation(1),
    );
    let (entry, _) = zeros.into_entry(Role::State, u64::MAX, key);
    archive.get(&entry).await.expect("sound");
    for lie in [
        // A small object that would decode to a large one stops at what was recorded.
        ObjectEntry { plain_bytes: 10, ..entry.clone() },
        ObjectEntry { plain_bytes: 1_000_001, ..entry.clone() },
        ObjectEntry { encoding: Encoding::Raw, ..entry.clone() },
        ObjectEntry { digest: stillframe_archive::Digest::of(b""), ..entry.clone() },
    ] {
        let error = archive.get(&lie).await.expect_err("a lie");
        assert!(matches!(error, ArchiveError::Corrupted { .. }), "{error}");
        assert_eq!(error.key(), Some("(inline state)"));
    }
}

pub(crate) async fn a_sound_snapshot_is_verified_from_the_archive_alone(place: Place) {
    let manifest = fixture::committed(&place.archive().await, "bank", 1).await;
    let archive = Archive::open_with(&place.url, &place.options).await.expect("it opens");
    let verified = archive.verify_snapshot(&manifest.cluster, manifest.snapshot).await.expect("sound");
    assert_eq!((verified.objects, verified.messages_in_flight), (4, 3));
    assert_eq!(verified.bytes, manifest.parts.iter().flat_map(|part| &part.objects).map(|object| object.bytes).sum::<u64>());
    assert_eq!(verified.manifest, manifest);
}

pub(crate) async fn everything_that_is_wrong_with_a_snapshot_is_found(place: Place) {
    let archive = place.archive().await;
    let mut manifest = fixture::parts(&archive, "bank", 1).await;
    // p2 says that it recorded one message fewer than its object holds, so one that was sent is in nobody's part.
    manifest.parts[1].recorded[0].ranges = ranges(&[(18, 19)]);
    archive.write_manifest(&manifest).await.expect("written");
    let [state, channels] = &manifest.parts[0].objects[..] else { panic!("two objects") };
    std::fs::remove_file(place.file(&channels.describe())).expect("removed");
    std::fs::write(place.file(&state.describe()), noise(9, 5_000)).expect("corrupted");

    let error = archive.verify_snapshot(&manifest.cluster, manifest.snapshot).await.expect_err("all wrong");
    let found = |is: fn(&Problem) -> bool| error.problems.iter().filter(|problem| is(problem)).count();
    assert_eq!(
        found(|p| matches!(p, Problem::Object { role: Role::State, error: ArchiveError::Corrupted { .. }, .. })),
        1,
        "{error}"
    );
    assert_eq!(
        found(|p| matches!(p, Problem::Object { role: Role::Channels, error: ArchiveError::NotFound { .. }, .. })),
        1,
        "{error}"
    );
    assert_eq!(found(|p| matches!(p, Problem::RecordedMessages { .. })), 1, "{error}");
    assert_eq!(found(|p| matches!(p, Problem::Certificate(_))), 1, "{error}");
    assert_eq!(error.problems.len(), 4, "{error}");
    assert!(!error.is_transient());

    let missing = archive.verify_snapshot(&manifest.cluster, fixture::snapshot(2)).await.expect_err("not there");
    assert!(matches!(missing.problems[..], [Problem::Manifest(ArchiveError::NotFound { .. })]), "{missing}");
}

pub(crate) async fn a_part_that_could_not_be_restored_is_refused_before_it_is_taken(place: Place) {
    let archive = place.archive().await;
    let manifest = fixture::parts(&archive, "bank", 1).await;
    let check = |part: &Part| stillframe_archive::check_part(&manifest.cluster, manifest.snapshot, part, place.spill.path());
    manifest.parts.iter().for_each(|part| check(part).expect("sound"));

    let inline = &manifest.parts[1];
    let channels = inline.objects.iter().position(|object| object.role == Role::Channels).expect("a channels object");
    type Damage<'a> = (&'a str, &'a dyn Fn(&mut Part));
    let damages: [Damage<'_>; 6] = [
        ("no objects", &|part| part.objects.clear()),
        ("a wrong digest", &|part| part.objects[0].digest = Digest::of(b"something else")),
        ("a wrong plain length", &|part| part.objects[0].plain_bytes += 1),
        ("a wrong encoding", &|part| part.objects[0].encoding = Encoding::Zstd),
        ("messages recorded, and no channels object", &|part| drop(part.objects.remove(channels))),
        ("other messages than it says", &|part| part.recorded[0].ranges = ranges(&[(18, 19)])),
    ];
    for (what, damage) in damages {
        let mut part = inline.clone();
        damage(&mut part);
        check(&part).expect_err(what);
    }
}

#[test]
fn a_frame_whose_window_would_cost_much_memory_is_refused_however_short_it_is() {
    use std::io::Write as _;

    use stillframe_archive::{Place, check_part};
    use stillframe_protocol::{Incarnation, SnapshotId};

    let compressed = |window_log: u32| {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.window_log(window_log).expect("a window");
        encoder.include_contentsize(false).expect("no length");
        encoder.write_all(&vec![0; 1 << 20]).expect("written");
        encoder.finish().expect("ended")
    };
    let directory = tempfile::tempdir().expect("a directory");
    let check = |window_log| {
        let bytes = compressed(window_log);
        let entry = ObjectEntry {
            role: Role::State,
            bytes: bytes.len() as u64,
            digest: Digest::of(&bytes),
            place: Place::Inline(bytes.into()),
            encoding: Encoding::Zstd,
            plain_bytes: 1 << 20,
        };
        let part = Part {
            member: "p1".parse().expect("a name"),
            incarnation: Incarnation(1),
            objects: vec![entry],
            sent: vec![],
            received: vec![],
            recorded: vec![],
            logged: vec![],
            peers: vec![],
        };
        check_part(&"bank".parse().expect("a name"), SnapshotId(uuid::Uuid::now_v7()), &part, directory.path())
    };
    check(23).expect("8 MiB are what every decoder takes");
    let refused = check(27).expect_err("128 MiB aren't");
    assert!(refused.to_string().contains("memory"), "{refused}");
}
