//! Checking the audit's chains of hashes. Pure, and the same for a coordinator that reads its database and for a file that was exported.
//!
//! A row's hash covers everything in it and the hash of the row before it, so a row can't be edited, removed, put elsewhere or replaced without
//! every later row showing it. What the chain alone can't show is that it was written anew from some row on to its end: for that, keep a
//! [`ChainHead`] elsewhere and give it to the next verification.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stillframe_protocol::ClusterName;
use utoipa::ToSchema;

use crate::audit::AuditRow;

/// What stands for the hash before the first row.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The newest row of a chain: keep it elsewhere, and the next verification shows whether anything up to it was written anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChainHead {
    /// The row's number.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl fmt::Display for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl std::str::FromStr for ChainHead {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{:?} is no head of a chain: expected <seq>:<64 hexadecimal digits>",
                text.chars().take(100).collect::<String>()
            )
        };
        let (seq, hash) = text.split_once(':').ok_or_else(wrong)?;
        if hash.len() != NO_HASH.len() || !hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong());
        }
        Ok(Self { seq: seq.parse().map_err(|_| wrong())?, hash: hash.to_owned() })
    }
}

/// What is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChainFaultKind {
    /// The row isn't what was written: its content gives another hash than it has.
    Edited,
    /// The row isn't the one that was there when the next was written; or rows before it are gone.
    Replaced,
    /// The row isn't there.
    Missing,
    /// The row is somewhere else than its number says, or twice.
    OutOfOrder,
    /// The chain ends before this row.
    Truncated,
}

impl ChainFaultKind {
    /// Its name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::Replaced => "replaced",
            Self::Missing => "missing",
            Self::OutOfOrder => "out_of_order",
            Self::Truncated => "truncated",
        }
    }
}

/// The first row of a chain that isn't as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChainFault {
    /// The row.
    pub seq: u64,
    /// What is wrong with it.
    pub kind: ChainFaultKind,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, kind, expected, found } = self;
        write!(f, "row {seq} is {}: expected {expected}, found {found}", kind.as_str().replace('_', " "))
    }
}

/// What was found out about one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChainReport {
    /// The cluster; null for the chain of the rows without one.
    #[schema(value_type = Option<String>)]
    pub cluster: Option<ClusterName>,
    /// Whether everything is as it was written.
    pub intact: bool,
    /// How many rows were looked at.
    pub rows: u64,
    /// The newest row; null when there is none, and when the chain isn't intact.
    pub head: Option<ChainHead>,
    /// The first row that isn't as it should be.
    pub fault: Option<ChainFault>,
}

/// What was found out about all chains that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditVerification {
    /// Whether all of them are as they were written.
    pub intact: bool,
    /// Each of them.
    pub chains: Vec<ChainReport>,
}

impl AuditVerification {
    /// Of these chains.
    #[must_use]
    pub fn of(chains: Vec<ChainReport>) -> Self {
        Self { intact: chains.iter().all(|chain| chain.intact), chains }
    }
}

