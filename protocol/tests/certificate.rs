//! What the verifier accepts and refuses.

use proptest::prelude::*;
use stillframe_protocol::{
    Departed, Generation, Incarnation, Logged, MemberName, PartCounters, Received, Recorded, Sent, Seq, SeqRanges, ViewMember,
    Violation,
    certificate::{needed, verify_with},
    verify,
};

fn name(name: &str) -> MemberName {
    MemberName::new(name).unwrap()
}

fn ranges(pairs: &[(u64, u64)]) -> SeqRanges {
    SeqRanges::from_pairs(pairs.to_vec()).unwrap()
}

fn part(member: &str) -> PartCounters {
    PartCounters {
        member: name(member),
        incarnation: Incarnation(1),
        generation: Generation(1),
        sent: vec![],
        received: vec![],
        recorded: vec![],
        logged: vec![],
        peers: vec![],
    }
}

fn view() -> Vec<ViewMember> {
    ["a", "b"].map(|member| ViewMember { member: name(member), incarnation: Incarnation(1) }).to_vec()
}

/// a -> b: `sent` inside a's cut, and what b says of it.
fn parts(sent: u64, received: &[(u64, u64)], recorded: &[(u64, u64)]) -> [PartCounters; 2] {
    let (mut a, mut b) = (part("a"), part("b"));
    a.sent = vec![Sent { to: name("b"), messages: sent }];
    b.received = vec![Received { from: name("a"), ranges: ranges(received) }];
    b.recorded = vec![Recorded { from: name("a"), ranges: ranges(recorded), bytes: 55 }];
    [a, b]
}

fn violations(parts: &[PartCounters]) -> Vec<Violation> {
    verify(Generation(1), &view(), parts).expect_err("it proves nothing")
}

#[test]
fn an_exact_channel_is_certified_with_its_figures() {
    let certified = verify(Generation(1), &view(), &parts(20, &[(1, 17)], &[(18, 20)])).unwrap();
    assert_eq!((certified.channels(), certified.messages_in_flight(), certified.in_flight_bytes()), (1, 3, 55));
    let certified = verify(Generation(1), &view(), &parts(5, &[(1, 1), (4, 4)], &[(2, 3), (5, 5)])).unwrap();
    assert_eq!(certified.messages_in_flight(), 3);
}

#[test]
fn what_is_absent_counts_nothing() {
    let certified = verify(Generation(1), &view(), &[part("a"), part("b")]).unwrap();
    assert_eq!(certified.channels(), 0);
    let [a, _] = parts(3, &[], &[]);
    let (from, to) = (name("a"), name("b"));
    assert_eq!(violations(&[a, part("b")]), [Violation::Missing { from, to, first: Seq(1), count: 3, sent: 3 }]);
}

#[test]
fn each_way_in_which_a_channel_can_be_wrong_is_named() {
    let (from, to) = (|| name("a"), || name("b"));
    let orphan = Violation::Orphan { from: from(), to: to(), seq: Seq(4), sent: 3 };
    assert_eq!(orphan.to_string(), "a -> b: message 4 was received inside the cut, but only 3 were sent inside it");
    assert_eq!(violations(&parts(3, &[(1, 4)], &[])), [orphan]);
    let not_sent = Violation::NotSent { from: from(), to: to(), seq: Seq(4), sent: 3 };
    assert_eq!(violations(&parts(3, &[(1, 2)], &[(3, 4)])), [not_sent]);
    let twice = Violation::Twice { from: from(), to: to(), seq: Seq(2) };
    assert_eq!(violations(&parts(3, &[(1, 2)], &[(2, 3)])), [twice]);
    let missing = Violation::Missing { from: from(), to: to(), first: Seq(2), count: 2, sent: 5 };
    assert_eq!(violations(&parts(5, &[(1, 1), (3, 3)], &[(5, 5)])), [missing]);
}

