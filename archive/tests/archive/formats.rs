//! The public formats: the manifest, the `channels` object, and the encoding of objects.

use std::{collections::BTreeMap, io::Write};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use stillframe_archive::{
    ChannelRecord, ChannelsError, ChannelsReader, ChannelsWriter, Digest, EncodedObject, Encoding, FORMAT, Manifest,
    ManifestError, ObjectEntry, ObjectKey, ObjectWriter, Part, Place, Role, channels::MAX_PAYLOAD_BYTES,
};
use stillframe_protocol::{
    ClusterName, Departed, Epoch, Generation, Incarnation, Logged, MemberName, Received, Recorded, Sent, Seq, SeqRanges,
    SnapshotId, ViewMember,
};
use uuid::Uuid;

use crate::fixture::{cluster, member, noise, ranges, snapshot};

fn example() -> Manifest {
    let (cluster, snapshot) = (cluster("bank"), snapshot(7));
    let (p1, p2) = (member("p1"), member("p2"));
    let at = |role, place, bytes, plain_bytes| ObjectEntry {
        role,
        place,
        bytes,
        digest: Digest::of(b"example"),
        encoding: Encoding::Zstd,
        plain_bytes,
    };
    let state = Place::Key(ObjectKey::state_key(&cluster, snapshot, &p1, Incarnation(3)));
    let channels = Place::Key(ObjectKey::channels_key(&cluster, snapshot, &p1, Incarnation(3)));
    Manifest {
        format: FORMAT,
        archive: Uuid::from_u128(1),
        cluster,
        snapshot,
        epoch: Epoch(7),
        generation: Generation(2),
        started_at: "2026-01-02T03:04:05.678901Z".parse().expect("a time"),
        labels: BTreeMap::new(),
        parts: vec![
            Part {
                member: p2.clone(),
                incarnation: Incarnation(1),
                objects: vec![at(Role::State, Place::Inline(Bytes::from_static(b"\x00small")), 6, 6)],
                sent: vec![Sent { to: p1.clone(), messages: 19 }],
                received: vec![],
                recorded: vec![],
                logged: vec![],
                peers: vec![],
            },
            Part {
                member: p1,
                incarnation: Incarnation(3),
                objects: vec![at(Role::State, state, 812, 4096), at(Role::Channels, channels, 96, 110)],
                sent: vec![Sent { to: p2.clone(), messages: 18 }],
                received: vec![Received { from: p2.clone(), ranges: ranges(&[(1, 17)]) }],
                recorded: vec![Recorded { from: p2, ranges: ranges(&[(18, 19)]), bytes: 55 }],
                logged: vec![],
                peers: vec![],
            },
        ],
        departed: Vec::new(),
    }
}

#[test]
fn a_member_that_left_is_written_with_what_it_counted_and_proves_the_channels_with_it() {
    let mut manifest = example();
    let whole = manifest.to_bytes();
    assert!(!std::str::from_utf8(&whole).expect("UTF-8").contains("departed"), "nothing is said where nobody left");
    let (gone, p1) = (member("p9"), member("p1"));
    manifest.parts[1].sent.push(Sent { to: gone.clone(), messages: 4 });
    assert!(manifest.certify().is_err(), "p9 isn't in the view");
    manifest.departed = vec![Departed {
        member: gone,
        incarnation: Incarnation(6),
        sent: vec![Sent { to: member("p2"), messages: 8 }],
        received: vec![Received { from: p1, ranges: ranges(&[(1, 4)]) }],
    }];
    let text = manifest.to_bytes();
    let expected = r#","departed":[{"member":"p9","incarnation":6,"sent":[{"to":"p2","messages":8}],"received":[{"from":"p1","ranges":[[1,4]]}]}]}"#;
    assert!(std::str::from_utf8(&text).expect("UTF-8").trim_end().ends_with(expected));
    assert_eq!(Manifest::from_bytes(&text).expect("it reads").departed, manifest.departed);
    let wrong: Vec<String> = manifest.certify().err().unwrap_or_default().iter().map(ToString::to_string).collect();
    assert!(wrong.iter().all(|line| !line.contains("p9")), "{wrong:?}");
}

