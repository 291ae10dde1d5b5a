//! Reports of members. They come all at once at the end of a snapshot, so they are taken in batches: while one is being committed, the next
//! gathers.

use std::{collections::BTreeMap, sync::Arc};

use stillframe_api::agent::{PartReport, Report, ReportAccepted, ReportEvent, Upload};
use stillframe_protocol::{ClusterName, Incarnation, MemberName};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{Caller, Service, ServiceError, parts, progress};
use crate::{
    decide::{
        Facts, Refusal,
        claims::Claim,
        leave, part,
        restore::{self, Word},
        snapshot::{self, Failure},
    },
    store::{PartRow, ProgressRow, Scope, UploadRow},
};

/// How many reports wait at most; more have to wait outside.
const QUEUE: usize = 4096;

/// How many reports are taken at once.
pub(super) const BATCH: usize = 1024;

/// Where an answer to a report goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Arc<ServiceError>>>;

/// A restore's word on its way to the next batch.
#[derive(Debug)]
struct Said {
    cluster: ClusterName,
    member: MemberName,
    incarnation: Incarnation,
    word: Word,
}

/// Where reports wait.
#[derive(Debug)]
pub struct Queues {
    parts: mpsc::Sender<(PartRow, Answer<bool>)>,
    progress: mpsc::Sender<ProgressRow>,
    words: mpsc::Sender<(Said, Answer<()>)>,
}

/// Where they come out.
pub struct Ends {
    parts: mpsc::Receiver<(PartRow, Answer<bool>)>,
    progress: mpsc::Receiver<ProgressRow>,
    words: mpsc::Receiver<(Said, Answer<()>)>,
}

impl Queues {
    /// Empty queues.
    #[must_use]
    pub fn new() -> (Self, Ends) {
        let (parts, parts_end) = mpsc::channel(QUEUE);
        let (progress, progress_end) = mpsc::channel(QUEUE);
        let (words, words_end) = mpsc::channel(QUEUE);
        (Self { parts, progress, words }, Ends { parts: parts_end, progress: progress_end, words: words_end })
    }
}

/// Starts the tasks that empty the queues. They end with the service.
pub fn serve(service: &Arc<Service>, ends: Ends) {
    let Ends { parts: part_reports, progress: progress_words, mut words } = ends;
    parts::serve(service, part_reports);
    progress::serve(service, progress_words);
    let weak = Arc::downgrade(service);
    tokio::spawn(async move {
        let mut batch = Vec::new();
        while words.recv_many(&mut batch, BATCH).await > 0 {
            let Some(service) = weak.upgrade() else { return };
            service.take_words(std::mem::take(&mut batch)).await;
        }
    });
}

impl Service {
    /// Takes a report.
    pub async fn report(
        self: &Arc<Self>,
        caller: &Caller,
        cluster: &ClusterName,
        member: &MemberName,
        report: Report,
    ) -> Result<ReportAccepted, ServiceError> {
        let incarnation = report.incarnation;
        self.hear(cluster, Claim::of_report(member, &report)).await?;
        self.check_incarnation(cluster, member, incarnation).await?;
        let (cluster, member) = (cluster.clone(), member.clone());
        let said = |word: Word| Said { cluster: cluster.clone(), member: member.clone(), incarnation, word };
        match report.event {
            ReportEvent::Part(report) => self.report_part(cluster, member, incarnation, *report).await,
            ReportEvent::Progress { snapshot, mut missing, spooled_bytes } => {
                missing.truncate(MAX_MISSING);
                let row = ProgressRow { cluster, member, incarnation, snapshot, missing, spooled_bytes };
                // When the queue is full, the next word will do.
                let relevant = self.queues.progress.try_send(row).is_ok();
                Ok(ReportAccepted { relevant })
            }
            ReportEvent::Failed { snapshot, reason, detail, channel } => {
                let detail = clean(&detail);
                let failure = Failure { snapshot, member: member.clone(), incarnation, reason, detail, channel };
                self.report_failed(caller, &cluster, &member, failure).await
            }
            ReportEvent::UploadBegun(upload) => self.upload_begun(part::Reporter { cluster, member, incarnation }, upload).await,
            ReportEvent::UploadEnded(upload) => {
                self.store.forget_upload(upload.snapshot, &upload.key, &upload.upload).await?;
                Ok(ReportAccepted { relevant: true })
            }
            ReportEvent::Prepared { restore, generation, bytes } => {
                self.say(said(Word::Prepared { restore, generation, bytes })).await
            }
            ReportEvent::Loading { restore, generation, loaded: bytes } => {
                self.say(said(Word::Loading { restore, generation, bytes })).await
            }
            ReportEvent::PrepareFailed { restore, generation, attempt, problem, detail } => {
                let detail = clean(&detail);
                self.say(said(Word::PrepareFailed { restore, generation, attempt, problem, detail })).await
            }
            ReportEvent::Running { generation } => self.say(said(Word::Running { generation })).await,
            ReportEvent::Leaving { generation } => {
                self.leave_step(caller, &cluster, member, incarnation, leave::Step::Wants { generation }).await
            }
            ReportEvent::Drained { generation, member: of, leaving, sent } => {
                let step = leave::Step::Drained { generation, member: of, incarnation: leaving, sent };
                self.leave_step(caller, &cluster, member, incarnation, step).await
            }
            ReportEvent::Left { generation, sent, received } => {
                part::check_end(&sent, &received).map_err(ServiceError::Invalid)?;
                let step = leave::Step::Ended { generation, sent, received };
                self.leave_step(caller, &cluster, member, incarnation, step).await
            }
        }
    }

