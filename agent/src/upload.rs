//! From a sealed part to a report: serialise, compress, store what is too large to go inline, and tell the coordinator. Nothing of it runs on the
//! application's thread.

use std::{
    any::Any,
    io::{self, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use stillframe_api::{
    agent::{PartReport, ReportEvent, Upload},
    snapshot::AbortReason,
};
use stillframe_archive::{
    Archive, ArchiveError, ArchiveUrl, ChannelRecord, EncodedObject, ObjectEntry, ObjectKey, ObjectWriter, Role, StoreOptions,
    UploadLog,
};
use stillframe_protocol::{Epoch, Generation, PartCounters, SnapshotId};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    capture::{Capture, CaptureKind},
    control::reporter::{Reported, Reporter},
    deadline::Deadline,
    error::AgentError,
    spool::{Spool, SpoolError},
};
use stillframe_api::backoff::Backoff;

/// Up to so many plain bytes, changing to a thread that may block would cost more than the work.
const SMALL_BYTES: u64 = 64 << 10;

/// The archive, opened when it is needed first: small parts never need it, and a store that is away must not keep a process from starting.
#[derive(Debug)]
pub(crate) struct ArchiveDoor {
    url: ArchiveUrl,
    id: Uuid,
    spool_dir: PathBuf,
    open: OnceCell<Archive>,
}

impl ArchiveDoor {
    pub(crate) fn new(url: ArchiveUrl, id: Uuid, spool_dir: &Path) -> Self {
        Self { url, id, spool_dir: spool_dir.to_owned(), open: OnceCell::new() }
    }

    pub(crate) async fn open(&self) -> Result<&Archive, ArchiveError> {
        let options = StoreOptions { spill_dir: Some(self.spool_dir.clone()), ..StoreOptions::default() };
        let open = async || {
            let archive = Archive::open_with(&self.url, &options).await?;
            match archive.id() {
                id if id == self.id => Ok(archive),
                found => Err(ArchiveError::OtherArchive { url: self.url.to_string(), expected: self.id, found }),
            }
        };
        self.open.get_or_try_init(open).await
    }

    pub(crate) fn spool_dir(&self) -> &Path {
        &self.spool_dir
    }
}

/// One capture, which serves every epoch that was cut with it.
#[derive(Debug)]
pub(crate) struct Captured {
    state: Mutex<State>,
    /// The unsent messages and the timers at the cut.
    pub(crate) kept: Vec<ChannelRecord>,
    kept_bytes: u64,
    last_state_bytes: Arc<AtomicU64>,
}

#[derive(Debug)]
enum State {
    Captured(Capture),
    Encoded(EncodedObject),
    Failed(String),
}

impl Captured {
    /// `last_state_bytes` carries the size of the last state from one capture to the next: it says where this one should be serialised.
    pub(crate) fn new(capture: Capture, kept: Vec<ChannelRecord>, last_state_bytes: Arc<AtomicU64>) -> Self {
        let length = |record: &ChannelRecord| match record {
            ChannelRecord::Recorded { payload, .. }
            | ChannelRecord::Logged { payload, .. }
            | ChannelRecord::Unsent { payload, .. } => payload.len() as u64 + 80,
            ChannelRecord::Timer { .. } => 20,
        };
        let kept_bytes = kept.iter().map(length).sum();
        Self { state: Mutex::new(State::Captured(capture)), kept, kept_bytes, last_state_bytes }
    }

    fn is_small(&self) -> bool {
        let state = match self.state.try_lock().as_deref() {
            Ok(State::Captured(Capture(CaptureKind::Bytes(state)))) => state.len() as u64,
            Ok(State::Captured(Capture(CaptureKind::Write(_)))) => self.last_state_bytes.load(Ordering::Relaxed),
            Ok(State::Encoded(_) | State::Failed(_)) => 0,
            // Another epoch of the same capture is serialising it.
            Err(_) => u64::MAX,
        };
        state.saturating_add(self.kept_bytes) <= SMALL_BYTES
    }

    fn encode(&self, spool_dir: &Path) -> Result<EncodedObject, String> {
        // A panic of the application's closure is caught below, with the state already marked as failed.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let encoded = match std::mem::replace(&mut *state, State::Failed("the capture panicked".to_owned())) {
            State::Encoded(object) => Ok(object),
            State::Failed(why) => Err(why),
            State::Captured(Capture(CaptureKind::Bytes(bytes))) if bytes.len() as u64 <= SMALL_BYTES => {
                Ok(EncodedObject::from_bytes(bytes))
            }
            State::Captured(Capture(kind)) => {
                let mut out = ObjectWriter::new(spool_dir);
                let write = |out: &mut ObjectWriter| match kind {
                    CaptureKind::Bytes(bytes) => out.write_all(&bytes),
                    CaptureKind::Write(write) => write(out),
                };
                match catch_unwind(AssertUnwindSafe(|| write(&mut out))) {
                    Ok(written) => written.and_then(|()| out.finish()).map_err(|error| error.to_string()),
                    Err(panic) => Err(format!("the application's capture panicked: {}", panic_message(&*panic))),
                }
            }
        };
        *state = match &encoded {
            Ok(object) => {
                self.last_state_bytes.store(object.plain_bytes(), Ordering::Relaxed);
                State::Encoded(object.clone())
            }
            Err(why) => State::Failed(why.clone()),
        };
        encoded
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Everything that a part's report needs.
#[derive(Debug)]
pub(crate) struct PartJob {
    pub(crate) snapshot: SnapshotId,
    pub(crate) epoch: Epoch,
    pub(crate) generation: Generation,
    pub(crate) inline_limit: u64,
    pub(crate) deadline: Deadline,
    pub(crate) captured: Arc<Captured>,
    pub(crate) spool: Spool,
    pub(crate) counters: PartCounters,
}

/// Why a part can't be reported.
enum Failure {
    Capture(String),
    Spool(SpoolError),
    Store(ArchiveError),
}

impl Failure {
    fn event(self, snapshot: SnapshotId) -> ReportEvent {
        let (reason, detail) = match self {
            Self::Capture(why) => (AbortReason::MemberFailed, format!("the state can't be captured: {why}")),
            Self::Spool(error) => (error.reason(), error.to_string()),
            Self::Store(
                error @ (ArchiveError::Spill { .. } | ArchiveError::OtherArchive { .. } | ArchiveError::Conflict { .. }),
            ) => (AbortReason::MemberFailed, error.to_string()),
            Self::Store(error) => (AbortReason::StoreUnavailable, error.to_string()),
        };
        ReportEvent::Failed { snapshot, reason, detail, channel: None }
    }
}

/// Brings a part to the coordinator, or tells it why not. Dropping the future gives it up.
pub(crate) async fn upload(job: PartJob, reporter: Reporter, door: Arc<ArchiveDoor>, parts_reported: Arc<AtomicU64>) {
    let (snapshot, epoch, deadline) = (job.snapshot, job.epoch, job.deadline.clone());
    let begun = Instant::now();
    let event = match store(job, &reporter, &door).await {
        Ok(report) => ReportEvent::Part(Box::new(report)),
        Err(failure) => {
            let event = failure.event(snapshot);
            tracing::warn!(%epoch, %snapshot, ?event, "the part of a snapshot can't be completed");
            event
        }
    };
    let reported = reporter.report(event, Some(&deadline)).await;
    if reported == Reported::Accepted {
        parts_reported.fetch_add(1, Ordering::Relaxed);
    }
    tracing::debug!(%epoch, %snapshot, ?reported, took_us = begun.elapsed().as_micros() as u64, "part reported");
}

async fn store(job: PartJob, reporter: &Reporter, door: &ArchiveDoor) -> Result<PartReport, Failure> {
    let PartJob { snapshot, epoch, generation, inline_limit, deadline, captured, spool, counters } = job;
    let spool_dir = door.spool_dir().to_owned();
    let small = captured.is_small() && spool.in_memory() && spool.bytes() <= SMALL_BYTES;
    let encode = move || encode(&captured, spool, &spool_dir);
    let (state, channels) = if small {
        encode()?
    } else {
        tokio::task::spawn_blocking(encode).await.map_err(|error| Failure::Capture(error.to_string()))??
    };
    let mut objects = Vec::with_capacity(2);
    for (role, object) in [(Role::State, state), (Role::Channels, channels)] {
        let key = ObjectKey::part_key(&reporter.cluster, snapshot, &reporter.member, reporter.incarnation, role);
        let (entry, to_put) = object.into_entry(role, inline_limit, key);
        if let Some((key, object)) = to_put {
            let told = Told { reporter, snapshot, deadline: &deadline };
            put(door, &key, &object, &told).await.map_err(Failure::Store)?;
        }
        objects.push(entry);
    }
    let PartCounters { sent, received, recorded, logged, peers, .. } = counters;
    Ok(PartReport { snapshot, epoch, generation, objects, sent, received, recorded, logged, peers })
}

fn encode(captured: &Captured, spool: Spool, spool_dir: &Path) -> Result<(EncodedObject, EncodedObject), Failure> {
    let state = captured.encode(spool_dir).map_err(Failure::Capture)?;
    let mut plain = spool.finish(&captured.kept).map_err(Failure::Spool)?;
    let spilled = |source: io::Error| Failure::Spool(SpoolError::Io { dir: spool_dir.to_owned(), source });
    let mut out = ObjectWriter::new(spool_dir);
    copy(&mut plain, &mut out).map_err(spilled)?;
    let channels = out.finish().map_err(spilled)?;
    Ok((state, channels))
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

/// The coordinator is told of uploads in pieces: should this process die in the middle of one, it is aborted all the same.
struct Told<'a> {
    reporter: &'a Reporter,
    snapshot: SnapshotId,
    deadline: &'a Deadline,
}

impl Told<'_> {
    fn upload(&self, key: &ObjectKey, upload: &str) -> Upload {
        Upload { snapshot: self.snapshot, key: key.clone(), upload: upload.to_owned() }
    }
}

impl UploadLog for Told<'_> {
    async fn begun(&self, key: &ObjectKey, upload: &str) -> bool {
        let event = ReportEvent::UploadBegun(self.upload(key, upload));
        self.reporter.report(event, Some(self.deadline)).await == Reported::Accepted
    }

    async fn ended(&self, key: &ObjectKey, upload: &str) {
        self.reporter.mention(ReportEvent::UploadEnded(self.upload(key, upload))).await;
    }
}

