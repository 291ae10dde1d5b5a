//! Percentiles of measured durations.

use std::time::Duration;

use serde::Serialize;

/// The middle, the tail and the worst of a set of durations, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// How many were measured.
    pub(crate) count: usize,
    /// Half of them took at most this long.
    pub(crate) p50_ms: f64,
    /// 99 of 100 took at most this long.
    pub(crate) p99_ms: f64,
    /// The longest.
    pub(crate) max_ms: f64,
}

impl Figures {
    /// The figures of these durations; zeros when there are none.
    pub(crate) fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        // Nearest rank: the smallest value that at least so many percent don't exceed.
        let at = |percent: usize| {
            let rank = (durations.len() * percent).div_ceil(100).max(1);
            durations.get(rank - 1).map_or(0.0, |d| d.as_secs_f64() * 1e3)
        };
        Self { count: durations.len(), p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let figures = Figures::of((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!((figures.p50_ms, figures.p99_ms, figures.max_ms), (100.0, 198.0, 200.0));
        assert_eq!(Figures::of(Vec::new()).max_ms, 0.0);
    }
}
