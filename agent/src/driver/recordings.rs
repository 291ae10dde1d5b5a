//! The snapshots that are being recorded: from the cut to the report.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use stillframe_api::{
    agent::{OpenSnapshot, ReportEvent},
    snapshot::{AbortReason, Channel},
};
use stillframe_archive::ChannelRecord;
use stillframe_protocol::{Epoch, PartCounters, SnapshotId};
use tracing::Instrument;

use super::channel::AbortOnDrop;
use crate::{
    capture::Capture,
    control::reporter::Reporter,
    deadline::Deadline,
    spool::{Spool, SpoolBudget},
    upload::{self, ArchiveDoor, Captured, PartJob},
};

/// A snapshot that takes longer is reported on, and then again as often.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What brings parts and reports out of the driver.
#[derive(Debug, Clone)]
pub(crate) struct Outward {
    pub(crate) reporter: Reporter,
    pub(crate) door: Arc<ArchiveDoor>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) parts_reported: Arc<AtomicU64>,
    pub(crate) last_state_bytes: Arc<AtomicU64>,
}

impl Outward {
    /// Reports until it is taken, whatever becomes of the driver's interest in it.
    pub(crate) fn report(&self, event: ReportEvent) -> AbortOnDrop {
        let reporter = self.reporter.clone();
        let report = async move {
            reporter.report(event, None).await;
        };
        AbortOnDrop(self.runtime.spawn(report.in_current_span()).abort_handle())
    }

    fn mention(&self, event: ReportEvent) {
        let reporter = self.reporter.clone();
        self.runtime.spawn(async move { reporter.mention(event).await }.in_current_span());
    }
}

/// What the coordinator says of a snapshot.
#[derive(Debug, Clone)]
struct Named {
    snapshot: SnapshotId,
    inline_limit: u64,
    deadline: Deadline,
}

#[derive(Debug)]
enum Stage {
    /// It was begun and isn't cut: the channels aren't aligned. At that time at the latest they needn't be any more.
    Aligning { until: Option<Instant> },
    /// Messages of channels that aren't closed are recorded.
    Recording { captured: Arc<Captured>, spool: Spool },
    /// All channels are closed, but the coordinator hasn't named the snapshot yet: a frame of a peer was faster.
    Sealed { captured: Arc<Captured>, spool: Spool, counters: PartCounters },
    /// The part is on its way.
    Uploading { task: AbortOnDrop },
    /// It can't be completed here.
    Failed { reason: AbortReason, detail: String, channel: Option<Channel> },
    /// That was said.
    FailureReported { _task: AbortOnDrop },
}

impl Stage {
    /// Whether somebody may want to know how far it is.
    fn takes_time(&self) -> bool {
        match self {
            Self::Aligning { .. } | Self::Recording { .. } | Self::Sealed { .. } => true,
            Self::Uploading { task } => !task.0.is_finished(),
            Self::Failed { .. } | Self::FailureReported { .. } => false,
        }
    }
}

#[derive(Debug)]
struct Recording {
    stage: Stage,
    named: Option<Named>,
    since: Instant,
    progress_at: Instant,
}

impl Recording {
    fn new(stage: Stage) -> Self {
        let since = Instant::now();
        Self { stage, named: None, since, progress_at: since + PROGRESS_EVERY }
    }
}

/// Every snapshot that is open here, by epoch.
#[derive(Debug)]
pub(crate) struct Recordings {
    open: BTreeMap<Epoch, Recording>,
    budget: Arc<SpoolBudget>,
    outward: Outward,
}

impl Recordings {
    pub(crate) fn new(budget: Arc<SpoolBudget>, outward: Outward) -> Self {
        Self { open: BTreeMap::new(), budget, outward }
    }

    /// The epoch is begun, and is cut once the channels are aligned.
    pub(crate) fn align(&mut self, epoch: Epoch, until: Option<Instant>) {
        self.open.entry(epoch).or_insert_with(|| Recording::new(Stage::Aligning { until }));
    }