/// a -> b: `sent` inside a's cut and `logged` at it, and what b says of it.
fn logged_parts(sent: u64, logged: &[(u64, u64)], received: &[(u64, u64)]) -> [PartCounters; 2] {
    let [mut a, mut b] = parts(sent, received, &[]);
    a.logged = vec![Logged { to: name("b"), ranges: ranges(logged), bytes: 55 }];
    b.recorded.clear();
    [a, b]
}

#[test]
fn the_state_of_a_logged_channel_is_what_was_logged_and_not_received() {
    let certified = verify(Generation(1), &view(), &logged_parts(20, &[(15, 20)], &[(1, 17)])).unwrap();
    assert_eq!((certified.channels(), certified.messages_in_flight(), certified.in_flight_bytes()), (1, 3, 55));
    let certified = verify(Generation(1), &view(), &logged_parts(5, &[(2, 3), (5, 5)], &[(1, 2), (4, 4)])).unwrap();
    assert_eq!(certified.messages_in_flight(), 2);
    let certified = verify(Generation(1), &view(), &logged_parts(5, &[(1, 5)], &[(1, 5)])).unwrap();
    assert_eq!(certified.messages_in_flight(), 0);
}

#[test]
fn each_way_in_which_a_logged_channel_can_be_wrong_is_named() {
    let (from, to) = (|| name("a"), || name("b"));
    let orphan = Violation::Orphan { from: from(), to: to(), seq: Seq(4), sent: 3 };
    assert_eq!(violations(&logged_parts(3, &[(3, 3)], &[(1, 4)])), [orphan]);
    let missing = Violation::Missing { from: from(), to: to(), first: Seq(2), count: 2, sent: 5 };
    assert_eq!(violations(&logged_parts(5, &[(4, 5)], &[(1, 1)])), [missing]);
    let not_sent = Violation::NotSent { from: from(), to: to(), seq: Seq(6), sent: 5 };
    assert_eq!(violations(&logged_parts(5, &[(4, 6)], &[(1, 3)])), [not_sent]);
    let [a, mut b] = logged_parts(5, &[(4, 5)], &[(1, 3)]);
    b.recorded = vec![Recorded { from: name("a"), ranges: ranges(&[(5, 5)]), bytes: 1 }];
    let twice = Violation::Twice { from: from(), to: to(), seq: Seq(5) };
    assert_eq!(violations(&[a.clone(), b]), [twice], "both ends would deliver it");
    let (mut a, b) = (a, part("b"));
    a.logged.push(a.logged[0].clone());
    assert_eq!(violations(&[a, b])[0], Violation::DuplicateEntry { what: "logged", of: "a -> b".into() });
}

#[test]
fn counters_of_another_incarnation_of_a_peer_are_refused() {
    let [mut a, b] = logged_parts(2, &[(1, 2)], &[]);
    a.peers = vec![ViewMember { member: name("b"), incarnation: Incarnation(1) }];
    assert!(verify(Generation(1), &view(), &[a.clone(), b.clone()]).is_ok());
    a.peers[0].incarnation = Incarnation(2);
    let (expected, found) = (Incarnation(1), Incarnation(2));
    assert_eq!(violations(&[a.clone(), b.clone()]), [Violation::Peer { member: name("a"), peer: name("b"), expected, found }]);
    a.peers[0].member = name("c");
    assert!(verify(Generation(1), &view(), &[a, b]).is_ok(), "c isn't in the view");
}

#[test]
fn the_json_form_of_a_logged_channel() {
    let [mut a, _] = logged_parts(2, &[(2, 2)], &[]);
    a.peers = vec![ViewMember { member: name("b"), incarnation: Incarnation(1) }];
    let json = serde_json::to_string(&a).unwrap();
    let tail = r#""recorded":[],"logged":[{"to":"b","ranges":[[2,2]],"bytes":55}],"peers":[{"member":"b","incarnation":1}]}"#;
    assert!(json.ends_with(tail), "{json}");
    assert_eq!(serde_json::from_str::<PartCounters>(&json).unwrap(), a);
}

