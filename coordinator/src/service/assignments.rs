//! Assignments: the whole desired state of a member, held until there is news for it. A poll that finds no news costs the database nothing, and what
//! is the same in all members' answers is put into words once.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use stillframe_api::{
    agent::{AssignmentQuery, Desired, Leave, LeftPeer, OpenSnapshot, Outcome, Peer, Peers, PrepareRestore, SentBy},
    cluster::ClusterPhase,
};
use stillframe_protocol::{ClusterName, Epoch, MemberName, SnapshotId};
use uuid::Uuid;

use super::{Service, ServiceError, hub::View, registry::ConnectionId};
use crate::{
    decide::{
        Facts,
        assignment::{Wanted, is_waiting, wanted},
        claims::{self, Claim, Worth},
        facts::{LeftFacts, MemberFacts, OutcomeFacts, Standing},
        leave::{self, Stage},
        restore::resumed::{self, ResumedPart, Unresumable},
    },
    store::{LeaseKey, StoreError},
};

/// How long a poll is held unless it says.
const DEFAULT_WAIT: Duration = Duration::from_secs(20);

/// How long a poll is held at most.
const MAX_WAIT: Duration = Duration::from_secs(30);

impl Service {
    /// A member's assignment, once the cluster's revision is above what it knows, or when it has waited long enough.
    pub async fn assignment(
        self: &Arc<Self>,
        cluster: &ClusterName,
        member: &MemberName,
        query: &AssignmentQuery,
        connection: ConnectionId,
    ) -> Result<Answer, ServiceError> {
        let lease: LeaseKey = (cluster.clone(), member.clone(), query.incarnation);
        let mut view = self.fresh_view(&lease, query.after).await?;
        let claim = Claim::of_poll(member, query);
        if claims::weigh(&view.facts, &claim) != Worth::Nothing {
            self.hear(cluster, claim).await?;
            view = self.fresh_view(&lease, query.after).await?;
        }
        if let Wanted::Leave { .. } | Wanted::End = wanted(&view.facts, member, query.incarnation)? {
            return self.compose(&view, member, query).await;
        }
        let moved = query.replica.is_some_and(|replica| replica != self.replica);
        let held = self.registry.hold(&lease, connection, moved);
        if view.facts.members.get(member).is_some_and(|m| !m.is_there() && m.standing != Standing::Excluded) {
            // Before it is told to run: what isn't known to be there isn't missed when it goes.
            self.arrive(&lease).await?;
        } else if held.is_new {
            // Together with those of all who come at the same time; the poll is answered whether that can be done just now or not.
            self.wakes.arrivals.notify_one();
        }
        let wait = query.wait.map_or(DEFAULT_WAIT, stillframe_api::HumanDuration::get).min(MAX_WAIT);
        let view = self.hold(cluster, member, query, wait).await?;
        self.compose(&view, member, query).await
    }

    /// The facts, read anew when what is known here is certainly older than what the agent knows, or may be because nobody here kept it up to
    /// date.
    async fn fresh_view(&self, (cluster, member, incarnation): &LeaseKey, after: u64) -> Result<Arc<View>, ServiceError> {
        let channel = self.hub.channel(cluster);
        let Some(view) = channel.view() else { return self.reload(cluster).await };
        let known = view.facts.members.get(member).is_some_and(|m| m.incarnation >= *incarnation);
        let fits = known && view.facts.cluster.revision >= after;
        let kept = channel.is_watched() || view.read_at.elapsed() < self.look_every();
        if fits && (kept || self.seems_cut_off()) {
            return Ok(view);
        }
        match self.reload(cluster).await {
            Err(ServiceError::Store(_)) if fits => Ok(view),
            answer => answer,
        }
    }

