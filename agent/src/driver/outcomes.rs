//! How snapshots ended, told to the application in the order of their epochs: one that commits while an older one is still under way waits for it. All
//! end by their deadlines, so the wait does too.

use std::collections::BTreeMap;

use stillframe_api::agent::Outcome;
use stillframe_protocol::{Epoch, SnapshotId};

/// Committed snapshots that the application hasn't been told of.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    waiting: BTreeMap<Epoch, SnapshotId>,
}

impl Outcomes {
    /// Takes outcomes that weren't seen before.
    pub(crate) fn take(&mut self, outcomes: Vec<Outcome>) {
        self.waiting.extend(outcomes.into_iter().filter(|it| it.committed).map(|it| (it.epoch, it.snapshot)));
    }

    /// Those to be told now, in order. What isn't after `started_at` is of an earlier history, or was captured without this member; `open` is the oldest
    /// epoch with this member in it that is still under way.
    pub(crate) fn ready(&mut self, started_at: Epoch, open: Option<Epoch>) -> impl Iterator<Item = (Epoch, SnapshotId)> + use<> {
        let later = open.map(|open| self.waiting.split_off(&open)).unwrap_or_default();
        let ready = std::mem::replace(&mut self.waiting, later);
        ready.into_iter().filter(move |(epoch, _)| *epoch > started_at)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn outcome(epoch: u64, committed: bool) -> Outcome {
        Outcome { snapshot: SnapshotId(Uuid::nil()), epoch: Epoch(epoch), committed }
    }

    fn ready(outcomes: &mut Outcomes, started_at: u64, open: Option<u64>) -> Vec<u64> {
        outcomes.ready(Epoch(started_at), open.map(Epoch)).map(|(epoch, _)| epoch.0).collect()
    }

    #[test]
    fn a_younger_snapshot_is_told_of_only_when_the_older_one_has_ended() {
        let mut outcomes = Outcomes::default();
        outcomes.take(vec![outcome(5, true), outcome(3, true)]);
        assert_eq!(ready(&mut outcomes, 0, Some(4)), [3]);
        assert_eq!(ready(&mut outcomes, 0, Some(4)), [0u64; 0]);
        outcomes.take(vec![outcome(4, false)]);
        assert_eq!(ready(&mut outcomes, 0, None), [5]);
    }

    #[test]
    fn nothing_is_told_of_what_was_captured_before_this_history_began() {
        let mut outcomes = Outcomes::default();
        outcomes.take(vec![outcome(2, true), outcome(3, true)]);
        assert_eq!(ready(&mut outcomes, 2, None), [3]);
        assert_eq!(ready(&mut outcomes, 0, None), [0u64; 0], "and it isn't kept");
    }
}
