//! Taking up what the archive proves: into an empty database, and into one that has lost its last transactions. The rules are in
//! [`crate::decide::resync`]; here is what is read, proved and written. Doing it again, or twice at once, changes nothing more.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use futures::{FutureExt, StreamExt, stream};
use stillframe_api::{
    HumanDuration,
    cluster::CreateCluster,
    resync::{MissingManifest, RebuiltCluster, Rejected, ResyncReport, TakenUpSnapshot},
    snapshot::SnapshotState,
};
use stillframe_archive::{Archive, Floors, Manifest, ProvedSnapshot, VerifyError};
use stillframe_protocol::{ClusterName, SnapshotId};

use super::{Caller, Service, ServiceError, archives};
use crate::{
    decide::{
        Facts,
        resync::{self, Proved, Shown},
    },
    store::{Found, Scope, StoreError},
};

/// Snapshots proved at once.
const AT_ONCE: usize = 4;

/// How long a snapshot of a rebuilt cluster may take.
const DEFAULT_TIMEOUT_MS: u64 = 60_000;

/// Clusters of which not everything was taken up, and why.
type Failed = BTreeMap<ClusterName, ServiceError>;

/// A cluster as the archive has it.
struct InArchive {
    prefix: Option<String>,
    archive: Archive,
    manifests: Vec<SnapshotId>,
}

impl Service {
    /// Takes up everything that the archive proves and the database doesn't know, or says what would be taken up. Goes on when the caller is
    /// dropped.
    pub async fn resync(self: &Arc<Self>, caller: &Caller, dry_run: bool) -> Result<ResyncReport, ServiceError> {
        let (service, caller) = (self.clone(), caller.clone());
        let task = tokio::spawn(async move { service.take_everything_up(&caller, dry_run).await });
        let (report, failed) = task.await.unwrap_or(Err(ServiceError::Stopping))?;
        match failed.into_values().next() {
            Some(error) => Err(error),
            None => Ok(report),
        }
    }

    /// Takes up what can be; with it come the clusters of which something couldn't, which keep no other from their turn.
    async fn take_everything_up(&self, caller: &Caller, dry_run: bool) -> Result<(ResyncReport, Failed), ServiceError> {
        let (mut report, mut failed) = (ResyncReport { dry_run, ..ResyncReport::default() }, Failed::new());
        let found = self.look_through(&mut report).await?;
        for (cluster, there) in &found {
            match self.take_cluster_up(caller, cluster, there, &mut report).await {
                Ok(()) => {}
                Err(error @ ServiceError::Store(StoreError::Unavailable { .. })) => return Err(error),
                Err(error) => {
                    tracing::warn!(%cluster, %error, "what the archive proves of it is not taken up");
                    failed.insert(cluster.clone(), error);
                }
            }
        }
        self.look_for_missing(&found, &mut report).await?;
        let (rebuilt, taken_up, rejected) = (report.rebuilt.len(), report.taken_up.len(), report.rejected.len());
        tracing::info!(dry_run, manifests = report.manifests, rebuilt, taken_up, rejected, "resync");
        Ok((report, failed))
    }

    /// Every cluster that the archive has, each in the one folder that it is taken from.
    async fn look_through(&self, report: &mut ResyncReport) -> Result<BTreeMap<ClusterName, InArchive>, ServiceError> {
        let mut found: BTreeMap<ClusterName, InArchive> = BTreeMap::new();
        for survey in self.archives.get(None).await?.survey().await? {
            report.manifests += survey.manifests.len() as u64;
            let prefix = survey.prefix;
            let bad = match prefix.as_deref().map(archives::check_prefix) {
                Some(Err(error)) => Some(error.to_string()),
                None | Some(Ok(())) if !survey.has_format => {
                    Some("expected a format.json beside the snapshots, found none".to_owned())
                }
                None | Some(Ok(())) => None,
            };
            if let Some(problem) = bad {
                if !survey.manifests.is_empty() {
                    report.rejected.push(Rejected {
                        archive_prefix: prefix,
                        cluster: None,
                        snapshot: None,
                        problems: vec![problem],
                    });
                }
                continue;
            }
            let mut by_cluster: BTreeMap<ClusterName, Vec<SnapshotId>> = BTreeMap::new();
            for (cluster, snapshot) in survey.manifests {
                by_cluster.entry(cluster).or_default().push(snapshot);
            }
            if by_cluster.is_empty() {
                continue;
            }
            let archive = self.archives.get(prefix.as_deref()).await?;
            for (cluster, manifests) in by_cluster {
                let here = InArchive { prefix: prefix.clone(), archive: archive.clone(), manifests };
                self.choose(cluster, here, &mut found, report).await?;
            }
        }
        Ok(found)
    }