    /// Waits for a revision above the one that the member knows; gives the newest facts either way. A member that waits hears nothing of changes
    /// after which it still does: when a thousand register, each would hear of each.
    async fn hold(
        &self,
        cluster: &ClusterName,
        member: &MemberName,
        query: &AssignmentQuery,
        wait: Duration,
    ) -> Result<Arc<View>, ServiceError> {
        let mut waits = false;
        let mut news = self.hub.channel(cluster).subscribe();
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        loop {
            let view = news.borrow_and_update().clone();
            let Some(view) = view else { return self.reload(cluster).await };
            let still_waits = is_waiting(&view.facts, member, query.incarnation);
            if view.facts.cluster.revision <= query.after {
                waits = still_waits;
            } else if !(waits && still_waits) {
                return Ok(view);
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return self.reload(cluster).await },
                () = &mut deadline => return Ok(view),
                () = self.stopping.cancelled() => return Err(ServiceError::Stopping),
            }
        }
    }

    async fn compose(&self, view: &View, member: &MemberName, query: &AssignmentQuery) -> Result<Answer, ServiceError> {
        let facts = &view.facts;
        let desired = match wanted(facts, member, query.incarnation)? {
            Wanted::Wait { why } => Desired::Wait { why: why.sentence(facts) },
            Wanted::Leave { why } => Desired::Leave { why },
            Wanted::End => Desired::End {},
            Wanted::Run { generation, epoch, restore } => {
                let channels = facts.cluster.channels_in_force.settings();
                let (channel_state, aligned_timeout) = (channels.participant(), channels.aligned_timeout);
                Desired::Run { generation, epoch, restore, channel_state, aligned_timeout }
            }
            Wanted::Prepare { restore, snapshot, generation, in_force, part, attempt } => {
                let part = self.part(view, snapshot, &part).await?;
                let renamed = view.facts.restore.as_ref().map(|restore| restore.mapping.clone()).unwrap_or_default();
                let ResumedPart { part, arrived } = resumed::rename(&renamed, part);
                Desired::Prepare(Box::new(PrepareRestore {
                    restore,
                    snapshot,
                    generation,
                    in_force,
                    objects: part.objects,
                    sent: part.sent,
                    received: part.received,
                    recorded: part.recorded,
                    logged: part.logged,
                    arrived,
                    renamed,
                    attempt,
                }))
            }
        };
        let now = view.now();
        let snapshots = facts
            .snapshots
            .iter()
            // Also while it is committing: members hear of its end, not of the step before.
            .filter(|snapshot| snapshot.is_under_way())
            .map(|snapshot| OpenSnapshot {
                snapshot: snapshot.id,
                epoch: snapshot.epoch.unwrap_or_default(),
                generation: snapshot.generation,
                inline_limit: snapshot.inline_limit,
                deadline_in_ms: u64::try_from(snapshot.deadline_at.duration_since(now).as_millis()).unwrap_or(0),
                in_view: snapshot.view.get(member) == Some(&query.incarnation),
            })
            .collect();
        let needs_peers = match &desired {
            Desired::Run { .. } | Desired::Prepare(_) => query.peers_after < facts.cluster.peers_revision,
            Desired::Wait { .. } | Desired::Leave { .. } | Desired::End {} => false,
        };
        let of_now = facts.members.get(member).filter(|member| member.incarnation == query.incarnation);
        let leave = of_now.and_then(|member| {
            Some(match leave::stage(facts, member)? {
                Stage::Asked => Leave::Asked {},
                Stage::Draining => Leave::Draining {},
                Stage::Drained => {
                    let sent = leave::sent_to(member).into_iter().map(|(member, messages)| SentBy { member, messages });
                    Leave::Drained { sent: sent.collect() }
                }
                Stage::Left => Leave::Left {},
            })
        });
        Ok(Answer {
            revision: facts.cluster.revision,
            cluster: facts.cluster.name.clone(),
            phase: facts.cluster.phase,
            epoch: facts.cluster.epoch,
            peers: if needs_peers { Some(view.shared.peers(facts)?) } else { None },
            desired,
            leave,
            snapshots,
            outcomes: view.shared.outcomes(facts)?,
            replica: self.replica,
            view_age_ms: u64::try_from(self.freshness.age().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// A member's part of the snapshot that is being restored; all of them are read once for all members.
    async fn part(&self, view: &View, snapshot: SnapshotId, member: &MemberName) -> Result<ResumedPart, ServiceError> {
        let read = async || -> Result<BTreeMap<MemberName, ResumedPart>, ServiceError> {
            let fault = |error: Unresumable| StoreError::Fault { reason: format!("snapshot {snapshot}: {error}") };
            Ok(resumed::resume(self.store.parts(snapshot).await?).map_err(fault)?)
        };
        let parts = view.parts.get_or_try_init(read).await?;
        parts.get(member).cloned().ok_or(ServiceError::UnknownSnapshot(snapshot))
    }
}

/// An [`Assignment`](stillframe_api::agent::Assignment) as it is sent.
#[derive(Debug, Serialize)]
pub struct Answer {
    revision: u64,
    cluster: ClusterName,
    phase: ClusterPhase,
    epoch: Epoch,
    desired: Desired,
    #[serde(skip_serializing_if = "Option::is_none")]
    peers: Option<Arc<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leave: Option<Leave>,
    snapshots: Vec<OpenSnapshot>,
    outcomes: Arc<RawValue>,
    replica: Uuid,
    view_age_ms: u64,
}

/// What is the same in the answers to all members, as JSON: of n members the peer list alone has O(n) bytes.
#[derive(Debug, Default)]
pub(super) struct Shared {
    peers: OnceLock<Result<Arc<RawValue>, String>>,
    outcomes: OnceLock<Result<Arc<RawValue>, String>>,
}

impl Shared {
    fn peers(&self, facts: &Facts) -> Result<Arc<RawValue>, ServiceError> {
        let peer = |m: &MemberFacts| Peer {
            member: m.name.clone(),
            member_id: m.member_id,
            incarnation: m.incarnation,
            address: m.address.clone(),
            leaving: m.leaving.is_some(),
        };
        let left =
            |(member, left): (&MemberFacts, LeftFacts)| LeftPeer { member_id: member.member_id, incarnation: left.incarnation };
        let peers = || Peers {
            revision: facts.cluster.peers_revision,
            members: facts.peers().map(peer).collect(),
            left: leave::departed(facts).map(left).collect(),
        };
        written(self.peers.get_or_init(|| raw(&peers())))
    }

    fn outcomes(&self, facts: &Facts) -> Result<Arc<RawValue>, ServiceError> {
        let outcome = |o: &OutcomeFacts| Outcome { snapshot: o.id, epoch: o.epoch, committed: o.committed };
        let outcomes = || facts.outcomes.iter().map(outcome).collect::<Vec<_>>();
        written(self.outcomes.get_or_init(|| raw(&outcomes())))
    }
}

fn raw(value: &impl Serialize) -> Result<Arc<RawValue>, String> {
    to_raw_value(value).map(Arc::from).map_err(|error| error.to_string())
}

fn written(raw: &Result<Arc<RawValue>, String>) -> Result<Arc<RawValue>, ServiceError> {
    let fault = |reason: String| StoreError::Fault { reason: format!("an assignment has no JSON form: {reason}") };
    raw.clone().map_err(|reason| fault(reason).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::world::World;

    #[test]
    fn an_answer_reads_as_an_assignment_with_everything_in_it() {
        let mut world = World::new(2, stillframe_api::cluster::OnLoss::RestoreLatest);
        world.register(0);
        world.register(1);
        world.report_all();
        world.commit(false);
        let (facts, shared) = (&world.facts, Shared::default());
        let replica = Uuid::from_u128(7);
        let answer = Answer {
            revision: 3,
            cluster: facts.cluster.name.clone(),
            phase: facts.cluster.phase,
            epoch: facts.cluster.epoch,
            desired: Desired::Wait { why: "why".to_owned() },
            peers: Some(shared.peers(facts).expect("JSON")),
            leave: Some(Leave::Drained { sent: Vec::new() }),
            snapshots: Vec::new(),
            outcomes: shared.outcomes(facts).expect("JSON"),
            replica,
            view_age_ms: 5,
        };
        let json = serde_json::to_value(&answer).expect("JSON");
        let read: stillframe_api::agent::Assignment = serde_json::from_value(json.clone()).expect("an assignment");
        assert_eq!(
            read.peers.as_ref().map(|peers| (peers.revision, peers.members.len())),
            Some((facts.cluster.peers_revision, 2))
        );
        assert_eq!(read.outcomes.len(), 1);
        assert_eq!(serde_json::to_value(&read).expect("JSON"), json);
    }
}
