//! Assignments: the whole desired state of a member, held until there is news. A poll that finds no news costs the database nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use stillframe_api::agent::{Assignment, AssignmentQuery, Desired, OpenSnapshot, Outcome, Peer, Peers, PrepareRestore};
use stillframe_archive::Part;
use stillframe_protocol::{ClusterName, MemberName, SnapshotId};

use super::{Service, ServiceError, hub::View, registry::ConnectionId};
use crate::{
    decide::{
        assignment::{Wanted, wanted},
        facts::{Presence, Standing},
        restore::mapping,
    },
    store::LeaseKey,
};

/// How long a poll is held unless it says.
const DEFAULT_WAIT: Duration = Duration::from_secs(20);

/// How long a poll is held at most.
const MAX_WAIT: Duration = Duration::from_secs(30);

impl Service {
    /// A member's assignment, once the cluster's revision is above what it knows, or when it has waited long enough.
    pub async fn assignment(
        &self,
        cluster: &ClusterName,
        member: &MemberName,
        query: &AssignmentQuery,
        connection: ConnectionId,
    ) -> Result<Assignment, ServiceError> {
        let lease: LeaseKey = (cluster.clone(), member.clone(), query.incarnation);
        let view = self.fresh_view(&lease, query.after).await?;
        if let Wanted::Leave { .. } = wanted(&view.facts, member, query.incarnation)? {
            return self.compose(&view, member, query).await;
        }
        let moved = query.replica.is_some_and(|replica| replica != self.replica);
        let held = self.registry.hold(&lease, connection, moved);
        let (state, standing) =
            view.facts.members.get(member).map_or((Presence::Live, Standing::Waiting), |m| (m.state, m.standing));
        if state == Presence::Lost && standing != Standing::Excluded {
            self.regain(&lease).await?;
        } else if held.is_new {
            // Together with those of all who come at the same time; the poll is answered whether that can be done just now or not.
            self.wakes.arrivals.notify_one();
        }
        let wait = query.wait.map_or(DEFAULT_WAIT, stillframe_api::HumanDuration::get).min(MAX_WAIT);
        let view = self.hold(cluster, query.after, wait).await?;
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

    /// Waits for a revision above this one; gives the newest facts either way.
    async fn hold(&self, cluster: &ClusterName, after: u64, wait: Duration) -> Result<Arc<View>, ServiceError> {
        let mut news = self.hub.channel(cluster).subscribe();
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        loop {
            let view = news.borrow_and_update().clone();
            let Some(view) = view else { return self.reload(cluster).await };
            if view.facts.cluster.revision > after {
                return Ok(view);
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return self.reload(cluster).await },
                () = &mut deadline => return Ok(view),
                () = self.stopping.cancelled() => return Err(ServiceError::Stopping),
            }
        }
    }

    async fn compose(&self, view: &View, member: &MemberName, query: &AssignmentQuery) -> Result<Assignment, ServiceError> {
        let facts = &view.facts;
        let desired = match wanted(facts, member, query.incarnation)? {
            Wanted::Wait { why } => Desired::Wait { why },
            Wanted::Leave { why } => Desired::Leave { why },
            Wanted::Run { generation, epoch, restore } => Desired::Run { generation, epoch, restore },
            Wanted::Prepare { restore, snapshot, generation, part, attempt } => {
                let part = self.part(view, snapshot, &part).await?;
                let renamed = view.facts.restore.as_ref().map(|restore| restore.mapping.clone()).unwrap_or_default();
                let part = mapping::rename(&renamed, part);
                Desired::Prepare(Box::new(PrepareRestore {
                    restore,
                    snapshot,
                    generation,
                    objects: part.objects,
                    sent: part.sent,
                    received: part.received,
                    recorded: part.recorded,
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
        let outcomes = facts.outcomes.iter();
        Ok(Assignment {
            revision: facts.cluster.revision,
            cluster: facts.cluster.name.clone(),
            phase: facts.cluster.phase,
            epoch: facts.cluster.epoch,
            desired,
            peers: (query.peers_after < facts.cluster.peers_revision).then(|| peers(view)),
            snapshots,
            outcomes: outcomes.map(|o| Outcome { snapshot: o.id, epoch: o.epoch, committed: o.committed }).collect(),
            replica: self.replica,
            view_age_ms: u64::try_from(self.freshness.age().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// A member's part of the snapshot that is being restored; all of them are read once for all members.
    async fn part(&self, view: &View, snapshot: SnapshotId, member: &MemberName) -> Result<Part, ServiceError> {
        let read = async || -> Result<BTreeMap<MemberName, Part>, ServiceError> {
            let parts = self.store.parts(snapshot).await?;
            Ok(parts.into_iter().map(|part| (part.member.clone(), part)).collect())
        };
        let parts = view.parts.get_or_try_init(read).await?;
        parts.get(member).cloned().ok_or(ServiceError::UnknownSnapshot(snapshot))
    }
}

fn peers(view: &View) -> Peers {
    let peer = |m: &crate::decide::facts::MemberFacts| Peer {
        member: m.name.clone(),
        member_id: m.member_id,
        incarnation: m.incarnation,
        address: m.address.clone(),
    };
    Peers { revision: view.facts.cluster.peers_revision, members: view.facts.belonging().map(peer).collect() }
}