    /// Which epoch is to be cut next although the channels aren't aligned, and when.
    pub(crate) fn next_unalign(&self) -> Option<(Instant, Epoch)> {
        let until = |(epoch, recording): (&Epoch, &Recording)| match recording.stage {
            Stage::Aligning { until } => Some((until?, *epoch)),
            Stage::Recording { .. }
            | Stage::Sealed { .. }
            | Stage::Uploading { .. }
            | Stage::Failed { .. }
            | Stage::FailureReported { .. } => None,
        };
        self.open.iter().filter_map(until).min()
    }

    /// The time of [`next_unalign`](Self::next_unalign) has come.
    pub(crate) fn stop_aligning(&mut self, epoch: Epoch) {
        if let Some(Recording { stage: Stage::Aligning { until }, .. }) = self.open.get_mut(&epoch) {
            *until = None;
        }
    }

    /// The application was captured for these epochs.
    pub(crate) fn captured(&mut self, epochs: std::ops::RangeInclusive<u64>, capture: Capture, kept: Vec<ChannelRecord>) {
        let captured = Arc::new(Captured::new(capture, kept, Arc::clone(&self.outward.last_state_bytes)));
        for epoch in epochs.map(Epoch) {
            let stage = Stage::Recording { captured: Arc::clone(&captured), spool: Spool::new(&self.budget) };
            match self.open.get_mut(&epoch) {
                Some(begun) => begun.stage = stage,
                None => drop(self.open.insert(epoch, Recording::new(stage))),
            }
        }
    }