async fn put(door: &ArchiveDoor, key: &ObjectKey, object: &EncodedObject, told: &Told<'_>) -> Result<(), ArchiveError> {
    let mut patience = Patience::until(told.deadline.clone());
    loop {
        let result = match door.open().await {
            Ok(archive) => archive.put_logged(key, object, told).await,
            Err(error) => Err(error),
        };
        match result {
            Err(error) if patience.is_worth_it(&error) => patience.wait(&error).await,
            result => return result,
        }
    }
}

/// Tries again while the store is away, until a deadline.
pub(crate) struct Patience {
    deadline: Deadline,
    backoff: Backoff,
}

impl Patience {
    pub(crate) fn until(deadline: Deadline) -> Self {
        Self { deadline, backoff: Backoff::new(Duration::from_millis(20), Duration::from_secs(1)) }
    }

    pub(crate) fn is_worth_it(&self, error: &ArchiveError) -> bool {
        error.is_transient() && !self.deadline.left().is_zero()
    }

    pub(crate) async fn wait(&mut self, error: &ArchiveError) {
        tracing::debug!(%error, "the store is away; trying again");
        tokio::time::sleep(self.backoff.next_wait().min(self.deadline.left())).await;
    }
}

/// The archive that the coordinator named, or the one that the settings name instead.
pub(crate) fn door(named: &str, own: Option<&ArchiveUrl>, id: Uuid, spool_dir: &Path) -> Result<ArchiveDoor, AgentError> {
    let url = match own {
        Some(url) => url.clone(),
        None => named.parse().map_err(|error: stillframe_archive::LocationError| AgentError::ArchiveUrl {
            url: named.to_owned(),
            reason: error.to_string(),
        })?,
    };
    Ok(ArchiveDoor::new(url, id, spool_dir))
}

/// A loaded part's entries by role.
pub(crate) fn entry(objects: &[ObjectEntry], role: Role) -> Option<&ObjectEntry> {
    objects.iter().find(|object| object.role == role)
}
