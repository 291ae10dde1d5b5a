//! Which replica to ask, when there are several: one that has fresh word from the database, if there is one; else whichever answers. A replica
//! that is cut off from the database goes on answering what it knew, so that an outage of the database stops nobody; a member must not stay
//! with it while another replica could tell it more.

use std::time::Duration;

/// A replica whose last word from the database is older than this part of a lease may be cut off: early enough to be with another replica
/// before the lease, which it can't renew, runs out.
const OLD_AFTER: u32 = 4;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Poll the same replica, which holds the answer until there is news.
    Hold,
    /// Ask another one, which is to answer at once.
    LookElsewhere,
}

/// The search for a replica that knows what is going on.
#[derive(Debug)]
pub(crate) struct Search {
    addresses: usize,
    old_after: Duration,
    /// How many addresses in a row had nothing fresh.
    fruitless: usize,
    /// How many of the last ones gave no answer at all.
    away: usize,
    /// Whether a replica answered lately, though it has no fresh word itself.
    kept: bool,
}

impl Search {
    pub(crate) fn new(addresses: usize, lease: Duration) -> Self {
        Self { addresses: addresses.max(1), old_after: lease / OLD_AFTER, fruitless: 0, away: 0, kept: false }
    }

    /// A replica answered, whose view is so old.
    pub(crate) fn answered(&mut self, view_age: Duration) -> Next {
        self.away = 0;
        self.kept = view_age > self.old_after;
        if !self.kept {
            self.fruitless = 0;
            return Next::Hold;
        }
        // One round, then one poll that is held where the round ended, then another round: all may have lost the database together.
        self.fruitless = if self.fruitless >= self.addresses { 1 } else { self.fruitless + 1 };
        if self.is_looking() { Next::LookElsewhere } else { Next::Hold }
    }

    /// An address gave no answer. True when the coordinator as a whole isn't away for all that: another replica answered lately.
    pub(crate) fn gave_no_answer(&mut self) -> bool {
        self.away += 1;
        self.fruitless = (self.fruitless + 1).min(self.addresses);
        self.kept &= self.away < self.addresses;
        self.kept
    }

    /// Whether an answer is wanted at once, to find out whether there is a better replica.
    pub(crate) fn is_looking(&self) -> bool {
        self.kept && (1..self.addresses).contains(&self.fruitless)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(4);
    const OLD: Duration = Duration::from_millis(1001);
    const FRESH: Duration = Duration::from_millis(999);

    #[test]
    fn a_replica_that_is_cut_off_is_left_for_one_that_is_not() {
        let mut search = Search::new(2, LEASE);
        assert_eq!(search.answered(FRESH), Next::Hold);
        assert_eq!(search.answered(OLD), Next::LookElsewhere);
        assert!(search.is_looking());
        assert_eq!(search.answered(FRESH), Next::Hold);
        assert!(!search.is_looking());
    }

    #[test]
    fn when_all_are_cut_off_there_is_one_look_around_for_each_poll_that_is_held() {
        let mut search = Search::new(3, LEASE);
        let next: Vec<Next> = (0..7).map(|_| search.answered(OLD)).collect();
        let (hold, look) = (Next::Hold, Next::LookElsewhere);
        assert_eq!(next, [look, look, hold, look, look, hold, look]);
    }

    #[test]
    fn with_one_address_there_is_nobody_else_to_ask() {
        let mut search = Search::new(1, LEASE);
        assert!((0..5).all(|_| search.answered(OLD) == Next::Hold && !search.is_looking()));
        assert!(!search.gave_no_answer());
    }

    #[test]
    fn beside_one_that_answers_those_that_do_not_are_no_outage() {
        let mut search = Search::new(3, LEASE);
        assert_eq!(search.answered(OLD), Next::LookElsewhere);
        assert!(search.gave_no_answer());
        assert!(search.is_looking());
        assert!(search.gave_no_answer());
        assert!(!search.is_looking(), "the round is over: the next poll is held");
        assert!(!search.gave_no_answer(), "now all three are away");
    }
}
