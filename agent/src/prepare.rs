//! Loading a member's part before a restore. All of it is verified before any of it can reach the application.

use std::{
    collections::BTreeMap,
    io::{Seek, SeekFrom},
    sync::Arc,
    time::{Duration, Instant},
};

use stillframe_api::agent::PrepareRestore;
use stillframe_archive::{ChannelRecord, ChannelsError, ChannelsReader, ObjectEntry, PlainObject, Role};
use stillframe_protocol::{MemberName, Received, Sent, SeqRanges};

use crate::{
    deadline::Deadline,
    upload::{ArchiveDoor, Patience, entry},
};

/// How long a store that is away is tried before the restore is failed (and can be started again).
const PATIENCE: Duration = Duration::from_secs(10);

/// A part, loaded and verified, that nothing of was given to the application yet.
#[derive(Debug)]
pub(crate) struct LoadedPart {
    pub(crate) state: PlainObject,
    /// At its beginning.
    pub(crate) channels: Option<PlainObject>,
    pub(crate) sent: Vec<Sent>,
    /// What was received, the recorded messages included.
    pub(crate) received: Vec<Received>,
    /// Plain bytes of all objects.
    pub(crate) bytes: u64,
}

/// Loads and verifies.
///
/// # Errors
/// What is wrong with the part, in a sentence that names the object.
pub(crate) async fn load(part: PrepareRestore, door: Arc<ArchiveDoor>) -> Result<LoadedPart, String> {
    let deadline = Deadline::at(Instant::now() + PATIENCE);
    let state = entry(&part.objects, Role::State).ok_or("the part has no state object: expected one in its manifest")?;
    let state = get(&door, state, &deadline).await?;
    let mut bytes = state.len();
    let mut channels = None;
    if let Some(object) = entry(&part.objects, Role::Channels) {
        let plain = get(&door, object, &deadline).await?;
        bytes += plain.len();
        let name = object.describe();
        // The digest was right, so only another program's writing, or a mistake of ours, can be found here; but then it is found in time.
        let checked = tokio::task::spawn_blocking(move || check(plain)).await.map_err(|error| error.to_string())?;
        let (plain, recorded) = checked.map_err(|error| format!("{name}: {error}"))?;
        let expected: BTreeMap<_, _> = part.recorded.iter().map(|r| (r.from.clone(), r.ranges.clone())).collect();
        let expected_some: BTreeMap<_, _> = expected.into_iter().filter(|(_, ranges)| !ranges.is_empty()).collect();
        if recorded != expected_some {
            return Err(format!(
                "{name}: holds the messages {recorded:?}: expected {expected_some:?}, as recorded in the manifest"
            ));
        }
        channels = Some(plain);
    } else if part.recorded.iter().any(|recorded| !recorded.ranges.is_empty()) {
        return Err("the part has no channels object: expected one, because messages were recorded".to_owned());
    }
    let received = with_recorded(&part);
    Ok(LoadedPart { state, channels, sent: part.sent, received, bytes })
}

async fn get(door: &ArchiveDoor, object: &ObjectEntry, deadline: &Deadline) -> Result<PlainObject, String> {
    let mut patience = Patience::until(deadline.clone());
    loop {
        let result = match door.open().await {
            Ok(archive) => archive.get(object).await,
            Err(error) => Err(error),
        };
        match result {
            Err(error) if patience.is_worth_it(&error) => patience.wait(&error).await,
            result => return result.map_err(|error| error.to_string()),
        }
    }
}

/// Reads every record once; gives the object back at its beginning, with the numbers of the messages in it.
fn check(mut channels: PlainObject) -> Result<(PlainObject, BTreeMap<MemberName, SeqRanges>), ChannelsError> {
    let mut recorded: BTreeMap<MemberName, SeqRanges> = BTreeMap::new();
    for record in ChannelsReader::new(&mut channels) {
        match record? {
            ChannelRecord::Recorded { from, seq, .. } => {
                recorded.entry(from).or_default().insert(seq);
            }
            ChannelRecord::Unsent { .. } | ChannelRecord::Timer { .. } => {}
        }
    }
    channels.seek(SeekFrom::Start(0))?;
    Ok((channels, recorded))
}

fn with_recorded(part: &PrepareRestore) -> Vec<Received> {
    let mut received: BTreeMap<&MemberName, SeqRanges> = part.received.iter().map(|r| (&r.from, r.ranges.clone())).collect();
    for recorded in &part.recorded {
        let ranges = received.entry(&recorded.from).or_default();
        *ranges = ranges.union(&recorded.ranges);
    }
    received.into_iter().map(|(from, ranges)| Received { from: from.clone(), ranges }).collect()
}