    /// Keeps a message. An error means that the epoch has failed: abort it in the participant.
    pub(crate) fn record(&mut self, epoch: Epoch, record: &ChannelRecord, channel: &Channel) -> Result<(), ()> {
        let Some(Recording { stage: Stage::Recording { spool, .. }, .. }) = self.open.get_mut(&epoch) else { return Ok(()) };
        match spool.push(record) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.fail(epoch, error.reason(), format!("{} -> {}: {error}", channel.from, channel.to), Some(channel.clone()));
                Err(())
            }
        }
    }

    /// All channels are closed. `counters` is nothing when they name a member that isn't known.
    pub(crate) fn sealed(&mut self, epoch: Epoch, counters: Option<PartCounters>) {
        let Some(recording) = self.open.get_mut(&epoch) else { return };
        let placeholder = Stage::Failed { reason: AbortReason::MemberFailed, detail: String::new(), channel: None };
        recording.stage = match (std::mem::replace(&mut recording.stage, placeholder), counters) {
            (Stage::Recording { captured, spool }, Some(counters)) => Stage::Sealed { captured, spool, counters },
            (Stage::Recording { .. }, None) => Stage::Failed {
                reason: AbortReason::MemberFailed,
                detail: "a channel leads to a member that isn't in the list of peers".to_owned(),
                channel: None,
            },
            (
                other @ (Stage::Aligning { .. }
                | Stage::Sealed { .. }
                | Stage::Uploading { .. }
                | Stage::Failed { .. }
                | Stage::FailureReported { .. }),
                Some(_) | None,
            ) => other,
        };
        self.advance(epoch);
    }

    /// This member can't complete the epoch.
    pub(crate) fn fail(&mut self, epoch: Epoch, reason: AbortReason, detail: String, channel: Option<Channel>) {
        let stage = Stage::Failed { reason, detail, channel };
        match self.open.get_mut(&epoch) {
            Some(recording) => recording.stage = stage,
            None => {
                self.open.insert(epoch, Recording::new(stage));
            }
        }
        self.advance(epoch);
    }

    /// Whether something is known of the epoch.
    pub(crate) fn knows(&self, epoch: Epoch) -> bool {
        self.open.contains_key(&epoch)
    }

    /// The coordinator names the snapshot of an epoch, or says again until when it may take: that may have been changed.
    pub(crate) fn name(&mut self, open: &OpenSnapshot, received_at: Instant) {
        let Some(recording) = self.open.get_mut(&open.epoch) else { return };
        let deadline = received_at + Duration::from_millis(open.deadline_in_ms);
        match &recording.named {
            Some(named) => named.deadline.move_to(deadline),
            None => {
                let deadline = Deadline::at(deadline);
                recording.named = Some(Named { snapshot: open.snapshot, inline_limit: open.inline_limit, deadline });
                self.advance(open.epoch);
            }
        }
    }

    /// Drops every epoch up to `through` that isn't in `listed`, and gives their numbers.
    pub(crate) fn drop_ended(&mut self, through: Epoch, listed: impl Fn(Epoch) -> bool) -> Vec<Epoch> {
        let ended: Vec<Epoch> = self.open.range(..=through).map(|(epoch, _)| *epoch).filter(|epoch| !listed(*epoch)).collect();
        for epoch in &ended {
            self.open.remove(epoch);
        }
        ended
    }

    /// Hands on what is ready to go and has a name.
    fn advance(&mut self, epoch: Epoch) {
        let Some(recording) = self.open.get_mut(&epoch) else { return };
        let Some(Named { snapshot, inline_limit, deadline }) = recording.named.clone() else { return };
        let placeholder = Stage::Failed { reason: AbortReason::MemberFailed, detail: String::new(), channel: None };
        recording.stage = match std::mem::replace(&mut recording.stage, placeholder) {
            Stage::Sealed { captured, spool, counters } => {
                let generation = counters.generation;
                let job = PartJob { snapshot, epoch, generation, inline_limit, deadline, captured, spool, counters };
                let Outward { reporter, door, runtime, parts_reported, .. } = self.outward.clone();
                let task = runtime.spawn(upload::upload(job, reporter, door, parts_reported).in_current_span());
                Stage::Uploading { task: AbortOnDrop(task.abort_handle()) }
            }
            Stage::Failed { reason, detail, channel } => {
                tracing::warn!(%epoch, %snapshot, %reason, detail, "a snapshot can't be completed here");
                let task = self.outward.report(ReportEvent::Failed { snapshot, reason, detail, channel });
                Stage::FailureReported { _task: task }
            }
            other @ (Stage::Aligning { .. }
            | Stage::Recording { .. }
            | Stage::Uploading { .. }
            | Stage::FailureReported { .. }) => other,
        };
    }

    /// When the next progress report is due.
    pub(crate) fn next_progress(&self) -> Option<Instant> {
        self.open.values().filter(|recording| recording.stage.takes_time()).map(|recording| recording.progress_at).min()
    }

    /// Reports on what takes long.
    pub(crate) fn report_progress(
        &mut self,
        now: Instant,
        missing: impl Fn(Epoch, u64) -> Vec<stillframe_api::agent::MissingChannel>,
    ) {
        for (epoch, recording) in &mut self.open {
            if !recording.stage.takes_time() || recording.progress_at > now {
                continue;
            }
            recording.progress_at = now + PROGRESS_EVERY;
            let Some(named) = &recording.named else { continue };
            let since_ms = u64::try_from(now.duration_since(recording.since).as_millis()).unwrap_or(u64::MAX);
            let (missing, spooled_bytes) = match &recording.stage {
                Stage::Aligning { .. } => (missing(*epoch, since_ms), 0),
                Stage::Recording { spool, .. } => (missing(*epoch, since_ms), spool.bytes()),
                // Said once more that nothing is missing: the channels last named are closed by now.
                Stage::Sealed { .. } | Stage::Uploading { .. } | Stage::Failed { .. } | Stage::FailureReported { .. } => {
                    (Vec::new(), 0)
                }
            };
            self.outward.mention(ReportEvent::Progress { snapshot: named.snapshot, missing, spooled_bytes });
        }
    }
}