    /// A cluster is in the folder that the database says; else in the one that has its newest snapshot.
    async fn choose(
        &self,
        cluster: ClusterName,
        here: InArchive,
        found: &mut BTreeMap<ClusterName, InArchive>,
        report: &mut ResyncReport,
    ) -> Result<(), ServiceError> {
        let known = self.store.cluster(&cluster).await?.map(|row| row.facts.archive_prefix);
        let place = |prefix: &Option<String>| prefix.clone().unwrap_or_else(|| "the archive itself".to_owned());
        let mut reject = |there: &InArchive, instead: &Option<String>| {
            let problem =
                format!("expected the snapshots of {cluster} in {}, found some in {}", place(instead), place(&there.prefix));
            let (archive_prefix, cluster) = (there.prefix.clone(), Some(cluster.clone()));
            report.rejected.push(Rejected { archive_prefix, cluster, snapshot: None, problems: vec![problem] });
        };
        if let Some(known) = known.filter(|known| *known != here.prefix) {
            reject(&here, &known);
            return Ok(());
        }
        match found.remove(&cluster) {
            Some(other) if other.manifests.last() > here.manifests.last() => {
                reject(&here, &other.prefix);
                found.insert(cluster, other);
            }
            Some(other) => {
                reject(&other, &here.prefix);
                found.insert(cluster, here);
            }
            None => drop(found.insert(cluster, here)),
        }
        Ok(())
    }