/// The shape is a public promise (docs/archive-format.md): a change here is a new format number, or it only adds fields.
#[test]
fn a_manifest_has_the_shape_of_the_public_format() {
    let bytes = example().to_bytes();
    let text = std::str::from_utf8(&bytes).expect("UTF-8");
    assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "one line");
    let lines = text
        .replace(
            "{\"member\"",
            "
{\"member\"",
        )
        .replace(
            "{\"role\"",
            "
  {\"role\"",
        );
    insta::assert_snapshot!(lines, @r##"
    {"format":1,"archive":"00000000-0000-0000-0000-000000000001","cluster":"bank","snapshot":"01970000-0000-7000-8000-000000000007","epoch":7,"generation":2,"started_at":"2026-01-02T03:04:05.678901Z","labels":{},"parts":[
    {"member":"p1","incarnation":3,"objects":[
      {"role":"state","key":"clusters/bank/snapshots/01970000-0000-7000-8000-000000000007/parts/p1.3/state","bytes":812,"digest":"blake3:9796546c64ab15ab7468b479f3b3c20d5840af05ac0f999ad7a089512d01572e","encoding":"zstd","plain_bytes":4096},
      {"role":"channels","key":"clusters/bank/snapshots/01970000-0000-7000-8000-000000000007/parts/p1.3/channels","bytes":96,"digest":"blake3:9796546c64ab15ab7468b479f3b3c20d5840af05ac0f999ad7a089512d01572e","encoding":"zstd","plain_bytes":110}],"sent":[{"to":"p2","messages":18}],"received":[{"from":"p2","ranges":[[1,17]]}],"recorded":[{"from":"p2","ranges":[[18,19]],"bytes":55}]},
    {"member":"p2","incarnation":1,"objects":[
      {"role":"state","inline":"AHNtYWxs","bytes":6,"digest":"blake3:9796546c64ab15ab7468b479f3b3c20d5840af05ac0f999ad7a089512d01572e","encoding":"zstd","plain_bytes":6}],"sent":[{"to":"p1","messages":19}],"received":[],"recorded":[]}]}
    "##);
}

#[test]
fn a_manifest_of_another_format_is_refused_by_its_number() {
    let text = String::from_utf8(example().to_bytes().to_vec()).expect("UTF-8");
    let newer = text.replace("\"format\":1", "\"format\":2").replace("\"parts\":", "\"sections\":");
    assert!(matches!(Manifest::from_bytes(newer.as_bytes()), Err(ManifestError::Format { found: 2 })));
    let twice = text.replace("\"member\":\"p2\"", "\"member\":\"p1\"");
    assert!(matches!(Manifest::from_bytes(twice.as_bytes()), Err(ManifestError::TwoParts { .. })));
    for garbage in ["", "{}", "[]", &text[..text.len() / 2]] {
        assert!(matches!(Manifest::from_bytes(garbage.as_bytes()), Err(ManifestError::Json(_))), "{garbage}");
    }
}

#[test]
fn unknown_fields_of_a_manifest_are_ignored() {
    let text = String::from_utf8(example().to_bytes().to_vec()).expect("UTF-8");
    let later =
        text.replace("\"format\":1,", "\"format\":1,\"later\":{\"x\":[1]},").replace("{\"role\"", "{\"later\":null,\"role\"");
    let read = Manifest::from_bytes(later.as_bytes()).expect("read");
    assert_eq!(read.to_bytes(), example().to_bytes());
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-z0-9_-]{0,12}[a-z0-9])?"
}

fn member_name() -> impl Strategy<Value = MemberName> {
    name().prop_map(|name| MemberName::new(name).expect("a name"))
}

fn seq_ranges() -> impl Strategy<Value = SeqRanges> {
    vec(1u64..60, 0..12).prop_map(|seqs| seqs.into_iter().map(Seq).collect())
}