/// The hash that a row has to have, by everything else in it.
#[must_use]
pub fn hash(row: &AuditRow) -> String {
    let mut hasher = Sha256::new();
    hasher.update("stillframe audit 1;");
    let mut field = |field: Option<&str>| match field {
        None => hasher.update("-;"),
        Some(text) => {
            hasher.update(format!("{}:", text.len()));
            hasher.update(text);
            hasher.update(";");
        }
    };
    field(row.cluster.as_ref().map(ClusterName::as_str));
    field(Some(&row.seq.to_string()));
    field(Some(&row.prev_hash));
    field(Some(&row.at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()));
    field(Some(&row.actor));
    field(Some(&row.action));
    field(Some(&row.subject));
    field(row.reason.as_deref());
    field(row.request_id.as_deref());
    field(Some(&row.detail));
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes the rows of one chain in order, and finds the first that isn't as it should be.
#[derive(Debug)]
pub struct ChainChecker {
    cluster: Option<ClusterName>,
    /// Heads that the chain has to run through.
    known: Vec<ChainHead>,
    rows: u64,
    /// The last row that was right.
    last: ChainHead,
    fault: Option<ChainFault>,
}

impl ChainChecker {
    /// From the chain's beginning. The heads are those that it is known to have, or to have had: it has to run through each of them.
    #[must_use]
    pub fn new(cluster: Option<ClusterName>, known: Vec<ChainHead>) -> Self {
        Self { cluster, known, rows: 0, last: ChainHead { seq: 0, hash: NO_HASH.to_owned() }, fault: None }
    }

    /// Whether a fault was found: later rows have nothing to add.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.fault.is_some()
    }

    /// Takes the next row.
    pub fn take(&mut self, row: &AuditRow) {
        self.rows += 1;
        if self.fault.is_none() {
            self.fault = self.look_at(row).err();
        }
    }

    fn look_at(&mut self, row: &AuditRow) -> Result<(), ChainFault> {
        let wrong = |seq, kind, expected, found| Err(ChainFault { seq, kind, expected, found });
        let next = self.last.seq + 1;
        let found = format!("row {}", row.seq);
        match row.seq.cmp(&next) {
            std::cmp::Ordering::Greater => return wrong(next, ChainFaultKind::Missing, format!("row {next}"), found),
            std::cmp::Ordering::Less => return wrong(row.seq, ChainFaultKind::OutOfOrder, format!("row {next}"), found),
            std::cmp::Ordering::Equal => {}
        }
        let hash = hash(row);
        if hash != row.hash {
            let expected = format!("content with the hash {}", row.hash);
            return wrong(row.seq, ChainFaultKind::Edited, expected, hash);
        }
        if row.prev_hash != self.last.hash {
            // The row itself is whole, so it is the one before it that is another.
            let expected = format!("the hash {}, which row {} has on it", row.prev_hash, row.seq);
            return wrong(self.last.seq.max(1), ChainFaultKind::Replaced, expected, self.last.hash.clone());
        }
        if let Some(known) = self.known.iter().find(|known| known.seq == row.seq && known.hash != row.hash) {
            return wrong(row.seq, ChainFaultKind::Replaced, format!("the hash {}", known.hash), row.hash.clone());
        }
        self.last = ChainHead { seq: row.seq, hash };
        Ok(())
    }

    /// What was found, now that there are no more rows.
    #[must_use]
    pub fn finish(self) -> ChainReport {
        let Self { cluster, known, rows, last, mut fault } = self;
        let longest = known.iter().map(|known| known.seq).max().unwrap_or(0);
        if fault.is_none() && longest > last.seq {
            let (seq, kind) = (last.seq + 1, ChainFaultKind::Truncated);
            fault = Some(ChainFault {
                seq,
                kind,
                expected: format!("rows up to {longest}"),
                found: format!("the last is {}", last.seq),
            });
        }
        let intact = fault.is_none();
        ChainReport { cluster, intact, rows, head: (intact && last.seq > 0).then_some(last), fault }
    }
}

/// Checks an export: rows of several chains, each chain's in order. Heads are looked for in the chain of their cluster.
#[derive(Debug, Default)]
pub struct ExportChecker {
    chains: Vec<ChainChecker>,
}

impl ExportChecker {
    /// Expects a chain that has to run through these heads, also when no row of it comes.
    pub fn expect(&mut self, cluster: Option<ClusterName>, known: Vec<ChainHead>) {
        self.chains.push(ChainChecker::new(cluster, known));
    }

    /// Takes the next row.
    pub fn take(&mut self, row: &AuditRow) {
        let chain = match self.chains.iter_mut().position(|chain| chain.cluster == row.cluster) {
            Some(at) => &mut self.chains[at],
            None => {
                self.chains.push(ChainChecker::new(row.cluster.clone(), Vec::new()));
                let last = self.chains.len() - 1;
                &mut self.chains[last]
            }
        };
        chain.take(row);
    }

