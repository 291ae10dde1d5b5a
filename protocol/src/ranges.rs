//! Sets of sequence numbers, kept as sorted inclusive ranges: a prefix plus, on unordered channels, a few more.

use std::{fmt, ops::RangeInclusive};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::ids::Seq;

/// A set of sequence numbers from 1 upwards: sorted, disjoint, non-adjacent inclusive ranges. In JSON `[[1,17],[19,20]]`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct SeqRanges(Vec<(u64, u64)>);

/// Ranges that aren't in the one form that a set has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ranges {found} are malformed: expected sorted, disjoint, non-adjacent [first, last] pairs with 1 <= first <= last")]
pub struct RangesError {
    found: String,
}

impl SeqRanges {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The set `1..=last`; empty when `last` is 0.
    #[must_use]
    pub fn prefix(last: u64) -> Self {
        if last == 0 { Self::new() } else { Self(vec![(1, last)]) }
    }

    /// Takes ranges in canonical form.
    ///
    /// # Errors
    /// [`RangesError`] when they are unsorted, overlap, touch, or hold 0.
    pub fn from_pairs(pairs: Vec<(u64, u64)>) -> Result<Self, RangesError> {
        let each = pairs.iter().all(|&(first, last)| 1 <= first && first <= last);
        let order = pairs.windows(2).all(|w| w[0].1.checked_add(1).is_some_and(|next| next < w[1].0));
        if each && order { Ok(Self(pairs)) } else { Err(RangesError { found: format!("{pairs:?}") }) }
    }

    /// Adds one number; false when it was there already (or is 0, which no message has).
    pub fn insert(&mut self, seq: Seq) -> bool {
        let n = seq.0;
        if n == 0 {
            return false;
        }
        let at = self.0.partition_point(|&(_, last)| last < n);
        if self.0.get(at).is_some_and(|&(first, _)| first <= n) {
            return false;
        }
        let joins_left = at > 0 && self.0[at - 1].1 + 1 == n;
        let joins_right = self.0.get(at).is_some_and(|&(first, _)| n + 1 == first);
        match (joins_left, joins_right) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = n,
            (false, true) => self.0[at].0 = n,
            (false, false) => self.0.insert(at, (n, n)),
        }
        true
    }

    /// Whether the number is in the set.
    #[must_use]
    pub fn contains(&self, seq: Seq) -> bool {
        let at = self.0.partition_point(|&(_, last)| last < seq.0);
        self.0.get(at).is_some_and(|&(first, _)| first <= seq.0)
    }

    /// The largest number, 0 when empty.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.0.last().map_or(0, |&(_, last)| last)
    }

    /// The end of the unbroken run that begins at 1; 0 when 1 isn't in the set.
    #[must_use]
    pub fn contiguous(&self) -> u64 {
        self.0.first().filter(|&&(first, _)| first == 1).map_or(0, |&(_, last)| last)
    }

    /// How many numbers are in the set.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.iter().map(|&(first, last)| last - first + 1).sum()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every number of `1..=last` is in the set.
    #[must_use]
    pub fn covers(&self, last: u64) -> bool {
        self.contiguous() >= last
    }

    /// How many numbers of `1..=last` are in the set.
    #[must_use]
    pub fn count_through(&self, last: u64) -> u64 {
        self.0.iter().take_while(|&&(first, _)| first <= last).map(|&(first, end)| end.min(last) - first + 1).sum()
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        self.0.iter().map(|&(first, last)| first..=last)
    }

    /// The ranges as pairs, in order.
    #[must_use]
    pub fn pairs(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// A number that is in both sets, if there is one: the smallest.
    #[must_use]
    pub fn first_common(&self, other: &Self) -> Option<u64> {
        let (mut i, mut j) = (0, 0);
        while let (Some(&(a, b)), Some(&(c, d))) = (self.0.get(i), other.0.get(j)) {
            if b < c {
                i += 1;
            } else if d < a {
                j += 1;
            } else {
                return Some(a.max(c));
            }
        }
        None
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut others = other.0.iter().copied().peekable();
        for &(first, last) in &self.0 {
            let mut next = first;
            while let Some(&(a, b)) = others.peek()
                && a <= last
            {
                if next < a {
                    left.push((next, a - 1));
                }
                next = next.max(b.saturating_add(1));
                if b > last {
                    break;
                }
                others.next();
            }
            if next <= last {
                left.push((next, last));
            }
        }
        Self(left)
    }

    /// The union of both sets.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all: Vec<_> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }
}

impl fmt::Debug for SeqRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl FromIterator<Seq> for SeqRanges {
    fn from_iter<I: IntoIterator<Item = Seq>>(seqs: I) -> Self {
        let mut set = Self::new();
        for seq in seqs {
            set.insert(seq);
        }
        set
    }
}

impl Serialize for SeqRanges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SeqRanges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_pairs(Vec::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set() -> impl Strategy<Value = BTreeSet<u64>> {
        proptest::collection::btree_set(1u64..40, 0..30)
    }

    fn ranges(of: &BTreeSet<u64>) -> SeqRanges {
        of.iter().rev().copied().map(Seq).collect()
    }

    proptest! {
        #[test]
        fn ranges_are_the_set_of_what_was_inserted(a in set(), b in set()) {
            let (ra, rb) = (ranges(&a), ranges(&b));
            prop_assert_eq!(ra.iter().flatten().collect::<BTreeSet<_>>(), a.clone());
            prop_assert_eq!(ra.len(), a.len() as u64);
            prop_assert_eq!(ra.max(), a.last().copied().unwrap_or(0));
            prop_assert_eq!(ra.first_common(&rb), a.intersection(&b).next().copied());
            prop_assert_eq!(ra.union(&rb), ranges(&a.union(&b).copied().collect()));
            prop_assert_eq!(ra.minus(&rb), ranges(&a.difference(&b).copied().collect()));
            prop_assert_eq!(SeqRanges::from_pairs(ra.pairs().to_vec()), Ok(ra.clone()));
            for n in 0..42 {
                prop_assert_eq!(ra.contains(Seq(n)), a.contains(&n));
                prop_assert_eq!(ra.covers(n), (1..=n).all(|m| a.contains(&m)));
                prop_assert_eq!(ra.count_through(n), a.range(..=n).count() as u64);
            }
        }
    }

    #[test]
    fn malformed_ranges_are_refused() {
        for pairs in [vec![(0, 1)], vec![(3, 2)], vec![(1, 2), (3, 4)], vec![(5, 6), (1, 2)], vec![(1, 5), (4, 9)]] {
            assert!(SeqRanges::from_pairs(pairs).is_err());
        }
    }
}
