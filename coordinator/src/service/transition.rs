//! Carrying out a transition, and telling whoever waits for it.

use std::{
    cmp::Ordering,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::SignedDuration;
use stillframe_api::snapshot::SnapshotState;
use stillframe_protocol::{ClusterName, RestoreId, SnapshotId};
use tokio::sync::SemaphorePermit;
use uuid::Uuid;

use super::{Service, ServiceError, hub::Channel, idempotency::Keyed, lock, news::News};
use crate::{
    decide::{Decision, Facts, Occasion, Refusal, facts::SnapshotFacts},
    loops::LOOK_EVERY,
    store::{Outcome, PartRow, Scope, TransactError, Transition},
};

/// How long to wait for one's turn before looking whether the database is away.
const TURN_PATIENCE: Duration = Duration::from_secs(1);

/// On whose behalf something is done.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `request`, `member:<name>`, `schedule:<name>` or `coordinator`.
    pub actor: String,
    /// The request's id.
    pub request_id: Option<String>,
    /// The idempotency key's claim, when the request has a key.
    pub keyed: Option<Keyed>,
}

impl Caller {
    /// The coordinator itself.
    #[must_use]
    pub fn coordinator() -> Self {
        Self::acting("coordinator")
    }

    /// Somebody who acts without a request.
    #[must_use]
    pub fn acting(actor: impl Into<String>) -> Self {
        Self { actor: actor.into(), request_id: None, keyed: None }
    }

    /// A request over REST.
    #[must_use]
    pub fn request(request_id: Option<String>, keyed: Option<Keyed>) -> Self {
        Self { actor: "request".to_owned(), request_id, keyed }
    }

    /// The id of what the request makes: the same each time that it is carried out under its key.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.keyed.map_or_else(Uuid::now_v7, |keyed| keyed.seed)
    }

    /// Whether what the request makes may be there already, from an earlier attempt.
    #[must_use]
    pub fn is_repeated(&self) -> bool {
        self.keyed.is_some_and(Keyed::is_repeated)
    }
}

/// What this replica knows a cluster by: facts of one version and stamp are the same facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    version: u64,
    stamp: Uuid,
}

impl Known {
    pub(crate) fn of(facts: &Facts) -> Self {
        Self { version: facts.cluster.version, stamp: facts.cluster.stamp }
    }
}

/// Whether what is known isn't behind the facts of the database: it is newer, or of the same version and yet other. Then transactions are lost.
pub(crate) fn lost(known: Option<Known>, facts: &Facts) -> Option<String> {
    let (known, found) = (known?, Known::of(facts));
    match known.version.cmp(&found.version) {
        Ordering::Less => None,
        Ordering::Equal if known.stamp == found.stamp => None,
        Ordering::Equal => Some(format!(
            "a coordinator knows version {} of the cluster with the stamp {}, and the database has it with {}",
            known.version, known.stamp, found.stamp
        )),
        Ordering::Greater => {
            Some(format!("a coordinator knows version {} of the cluster, and the database has {}", known.version, found.version))
        }
    }
}

/// A decision that changes something, with a stamp of its own.
fn stamped(before: &Facts, mut decision: Decision) -> Decision {
    if decision.next.cluster.version != before.cluster.version {
        decision.next.cluster.stamp = Uuid::now_v7();
    }
    decision
}

impl Service {
    /// Fresh ids and the coordinator's settings, for one decision.
    pub(crate) fn occasion(&self, caller: &Caller) -> Occasion {
        Occasion {
            snapshot: SnapshotId(caller.id()),
            automatic: SnapshotId(Uuid::now_v7()),
            restore: RestoreId(caller.id()),
            actor: caller.actor.clone(),
            request_id: caller.request_id.clone(),
            restore_timeout: SignedDuration::try_from(self.settings.restore_timeout).unwrap_or(SignedDuration::MAX),
        }
    }