    /// What was found, now that there are no more rows.
    #[must_use]
    pub fn finish(self) -> AuditVerification {
        AuditVerification::of(self.chains.into_iter().map(ChainChecker::finish).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(rows: u64) -> Vec<AuditRow> {
        let mut prev_hash = NO_HASH.to_owned();
        (1..=rows)
            .map(|seq| {
                let mut row = AuditRow {
                    cluster: ClusterName::new("bank").ok(),
                    seq,
                    at: jiff::Timestamp::from_microsecond(1_700_000_000_000_000 + i64::try_from(seq).expect("small"))
                        .expect("a time"),
                    actor: "request".to_owned(),
                    action: "snapshot.requested".to_owned(),
                    subject: format!("s{seq}"),
                    reason: seq.is_multiple_of(2).then(|| "b\u{e4}d deploy".to_owned()),
                    request_id: None,
                    detail: format!("{{\"n\": {seq}}}"),
                    prev_hash: prev_hash.clone(),
                    hash: String::new(),
                };
                row.hash = hash(&row);
                prev_hash.clone_from(&row.hash);
                row
            })
            .collect()
    }

    fn check(rows: &[AuditRow], known: Vec<ChainHead>) -> ChainReport {
        let mut checker = ChainChecker::new(ClusterName::new("bank").ok(), known);
        rows.iter().for_each(|row| checker.take(row));
        checker.finish()
    }

    fn head(row: &AuditRow) -> ChainHead {
        ChainHead { seq: row.seq, hash: row.hash.clone() }
    }

    /// The same figures as the database's own function has to come to; `docs/audit.md` has them too.
    #[test]
    fn the_hash_is_that_of_the_documented_text() {
        let row = &chain(1)[0];
        let text = format!(
            "stillframe audit 1;4:bank;1:1;64:{NO_HASH};27:2023-11-14T22:13:20.000001Z;7:request;18:snapshot.requested;2:s1;-;-;8:{{\"n\": 1}};"
        );
        let expected: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(row.hash, expected);
    }

    #[test]
    fn a_row_is_read_back_with_its_detail_as_it_was_written() {
        let row = &chain(2)[1];
        let json = serde_json::to_string(row).expect("JSON");
        assert!(json.contains("\"detail\":{\"n\": 2}"), "{json}");
        assert_eq!(serde_json::from_str::<AuditRow>(&json).expect("a row"), *row);
    }

    #[test]
    fn a_head_is_read_back_from_its_text_and_nothing_else_is() {
        let given = head(&chain(3)[2]);
        assert_eq!(given.to_string().parse::<ChainHead>().as_ref(), Ok(&given));
        for text in ["", "7", "7:", "7:abc", &format!("x:{NO_HASH}"), &format!("7:{}", NO_HASH.replace('0', "G"))] {
            assert!(text.parse::<ChainHead>().expect_err(text).contains("<seq>:<64"));
        }
    }

    proptest! {
        #[test]
        fn an_intact_chain_is_found_intact_with_its_head(rows in 0u64..20) {
            let rows = chain(rows);
            let report = check(&rows, rows.iter().map(head).collect());
            prop_assert!(report.intact, "{:?}", report);
            prop_assert_eq!(report.head, rows.last().map(head));
        }

        #[test]
        fn an_edited_row_is_found_and_named(rows in 1u64..20, at in 0usize..20, what in 0usize..8) {
            let mut rows = chain(rows);
            let at = at % rows.len();
            let row = &mut rows[at];
            match what {
                0 => row.actor.push('x'),
                1 => row.action.push('x'),
                2 => row.subject = row.subject.replace('s', "t"),
                3 => row.reason = row.reason.take().map_or(Some(String::new()), |_| None),
                4 => row.request_id = Some("7".to_owned()),
                5 => row.detail.push(' '),
                6 => row.at = row.at.checked_add(jiff::SignedDuration::from_micros(1)).expect("a time"),
                _ => row.prev_hash = row.prev_hash.replace(['0', 'a'], "b"),
            }
            let changed = *row != chain(20)[at];
            let fault = check(&rows, Vec::new()).fault;
            prop_assert_eq!(fault.map(|f| (f.seq, f.kind)), changed.then_some((at as u64 + 1, ChainFaultKind::Edited)));
        }

        #[test]
        fn a_row_written_anew_with_its_hash_is_found(rows in 2u64..20, at in 0usize..20) {
            let mut rows = chain(rows);
            let at = at % (rows.len() - 1);
            rows[at].actor = "nobody".to_owned();
            rows[at].hash = hash(&rows[at]);
            let fault = check(&rows, Vec::new()).fault.expect("found");
            prop_assert_eq!((fault.seq, fault.kind), (at as u64 + 1, ChainFaultKind::Replaced));
        }

        #[test]
        fn a_removed_row_is_found(rows in 2u64..20, at in 0usize..20) {
            let mut rows = chain(rows);
            let last = head(rows.last().expect("there are some"));
            let at = at % rows.len();
            let is_last = at == rows.len() - 1;
            rows.remove(at);
            let fault = check(&rows, vec![last]).fault.expect("found");
            let kind = if is_last { ChainFaultKind::Truncated } else { ChainFaultKind::Missing };
            prop_assert_eq!((fault.seq, fault.kind), (at as u64 + 1, kind));
        }

        #[test]
        fn reordered_rows_are_found(rows in 2u64..20, a in 0usize..20, b in 0usize..20) {
            let mut rows = chain(rows);
            let (a, b) = (a % rows.len(), b % rows.len());
            rows.swap(a, b);
            let fault = check(&rows, Vec::new()).fault;
            prop_assert_eq!(fault.map(|f| f.seq), (a != b).then_some(a.min(b) as u64 + 1));
        }

        #[test]
        fn a_chain_written_anew_to_its_end_is_found_by_a_head_kept_elsewhere(rows in 1u64..20, at in 0usize..20) {
            let mut rows = chain(rows);
            let kept = head(rows.last().expect("there are some"));
            let at = at % rows.len();
            rows[at].actor = "nobody".to_owned();
            for n in at..rows.len() {
                if n > 0 {
                    rows[n].prev_hash = rows[n - 1].hash.clone();
                }
                rows[n].hash = hash(&rows[n]);
            }
            prop_assert!(check(&rows, Vec::new()).intact);
            let fault = check(&rows, vec![kept.clone()]).fault.expect("found");
            prop_assert_eq!((fault.seq, fault.kind), (kept.seq, ChainFaultKind::Replaced));
        }
    }
}