#[test]
fn parts_that_are_not_of_the_view_are_refused() {
    let [a, b] = parts(0, &[], &[]);
    assert_eq!(violations(std::slice::from_ref(&a)), [Violation::NoPart { member: name("b") }]);
    assert_eq!(violations(&[a.clone(), b.clone(), part("c")]), [Violation::View { member: name("c") }]);
    let late = PartCounters { generation: Generation(2), ..b.clone() };
    let (expected, found) = (Generation(1), Generation(2));
    assert_eq!(violations(&[a.clone(), late]), [Violation::Generation { member: name("b"), expected, found }]);
    let reborn = PartCounters { incarnation: Incarnation(2), ..b.clone() };
    let (expected, found) = (Incarnation(1), Incarnation(2));
    assert_eq!(violations(&[a.clone(), reborn]), [Violation::Incarnation { member: name("b"), expected, found }]);
    assert_eq!(violations(&[a, b.clone(), b])[0], Violation::DuplicateEntry { what: "part", of: "b".into() });
    let twice = [view(), view()].concat();
    assert_eq!(verify(Generation(1), &twice, &[part("a"), part("b")]).unwrap_err().len(), 2);
}

#[test]
fn a_channel_that_leaves_the_view_has_to_be_empty() {
    let [mut a, b] = parts(0, &[], &[]);
    a.sent.push(Sent { to: name("c"), messages: 0 });
    assert!(verify(Generation(1), &view(), &[a.clone(), b.clone()]).is_ok());
    a.received.push(Received { from: name("c"), ranges: ranges(&[(1, 1)]) });
    let outside = Violation::OutsideView { from: name("c"), to: name("a"), outside: name("c") };
    assert_eq!(violations(&[a, b]), [outside]);
}

#[test]
fn a_channel_that_is_reported_twice_is_refused() {
    let [mut a, mut b] = parts(1, &[(1, 1)], &[]);
    a.sent.push(a.sent[0].clone());
    b.received.push(b.received[0].clone());
    b.recorded.push(b.recorded[0].clone());
    let found = violations(&[a, b]);
    let expected = ["sent", "received", "recorded"].map(|what| Violation::DuplicateEntry { what, of: "a -> b".into() });
    assert_eq!(found, expected);
}

#[test]
fn the_json_form_is_that_of_the_manifest() {
    let [mut a, b] = parts(2, &[(1, 1)], &[(2, 2)]);
    a.incarnation = Incarnation(3);
    let json = serde_json::to_string(&[a.clone(), b.clone()]).unwrap();
    assert_eq!(
        json,
        concat!(
            r#"[{"member":"a","incarnation":3,"generation":1,"sent":[{"to":"b","messages":2}],"received":[],"recorded":[]},"#,
            r#"{"member":"b","incarnation":1,"generation":1,"sent":[],"received":[{"from":"a","ranges":[[1,1]]}],"#,
            r#""recorded":[{"from":"a","ranges":[[2,2]],"bytes":55}]}]"#
        )
    );
    let back: Vec<PartCounters> = serde_json::from_str(&json).unwrap();
    assert_eq!(back, [a.clone(), b]);
}

proptest! {
    #[test]
    fn moving_any_single_counter_of_an_exact_channel_is_found(split in 0u64..8, rest in 1u64..8, by in prop_oneof![Just(-1i64), Just(1)]) {
        let sent = split + rest;
        let recorded = [(split + 1, sent)];
        let received: &[(u64, u64)] = if split > 0 { &[(1, split)] } else { &[] };
        prop_assert!(verify(Generation(1), &view(), &parts(sent, received, &recorded)).is_ok());
        let moved = sent.checked_add_signed(by).unwrap();
        prop_assert!(verify(Generation(1), &view(), &parts(moved, received, &recorded)).is_err());
        if split > 1 {
            let moved = [(1, split.checked_add_signed(by).unwrap())];
            prop_assert!(verify(Generation(1), &view(), &parts(sent, &moved, &recorded)).is_err());
        }
    }
}

mod departed {
    use super::*;

