//! What was done and survived, in numbers.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::plan::Kind;

/// What a run has done.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// The seed.
    pub seed: u64,
    /// How many rounds were injected, healed and checked.
    pub rounds: u32,
    /// How long it took.
    pub took: Duration,
    /// How often each kind of fault was injected; all of them were healed and checked after, unless there is a violation.
    pub faults: BTreeMap<Kind, u32>,
    /// What operators asked for, and the answers, by their names.
    pub asked: BTreeMap<(&'static str, String), u32>,
    /// How many snapshots ended in each state, aborted ones by their reason.
    pub snapshots: BTreeMap<String, u32>,
    /// How many committed snapshots were verified from the bucket and added up.
    pub verified: usize,
    /// How many restores were seen (generations that became active).
    pub generations: u64,
    /// How often the cluster had halted after a heal and an operator had to start a restore.
    pub halts: u32,
    /// The longest it took from the heal until the cluster ran, every snapshot had ended, and a new one was committed.
    pub slowest_heal: Duration,
    /// What mustn't be.
    pub violations: Vec<String>,
}

impl Summary {
    /// How many faults were injected.
    #[must_use]
    pub fn injected(&self) -> u32 {
        self.faults.values().sum()
    }

    /// All of it on one line, for programs.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let faults: BTreeMap<String, u32> = self.faults.iter().map(|(kind, times)| (kind.to_string(), *times)).collect();
        let asked: BTreeMap<String, u32> =
            self.asked.iter().map(|((ask, answer), times)| (format!("{ask}: {answer}"), *times)).collect();
        serde_json::json!({
            "seed": self.seed,
            "rounds": self.rounds,
            "seconds": self.took.as_secs(),
            "injected": self.injected(),
            "faults": faults,
            "asked": asked,
            "snapshots": self.snapshots,
            "verified": self.verified,
            "generation": self.generations,
            "halts": self.halts,
            "slowest_heal_ms": u64::try_from(self.slowest_heal.as_millis()).unwrap_or(u64::MAX),
            "violations": self.violations,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rounds, took) = (self.rounds, self.took.as_secs_f64());
        writeln!(f, "seed {}: {rounds} rounds in {took:.0} s, {} faults:", self.seed, self.injected())?;
        for (kind, times) in &self.faults {
            writeln!(f, "  {times:5}  {kind}")?;
        }
        writeln!(f, "asked for:")?;
        for ((ask, answer), times) in &self.asked {
            writeln!(f, "  {times:5}  {ask}: {answer}")?;
        }
        writeln!(f, "snapshots:")?;
        for (state, times) in &self.snapshots {
            writeln!(f, "  {times:5}  {state}")?;
        }
        writeln!(
            f,
            "{} committed snapshots verified from the bucket alone; generation {} reached",
            self.verified, self.generations
        )?;
        writeln!(f, "halts that took an operator: {}; slowest heal: {:.1} s", self.halts, self.slowest_heal.as_secs_f64())?;
        if self.violations.is_empty() {
            return write!(f, "no violation");
        }
        write!(f, "{} violations:", self.violations.len())?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_json_it_is_one_line_that_says_everything() {
        let mut summary = Summary { seed: 7, rounds: 2, violations: vec!["a\nb".to_owned()], ..Summary::default() };
        summary.faults.insert(Kind::RestartPostgres, 3);
        let line = summary.json().to_string();
        assert!(!line.contains('\n'));
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&read["seed"], &read["injected"], &read["faults"]["postgres crashes"]), (&7.into(), &3.into(), &3.into()));
        assert_eq!(read["violations"][0], "a\nb");
    }
}