fn object(role: Role) -> impl Strategy<Value = ObjectEntry> {
    let place = prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(|bytes| Place::Inline(bytes.into())),
        (name(), any::<u128>(), member_name(), any::<u64>()).prop_map(move |(cluster, id, member, incarnation)| {
            let cluster = ClusterName::new(cluster).expect("a name");
            Place::Key(ObjectKey::part_key(&cluster, SnapshotId(Uuid::from_u128(id)), &member, Incarnation(incarnation), role))
        }),
    ];
    (place, any::<u64>(), any::<[u8; 8]>(), any::<bool>(), any::<u64>()).prop_map(
        move |(place, bytes, digest, zstd, plain_bytes)| {
            let encoding = if zstd { Encoding::Zstd } else { Encoding::Raw };
            ObjectEntry { role, place, bytes, digest: Digest::of(&digest), encoding, plain_bytes }
        },
    )
}

fn part(member: MemberName) -> impl Strategy<Value = Part> {
    let sent = proptest::collection::btree_map(member_name(), any::<u64>(), 0..4);
    let received = proptest::collection::btree_map(member_name(), seq_ranges(), 0..4);
    let messages = || proptest::collection::btree_map(member_name(), (seq_ranges(), any::<u64>()), 0..4);
    let peers = proptest::collection::btree_map(member_name(), any::<u64>(), 0..4);
    let objects = (object(Role::State), proptest::option::of(object(Role::Channels)));
    (any::<u64>(), objects, sent, received, messages(), messages(), peers).prop_map(
        move |(incarnation, (state, channels), sent, received, recorded, logged, peers)| Part {
            member: member.clone(),
            incarnation: Incarnation(incarnation),
            objects: std::iter::once(state).chain(channels).collect(),
            sent: sent.into_iter().map(|(to, messages)| Sent { to, messages }).collect(),
            received: received.into_iter().map(|(from, ranges)| Received { from, ranges }).collect(),
            recorded: recorded.into_iter().map(|(from, (ranges, bytes))| Recorded { from, ranges, bytes }).collect(),
            logged: logged.into_iter().map(|(to, (ranges, bytes))| Logged { to, ranges, bytes }).collect(),
            peers: peers
                .into_iter()
                .map(|(member, incarnation)| ViewMember { member, incarnation: Incarnation(incarnation) })
                .collect(),
        },
    )
}

prop_compose! {
    fn manifest()(
        members in proptest::collection::btree_set(member_name(), 0..5),
    )(
        parts in members.into_iter().map(part).collect::<Vec<_>>(),
        (archive, cluster, id) in (any::<u128>(), name(), any::<u128>()),
        (epoch, generation, micros) in (any::<u64>(), any::<u64>(), 0i64..4_000_000_000_000_000),
        labels in proptest::collection::btree_map(".{0,8}", ".{0,8}", 0..4),
    ) -> Manifest {
        Manifest {
            format: FORMAT,
            archive: Uuid::from_u128(archive),
            cluster: ClusterName::new(cluster).expect("a name"),
            snapshot: SnapshotId(Uuid::from_u128(id)),
            epoch: Epoch(epoch),
            generation: Generation(generation),
            started_at: jiff::Timestamp::from_microsecond(micros).expect("a time"),
            labels,
            parts,
            departed: Vec::new(),
        }
    }
}

fn record() -> impl Strategy<Value = ChannelRecord> {
    let payload = || vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    prop_oneof![
        (member_name(), any::<u64>(), payload()).prop_map(|(from, seq, payload)| ChannelRecord::Recorded {
            from,
            seq: Seq(seq),
            payload
        }),
        (member_name(), payload()).prop_map(|(to, payload)| ChannelRecord::Unsent { to, payload }),
        (any::<u64>(), any::<u64>()).prop_map(|(id, remaining_ms)| ChannelRecord::Timer { id, remaining_ms }),
    ]
}

/// Records in an order that there may be: what is logged comes first.
fn records(most: usize) -> impl Strategy<Value = Vec<ChannelRecord>> {
    let payload = || vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    let logged = (member_name(), any::<u64>(), payload()).prop_map(|(to, seq, payload)| ChannelRecord::Logged {
        to,
        seq: Seq(seq),
        payload,
    });
    (vec(logged, 0..most / 2), vec(record(), 0..most)).prop_map(|(logged, others)| [logged, others].concat())
}

fn write(records: &[ChannelRecord]) -> Vec<u8> {
    let mut writer = ChannelsWriter::new(Vec::new());
    for record in records {
        writer.write(record).expect("written");
    }
    assert_eq!(writer.records(), records.len() as u64);
    writer.finish().expect("finished")
}

