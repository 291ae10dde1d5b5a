//! Effects on the outside (rows in another database, mails, payments) that are released only once a committed snapshot covers them, so that a
//! rollback can't make them happen twice, or have them happen though what caused them was undone: *output commit* (Strom & Yemini 1985; Elnozahy et
//! al. 2002, section 2.4).

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use stillframe_protocol::{Epoch, Generation};

use crate::application::{Committed, Covers, Cut};

/// Cuts that are remembered while none of their snapshots commits. Beyond it the oldest are forgotten: what they cover is released with a later one.
const MAX_CUTS: usize = 1024;

/// What names an effect of a member for ever: a number may come again after a restore, but not in the same generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectId {
    /// The generation in which it came about.
    pub generation: Generation,
    /// Its number at this member, from 1.
    pub number: u64,
}

/// One effect that is to happen outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect<T> {
    /// Its name.
    pub id: EffectId,
    /// What is to happen.
    pub value: T,
}

/// The effects of one member that haven't happened yet, as far as it knows. Part of the application's state: capture it, restore it.
///
/// 1. Wherever the application would have an effect, [`push`](Self::push) it.
/// 2. In [`capture_at`](crate::Application::capture_at) call [`cut`](Self::cut), then capture this value with the rest of the state.
/// 3. In [`on_committed`](crate::Application::on_committed) have what [`committed`](Self::committed) gives happen, in order and under its [`EffectId`], so
///    that what is asked for again after a restore is found done (a primary key, an idempotency key).
/// 4. Once it has happened call [`done`](Self::done). Until then it stays, and is given again after a restore.
///
/// Every effect that a committed snapshot covers happens, once; none happens that a rollback to the latest committed snapshot undoes. What has happened
/// stays when an operator puts the cluster back to an *older* snapshot: nothing can take it back, and its generation tells it from what comes after.
///
/// It grows while the outside is away, and with it the state: stop causing effects when [`len`](Self::len) is more than you can keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effects<T> {
    /// How many there have been.
    last: u64,
    /// Those that aren't known to have happened, in order.
    waiting: VecDeque<Effect<T>>,
    /// For each cut the last number before it.
    cuts: BTreeMap<Epoch, u64>,
    /// Up to here they were given out to happen.
    released: u64,
}

impl<T> Default for Effects<T> {
    fn default() -> Self {
        Self { last: 0, waiting: VecDeque::new(), cuts: BTreeMap::new(), released: 0 }
    }
}

impl<T> Effects<T> {
    /// One more is to happen; `generation` is that of now ([`Context::generation`](crate::Context::generation)).
    pub fn push(&mut self, generation: Generation, value: T) -> EffectId {
        self.last += 1;
        let id = EffectId { generation, number: self.last };
        self.waiting.push_back(Effect { id, value });
        id
    }

    /// The state is captured here: all that were pushed until now are covered by this cut.
    pub fn cut(&mut self, cut: Cut) {
        // One capture for several epochs: whichever of them commits, it covers the same.
        self.cuts.insert(cut.first, self.last);
        while self.cuts.len() > MAX_CUTS {
            self.cuts.pop_first();
        }
    }

    /// A snapshot was committed: those that may happen now, in order. None is given twice, unless a restore came in between.
    pub fn committed(&mut self, committed: &Committed) -> impl Iterator<Item = &Effect<T>> {
        let from = match committed.covers {
            Covers::Cut(epoch) => {
                let later = match epoch.0.checked_add(1) {
                    Some(next) => self.cuts.split_off(&Epoch(next)),
                    None => BTreeMap::new(),
                };
                let covered = std::mem::replace(&mut self.cuts, later).pop_last().map_or(0, |(_, last)| last);
                let from = self.released;
                self.released = self.released.max(covered);
                from
            }
            Covers::Everything => {
                self.cuts.clear();
                self.released = self.last;
                0
            }
        };
        let released = self.released;
        self.waiting.iter().filter(move |effect| from < effect.id.number && effect.id.number <= released)
    }

    /// All up to this one have happened, in the order in which they were given: they are forgotten. What wasn't given out by
    /// [`committed`](Self::committed) stays whatever is said; and what is said of a history that was undone meanwhile touches none of this one.
    pub fn done(&mut self, through: EffectId) {
        let released = self.released;
        while self.waiting.front().is_some_and(|effect| effect.id <= through && effect.id.number <= released) {
            self.waiting.pop_front();
        }
    }

    /// How many aren't known to have happened.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether all have happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};
    use stillframe_protocol::SnapshotId;
    use uuid::Uuid;

    use super::*;

    const GENERATION: Generation = Generation(1);

    fn at(first: u64, last: u64) -> Cut {
        Cut { first: Epoch(first), last: Epoch(last), generation: GENERATION }
    }

    fn committed(covers: Covers) -> Committed {
        Committed { snapshot: SnapshotId(Uuid::nil()), covers }
    }

    fn given(effects: &mut Effects<u32>, covers: Covers) -> Vec<u32> {
        effects.committed(&committed(covers)).map(|effect| effect.value).collect()
    }

