//! Garbage collection by hand and by the clock: the plan, and carrying out exactly that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::SignedDuration;
use stillframe_api::gc::{
    Collection, GcOptions, GcPlan, GcReport, MAX_LISTED, OrphanReport, PlannedSnapshot, PlannedSweep, PlannedUpload,
};
use stillframe_archive::ObjectKey;
use stillframe_protocol::{ClusterName, SnapshotId};

use super::{Caller, Service, ServiceError, retention::kept_scope};
use crate::{
    decide::{
        Facts, collection,
        facts::CollectionState,
        orphans::{self, Found, Owner, Rules},
        retention,
    },
    store::{CollectionRow, Scope, Standing, Uploads},
};

fn answer(row: CollectionRow) -> Collection {
    let CollectionRow { state, changed_at } = row;
    match state {
        CollectionState::Confirmed => Collection { suspended: false, reason: None, changed_at },
        CollectionState::Suspended { reason } => Collection { suspended: true, reason: Some(reason), changed_at },
    }
}

fn report(found: &Found, objects: usize) -> OrphanReport {
    OrphanReport {
        objects: objects as u64,
        orphans: found.orphans.len() as u64,
        bytes: found.orphans.iter().map(|orphan| orphan.bytes).sum(),
        go: found.orphans.iter().filter(|orphan| orphan.goes).count() as u64,
        withheld: found.withheld.clone(),
        items: found.orphans.iter().take(MAX_LISTED).cloned().collect(),
    }
}

impl Service {
    /// Whether anything may be deleted.
    pub async fn collection(&self) -> Result<Collection, ServiceError> {
        Ok(answer(self.store.collection().await?))
    }

    /// Lets deletion go on: an operator has looked, and the catalog is whole.
    pub async fn confirm_collection(&self, caller: &Caller) -> Result<Collection, ServiceError> {
        self.store.set_collection(&CollectionState::Confirmed, &caller.actor, caller.request_id.clone()).await?;
        self.wakes.sweep.notify_one();
        self.collection().await
    }

    /// What would go from a cluster's archive, and why.
    pub async fn gc_plan(&self, cluster: &ClusterName, options: GcOptions) -> Result<GcPlan, ServiceError> {
        Ok(self.plan(cluster, options).await?.0)
    }

    /// The plan, and with it every orphan, also those that it doesn't list.
    async fn plan(&self, cluster: &ClusterName, options: GcOptions) -> Result<(GcPlan, Found), ServiceError> {
        let prefix = self.store.cluster(cluster).await?.ok_or_else(|| ServiceError::UnknownCluster(cluster.clone()))?;
        let archive = self.archives.get(prefix.facts.archive_prefix.as_deref()).await?;
        // Listed before anything is read of who owns what: whoever writes an object is known by then.
        let objects = archive.objects(cluster).await?;
        let snapshots: BTreeSet<SnapshotId> =
            objects.iter().filter_map(|object| object.key.parse::<ObjectKey>().ok()).map(|key| key.snapshot()).collect();
        let owners = self.owners(&snapshots.into_iter().collect::<Vec<_>>()).await?;
        let facts = self.kept(cluster).await?;
        let row = self.store.collection().await?;
        let settings = &self.settings.collection;
        let rules = Rules {
            orphans: options.orphans.unwrap_or(settings.orphans),
            grace: SignedDuration::try_from(settings.orphan_grace).unwrap_or(SignedDuration::MAX),
            max_count: settings.orphan_max_count,
            max_percent: settings.orphan_max_percent,
            ignore_breaker: options.ignore_breaker,
        };
        let found = orphans::judge(&objects, &owners, &rules, &row.state, facts.now);
        let committed = facts.kept.iter().flat_map(|kept| &kept.committed);
        let snapshots = retention::verdicts(&facts).into_iter().zip(committed).map(|(verdict, committed)| PlannedSnapshot {
            snapshot: verdict.snapshot,
            epoch: committed.epoch,
            recording_at: committed.recording_at,
            keep: verdict.keep,
        });
        let sweeps = self.store.leftovers(Some(cluster)).await?;
        let sweeps = sweeps.into_iter().map(|l| PlannedSweep { snapshot: l.snapshot, state: l.state, sweep_at: l.sweep_at });
        let again = SignedDuration::try_from(settings.sweep_again).unwrap_or(SignedDuration::MAX);
        let uploads = self.store.uploads(Uploads::Ended(cluster)).await?.into_iter().map(|upload| {
            let given_up_at = upload.ended_at.unwrap_or(upload.begun_at).max(upload.begun_at);
            PlannedUpload {
                snapshot: upload.snapshot,
                key: upload.key.to_string(),
                begun_at: upload.begun_at,
                abort_at: given_up_at.checked_add(again).unwrap_or(jiff::Timestamp::MAX),
            }
        });
        let plan = GcPlan {
            cluster: cluster.clone(),
            at: facts.now,
            collection: answer(row),
            retention: facts.cluster.retention,
            snapshots: snapshots.collect(),
            sweeps: sweeps.collect(),
            uploads: uploads.collect(),
            orphans: report(&found, objects.len()),
        };
        Ok((plan, found))
    }