fn read(bytes: &[u8]) -> Result<Vec<ChannelRecord>, ChannelsError> {
    ChannelsReader::new(bytes).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_manifest_is_read_back_from_its_bytes_and_the_order_of_its_lists_does_not_matter(manifest in manifest()) {
        let bytes = manifest.to_bytes();
        prop_assert_eq!(&Manifest::from_bytes(&bytes).expect("read"), &manifest);
        let mut turned = manifest.clone();
        turned.parts.reverse();
        for part in &mut turned.parts {
            part.objects.reverse();
            part.sent.reverse();
            part.received.reverse();
            part.recorded.reverse();
            part.logged.reverse();
            part.peers.reverse();
        }
        prop_assert_eq!(turned.to_bytes(), bytes);
        prop_assert_eq!(turned.digest(), manifest.digest());
    }

    #[test]
    fn records_come_back_in_order(records in records(20)) {
        let bytes = write(&records);
        let logs = records.iter().any(|record| matches!(record, ChannelRecord::Logged { .. }));
        prop_assert_eq!(bytes[4], if logs { 2 } else { 1 }, "whoever reads no logged messages can read what has none");
        prop_assert_eq!(read(&bytes).expect("read"), records);
    }

    #[test]
    fn a_truncated_channels_object_is_never_taken_for_a_whole_one(records in records(8), cut in any::<prop::sample::Index>()) {
        let bytes = write(&records);
        let cut = cut.index(bytes.len());
        let mut reader = ChannelsReader::new(&bytes[..cut]);
        let before: Vec<_> = reader.by_ref().map_while(Result::ok).collect();
        prop_assert_eq!(&before[..], &records[..before.len()]);
        prop_assert!(reader.next().is_none(), "nothing comes after an error");
        let truncated = matches!(read(&bytes[..cut]), Err(ChannelsError::Truncated { .. }));
        prop_assert!(truncated);
    }

    #[test]
    fn garbage_is_an_error_or_records_and_never_a_panic(
        mut bytes in records(8).prop_map(|records| write(&records)),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        more in vec(any::<u8>(), 0..4),
    ) {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.extend(more);
        let _ = read(&bytes);
    }

    #[test]
    fn an_object_is_the_same_however_its_bytes_were_cut(
        blocks in vec((any::<bool>(), 0usize..200_000), 0..5),
        cuts in vec(1usize..300_000, 1..6),
    ) {
        let mut plain = Vec::new();
        for (n, (compressible, length)) in blocks.into_iter().enumerate() {
            if compressible { plain.resize(plain.len() + length, n as u8) } else { plain.extend(noise(n as u8, length)) }
        }
        let mut writer = ObjectWriter::new(&std::env::temp_dir());
        let mut rest = &plain[..];
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            writer.write_all(piece).expect("written");
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let object = writer.finish().expect("finished");
        prop_assert_eq!(object.plain_bytes(), plain.len() as u64);
        let key = ObjectKey::state_key(&cluster("bank"), snapshot(1), &member("p1"), Incarnation(1));
        let (entry, put) = object.into_entry(Role::State, u64::MAX, key);
        prop_assert!(put.is_none());
        let Place::Inline(bytes) = &entry.place else { panic!("inline") };
        prop_assert_eq!((bytes.len() as u64, Digest::of(bytes)), (entry.bytes, entry.digest));
        let decoded = match entry.encoding {
            Encoding::Raw => bytes.to_vec(),
            Encoding::Zstd => zstd::decode_all(&bytes[..]).expect("decoded"),
        };
        prop_assert!(decoded == plain);
    }
}