    /// Refuses an incarnation that isn't the one in force, as far as is known here; the store looks again under its lock.
    async fn check_incarnation(
        &self,
        cluster: &ClusterName,
        member: &MemberName,
        incarnation: Incarnation,
    ) -> Result<(), ServiceError> {
        let mut view = self.view(cluster).await?;
        if view.facts.members.get(member).is_none_or(|m| m.incarnation < incarnation) {
            view = self.reload(cluster).await?;
        }
        match view.facts.members.get(member) {
            None => Err(Refusal::UnknownMember { cluster: cluster.clone(), member: member.clone() }.into()),
            Some(m) if m.incarnation != incarnation => {
                Err(Refusal::Fenced { member: member.clone(), expected: m.incarnation, found: incarnation }.into())
            }
            Some(_) => Ok(()),
        }
    }

    async fn report_part(
        &self,
        cluster: ClusterName,
        member: MemberName,
        incarnation: Incarnation,
        report: PartReport,
    ) -> Result<ReportAccepted, ServiceError> {
        let reporter = part::Reporter { cluster, member, incarnation };
        part::check(&reporter, &report).map_err(ServiceError::Invalid)?;
        let report = check_inline(&reporter, report, &self.decoding).await?;
        if report.objects.iter().any(|object| object.key().is_some()) {
            self.confirm_stored(&reporter.cluster, &report).await?;
        }
        let part::Reporter { cluster, member, incarnation } = reporter;
        let (answer, answered) = oneshot::channel();
        let row = PartRow { cluster, member, incarnation, report };
        self.queues.parts.send((row, answer)).await.map_err(|_| ServiceError::Stopping)?;
        let relevant = answered.await.map_err(|_| ServiceError::Stopping)?.map_err(shared)?;
        Ok(ReportAccepted { relevant })
    }

    async fn upload_begun(&self, reporter: part::Reporter, upload: Upload) -> Result<ReportAccepted, ServiceError> {
        part::check_upload(&reporter, &upload).map_err(ServiceError::Invalid)?;
        let part::Reporter { cluster, member, incarnation } = reporter;
        let row = UploadRow { cluster, member, incarnation, upload };
        Ok(ReportAccepted { relevant: self.store.put_upload(&row).await? })
    }

    /// Has the store confirm that each object is there with its recorded length.
    async fn confirm_stored(&self, cluster: &ClusterName, report: &PartReport) -> Result<(), ServiceError> {
        let view = self.view(cluster).await?;
        let archive = self.archives.get(view.facts.cluster.archive_prefix.as_deref()).await?;
        for object in report.objects.iter().filter(|object| object.key().is_some()) {
            archive.head(object).await.map_err(|error| {
                if error.is_transient() { ServiceError::from(error) } else { ServiceError::Invalid(error.to_string()) }
            })?;
        }
        Ok(())
    }

