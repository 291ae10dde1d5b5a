//! The graph of a cluster's channels.

use std::collections::{BTreeMap, BTreeSet};

/// A cycle in a graph of channels `(from, to)`: its members in the order of the channels, each once. `None` if there is none, so that channels can be
/// aligned: a member holds a channel back while it waits for others, and in a cycle it would wait for itself. Takes `O(n log n)` for n channels; the
/// same channels give the same cycle.
pub fn find_cycle<T: Ord + Clone>(channels: impl IntoIterator<Item = (T, T)>) -> Option<Vec<T>> {
    let mut next: BTreeMap<T, BTreeSet<T>> = BTreeMap::new();
    for (from, to) in channels {
        next.entry(to.clone()).or_default();
        next.entry(from).or_default().insert(to);
    }
    let mut done: BTreeSet<&T> = BTreeSet::new();
    for start in next.keys() {
        let mut path = Vec::new();
        let mut on_path = BTreeSet::new();
        // Of each member on the way, and of those that are to be visited from it.
        let mut stack = vec![(start, false)];
        while let Some((member, left)) = stack.pop() {
            if left {
                path.pop();
                on_path.remove(member);
                done.insert(member);
                continue;
            }
            if on_path.contains(member) {
                let begin = path.iter().position(|one: &&T| *one == member)?;
                return Some(path[begin..].iter().map(|&one| one.clone()).collect());
            }
            if done.contains(member) {
                continue;
            }
            path.push(member);
            on_path.insert(member);
            stack.push((member, true));
            stack.extend(next[member].iter().rev().map(|to| (to, false)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cycle_is_named_in_the_order_of_its_channels() {
        assert_eq!(find_cycle([("a", "b"), ("b", "c"), ("d", "b"), ("c", "b")]), Some(vec!["b", "c"]));
        assert_eq!(find_cycle([("a", "a")]), Some(vec!["a"]));
        assert_eq!(find_cycle([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]), None);
        assert_eq!(find_cycle::<u8>([]), None);
    }

    proptest! {
        #[test]
        fn a_cycle_is_found_if_and_only_if_there_is_no_order(channels in proptest::collection::vec((0u8..8, 0u8..8), 0..20)) {
            let mut left: BTreeSet<(u8, u8)> = channels.iter().copied().collect();
            // Kahn 1962: take away what nothing leads to.
            loop {
                let free: Vec<_> = left.iter().copied().filter(|(from, _)| left.iter().all(|(_, to)| to != from)).collect();
                if free.is_empty() {
                    break;
                }
                free.iter().for_each(|one| {
                    left.remove(one);
                });
            }
            let cycle = find_cycle(channels.iter().copied());
            prop_assert_eq!(cycle.is_some(), !left.is_empty());
            if let Some(cycle) = cycle {
                let round = cycle.iter().zip(cycle.iter().cycle().skip(1));
                for (&from, &to) in round {
                    prop_assert!(channels.contains(&(from, to)));
                }
                prop_assert_eq!(cycle.iter().collect::<BTreeSet<_>>().len(), cycle.len());
            }
        }
    }
}
