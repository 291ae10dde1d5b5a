//! Drafting a decision: the next facts, and what the audit says.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use stillframe_api::snapshot::SnapshotState;
use stillframe_protocol::{MemberName, RestoreId, SnapshotId};

use super::{
    facts::{Facts, MemberFacts, Presence, RestoreFacts, SnapshotFacts, Standing},
    leave,
};

/// What comes in from outside with every decision: fresh ids in case some are needed, who acts, and settings of the coordinator.
#[derive(Debug, Clone)]
pub struct Occasion {
    /// The id of a snapshot that is made, if one is.
    pub snapshot: SnapshotId,
    /// The id of a snapshot that follows by itself, if one does.
    pub automatic: SnapshotId,
    /// The id of a restore that is made, if one is.
    pub restore: RestoreId,
    /// Who acts: `request`, `member:<name>`, `schedule:<name>` or `coordinator`.
    pub actor: String,
    /// The request's id.
    pub request_id: Option<String>,
    /// How long a restore may take to its commit point.
    pub restore_timeout: SignedDuration,
}

/// A line of the audit.
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    /// Who acted.
    pub actor: String,
    /// What was done, `snapshot.committed`.
    pub action: &'static str,
    /// To what: an id or a name.
    pub subject: String,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// More.
    pub detail: Value,
    /// The id of the request that this line is of, where it is another than the whole decision's: several may have been decided together.
    pub request_id: Option<String>,
}

/// What is to be written, all together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The facts as they are to be.
    pub next: Facts,
    /// What the audit says.
    pub audit: Vec<Audit>,
}

/// A decision in the making.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The facts as they were read.
    before: &'a Facts,
    /// The facts as they are to be.
    pub next: Facts,
    pub(super) occasion: &'a Occasion,
    pub(super) automatic_used: bool,
    audit: Vec<Audit>,
    /// Whether numbers that may have been given out were leapt over.
    has_leapt: bool,
}

impl<'a> Draft<'a> {
    /// Begins with everything as it is; except that a database that may have lost transactions leaps over the numbers which they may have
    /// given out, before anything else is decided.
    #[must_use]
    pub fn new(facts: &'a Facts, occasion: &'a Occasion) -> Self {
        let mut draft =
            Self { before: facts, next: facts.clone(), occasion, automatic_used: false, audit: Vec::new(), has_leapt: false };
        draft.next.continuity.evidence = None;
        if let Some(why) = facts.continuity.moved() {
            super::resync::leap_over(&mut draft.next);
            draft.leap();
            draft.next.continuity.behind = Some(why.clone());
            let name = facts.cluster.name.clone();
            draft.audit_automatic("cluster.fell_behind", name, serde_json::json!({ "why": why }));
            super::restore::plan_again_after_a_loss(&mut draft);
        }
        draft
    }

    /// Has versions and revisions leap too, so that nobody who knows more than the database takes its word for old news.
    pub(super) fn leap(&mut self) {
        self.has_leapt = true;
    }

    /// The moment of the decision.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.before.now
    }

    /// Adds a line to the audit, under the name of whoever acts.
    pub fn audit(&mut self, action: &'static str, subject: impl ToString, detail: Value) {
        let actor = self.occasion.actor.clone();
        self.audit_for(actor, None, action, subject, detail);
    }

    /// Adds a line to the audit for something that the coordinator does by itself.
    pub fn audit_automatic(&mut self, action: &'static str, subject: impl ToString, detail: Value) {
        self.audit_for("coordinator".to_owned(), None, action, subject, detail);
    }

    /// Adds a line to the audit under this name, and of this request where it is another than that of the whole decision.
    pub(super) fn audit_for(
        &mut self,
        actor: String,
        request_id: Option<String>,
        action: &'static str,
        subject: impl ToString,
        detail: Value,
    ) {
        self.audit.push(Audit { actor, action, subject: subject.to_string(), reason: reason(&detail), detail, request_id });
    }

    /// Does what follows by itself, raises the revisions where agents must know, and is done.
    #[must_use]
    pub fn decide(mut self) -> Decision {
        super::settle::settle(&mut self);
        if self.has_leapt {
            let leap = |number: u64| number.saturating_add(super::resync::REVISIONS);
            let cluster = &mut self.next.cluster;
            (cluster.version, cluster.revision) = (leap(self.before.cluster.version), leap(self.before.cluster.revision));
            cluster.peers_revision = cluster.revision;
        }
        if self.next != *self.before || !self.audit.is_empty() {
            self.next.cluster.version = self.next.cluster.version.saturating_add(1);
            if self.next.continuity.here.is_some() {
                self.next.continuity.home.clone_from(&self.next.continuity.here);
            }
        }
        let revision = self.next.cluster.revision;
        if agents_must_know(self.before, &self.next) {
            self.next.cluster.revision = revision.saturating_add(1);
            if peers(self.before).ne(peers(&self.next)) {
                self.next.cluster.peers_revision = self.next.cluster.revision;
            }
        }
        Decision { next: self.next, audit: self.audit }
    }
}