    async fn take_cluster_up(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        there: &InArchive,
        report: &mut ResyncReport,
    ) -> Result<(), ServiceError> {
        let known: HashMap<SnapshotId, SnapshotState> = self.store.snapshot_states(cluster).await?.into_iter().collect();
        let wanted = there.manifests.iter().copied().filter(|id| resync::is_to_be_taken_up(known.get(id).copied()));
        let wanted: Vec<SnapshotId> = wanted.collect();
        let mut shown = Shown { floors: there.archive.floors(cluster).await?, ..Shown::default() };
        let mut proved = self.prove(cluster, there, wanted, &mut shown, report).await?;
        proved.sort_by_key(|(proved, _)| (proved.generation, proved.epoch));
        if let Some((newest, _)) = proved.last() {
            shown.generation = newest.generation;
            shown.latest_view = newest.view.keys().cloned().collect();
        }
        let facts = self.store.facts(cluster).await?;
        let is_new = facts.as_ref().is_none_or(|facts| facts.members.is_empty() && known.is_empty());
        if proved.is_empty() && (is_new || !resync::is_needed(facts.as_ref(), &shown)) {
            return Ok(());
        }
        let is_needed = resync::is_needed(facts.as_ref(), &shown);
        let floors = resync::above(shown.floors);
        let min_members = u32::try_from(shown.latest_view.len()).unwrap_or(u32::MAX).max(1);
        let settings = CreateCluster {
            snapshot_timeout: HumanDuration::from_millis(DEFAULT_TIMEOUT_MS),
            archive_prefix: there.prefix.clone(),
            ..CreateCluster::new(cluster.clone(), min_members)
        };
        if is_new {
            report.rebuilt.push(rebuilt(&settings, facts.is_none(), &shown, floors));
        }
        if report.dry_run {
            report.taken_up.extend(proved.iter().map(|(proved, _)| taken_up(cluster, proved, &known)));
            return Ok(());
        }
        if is_new {
            let reason =
                format!("cluster {cluster} was rebuilt from the archive, which doesn't tell what was held or to be kept");
            self.suspend_collection(reason).await?;
        }
        let scope = |snapshot, parts| Scope {
            snapshot,
            found: Some(Arc::new(Found { settings: settings.clone(), parts })),
            request_id: caller.request_id.clone(),
            ..Scope::default()
        };
        if is_needed {
            // Before the database has them: should it be lost again, the next stays above these.
            there.archive.write_floors(cluster, floors).await?;
            let (occasion, shown) = (self.occasion(caller), shown.clone());
            let rule = move |facts: &Facts| Ok(resync::begin(facts, &occasion, &shown).into());
            self.transition(cluster, scope(None, Vec::new()), rule).await?;
        }
        for (proved, manifest) in proved {
            let (line, id, occasion) = (taken_up(cluster, &proved, &known), proved.id, self.occasion(caller));
            let rule = move |facts: &Facts| Ok(resync::take_up(facts, &occasion, &proved).into());
            match self.transition(cluster, scope(Some(id), manifest.parts), rule).await {
                Ok(done) if done.changed => report.taken_up.push(line),
                Ok(_) => {}
                // Its epoch is another's here, say: that is for somebody to look at, and no reason to leave the rest.
                Err(ServiceError::Store(StoreError::Fault { reason })) => report.rejected.push(Rejected {
                    archive_prefix: there.prefix.clone(),
                    cluster: Some(cluster.clone()),
                    snapshot: Some(id),
                    problems: vec![format!("the database refuses it: {reason}")],
                }),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Proves snapshots. What isn't what it should be is reported; only a store that can't be asked is an error.
    async fn prove(
        &self,
        cluster: &ClusterName,
        there: &InArchive,
        wanted: Vec<SnapshotId>,
        shown: &mut Shown,
        report: &mut ResyncReport,
    ) -> Result<Vec<(Proved, Manifest)>, ServiceError> {
        let archive = &there.archive;
        let proofs: Vec<_> = wanted.into_iter().map(|id| proof(archive.clone(), cluster.clone(), id).boxed()).collect();
        let mut proofs = stream::iter(proofs).buffered(AT_ONCE);
        let mut proved = Vec::new();
        while let Some((id, proof)) = proofs.next().await {
            match proof {
                Ok(ProvedSnapshot { manifest, messages_in_flight }) => {
                    show(shown, &manifest);
                    proved.push((what_it_is(&manifest, messages_in_flight), manifest));
                }
                Err((error, _)) if error.is_transient() => return Err(ServiceError::Archive(error.to_string())),
                Err((VerifyError { problems, .. }, manifest)) => {
                    if let Some(manifest) = manifest {
                        show(shown, &manifest);
                    }
                    report.rejected.push(Rejected {
                        archive_prefix: there.prefix.clone(),
                        cluster: Some(cluster.clone()),
                        snapshot: Some(id),
                        problems: problems.iter().map(ToString::to_string).collect(),
                    });
                }
            }
        }
        Ok(proved)
    }

    /// Committed snapshots of the database that the archive doesn't have.
    async fn look_for_missing(
        &self,
        found: &BTreeMap<ClusterName, InArchive>,
        report: &mut ResyncReport,
    ) -> Result<(), ServiceError> {
        let mut after: Option<String> = None;
        loop {
            let rows = self.store.clusters(after.as_deref(), stillframe_api::page::MAX_LIMIT).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.facts.name.to_string());
            for cluster in rows.into_iter().map(|row| row.facts.name) {
                let there: BTreeSet<SnapshotId> =
                    found.get(&cluster).map(|there| there.manifests.iter().copied().collect()).unwrap_or_default();
                for (snapshot, state) in self.store.snapshot_states(&cluster).await? {
                    // What was committed since the archive was listed isn't missing: its manifest is written first.
                    if state == SnapshotState::Committed
                        && !there.contains(&snapshot)
                        && !self.has_manifest(&cluster, snapshot).await?
                    {
                        report.without_manifest.push(MissingManifest { cluster: cluster.clone(), snapshot });
                    }
                }
            }
        }
    }

    async fn has_manifest(&self, cluster: &ClusterName, snapshot: SnapshotId) -> Result<bool, ServiceError> {
        let prefix = self.store.cluster(cluster).await?.and_then(|row| row.facts.archive_prefix);
        Ok(self.archives.get(prefix.as_deref()).await?.has_manifest(cluster, snapshot).await?)
    }

    /// Has a cluster leap, because there is evidence that the database has lost transactions about it. It is reconciled with the archive next.
    pub(crate) async fn fell_behind(&self, cluster: &ClusterName, evidence: Option<String>) -> Result<(), ServiceError> {
        if let Some(evidence) = &evidence {
            tracing::error!(%cluster, evidence, "the database has lost transactions; numbers leap, and nothing is deleted until the archive was looked through");
        }
        let occasion = self.occasion(&Caller::coordinator());
        let rule = move |facts: &Facts| Ok(resync::fell_behind(facts, &occasion, evidence.as_deref()).into());
        self.transition(cluster, Scope::default(), rule).await?;
        self.wakes.reconcile.notify_one();
        Ok(())
    }

    /// Brings every cluster that fell behind up to what the archive proves.
    pub(crate) async fn reconcile(self: &Arc<Self>) -> Result<(), ServiceError> {
        let behind = self.store.behind().await?;
        if behind.is_empty() {
            return Ok(());
        }
        let (mut why, mut first) = (Vec::new(), Ok(()));
        for cluster in behind {
            // One in which nothing was decided since the database moved leaps now.
            match self.leapt(&cluster).await {
                Ok(behind) => why.extend(behind.map(|behind| (cluster, behind))),
                Err(error @ ServiceError::Store(StoreError::Unavailable { .. })) => return Err(error),
                Err(error) => first = first.and(Err(error)),
            }
        }
        let (report, failed) = self.take_everything_up(&Caller::coordinator(), false).await?;
        tracing::warn!(
            taken_up = report.taken_up.len(),
            rejected = report.rejected.len(),
            without_manifest = report.without_manifest.len(),
            failed = failed.len(),
            "the database was brought up to what the archive proves"
        );
        for (cluster, behind) in why.into_iter().filter(|(cluster, _)| !failed.contains_key(cluster)) {
            let occasion = self.occasion(&Caller::coordinator());
            let rule = move |facts: &Facts| Ok(resync::reconciled(facts, &occasion, &behind).into());
            match self.transition(&cluster, Scope::default(), rule).await {
                Ok(_) => {}
                Err(error @ ServiceError::Store(StoreError::Unavailable { .. })) => return Err(error),
                Err(error) => first = first.and(Err(error)),
            }
        }
        failed.into_values().next().map_or(first, Err)
    }

    /// Has a cluster leap that wasn't heard of since; gives why it is behind.
    async fn leapt(&self, cluster: &ClusterName) -> Result<Option<String>, ServiceError> {
        self.fell_behind(cluster, None).await?;
        Ok(self.store.facts(cluster).await?.and_then(|facts| facts.continuity.behind))
    }
}

/// What a snapshot proves. A manifest that proves nothing still shows numbers that were given out.
async fn proof(
    archive: Archive,
    cluster: ClusterName,
    id: SnapshotId,
) -> (SnapshotId, Result<ProvedSnapshot, (VerifyError, Option<Manifest>)>) {
    match archive.prove_snapshot(&cluster, id).await {
        Ok(proved) => (id, Ok(proved)),
        Err(error) => (id, Err((error, archive.read_manifest(&cluster, id).await.ok()))),
    }
}

fn show(shown: &mut Shown, manifest: &Manifest) {
    let incarnations = manifest.parts.iter().map(|part| part.incarnation);
    let floors = Floors {
        epoch: manifest.epoch,
        generation: manifest.generation,
        incarnation: incarnations.max().unwrap_or_default(),
        member_id: 0,
    };
    shown.floors = shown.floors.max(floors);

    for part in &manifest.parts {
        let newest = shown.members.entry(part.member.clone()).or_default();
        *newest = (*newest).max(part.incarnation);
    }
}

fn what_it_is(manifest: &Manifest, messages_in_flight: u64) -> Proved {
    Proved {
        id: manifest.snapshot,
        epoch: manifest.epoch,
        generation: manifest.generation,
        started_at: manifest.started_at,
        labels: manifest.labels.clone(),
        view: manifest.parts.iter().map(|part| (part.member.clone(), part.incarnation)).collect(),
        messages_in_flight,
    }
}

fn taken_up(cluster: &ClusterName, proved: &Proved, known: &HashMap<SnapshotId, SnapshotState>) -> TakenUpSnapshot {
    TakenUpSnapshot { cluster: cluster.clone(), snapshot: proved.id, epoch: proved.epoch, was: known.get(&proved.id).copied() }
}

fn rebuilt(settings: &CreateCluster, is_made: bool, shown: &Shown, floors: Floors) -> RebuiltCluster {
    let mut defaults = vec!["it has no schedules, no retention and no holds".to_owned()];
    if is_made {
        defaults.push(format!("min_members is {}, the members of its newest snapshot", settings.min_members));
        defaults.push(format!("snapshot_timeout is {}", settings.snapshot_timeout));
        defaults.push("on_loss is restore_latest, max_concurrent 1, and there is no min_pause".to_owned());
        defaults.push("channel_state is marker, and channels are not aligned".to_owned());
    }
    RebuiltCluster {
        cluster: settings.name.clone(),
        archive_prefix: settings.archive_prefix.clone(),
        members: shown.members.keys().cloned().collect(),
        defaults,
        epoch: floors.epoch,
        generation: floors.generation,
        incarnation: floors.incarnation,
    }
}