    async fn report_failed(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        member: &MemberName,
        failure: Failure,
    ) -> Result<ReportAccepted, ServiceError> {
        let occasion = self.occasion(&Caller { actor: format!("member:{member}"), ..caller.clone() });
        let scope = Scope { request_id: caller.request_id.clone(), ..Scope::default() };
        let rule = move |facts: &Facts| Ok(snapshot::failed(facts, &occasion, failure.clone()).into());
        let done = self.transition(cluster, scope, rule).await?;
        Ok(ReportAccepted { relevant: done.changed })
    }

    async fn say(&self, said: Said) -> Result<ReportAccepted, ServiceError> {
        let (answer, answered) = oneshot::channel();
        self.queues.words.send((said, answer)).await.map_err(|_| ServiceError::Stopping)?;
        answered.await.map_err(|_| ServiceError::Stopping)?.map_err(shared)?;
        Ok(ReportAccepted { relevant: true })
    }

    async fn take_words(&self, batch: Vec<(Said, Answer<()>)>) {
        let mut clusters: BTreeMap<ClusterName, (Vec<_>, Vec<_>)> = BTreeMap::new();
        for (said, answer) in batch {
            let (words, answers) = clusters.entry(said.cluster).or_default();
            words.push((said.member, said.incarnation, said.word));
            answers.push(answer);
        }
        for (cluster, (words, answers)) in clusters {
            let occasion = self.occasion(&Caller::acting("members"));
            let rule = move |facts: &Facts| Ok(restore::heard(facts, &occasion, &words).into());
            let result = self.transition(&cluster, Scope::default(), rule).await.map(drop).map_err(Arc::new);
            answers.into_iter().for_each(|answer| drop(answer.send(result.clone())));
        }
    }
}

/// Beyond so many plain bytes, inline objects are checked on a thread that may block.
const QUICK_BYTES: u64 = 64 << 10;

/// Checks what a report holds itself: only what could be restored is committed.
async fn check_inline(reporter: &part::Reporter, report: PartReport, turns: &Semaphore) -> Result<PartReport, ServiceError> {
    let (cluster, snapshot) = (reporter.cluster.clone(), report.snapshot);
    let plain = report.objects.iter().map(|object| object.plain_bytes).fold(0, u64::saturating_add);
    let (member, incarnation) = (reporter.member.clone(), reporter.incarnation);
    let check = move || {
        let part = part::of(member, incarnation, &report);
        let checked = stillframe_archive::check_part(&cluster, snapshot, &part, &std::env::temp_dir());
        checked.map(|()| report).map_err(|problem| ServiceError::Invalid(problem.to_string()))
    };
    if plain <= QUICK_BYTES {
        return check();
    }
    // However many come together: what a few bytes decode to may be much.
    let _turn = turns.acquire().await.map_err(|_| ServiceError::Stopping)?;
    tokio::task::spawn_blocking(check).await.map_err(|_| ServiceError::Stopping)?
}

/// How many channels of one progress report are kept.
const MAX_MISSING: usize = 100;

/// The longest detail that is kept, in characters.
const MAX_DETAIL: usize = 2000;

/// A detail as the database takes it.
fn clean(detail: &str) -> String {
    detail.chars().filter(|c| *c != '\0').take(MAX_DETAIL).collect()
}

/// An error that many have.
pub(super) fn shared(error: Arc<ServiceError>) -> ServiceError {
    match &*error {
        ServiceError::Store(error) => ServiceError::Store(error.clone()),
        ServiceError::Refused(refusal) => ServiceError::Refused(refusal.clone()),
        ServiceError::UnknownCluster(cluster) => ServiceError::UnknownCluster(cluster.clone()),
        ServiceError::UnknownSnapshot(id) => ServiceError::UnknownSnapshot(*id),
        ServiceError::UnknownRestore(id) => ServiceError::UnknownRestore(*id),
        ServiceError::UnknownSchedule(cluster, name) => ServiceError::UnknownSchedule(cluster.clone(), name.clone()),
        ServiceError::ClusterExists { cluster, differences } => {
            ServiceError::ClusterExists { cluster: cluster.clone(), differences: differences.clone() }
        }
        ServiceError::Invalid(text) => ServiceError::Invalid(text.clone()),
        ServiceError::Archive(text) => ServiceError::Archive(text.clone()),
        ServiceError::KeyReused(key) => ServiceError::KeyReused(key.clone()),
        ServiceError::StillUnderWay(key) => ServiceError::StillUnderWay(key.clone()),
        ServiceError::Stopping => ServiceError::Stopping,
    }
}