impl Decision {
    /// Leaves everything as it is.
    #[must_use]
    pub fn nothing(facts: &Facts) -> Self {
        let mut next = facts.clone();
        next.continuity.evidence = None;
        Self { next, audit: Vec::new() }
    }
}

/// Why, as the detail has it: its `why` or `reason`, or the sentence of an abort or a failure.
fn reason(detail: &Value) -> Option<String> {
    let abort = || detail.get("abort").and_then(|abort| abort.get("detail"));
    let why = ["why", "reason", "detail"].into_iter().find_map(|name| detail.get(name)).or_else(abort);
    why.and_then(Value::as_str).map(str::to_owned)
}

fn peers(facts: &Facts) -> impl Iterator<Item = (&MemberName, u64, Option<&str>, bool)> {
    let member = |member: &'_ MemberFacts| (member.incarnation.0, member.leaving.is_some());
    let belonging = facts.peers().map(move |m| (&m.name, member(m).0, Some(m.address.as_str()), member(m).1));
    let left = leave::departed(facts).map(|(member, left)| (&member.name, left.incarnation.0, None, false));
    belonging.chain(left)
}

/// Whether the difference is visible in anybody's assignment. Compared rather than remembered, so no rule can forget to say so.
fn agents_must_know(before: &Facts, next: &Facts) -> bool {
    let cluster = |facts: &Facts| {
        let c = &facts.cluster;
        (c.phase, c.phase_reason.clone(), c.generation, c.epoch)
    };
    let member = |facts: &Facts| -> Vec<(u64, Presence, bool, Standing, u64)> {
        facts.members.values().map(|m| (m.incarnation.0, m.state, m.seen, m.standing, m.generation.0)).collect()
    };
    let leaving = |facts: &Facts| -> Vec<Option<leave::Stage>> {
        facts.members.values().map(|member| leave::stage(facts, member)).collect()
    };
    // From recording to committing nothing changes for a member: all parts are there.
    let under_way = |facts: &Facts| -> Vec<(SnapshotId, Timestamp)> {
        let under_way = |state| matches!(state, SnapshotState::Recording | SnapshotState::Committing);
        facts.snapshots.iter().filter(|s| under_way(s.state)).map(|s| (s.id, s.deadline_at)).collect()
    };
    let restore = |facts: &Facts| {
        let attempts = |r: &RestoreFacts| r.members.values().map(|m| m.attempt).collect::<Vec<_>>();
        facts.restore.as_ref().map(|r| (r.id, r.state, r.generation, attempts(r)))
    };
    cluster(before) != cluster(next)
        || member(before) != member(next)
        || leaving(before) != leaving(next)
        || peers(before).ne(peers(next))
        || under_way(before) != under_way(next)
        || before.outcomes != next.outcomes
        || restore(before) != restore(next)
}

impl Draft<'_> {
    /// The snapshot to change, if it is in sight.
    pub fn snapshot_mut(&mut self, id: SnapshotId) -> Option<&mut SnapshotFacts> {
        self.next.snapshots.iter_mut().find(|snapshot| snapshot.id == id)
    }
}
