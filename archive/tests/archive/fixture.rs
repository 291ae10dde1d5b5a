//! Snapshots to put into archives.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use stillframe_archive::{
    Archive, ChannelRecord, ChannelsWriter, EncodedObject, FORMAT, Manifest, ObjectEntry, ObjectKey, ObjectWriter, Part, Role,
};
use stillframe_protocol::{
    ClusterName, Epoch, Generation, Incarnation, MemberName, Received, Recorded, Sent, Seq, SeqRanges, SnapshotId,
};
use uuid::Uuid;

pub(crate) fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).expect("a name")
}

pub(crate) fn member(name: &str) -> MemberName {
    MemberName::new(name).expect("a name")
}

/// The n-th snapshot: ids in order.
pub(crate) fn snapshot(n: u128) -> SnapshotId {
    SnapshotId(Uuid::from_u128(0x0197_0000_0000_7000_8000_0000_0000_0000 + n))
}

pub(crate) fn ranges(pairs: &[(u64, u64)]) -> SeqRanges {
    SeqRanges::from_pairs(pairs.to_vec()).expect("ranges")
}

/// Bytes that can't be compressed, always the same for a seed.
pub(crate) fn noise(seed: u8, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]);
    hasher.finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// Writes plain bytes in pieces, as a capture does.
pub(crate) fn encode(plain: &[u8], spill: &Path) -> EncodedObject {
    use std::io::Write;
    let mut writer = ObjectWriter::new(spill);
    for piece in plain.chunks(100_000) {
        writer.write_all(piece).expect("written");
    }
    writer.finish().expect("finished")
}

pub(crate) fn channels(records: &[ChannelRecord]) -> EncodedObject {
    let mut writer = ChannelsWriter::new(Vec::new());
    records.iter().for_each(|record| writer.write(record).expect("written"));
    EncodedObject::from_bytes(writer.finish().expect("finished").into())
}

async fn store(archive: &Archive, object: EncodedObject, role: Role, inline_limit: u64, key: ObjectKey) -> ObjectEntry {
    let (entry, put) = object.into_entry(role, inline_limit, key);
    if let Some((key, object)) = put {
        archive.put(&key, &object).await.expect("put");
    }
    entry
}

/// Puts the parts of a snapshot of two members, `p1` with objects of its own and `p2` inline, and describes it; p1 -> p2 has three messages
/// in flight, of 1, 2 and 3 bytes. The manifest isn't written.
pub(crate) async fn parts(archive: &Archive, name: &str, n: u128) -> Manifest {
    let (cluster, snapshot) = (cluster(name), snapshot(n));
    let (p1, p2) = (member("p1"), member("p2"));
    let state = EncodedObject::from_bytes(noise(1, 5_000));
    let nothing = channels(&[ChannelRecord::Unsent { to: p2.clone(), payload: Bytes::from_static(b"not sent yet") }]);
    let in_flight = |length: u8| ChannelRecord::Recorded {
        from: p1.clone(),
        seq: Seq(17 + u64::from(length)),
        payload: noise(length, length.into()),
    };
    let recorded = channels(&[in_flight(1), ChannelRecord::Timer { id: 4, remaining_ms: 250 }, in_flight(2), in_flight(3)]);
    let objects = |member: &MemberName, incarnation| {
        (
            ObjectKey::state_key(&cluster, snapshot, member, Incarnation(incarnation)),
            ObjectKey::channels_key(&cluster, snapshot, member, Incarnation(incarnation)),
        )
    };
    let (state_1, channels_1) = objects(&p1, 3);
    let (state_2, channels_2) = objects(&p2, 4);
    let part_1 = Part {
        member: p1.clone(),
        incarnation: Incarnation(3),
        objects: vec![
            store(archive, state.clone(), Role::State, 0, state_1).await,
            store(archive, nothing, Role::Channels, 0, channels_1).await,
        ],
        sent: vec![Sent { to: p2.clone(), messages: 20 }],
        received: vec![Received { from: p2.clone(), ranges: ranges(&[(1, 18)]) }],
        recorded: vec![],
        logged: vec![],
        peers: vec![],
    };
    let part_2 = Part {
        member: p2.clone(),
        incarnation: Incarnation(4),
        objects: vec![
            store(archive, state, Role::State, 16 << 10, state_2).await,
            store(archive, recorded, Role::Channels, 16 << 10, channels_2).await,
        ],
        sent: vec![Sent { to: p1.clone(), messages: 18 }],
        received: vec![Received { from: p1.clone(), ranges: ranges(&[(1, 17)]) }],
        recorded: vec![Recorded { from: p1, ranges: ranges(&[(18, 20)]), bytes: 6 }],
        logged: vec![],
        peers: vec![],
    };
    Manifest {
        format: FORMAT,
        archive: archive.id(),
        cluster,
        snapshot,
        epoch: Epoch(7),
        generation: Generation(2),
        started_at: "2026-01-02T03:04:05.678901Z".parse().expect("a time"),
        labels: BTreeMap::from([("reason".to_owned(), "before \"the\" change".to_owned())]),
        parts: vec![part_1, part_2],
        departed: Vec::new(),
    }
}

/// Puts a whole snapshot: its parts and, last, its manifest.
pub(crate) async fn committed(archive: &Archive, name: &str, n: u128) -> Manifest {
    let manifest = parts(archive, name, n).await;
    archive.write_manifest(&manifest).await.expect("the manifest is written");
    manifest
}
