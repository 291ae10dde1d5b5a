//! Snapshots whose senders logged: what was logged is compared with what the manifest says, and only what hadn't arrived counts as in flight.

use std::io::Read;

use bytes::Bytes;
use stillframe_archive::{Archive, ChannelRecord, Manifest, Message, Messages, Problem, Role};
use stillframe_protocol::{Incarnation, Logged, MemberName, Received, Recorded, Sent, Seq, ViewMember, Violation};

use crate::{
    fixture::{self, channels, member, ranges},
    places::Place,
};

fn logged(to: &MemberName, seq: u64) -> ChannelRecord {
    ChannelRecord::Logged { to: to.clone(), seq: Seq(seq), payload: Bytes::from(format!("m{seq}")) }
}

/// p1 -> p2: of 20 messages 1..=17 and 19 were received, and 17..=20 logged, in this order.
async fn parts(archive: &Archive, order: [u64; 4]) -> Manifest {
    let mut manifest = fixture::parts(archive, "bank", 1).await;
    let (p1, p2) = (member("p1"), member("p2"));
    let unsent = ChannelRecord::Unsent { to: p2.clone(), payload: Bytes::from_static(b"unsent") };
    let records: Vec<ChannelRecord> = order.iter().map(|seq| logged(&p2, *seq)).chain([unsent]).collect();
    let key = stillframe_archive::ObjectKey::channels_key(&manifest.cluster, manifest.snapshot, &p1, Incarnation(3));
    let part_1 = &mut manifest.parts[0];
    part_1.objects.retain(|object| object.role == Role::State);
    part_1.objects.push(channels(&records).into_entry(Role::Channels, 16 << 10, key).0);
    part_1.sent = vec![Sent { to: p2.clone(), messages: 20 }];
    part_1.logged = vec![Logged { to: p2.clone(), ranges: ranges(&[(17, 20)]), bytes: 12 }];
    part_1.peers = vec![ViewMember { member: p2, incarnation: Incarnation(4) }];
    let part_2 = &mut manifest.parts[1];
    part_2.objects.retain(|object| object.role == Role::State);
    part_2.received = vec![Received { from: p1, ranges: ranges(&[(1, 17), (19, 19)]) }];
    part_2.recorded = vec![];
    manifest
}

pub(crate) async fn what_its_sender_logged_and_its_receiver_had_not_is_in_flight(place: Place) {
    let archive = place.archive().await;
    let manifest = parts(&archive, [17, 18, 19, 20]).await;
    archive.write_manifest(&manifest).await.expect("written");
    let verified = archive.verify_snapshot(&manifest.cluster, manifest.snapshot).await.expect("sound");
    assert_eq!(verified.messages_in_flight, 2);
    let messages = Messages::of(&verified.manifest);
    let object = manifest.parts[0].objects.iter().find(|object| object.role == Role::Channels).expect("there");
    let mut plain = archive.get(object).await.expect("there");
    let found: Vec<Message> = messages.read(&member("p1"), &mut plain).collect::<Result<_, _>>().expect("read");
    let (from, to) = (member("p1"), member("p2"));
    let in_flight = |seq: u64| Message::InFlight {
        from: from.clone(),
        to: to.clone(),
        seq: Seq(seq),
        payload: Bytes::from(format!("m{seq}")),
    };
    let unsent = Message::Unsent { from: from.clone(), to: to.clone(), payload: Bytes::from_static(b"unsent") };
    assert_eq!(found, [in_flight(18), in_flight(20), unsent]);
    assert_eq!(plain.read(&mut [0]).expect("the end"), 0);
}

pub(crate) async fn logged_messages_that_are_not_those_of_the_manifest_are_found(place: Place) {
    let archive = place.archive().await;
    let check = |manifest: &Manifest| {
        let (part, spill) = (&manifest.parts[0], place.spill.path());
        stillframe_archive::check_part(&manifest.cluster, manifest.snapshot, part, spill)
    };
    let sound = parts(&archive, [17, 18, 19, 20]).await;
    check(&sound).expect("sound");
    let disordered = parts(&archive, [17, 19, 18, 20]).await;
    let mut fewer = sound.clone();
    fewer.parts[0].logged[0].ranges = ranges(&[(18, 20)]);
    let mut none = sound.clone();
    none.parts[0].logged.clear();
    for (what, manifest) in [("out of order", disordered), ("fewer", fewer), ("none", none)] {
        let found = check(&manifest);
        assert!(matches!(&found, Err(Problem::LoggedMessages { to, .. }) if *to == member("p2")), "{what}: {found:?}");
    }
    let mut without = sound.clone();
    without.parts[0].objects.retain(|object| object.role == Role::State);
    assert!(matches!(check(&without), Err(Problem::Objects { role: Role::Channels, found: 0, .. })));

    // A message that is in nobody's part, one that both ends claim, and a log for a peer of another incarnation.
    let mut manifest = sound;
    manifest.parts[1].received[0].ranges = ranges(&[(1, 15), (19, 19)]);
    manifest.parts[1].recorded = vec![Recorded { from: member("p1"), ranges: ranges(&[(20, 20)]), bytes: 3 }];
    manifest.parts[0].peers[0].incarnation = Incarnation(3);
    archive.write_manifest(&manifest).await.expect("written");
    let error = archive.verify_snapshot(&manifest.cluster, manifest.snapshot).await.expect_err("all wrong");
    let found = |is: fn(&Violation) -> bool| {
        error.problems.iter().filter(|problem| matches!(problem, Problem::Certificate(violation) if is(violation))).count()
    };
    assert_eq!(found(|v| matches!(v, Violation::Missing { count: 1, .. })), 1, "{error}");
    assert_eq!(found(|v| matches!(v, Violation::Twice { .. })), 1, "{error}");
    assert_eq!(found(|v| matches!(v, Violation::Peer { .. })), 1, "{error}");
}