    /// Who owns the objects of each of these snapshots; those that the database doesn't know are left out.
    async fn owners(&self, snapshots: &[SnapshotId]) -> Result<BTreeMap<SnapshotId, Owner>, ServiceError> {
        let mut owners = BTreeMap::new();
        for some in snapshots.chunks(1_000) {
            for Standing { snapshot, state, sweeps, keys } in self.store.standings(some).await? {
                owners.insert(snapshot, orphans::owner(state, sweeps, || keys));
            }
        }
        Ok(owners)
    }

    /// Carries out what the plan says: decides which snapshots go, sweeps what is due, aborts uploads, deletes orphans. The objects of
    /// snapshots that go by this are swept in the background. Goes on when the caller is dropped: deleting much takes longer than a client waits.
    pub async fn run_gc(
        self: &Arc<Self>,
        caller: &Caller,
        cluster: &ClusterName,
        options: GcOptions,
    ) -> Result<GcReport, ServiceError> {
        let (service, caller, cluster) = (self.clone(), caller.clone(), cluster.clone());
        let task = tokio::spawn(async move { service.carry_out_gc(&caller, &cluster, options).await });
        task.await.unwrap_or(Err(ServiceError::Stopping))
    }

    /// As [`run_gc`](Self::run_gc), for whoever waits however long it takes.
    pub(crate) async fn carry_out_gc(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        options: GcOptions,
    ) -> Result<GcReport, ServiceError> {
        let (plan, found) = self.plan(cluster, options).await?;
        let mut done = GcReport { plan, snapshots: 0, swept_objects: 0, uploads: 0, orphans: 0 };
        if done.plan.collection.suspended {
            return Ok(done);
        }
        let expiring: Vec<SnapshotId> = done.plan.expiring().map(|snapshot| snapshot.snapshot).collect();
        for snapshot in expiring {
            done.snapshots += u64::from(self.expire(caller, cluster, snapshot).await?);
        }
        let now = done.plan.at;
        for leftover in self.store.leftovers(Some(cluster)).await?.into_iter().filter(|leftover| leftover.sweep_at <= now) {
            done.swept_objects += self.sweep(&leftover).await?.map_or(0, |swept| swept.objects);
        }
        let stray: BTreeSet<String> =
            done.plan.uploads.iter().filter(|upload| upload.abort_at <= now).map(|upload| upload.key.clone()).collect();
        for upload in self.store.uploads(Uploads::Ended(cluster)).await? {
            if stray.contains(upload.key.as_str()) {
                done.uploads += u64::from(self.abort_upload(&upload).await?);
            }
        }
        let going: Vec<ObjectKey> =
            found.orphans.iter().filter(|orphan| orphan.goes).filter_map(|orphan| orphan.key.parse().ok()).collect();
        if !going.is_empty() {
            let row = self.store.cluster(cluster).await?.ok_or_else(|| ServiceError::UnknownCluster(cluster.clone()))?;
            let archive = self.archives.get(row.facts.archive_prefix.as_deref()).await?;
            for batch in going.chunks(self.pace.batch()) {
                if self.store.collection().await?.state != CollectionState::Confirmed {
                    break;
                }
                archive.delete_objects(batch, &self.pace).await?;
                done.orphans += batch.len() as u64;
            }
        }
        let occasion = self.occasion(caller);
        let scope = Scope { request_id: caller.request_id.clone(), ..kept_scope(caller, None) };
        let ran = collection::Ran {
            snapshots: done.snapshots,
            swept_objects: done.swept_objects,
            uploads: done.uploads,
            orphans: done.orphans,
        };
        self.transition(cluster, scope, move |facts: &Facts| Ok(collection::ran(facts, &occasion, ran).into())).await?;
        Ok(done)
    }
}