    #[test]
    fn nothing_is_given_out_before_a_committed_cut_covers_it_and_nothing_twice() {
        let mut effects = Effects::default();
        effects.push(GENERATION, 1);
        effects.cut(at(1, 1));
        effects.push(GENERATION, 2);
        effects.cut(at(2, 3));
        effects.push(GENERATION, 3);
        assert_eq!(given(&mut effects, Covers::Cut(Epoch(1))), [1]);
        assert_eq!(given(&mut effects, Covers::Cut(Epoch(3))), [2]);
        assert_eq!(given(&mut effects, Covers::Cut(Epoch(3))), [0u32; 0]);
        assert_eq!(given(&mut effects, Covers::Cut(Epoch(9))), [0u32; 0], "no cut of that epoch is known here");
    }

    #[test]
    fn an_older_snapshot_that_commits_late_gives_out_nothing_more() {
        let mut effects = Effects::default();
        effects.push(GENERATION, 1);
        effects.cut(at(1, 1));
        effects.push(GENERATION, 2);
        effects.cut(at(2, 2));
        assert_eq!(given(&mut effects, Covers::Cut(Epoch(2))), [1, 2]);
        assert_eq!(given(&mut effects, Covers::Cut(Epoch(1))), [0u32; 0]);
    }

    #[test]
    fn what_has_not_been_given_out_cannot_be_done() {
        let mut effects = Effects::default();
        effects.push(GENERATION, 1);
        effects.done(EffectId { generation: GENERATION, number: 7 });
        assert_eq!(effects.len(), 1);
        effects.cut(at(1, 1));
        assert_eq!(given(&mut effects, Covers::Cut(Epoch(1))), [1]);
        effects.done(EffectId { generation: GENERATION, number: 1 });
        assert!(effects.is_empty());
    }

    /// What may happen to a member.
    #[derive(Debug, Clone)]
    enum Step {
        Push,
        Cut,
        /// The n-th of the cuts under way commits; those before it that were under way are aborted or commit later.
        Commit(prop::sample::Index),
        /// So many of those that were given out happen and are known to have happened.
        Done(u8),
        /// The process dies; everything goes back to the latest committed cut.
        Crash,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Push),
            3 => Just(Step::Cut),
            3 => any::<prop::sample::Index>().prop_map(Step::Commit),
            2 => any::<u8>().prop_map(Step::Done),
            1 => Just(Step::Crash),
        ];
        vec(step, 1..120)
    }

    proptest! {
        #[test]
        fn each_effect_of_the_history_that_stays_happens_once_and_no_other_does(steps in steps()) {
            let mut effects = Effects::<u64>::default();
            let (mut epoch, mut generation, mut made) = (0, 1, 0);
            let mut open: Vec<(u64, Effects<u64>)> = Vec::new();
            let mut latest = (0, effects.clone());
            // What the outside has: a table with a primary key.
            let mut outside: BTreeSet<(u64, u64, u64)> = BTreeSet::new();
            // Given out, not known to have happened. What happens is told also when the process has been put back meanwhile.
            let mut under_way: Vec<EffectId> = Vec::new();
            for step in steps {
                match step {
                    Step::Push => {
                        made += 1;
                        effects.push(Generation(generation), made);
                    }
                    Step::Cut => {
                        epoch += 1;
                        effects.cut(Cut { first: Epoch(epoch), last: Epoch(epoch), generation: Generation(generation) });
                        open.push((epoch, effects.clone()));
                    }
                    Step::Commit(which) if !open.is_empty() => {
                        let (epoch, state) = open.remove(which.index(open.len()));
                        let covers = committed(Covers::Cut(Epoch(epoch)));
                        for effect in effects.committed(&covers) {
                            outside.insert((effect.id.generation.0, effect.id.number, effect.value));
                            under_way.push(effect.id);
                        }
                        if latest.0 < epoch {
                            latest = (epoch, state);
                        }
                    }
                    Step::Commit(_) => {}
                    Step::Done(n) => {
                        let n = usize::from(n).min(under_way.len());
                        if let Some(through) = under_way.drain(..n).next_back() {
                            effects.done(through);
                        }
                    }
                    Step::Crash => {
                        open.clear();
                        generation += 1;
                        effects = latest.1.clone();
                        for effect in effects.committed(&committed(Covers::Everything)) {
                            outside.insert((effect.id.generation.0, effect.id.number, effect.value));
                            under_way.push(effect.id);
                        }
                    }
                }
                let names: BTreeSet<_> = outside.iter().map(|(generation, number, _)| (*generation, *number)).collect();
                prop_assert_eq!(names.len(), outside.len(), "one name, one effect");
                let values: BTreeSet<_> = outside.iter().map(|(.., value)| *value).collect();
                prop_assert_eq!(values.len(), outside.len(), "one effect, one name");
                // All that the latest committed snapshot covers, and of that history nothing else.
                let covered: BTreeSet<u64> = (1..=latest.1.last).collect();
                let numbers: BTreeSet<u64> = outside.iter().map(|(_, number, _)| *number).collect();
                prop_assert_eq!(numbers, covered);
            }
        }
    }
}
