//! The audit: rows in chains of hashes, as the database's trigger makes them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use stillframe_api::{
    audit::AuditRow,
    chain::{ChainHead, NO_HASH, hash},
};
use stillframe_protocol::ClusterName;

use crate::{
    decide::Audit,
    store::{AuditEntry, AuditFilter, AuditHead},
};

/// All rows in the order in which they were written. The id of a row is its place in it, from 1.
#[derive(Debug, Default)]
pub(super) struct Trail {
    rows: Vec<AuditRow>,
    /// The places of each chain's rows, in order.
    chains: BTreeMap<Option<ClusterName>, Vec<usize>>,
}

impl Trail {
    /// Adds a row to the chain of a cluster, or to that of none.
    pub(super) fn add(&mut self, cluster: Option<&ClusterName>, now: Timestamp, line: &Audit, request_id: Option<&str>) {
        let Audit { actor, action, subject, reason, detail, request_id: own } = line;
        let chain = self.chains.entry(cluster.cloned()).or_default();
        let head = chain.last().and_then(|place| self.rows.get(*place));
        let mut row = AuditRow {
            cluster: cluster.cloned(),
            seq: head.map_or(0, |head| head.seq) + 1,
            // In a chain, the order of the times is the order of the rows.
            at: head.map_or(now, |head| head.at.max(now)),
            actor: actor.clone(),
            action: (*action).to_owned(),
            subject: subject.clone(),
            reason: reason.clone(),
            // A batch carries out what several asked for.
            request_id: own.clone().or_else(|| request_id.map(str::to_owned)),
            detail: detail.to_string(),
            prev_hash: head.map_or_else(|| NO_HASH.to_owned(), |head| head.hash.clone()),
            hash: String::new(),
        };
        row.hash = hash(&row);
        chain.push(self.rows.len());
        self.rows.push(row);
    }

    /// Adds what a decision says, on somebody's behalf.
    pub(super) fn add_all(&mut self, cluster: &ClusterName, now: Timestamp, lines: &[Audit], request_id: Option<&str>) {
        for line in lines {
            self.add(Some(cluster), now, line, request_id);
        }
    }

    pub(super) fn list(&self, filter: &AuditFilter) -> Vec<AuditEntry> {
        let before = filter.before.map_or(usize::MAX, |before| usize::try_from(before).unwrap_or(usize::MAX));
        let rows = self.rows.iter().enumerate().rev().filter(|(place, row)| place + 1 < before && matches(filter, row));
        let entry = |(place, row): (usize, &AuditRow)| AuditEntry { id: place as u64 + 1, row: row.clone() };
        rows.take(filter.limit as usize).map(entry).collect()
    }

    pub(super) fn heads(&self, of: Option<&ClusterName>) -> Vec<AuditHead> {
        let chains = self.chains.iter().filter(|(cluster, _)| of.is_none() || of == cluster.as_ref());
        let head = |(cluster, places): (&Option<ClusterName>, &Vec<usize>)| {
            let row = self.rows.get(*places.last()?)?;
            Some(AuditHead { cluster: cluster.clone(), head: ChainHead { seq: row.seq, hash: row.hash.clone() } })
        };
        chains.filter_map(head).collect()
    }

    pub(super) fn chain(&self, of: Option<&ClusterName>, after: u64, last: u64, limit: u32) -> Vec<AuditRow> {
        let places = self.chains.get(&of.cloned()).map(Vec::as_slice).unwrap_or_default();
        let rows = places.iter().filter_map(|place| self.rows.get(*place)).filter(|row| row.seq > after && row.seq <= last);
        rows.take(limit as usize).cloned().collect()
    }
}

fn matches(filter: &AuditFilter, row: &AuditRow) -> bool {
    let action = |wanted: &String| if wanted.ends_with('.') { row.action.starts_with(wanted) } else { row.action == *wanted };
    filter.cluster.as_ref().is_none_or(|wanted| row.cluster.as_ref() == Some(wanted))
        && filter.actor.as_ref().is_none_or(|wanted| row.actor == *wanted)
        && filter.action.as_ref().is_none_or(action)
        && filter.subject.as_ref().is_none_or(|wanted| row.subject == *wanted)
        && filter.since.is_none_or(|since| row.at >= since)
        && filter.until.is_none_or(|until| row.at < until)
}

/// A line of what no rule decides.
pub(super) fn line(actor: &str, action: &'static str, subject: &str, reason: Option<String>, detail: Value) -> Audit {
    Audit { actor: actor.to_owned(), action, subject: subject.to_owned(), reason, detail, request_id: None }
}