    /// Carries out a transition, then tells the held polls, the waiting requests and the loops.
    pub(crate) async fn transition(
        &self,
        cluster: &ClusterName,
        scope: Scope,
        rule: impl Fn(&Facts) -> Result<Outcome, Refusal> + Send + Sync + 'static,
    ) -> Result<Transition, ServiceError> {
        let channel = self.hub.channel(cluster);
        let _turn = self.turn_at(&channel).await;
        // What was known before the database is asked: if that turns out to be newer, or other, the database has lost transactions.
        let known = channel.peek(Known::of);
        let decide = move |facts: &Facts| match lost(known, facts) {
            None => rule(facts),
            evidence => {
                let mut facts = facts.clone();
                facts.continuity.evidence = evidence;
                rule(&facts)
            }
        };
        let news: Arc<Mutex<Option<News>>> = Arc::default();
        let last = news.clone();
        let rule = move |facts: &Facts| {
            let Outcome { decision, slot } = decide(facts)?;
            // What an earlier try had to tell was undone.
            *lock(&last) = Some(News::of(facts, &decision));
            Ok(Outcome { decision: stamped(facts, decision), slot })
        };
        let transition = match self.store.transact(cluster, scope, Arc::new(rule)).await {
            Ok(transition) => transition,
            Err(error @ TransactError::UnknownCluster(_)) => {
                self.hub.forget(cluster);
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        if transition.changed {
            let news = lock(&news).take();
            news.into_iter().for_each(|news| news.tell(cluster, &transition.facts));
            self.tell(cluster, &transition.facts);
            if transition.facts.continuity.behind.is_some() {
                self.wakes.reconcile.notify_one();
            }
        }
        Ok(transition)
    }

    /// A transition about snapshots, in one round trip where nothing is wrong with the cluster and nobody else has changed it meanwhile. The
    /// rule is asked with remembered facts first; what counts is that they are of the version and stamp that the store still has. `complete` names a
    /// snapshot all of whose parts are known to be stored.
    pub(crate) async fn quick_transition(
        &self,
        cluster: &ClusterName,
        scope: Scope,
        complete: Option<SnapshotId>,
        rule: impl Fn(&Facts) -> Result<Outcome, Refusal> + Send + Sync + 'static,
    ) -> Result<Transition, ServiceError> {
        if let Some(mut before) = self.hub.channel(cluster).remembered().filter(Facts::is_calm) {
            if let Some(complete) = complete {
                before.know_complete(complete);
            }
            // A refusal has to be true, not only remembered.
            if let Ok(outcome) = rule(&before)
                && let Some(facts) =
                    self.remembered_transition(&before, outcome.decision, &[], scope.request_id.as_deref()).await?
            {
                return Ok(Transition { facts, changed: true });
            }
        }
        self.transition(cluster, scope, rule).await
    }

    /// Carries out a decision made on remembered facts, with parts that go with it. Nothing when it changes nothing, or when the facts are
    /// others by now.
    pub(crate) async fn remembered_transition(
        &self,
        before: &Facts,
        decision: Decision,
        parts: &[PartRow],
        request_id: Option<&str>,
    ) -> Result<Option<Facts>, ServiceError> {
        if decision.next.cluster.version == before.cluster.version {
            return Ok(None);
        }
        let news = News::of(before, &decision);
        let decision = stamped(before, decision);
        let Some(now) = self.store.transact_remembered(before, &decision, parts, request_id).await? else { return Ok(None) };
        let mut facts = decision.next;
        facts.now = now;
        news.tell(&before.cluster.name, &facts);
        self.tell(&before.cluster.name, &facts);
        Ok(Some(facts))
    }

    /// Waits for one's turn at a cluster. While the database is away nobody waits for those who find out: each does so, as soon as it may.
    async fn turn_at<'a>(&self, channel: &'a Channel) -> Option<SemaphorePermit<'a>> {
        loop {
            match tokio::time::timeout(TURN_PATIENCE, channel.turn()).await {
                Ok(turn) => return turn,
                Err(_) if self.seems_cut_off() => return None,
                Err(_) => {}
            }
        }
    }

    fn tell(&self, cluster: &ClusterName, facts: &Facts) {
        let snapshots = &facts.snapshots;
        let restoring = facts.restore.as_ref().is_some_and(|restore| !restore.state.has_ended());
        // A deadline further away is found by the loop's ordinary look.
        let soon = facts.now.checked_add(LOOK_EVERY).unwrap_or(facts.now);
        let due = |s: &SnapshotFacts| match s.state {
            SnapshotState::Pending => s.deadline_at <= soon || s.begins_at.is_some_and(|begins_at| begins_at <= soon),
            SnapshotState::Recording => s.deadline_at <= soon,
            SnapshotState::Committing
            | SnapshotState::Committed
            | SnapshotState::Aborted
            | SnapshotState::Deleting
            | SnapshotState::Deleted => false,
        };
        if restoring || facts.cluster.rollback_at.is_some() || snapshots.iter().any(due) {
            self.wakes.deadlines.notify_one();
        }
        let to_sweep = |s: &SnapshotFacts| {
            matches!(s.state, SnapshotState::Aborted | SnapshotState::Deleting) && s.sweep_at.is_some_and(|at| at <= facts.now)
        };
        if snapshots.iter().any(to_sweep) {
            self.wakes.sweep.notify_one();
        }
        if self.announcements.put(cluster, facts.cluster.revision) {
            self.wakes.announce.notify_one();
        }
        self.hub.publish(cluster, facts.clone().settled());
    }
}