    /// Of a and b, of which b left: what a's part counts, and what b counted at its end.
    fn gone(sent: u64, received: &[(u64, u64)]) -> Departed {
        Departed {
            member: name("b"),
            incarnation: Incarnation(1),
            sent: vec![Sent { to: name("a"), messages: sent }],
            received: vec![Received { from: name("a"), ranges: ranges(received) }],
        }
    }

    fn only_a() -> Vec<ViewMember> {
        vec![ViewMember { member: name("a"), incarnation: Incarnation(1) }]
    }

    fn counts(sent: u64, received: &[(u64, u64)]) -> PartCounters {
        let mut a = part("a");
        a.sent = vec![Sent { to: name("b"), messages: sent }];
        a.received = vec![Received { from: name("b"), ranges: ranges(received) }];
        a
    }

    fn check(a: PartCounters, departed: &[Departed]) -> Result<u64, Vec<Violation>> {
        verify_with(Generation(1), &only_a(), &[a], departed).map(|certified| certified.channels())
    }

    #[test]
    fn the_channels_with_a_member_that_left_are_certified_by_what_it_counted_at_its_end() {
        assert_eq!(check(counts(5, &[(1, 7)]), &[gone(7, &[(1, 5)])]), Ok(2));
        let without = check(counts(5, &[(1, 7)]), &[]).unwrap_err();
        assert!(without.iter().all(|violation| matches!(violation, Violation::OutsideView { .. })), "{without:?}");
    }

    #[test]
    fn a_message_that_was_lost_to_a_member_that_left_or_by_it_proves_nothing() {
        let lost_to = check(counts(6, &[(1, 7)]), &[gone(7, &[(1, 5)])]).unwrap_err();
        assert!(matches!(lost_to[..], [Violation::Missing { count: 1, .. }]), "{lost_to:?}");
        let lost_from = check(counts(5, &[(1, 6)]), &[gone(7, &[(1, 5)])]).unwrap_err();
        assert!(matches!(lost_from[..], [Violation::Missing { count: 1, .. }]), "{lost_from:?}");
        let orphan = check(counts(4, &[(1, 7)]), &[gone(7, &[(1, 5)])]).unwrap_err();
        assert!(matches!(orphan[..], [Violation::Orphan { .. }]), "{orphan:?}");
    }

    #[test]
    fn a_channel_that_was_closed_behind_a_member_that_left_is_of_the_past() {
        assert_eq!(check(part("a"), &[gone(7, &[(1, 5)])]), Ok(0));
        assert_eq!(needed(&only_a(), &[part("a")], vec![gone(7, &[(1, 5)])]), []);
        assert_eq!(needed(&only_a(), &[counts(0, &[(1, 1)])], vec![gone(7, &[(1, 5)])]).len(), 1);
    }

    #[test]
    fn a_member_is_in_the_view_or_has_left_and_never_both() {
        let both = verify_with(Generation(1), &view(), &[part("a"), part("b")], &[gone(0, &[])]).unwrap_err();
        assert!(matches!(both[..], [Violation::DuplicateEntry { .. }]), "{both:?}");
        assert_eq!(needed(&view(), &[counts(5, &[(1, 7)])], vec![gone(7, &[(1, 5)])]), []);
    }

    #[test]
    fn the_channels_among_members_that_left_are_of_the_past() {
        let mut b = gone(7, &[(1, 5)]);
        b.sent.push(Sent { to: name("c"), messages: 9 });
        let c = Departed { member: name("c"), incarnation: Incarnation(3), sent: vec![], received: vec![] };
        assert_eq!(check(counts(5, &[(1, 7)]), &[b, c]), Ok(2));
    }

    #[test]
    fn counters_of_another_incarnation_than_the_one_that_left_prove_nothing() {
        let mut a = counts(5, &[(1, 7)]);
        a.peers = vec![ViewMember { member: name("b"), incarnation: Incarnation(2) }];
        let wrong = check(a, &[gone(7, &[(1, 5)])]).unwrap_err();
        assert!(matches!(wrong[..], [Violation::Peer { .. }]), "{wrong:?}");
    }
}