#[test]
fn what_no_writer_writes_is_refused_without_setting_memory_aside_for_it() {
    let head = b"SFCH\x01";
    for (body, says) in [
        (&b"\x05"[..], "a kind of record"),
        (b"\x04\x01a\x01\x00", "only in version 2"),
        (b"\x00\x01", "the number of records"),
        (b"\x00\x00\x00", "nothing after the end"),
        (b"\x01\x41", "the length of a name"),
        (b"\x01\x01A", "a member's name"),
        (b"\x02\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "the length of a message"),
        (b"\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "a timer's id"),
        (b"\x03\x80\x00", "a timer's id"),
    ] {
        let error = read(&[head, body].concat()).expect_err(says);
        assert!(matches!(error, ChannelsError::Garbled { .. }) && error.to_string().contains(says), "{error}");
    }
    // A length that could be right, without the bytes: the end is found before 256 MiB are set aside.
    let longest = [head, &b"\x02\x01a\x80\x80\x80\x80\x01"[..], &[0; 100][..]].concat();
    assert!(matches!(read(&longest), Err(ChannelsError::Truncated { record: 1, .. })));
    assert_eq!(MAX_PAYLOAD_BYTES, 256 << 20);
    let late = b"SFCH\x02\x04\x01a\x01\x00\x03\x01\x01\x04\x01a\x02\x00\x00\x03";
    assert!(matches!(read(late), Err(ChannelsError::Garbled { record: 3, .. })), "behind a timer");
    assert!(matches!(read(b"SFCH\x03"), Err(ChannelsError::NewerVersion { found: 3 })));
    assert!(matches!(read(b"PK\x03\x04\x01"), Err(ChannelsError::Garbled { record: 0, .. })));
    assert!(matches!(read(b""), Err(ChannelsError::Truncated { record: 0, .. })));
}

#[test]
fn a_logged_message_behind_another_record_is_refused_and_nothing_is_written() {
    let logged = |seq| ChannelRecord::Logged { to: member("p1"), seq: Seq(seq), payload: Bytes::from_static(b"m") };
    let timer = ChannelRecord::Timer { id: 1, remaining_ms: 5 };
    let mut writer = ChannelsWriter::new(Vec::new());
    for record in [logged(3), logged(4), timer.clone()] {
        writer.write(&record).expect("written");
    }
    let refused = writer.write(&logged(5)).expect_err("late");
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(read(&writer.finish().expect("finished")).expect("read"), [logged(3), logged(4), timer]);
}

#[test]
fn a_manifest_tells_of_logged_messages_only_where_there_are_some() {
    let mut manifest = example();
    manifest.parts[1].logged = vec![Logged { to: member("p2"), ranges: ranges(&[(12, 18)]), bytes: 70 }];
    manifest.parts[1].peers = vec![ViewMember { member: member("p2"), incarnation: Incarnation(1) }];
    let text = String::from_utf8(manifest.to_bytes().to_vec()).expect("UTF-8");
    let added = r#","logged":[{"to":"p2","ranges":[[12,18]],"bytes":70}],"peers":[{"member":"p2","incarnation":1}]"#;
    assert_eq!(text.replace(added, "").as_bytes(), &example().to_bytes()[..], "{text}");
    assert_eq!(Manifest::from_bytes(text.as_bytes()).expect("read").parts[0].logged, manifest.parts[1].logged);
}

#[test]
fn objects_are_compressed_where_it_saves_five_percent_and_not_below() {
    let mut nearly = noise(1, 100_000).to_vec();
    assert_eq!(EncodedObject::from_bytes(nearly.clone().into()).encoding(), Encoding::Raw);
    nearly[..4_000].fill(0);
    assert_eq!(EncodedObject::from_bytes(nearly.clone().into()).encoding(), Encoding::Raw);
    nearly[..6_000].fill(0);
    let compressed = EncodedObject::from_bytes(nearly.into());
    assert_eq!((compressed.encoding(), compressed.plain_bytes()), (Encoding::Zstd, 100_000));
}

#[test]
fn an_object_is_inline_up_to_the_limit_and_has_a_key_beyond() {
    let key = ObjectKey::state_key(&cluster("bank"), snapshot(1), &member("p1"), Incarnation(1));
    let object = EncodedObject::from_bytes(noise(1, 100));
    let (entry, put) = object.clone().into_entry(Role::State, 100, key.clone());
    assert_eq!((entry.key(), entry.place.clone(), put.is_none()), (None, Place::Inline(noise(1, 100)), true));
    let (entry, put) = object.into_entry(Role::State, 99, key.clone());
    assert_eq!((entry.key(), put.map(|(key, _)| key)), (Some(&key), Some(key.clone())));
}
