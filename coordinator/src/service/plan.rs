//! What a restore would do: worked out from the same rules, and from asking the archive for every object. Changes nothing.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use stillframe_api::{
    restore::StartRestore,
    restore_plan::{Lost, LostSnapshot, MAX_LOST_SNAPSHOTS, PlannedMember, PlannedObject, PlannedPresence, RestorePlan},
    snapshot::SnapshotState,
};
use stillframe_archive::{Archive, ObjectEntry, Part};
use stillframe_protocol::{ClusterName, Epoch, MemberName, SnapshotId};

use super::{Service, ServiceError, restores::scope_of};
use crate::{
    decide::{
        Decision, Facts,
        facts::{Presence, Standing},
        restore::{Destination, mapping, resolve},
    },
    store::{SnapshotFilter, SnapshotRow},
};

/// How many objects the archive is asked for at the same time.
const HEADS_AT_ONCE: usize = 16;

/// How many snapshots are read at once to see which would be lost.
const PAGE: u32 = 200;

/// What the archive says of a snapshot's objects.
#[derive(Debug, Default)]
struct Looked {
    unreadable: Vec<PlannedObject>,
    unavailable: Option<String>,
}

impl Service {
    /// What a restore would do.
    pub async fn plan_restore(&self, cluster: &ClusterName, request: &StartRestore) -> Result<RestorePlan, ServiceError> {
        let ask = self.ask(cluster, request).await?;
        // A transition that changes nothing: the facts as they are now.
        let facts = self.transition(cluster, scope_of(&ask), |facts| Ok(Decision::nothing(facts).into())).await?.facts;
        let (destination, _) = resolve(&facts, &ask)?;
        let id = destination.snapshot;
        let row = self.store.snapshot(id).await?.ok_or(ServiceError::UnknownSnapshot(id))?;
        let parts = self.store.parts(id).await?;
        let looked = self.look(&facts, &parts).await;
        let lost = self.lost(cluster, &row).await?;
        Ok(compose(facts, destination, &row, &parts, looked, lost))
    }

    async fn look(&self, facts: &Facts, parts: &[Part]) -> Looked {
        match self.archives.get(facts.cluster.archive_prefix.as_deref()).await {
            Ok(archive) => look(&archive, parts).await,
            Err(error) => Looked { unavailable: Some(error.to_string()), ..Looked::default() },
        }
    }

    /// The committed snapshots of later epochs. Ids are made before epochs are, so an older one may have a later epoch; but not by much.
    async fn lost(&self, cluster: &ClusterName, target: &SnapshotRow) -> Result<Lost, ServiceError> {
        let epoch = target.facts.epoch.unwrap_or_default();
        let taken_at = target.facts.committing_at.unwrap_or(target.facts.created_at);
        let since_ms = u64::try_from(target.now.duration_since(taken_at).as_millis()).unwrap_or(0);
        let mut lost = Lost { since_ms, snapshots: Vec::new(), more: false };
        let mut before: Option<SnapshotId> = None;
        loop {
            let filter = SnapshotFilter { state: Some(SnapshotState::Committed), before, limit: PAGE };
            let rows = self.store.snapshots(cluster, &filter).await?;
            let later = |row: &&SnapshotRow| row.facts.epoch.is_some_and(|found: Epoch| found > epoch);
            lost.snapshots.extend(rows.iter().filter(later).map(|row| LostSnapshot {
                snapshot: row.facts.id,
                epoch: row.facts.epoch.unwrap_or_default(),
                committed_at: row.facts.ended_at,
            }));
            if lost.snapshots.len() > MAX_LOST_SNAPSHOTS {
                lost.snapshots.truncate(MAX_LOST_SNAPSHOTS);
                lost.more = true;
                return Ok(lost);
            }
            before = rows.last().map(|row| row.facts.id);
            if rows.len() < PAGE as usize || before < Some(target.facts.id) {
                return Ok(lost);
            }
        }
    }
}

async fn look(archive: &Archive, parts: &[Part]) -> Looked {
    // Owned, and only what is stored: what travels inline is in the catalog itself.
    let mut objects: Vec<(MemberName, ObjectEntry)> = Vec::new();
    for part in parts {
        let stored = part.objects.iter().filter(|object| object.key().is_some());
        objects.extend(stored.map(|object| (part.member.clone(), object.clone())));
    }
    let head = |(member, object): (MemberName, ObjectEntry)| {
        let archive = archive.clone();
        async move {
            let found = archive.head(&object).await;
            (member, object, found)
        }
    };
    let mut heads = stream::iter(objects.into_iter().map(head)).buffer_unordered(HEADS_AT_ONCE);
    let mut looked = Looked::default();
    while let Some((member, object, found)) = heads.next().await {
        match found {
            Ok(()) => {}
            Err(error) if error.is_damage() => {
                let key = object.describe();
                looked.unreadable.push(PlannedObject { part: member, key, detail: error.to_string() });
            }
            Err(error) => {
                looked.unavailable = Some(error.to_string());
                break;
            }
        }
    }
    looked.unreadable.sort_by(|one, other| one.key.cmp(&other.key));
    looked
}

fn compose(facts: Facts, destination: Destination, row: &SnapshotRow, parts: &[Part], looked: Looked, lost: Lost) -> RestorePlan {
    let Destination { snapshot, view, mapping } = destination;
    let bytes_of: BTreeMap<&MemberName, u64> =
        parts.iter().map(|part| (&part.member, part.objects.iter().map(|object| object.bytes).sum())).collect();
    let members: Vec<PlannedMember> = view
        .iter()
        .map(|part| {
            let name = mapping::apply(&mapping, part);
            let member = facts.members.get(name).filter(|member| member.standing != Standing::Excluded);
            PlannedMember {
                member: name.clone(),
                part: part.clone(),
                presence: member.map_or(PlannedPresence::Missing, |member| match (member.standing, member.state) {
                    (_, Presence::Live) => PlannedPresence::Live,
                    // Who has left doesn't come back by itself.
                    (Standing::Left, Presence::Lost) => PlannedPresence::Missing,
                    (_, Presence::Lost) => PlannedPresence::Away,
                }),
                incarnation: member.map(|member| member.incarnation),
                bytes: bytes_of.get(part).copied().unwrap_or(0),
            }
        })
        .collect();
    let stays = |name: &MemberName| members.iter().any(|member| member.member == *name);
    let leaving = facts.belonging().filter(|m| m.standing != Standing::Waiting && !stays(&m.name)).map(|m| m.name.clone());
    let under_way = facts.restore.as_ref().map(|restore| restore.id);
    let all_there = members.iter().all(|member| member.presence == PlannedPresence::Live);
    let whole = looked.unreadable.is_empty() && looked.unavailable.is_none();
    RestorePlan {
        cluster: facts.cluster.name.clone(),
        phase: facts.cluster.phase,
        snapshot,
        epoch: row.facts.epoch.unwrap_or_default(),
        generation: row.facts.generation,
        taken_at: row.facts.committing_at.unwrap_or(row.facts.created_at),
        bytes: bytes_of.values().fold(0, |sum, bytes| sum.saturating_add(*bytes)),
        leaving: leaving.collect(),
        members,
        unreadable: looked.unreadable,
        unavailable: looked.unavailable,
        lost,
        under_way,
        ready: all_there && whole && under_way.is_none(),
    }
}
