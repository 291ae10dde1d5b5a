//! Where the numbers of a channel go on after a restore.
//!
//! What the sender logged and the receiver doesn't have is sent again by the sender, in the new generation and under new numbers: so nobody needs
//! another's part, and the channel begins with a received set without gaps. `docs/protocol.md`, "At a restore", has the proof.

use crate::ranges::SeqRanges;

/// How a channel goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumption {
    /// So many messages count as sent.
    pub sent: u64,
    /// What counts as received, besides what was recorded: with that it is exactly `1..=sent`.
    pub received: SeqRanges,
    /// The numbers, in the snapshot, of the logged messages that are sent again, in their order.
    pub resent: SeqRanges,
}

/// A channel that both ends claim, with gaps: its receiver recorded messages by the numbers of before, and its sender would have to send others
/// again under numbers that those have. No participant makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "its receiver recorded messages, and its sender logged others with smaller numbers: expected one of them to have done so"
)]
pub struct BothEnds;

/// How a channel goes on from a snapshot in which its receiver has `received`, and `recorded` besides, and its sender has `logged`. For a channel
/// that is exact (V1 and V2), every message that was sent is then in exactly one of `received`, `recorded` and [`Resumption::resent`].
///
/// # Errors
/// [`BothEnds`].
pub fn resumption(received: &SeqRanges, recorded: &SeqRanges, logged: &SeqRanges) -> Result<Resumption, BothEnds> {
    let arrived = received.union(recorded);
    let (sent, resent) = (arrived.len(), logged.minus(&arrived));
    if arrived.covers(sent) {
        return Ok(Resumption { sent, received: received.clone(), resent });
    }
    if recorded.is_empty() { Ok(Resumption { sent, received: SeqRanges::prefix(sent), resent }) } else { Err(BothEnds) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        ids::Seq,
        invariant::{check_channel, check_logged},
    };

    fn ranges(of: impl IntoIterator<Item = u64>) -> SeqRanges {
        of.into_iter().map(Seq).collect()
    }

    fn numbers(of: &SeqRanges) -> Vec<u64> {
        of.iter().flatten().collect()
    }

    proptest! {
        #[test]
        fn after_a_restore_both_ends_count_the_same_and_each_message_is_delivered_or_sent_again_once(
            fates in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..40),
        ) {
            // Of each message: whether it was received, and whether it was logged; what wasn't received was.
            let sent = fates.len() as u64;
            let of = |is: fn(&(bool, bool)) -> bool| ranges((1..=sent).zip(&fates).filter(|(_, fate)| is(fate)).map(|(n, _)| n));
            let (received, logged) = (of(|fate| fate.0), of(|fate| fate.1 || !fate.0));
            prop_assert_eq!(check_logged(sent, &received, &logged), vec![]);
            let on = resumption(&received, &SeqRanges::new(), &logged).expect("nothing was recorded");
            prop_assert_eq!(&on.received, &SeqRanges::prefix(on.sent), "both ends count the same, without gaps");
            let mut once = numbers(&received);
            once.extend(numbers(&on.resent));
            once.sort_unstable();
            prop_assert_eq!(once, (1..=sent).collect::<Vec<_>>());
            prop_assert!(on.resent.first_common(&received).is_none());
        }

        #[test]
        fn with_markers_nothing_changes(fates in proptest::collection::vec(any::<bool>(), 0..40)) {
            let sent = fates.len() as u64;
            let of = |inside: bool| ranges((1..=sent).zip(&fates).filter(|(_, fate)| **fate == inside).map(|(n, _)| n));
            let (received, recorded) = (of(true), of(false));
            prop_assert_eq!(check_channel(sent, &received, &recorded), vec![]);
            let on = resumption(&received, &recorded, &SeqRanges::new());
            prop_assert_eq!(on, Ok(Resumption { sent, received, resent: SeqRanges::new() }));
        }

        #[test]
        fn a_channel_that_both_ends_claim_goes_on_exactly_or_is_refused(
            fates in proptest::collection::vec(0u8..3, 0..20),
        ) {
            let sent = fates.len() as u64;
            let of = |which: u8| ranges((1..=sent).zip(&fates).filter(|(_, fate)| **fate == which).map(|(n, _)| n));
            let (received, recorded, logged) = (of(0), of(1), of(2));
            match resumption(&received, &recorded, &logged) {
                Ok(on) => {
                    prop_assert_eq!(on.received.union(&recorded), SeqRanges::prefix(on.sent));
                    prop_assert_eq!(on.resent, logged);
                }
                Err(BothEnds) => prop_assert!(!recorded.is_empty() && !logged.is_empty()),
            }
        }
    }

    #[test]
    fn numbers_of_an_unordered_channel_begin_anew_without_gaps() {
        let on = resumption(&ranges([1, 2, 5]), &SeqRanges::new(), &ranges([2, 3, 4, 5, 6])).expect("nothing was recorded");
        assert_eq!((on.sent, numbers(&on.received)), (3, vec![1, 2, 3]));
        assert_eq!(numbers(&on.resent), [3, 4, 6]);
    }
}
