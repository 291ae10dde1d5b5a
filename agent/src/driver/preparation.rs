//! A restore that is being prepared: the part is loaded and verified, and nothing of it is used yet.

use std::sync::Arc;

use stillframe_api::agent::{PrepareRestore, ReportEvent};
use stillframe_protocol::{Generation, RestoreId};
use tracing::Instrument;

use super::{channel::AbortOnDrop, recordings::Outward};
use crate::prepare::{self, LoadError, LoadedPart};

/// What the loading of a part gave.
#[derive(Debug)]
pub(crate) struct Loaded {
    generation: Generation,
    restore: RestoreId,
    attempt: u32,
    result: Result<Box<LoadedPart>, LoadError>,
}

#[derive(Debug)]
struct Preparation {
    restore: RestoreId,
    generation: Generation,
    /// Raised by the coordinator when it is to be tried again.
    attempt: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The part is being loaded.
    Loading { _task: AbortOnDrop },
    /// It is loaded and verified, and that is reported.
    Loaded { part: Box<LoadedPart>, _report: AbortOnDrop },
    /// It can't be loaded, and that is reported. The coordinator decides what comes next.
    Failed { _report: AbortOnDrop },
}

/// The newest restore that this process was told to prepare, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Preparations {
    newest: Option<Preparation>,
    /// The one that the generation in force began with, if its part was loaded: that generation may have begun without this process, and goes on if the
    /// newest restore fails, and whatever is prepared after it.
    in_force: Option<Preparation>,
}

impl Preparations {
    /// Begins to load the part, unless that was done already. `done` is called on the runtime.
    pub(crate) fn begin(&mut self, part: &PrepareRestore, outward: &Outward, done: impl FnOnce(Loaded) + Send + 'static) {
        let (restore, generation, attempt) = (part.restore, part.generation, part.attempt);
        let begun = |at: &Preparation| {
            let is_loaded = matches!(at.stage, Stage::Loaded { .. });
            at.restore == restore && at.generation == generation && (is_loaded || at.attempt >= attempt)
        };
        if self.newest.as_ref().is_some_and(begun) {
            return;
        }
        let is_in_force = |at: &mut Preparation| at.generation == part.in_force && matches!(at.stage, Stage::Loaded { .. });
        if let Some(loaded) = self.newest.take_if(is_in_force) {
            self.in_force = Some(loaded);
        }
        // Another one is in force: that generation will never begin again.
        self.in_force.take_if(|at| at.generation < part.in_force);
        tracing::info!(%generation, %restore, attempt, snapshot = %part.snapshot, "preparing a restore");
        let load = prepare::load_and_tell(part.clone(), Arc::clone(&outward.door), outward.reporter.clone());
        let task = async move {
            let result = load.await.map(Box::new);
            done(Loaded { generation, restore, attempt, result });
        };
        let task = AbortOnDrop(outward.runtime.spawn(task.in_current_span()).abort_handle());
        self.newest = Some(Preparation { restore, generation, attempt, stage: Stage::Loading { _task: task } });
    }

    /// Takes what was loaded, and reports on it.
    pub(crate) fn loaded(&mut self, loaded: Loaded, outward: &Outward) {
        let Loaded { generation, restore, attempt, result } = loaded;
        let Some(at) = &mut self.newest else { return };
        if (at.restore, at.generation, at.attempt) != (restore, generation, attempt) {
            return;
        }
        at.stage = match result {
            Ok(part) => {
                let event = ReportEvent::Prepared { restore, generation, bytes: part.bytes };
                Stage::Loaded { part, _report: outward.report(event) }
            }
            Err(LoadError { problem, detail }) => {
                tracing::warn!(%generation, %restore, attempt, ?problem, detail, "the part of a restore can't be loaded");
                let event = ReportEvent::PrepareFailed { restore, generation, attempt, problem, detail };
                Stage::Failed { _report: outward.report(event) }
            }
        };
    }

    /// The part of this restore, if it is loaded. It is handed out once.
    pub(crate) fn take(&mut self, restore: RestoreId, generation: Generation) -> Option<LoadedPart> {
        let fits = |at: &mut Preparation| {
            at.restore == restore && at.generation == generation && matches!(at.stage, Stage::Loaded { .. })
        };
        let prepared = self.newest.take_if(fits).or_else(|| self.in_force.take_if(fits));
        match prepared?.stage {
            Stage::Loaded { part, .. } => Some(*part),
            Stage::Loading { .. } | Stage::Failed { .. } => None,
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
