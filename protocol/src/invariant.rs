//! What has to hold of every channel at every cut: one function, used by the participant before it seals a part, by the verifier of the
//! certificate, by tests and by simulations.

use crate::{ids::Seq, ranges::SeqRanges};

/// How the counters of one channel fail to prove its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Inexact {
    /// V1: a message was received before the receiver's cut, but sent after the sender's.
    #[error("message {seq} was received inside the cut, but only {sent} were sent")]
    Orphan {
        /// The largest such message.
        seq: Seq,
        /// How many were sent inside the cut.
        sent: u64,
    },
    /// V2: a message was recorded, but sent after the sender's cut.
    #[error("message {seq} was recorded, but only {sent} were sent")]
    NotSent {
        /// The largest such message.
        seq: Seq,
        /// How many were sent inside the cut.
        sent: u64,
    },
    /// V2: a message is in the receiver's state and in the channel's.
    #[error("message {seq} was received inside the cut and recorded as well")]
    Twice {
        /// The smallest such message.
        seq: Seq,
    },
    /// V2: a message that was sent inside the cut is neither in the receiver's state nor in the channel's.
    #[error("{count} of {sent} messages are neither received nor recorded, the first of them {first}")]
    Missing {
        /// The smallest such message.
        first: Seq,
        /// How many there are.
        count: u64,
        /// How many were sent inside the cut.
        sent: u64,
    },
}

/// Checks the counters of one channel: `sent` messages were sent inside the sender's cut, `received` were received inside the receiver's cut,
/// `recorded` is the state of the channel. Returns all that is wrong; nothing exactly if V1 and V2 hold:
///
/// - V1 `max(received) <= sent`: no orphan, the cut is consistent;
/// - V2 `received` and `recorded` are disjoint and together exactly `1..=sent`: the channel state is exact.
///
/// Takes time linear in the number of ranges.
#[must_use]
pub fn check_channel(sent: u64, received: &SeqRanges, recorded: &SeqRanges) -> Vec<Inexact> {
    let mut found = Vec::new();
    if received.max() > sent {
        found.push(Inexact::Orphan { seq: Seq(received.max()), sent });
    }
    if recorded.max() > sent {
        found.push(Inexact::NotSent { seq: Seq(recorded.max()), sent });
    }
    if let Some(seq) = received.first_common(recorded) {
        found.push(Inexact::Twice { seq: Seq(seq) });
    }
    let both = received.union(recorded);
    let present = both.count_through(sent);
    if present < sent {
        found.push(Inexact::Missing { first: Seq(both.contiguous() + 1), count: sent - present, sent });
    }
    found
}

/// The state of a channel whose sender logged, at its cut, what it had sent and not yet seen acknowledged: what of it wasn't `received` inside the
/// receiver's cut. These are the messages that a restore delivers.
#[must_use]
pub fn in_flight(received: &SeqRanges, logged: &SeqRanges) -> SeqRanges {
    logged.minus(received)
}

/// As [`check_channel`], for a channel whose sender logged its part of the state: the state is [`in_flight`], and nothing was logged that wasn't sent.
#[must_use]
pub fn check_logged(sent: u64, received: &SeqRanges, logged: &SeqRanges) -> Vec<Inexact> {
    let mut found = check_channel(sent, received, &in_flight(received, logged));
    let not_sent = Inexact::NotSent { seq: Seq(logged.max()), sent };
    if logged.max() > sent && !found.contains(&not_sent) {
        found.push(not_sent);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ranges(of: &BTreeSet<u64>) -> SeqRanges {
        of.iter().copied().map(Seq).collect()
    }

    proptest! {
        #[test]
        fn a_channel_is_exact_if_and_only_if_its_sets_say_so(
            sent in 0u64..12,
            received in proptest::collection::btree_set(1u64..14, 0..13),
            recorded in proptest::collection::btree_set(1u64..14, 0..13),
        ) {
            let found = check_channel(sent, &ranges(&received), &ranges(&recorded));
            let all: BTreeSet<u64> = (1..=sent).collect();
            let exact = received.is_disjoint(&recorded) && received.union(&recorded).copied().eq(all.iter().copied());
            prop_assert_eq!(found.is_empty(), exact);
            for inexact in found {
                match inexact {
                    Inexact::Orphan { seq, .. } => prop_assert!(received.contains(&seq.0) && seq.0 > sent),
                    Inexact::NotSent { seq, .. } => prop_assert!(recorded.contains(&seq.0) && seq.0 > sent),
                    Inexact::Twice { seq } => prop_assert!(received.contains(&seq.0) && recorded.contains(&seq.0)),
                    Inexact::Missing { first, count, .. } => {
                        let missing: Vec<u64> = all.iter().copied().filter(|n| !received.contains(n) && !recorded.contains(n)).collect();
                        prop_assert_eq!((missing.first().copied(), missing.len() as u64), (Some(first.0), count));
                    }
                }
            }
        }

        #[test]
        fn a_logged_channel_is_exact_if_and_only_if_all_that_was_sent_is_received_or_logged(
            sent in 0u64..12,
            received in proptest::collection::btree_set(1u64..14, 0..13),
            logged in proptest::collection::btree_set(1u64..14, 0..13),
        ) {
            let found = check_logged(sent, &ranges(&received), &ranges(&logged));
            let exact = received.union(&logged).copied().eq(1..=sent);
            prop_assert_eq!(found.is_empty(), exact);
        }

        #[test]
        fn every_split_of_what_was_sent_is_exact(marks in proptest::collection::vec(any::<bool>(), 0..40)) {
            let (received, recorded): (Vec<_>, Vec<_>) = marks.iter().enumerate().partition(|(_, inside)| **inside);
            let set = |seqs: Vec<(usize, &bool)>| seqs.into_iter().map(|(n, _)| Seq(n as u64 + 1)).collect::<SeqRanges>();
            prop_assert_eq!(check_channel(marks.len() as u64, &set(received), &set(recorded)), vec![]);
        }
    }
}
