//! Loading a member's part before a restore. All of it is verified before any of it can reach the application.
//!
//! | to find | look in |
//! | --- | --- |
//! | fetching the objects, and how long that is tried | here |
//! | what is in the channels object, and what it means now | [`content`] |

pub(crate) mod content;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use stillframe_api::agent::{PrepareProblem, PrepareRestore, ReportEvent};
use stillframe_archive::{ArchiveError, ObjectEntry, PlainObject, Role};
use stillframe_protocol::{MemberName, Received, Sent, SeqRanges, SnapshotId};

use content::{Numbers, Reading};

use crate::{
    control::reporter::Reporter,
    deadline::Deadline,
    upload::{ArchiveDoor, Patience, entry},
};

/// How long a store that is away is tried before the coordinator is told, which then says when to try again.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is said how far a part is that takes long to load.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A part, loaded and verified, that nothing of was given to the application yet.
#[derive(Debug)]
pub(crate) struct LoadedPart {
    /// The snapshot it is of.
    pub(crate) snapshot: SnapshotId,
    pub(crate) state: PlainObject,
    /// At its beginning; to be read by `reading`.
    pub(crate) channels: Option<PlainObject>,
    pub(crate) reading: Reading,
    pub(crate) sent: Vec<Sent>,
    /// What was received, the recorded messages included.
    pub(crate) received: Vec<Received>,
    /// Bytes of all objects, as stored.
    pub(crate) bytes: u64,
}

/// Why a part can't be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoadError {
    pub(crate) problem: PrepareProblem,
    /// What is wrong, in a sentence that names the object.
    pub(crate) detail: String,
}

impl LoadError {
    fn unreadable(detail: impl Into<String>) -> Self {
        Self { problem: PrepareProblem::Unreadable, detail: detail.into() }
    }

    fn member(detail: impl Into<String>) -> Self {
        Self { problem: PrepareProblem::Member, detail: detail.into() }
    }
}

impl From<ArchiveError> for LoadError {
    fn from(error: ArchiveError) -> Self {
        let problem = match () {
            () if error.is_damage() => PrepareProblem::Unreadable,
            () if error.is_transient() => PrepareProblem::Unavailable,
            () => PrepareProblem::Member,
        };
        Self { problem, detail: error.to_string() }
    }
}

/// Loads and verifies, and says now and again how far it is.
///
/// # Errors
/// What is wrong with the part, and whether trying again may help.
pub(crate) async fn load_and_tell(
    part: PrepareRestore,
    door: Arc<ArchiveDoor>,
    reporter: Reporter,
) -> Result<LoadedPart, LoadError> {
    let (restore, generation) = (part.restore, part.generation);
    let received = Arc::new(AtomicU64::new(0));
    let mut loading = std::pin::pin!(load(part, &door, &received));
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    ticks.reset();
    loop {
        tokio::select! {
            biased;
            result = &mut loading => return result,
            _ = ticks.tick() => {
                let event = ReportEvent::Loading { restore, generation, loaded: received.load(Ordering::Relaxed) };
                let reporter = reporter.clone();
                // Apart, so that a coordinator that is slow to answer doesn't hold up the loading.
                tokio::spawn(async move { reporter.mention(event).await });
            }
        }
    }
}

/// Loads and verifies.
async fn load(part: PrepareRestore, door: &ArchiveDoor, received: &AtomicU64) -> Result<LoadedPart, LoadError> {
    let deadline = Deadline::at(Instant::now() + PATIENCE);
    let no_state = || LoadError::unreadable("the part has no state object: expected one in its manifest");
    let state = get(door, entry(&part.objects, Role::State).ok_or_else(no_state)?, &deadline, received).await?;
    let (reading, expected) = (Arc::new(Reading::of(&part)), Numbers::expected(&part));
    let mut channels = None;
    if let Some(object) = entry(&part.objects, Role::Channels) {
        let plain = get(door, object, &deadline, received).await?;
        let (name, reader) = (object.describe(), Arc::clone(&reading));
        // The digest was right, so only another program's writing, or a mistake of ours, can be found here; but then it is found in time.
        let counted = tokio::task::spawn_blocking(move || Numbers::count(plain, &reader)).await;
        let counted = counted.map_err(|error| LoadError::member(error.to_string()))?;
        let (plain, found) = counted.map_err(|error| LoadError::unreadable(format!("{name}: {error}")))?;
        if let Some(difference) = found.differs_from(&expected) {
            return Err(LoadError::unreadable(format!("{name}: {difference}")));
        }
        channels = Some(plain);
    } else if !expected.is_empty() {
        let detail = "the part has no channels object: expected one, because messages were recorded or logged";
        return Err(LoadError::unreadable(detail));
    }
    let reading = Arc::unwrap_or_clone(reading);
    let bytes = part.objects.iter().map(|object| object.bytes).fold(0, u64::saturating_add);
    let received = with_recorded(&part);
    Ok(LoadedPart { snapshot: part.snapshot, state, channels, reading, sent: part.sent, received, bytes })
}

async fn get(
    door: &ArchiveDoor,
    object: &ObjectEntry,
    deadline: &Deadline,
    received: &AtomicU64,
) -> Result<PlainObject, LoadError> {
    let mut patience = Patience::until(deadline.clone());
    let before = received.load(Ordering::Relaxed);
    loop {
        let result = match door.open().await {
            Ok(archive) => archive.get_counted(object, received).await,
            Err(error) => Err(error),
        };
        match result {
            Err(error) if patience.is_worth_it(&error) => {
                received.store(before, Ordering::Relaxed);
                patience.wait(&error).await;
            }
            result => return result.map_err(LoadError::from),
        }
    }
}

fn with_recorded(part: &PrepareRestore) -> Vec<Received> {
    let mut received: BTreeMap<&MemberName, SeqRanges> = part.received.iter().map(|r| (&r.from, r.ranges.clone())).collect();
    for recorded in &part.recorded {
        let ranges = received.entry(&recorded.from).or_default();
        *ranges = ranges.union(&recorded.ranges);
    }
    received.into_iter().map(|(from, ranges)| Received { from: from.clone(), ranges }).collect()
}
