//! `stillframe snapshot verify`: the proof from the archive alone. No coordinator and no database is asked.

use clap::Args;
use futures::{StreamExt, stream};
use serde::Serialize;
use stillframe_api::Page;
use stillframe_archive::{Archive, VerifiedSnapshot, VerifyError};
use stillframe_protocol::{ClusterName, Epoch, Generation, SnapshotId};

use crate::{
    error::CliError,
    output::Output,
    parse,
    progress::Progress,
    text::{bytes, dash, table},
};

/// Snapshots verified at once; each fetches several objects at once besides.
const AT_ONCE: usize = 4;

/// The most ranges of epochs without a manifest that are named.
const MAX_RANGES: usize = 10;

/// What to verify.
#[derive(Debug, Clone, Args)]
#[command(override_usage = "stillframe snapshot verify [OPTIONS] --archive <URL> <CLUSTER> <SNAPSHOT|--all>")]
pub struct VerifyArgs {
    /// The archive: file:///directory, s3://bucket/prefix?endpoint=..&region=.., or a directory; credentials come from AWS_*
    #[arg(long, env = "STILLFRAME_ARCHIVE", value_name = "URL", hide_env_values = true)]
    pub archive: String,
    /// The cluster
    pub cluster: ClusterName,
    /// Which of its snapshots.
    #[command(flatten)]
    pub which: Which,
}

/// One snapshot, or all.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// The snapshot
    #[arg(value_parser = parse::snapshot_id)]
    pub snapshot: Option<SnapshotId>,
    /// Every snapshot of the cluster that has a manifest
    #[arg(long)]
    pub all: bool,
}

/// What was found out about one snapshot. The JSON of `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The cluster.
    pub cluster: ClusterName,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Whether everything is right.
    pub verified: bool,
    /// Its epoch; null when it isn't verified.
    pub epoch: Option<Epoch>,
    /// The generation it was taken in; null when it isn't verified.
    pub generation: Option<Generation>,
    /// How many members it is of.
    pub members: Option<usize>,
    /// How many objects were checked, inline ones included.
    pub objects: Option<u64>,
    /// Their bytes, as stored.
    pub bytes: Option<u64>,
    /// How many messages were in flight at the cut.
    pub messages_in_flight: Option<u64>,
    /// Everything that is wrong.
    pub problems: Vec<String>,
}

impl Verdict {
    fn good(found: &VerifiedSnapshot) -> Self {
        Self {
            cluster: found.manifest.cluster.clone(),
            snapshot: found.manifest.snapshot,
            verified: true,
            epoch: Some(found.manifest.epoch),
            generation: Some(found.manifest.generation),
            members: Some(found.manifest.parts.len()),
            objects: Some(found.objects),
            bytes: Some(found.bytes),
            messages_in_flight: Some(found.messages_in_flight),
            problems: Vec::new(),
        }
    }

    fn bad(error: &VerifyError) -> Self {
        Self {
            cluster: error.cluster.clone(),
            snapshot: error.snapshot,
            verified: false,
            epoch: None,
            generation: None,
            members: None,
            objects: None,
            bytes: None,
            messages_in_flight: None,
            problems: error.problems.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Verifies, and prints what was found.
///
/// # Errors
/// [`CliError::Failed`] when a snapshot doesn't verify or there is none; [`CliError::Archive`] when the archive can't be read;
/// [`CliError::Unverified`] when it went away meanwhile.
pub async fn run(args: VerifyArgs, out: &mut Output) -> Result<(), CliError> {
    let progress = Progress::new(out.is_json());
    let url = parse::archive(&args.archive)?;
    let archive = Archive::open(&url).await?;
    let wanted = match args.which.snapshot {
        Some(snapshot) => vec![snapshot],
        None => all_of(&archive, &args.cluster).await?,
    };
    let found = verify(&archive, &args.cluster, &wanted, &progress).await?;
    drop(progress);
    let bad = found.iter().filter(|verdict| !verdict.verified).count();
    let page = Page { items: found, next_cursor: None };
    match page.items.as_slice() {
        [one] if !args.which.all => out.result(one, |one| describe(std::slice::from_ref(one)))?,
        _ => out.result(&page, |page| {
            let gaps = gaps(&page.items).map_or_else(String::new, |gaps| format!("\n\n{gaps}"));
            describe(&page.items) + &gaps
        })?,
    }
    match bad {
        0 => Ok(()),
        _ => Err(CliError::Failed(format!("{bad} of {} snapshots could not be verified", page.items.len()))),
    }
}

/// Verifies these snapshots of a cluster.
///
/// # Errors
/// [`CliError::Unverified`] when the archive went away, so that a snapshot is neither verified nor found bad.
pub async fn verify(
    archive: &Archive,
    cluster: &ClusterName,
    snapshots: &[SnapshotId],
    progress: &Progress,
) -> Result<Vec<Verdict>, CliError> {
    let mut verdicts = Vec::new();
    let mut results =
        stream::iter(snapshots.iter().map(|&snapshot| archive.verify_snapshot(cluster, snapshot))).buffered(AT_ONCE);
    while let Some(result) = results.next().await {
        match result {
            Ok(found) => verdicts.push(Verdict::good(&found)),
            Err(error) if error.is_transient() => return Err(CliError::Unverified(error)),
            Err(error) => verdicts.push(Verdict::bad(&error)),
        }
        if progress.is_live() {
            progress.show(&format!("{} of {} snapshots are checked", verdicts.len(), snapshots.len()));
        }
    }
    Ok(verdicts)
}

/// The cluster's snapshots; none at all is most likely a mistake, and no proof of anything.
async fn all_of(archive: &Archive, cluster: &ClusterName) -> Result<Vec<SnapshotId>, CliError> {
    let snapshots = archive.manifests(Some(cluster)).await?;
    if !snapshots.is_empty() {
        return Ok(snapshots.into_iter().map(|(_, snapshot)| snapshot).collect());
    }
    let mut clusters: Vec<String> = archive.manifests(None).await?.into_iter().map(|(cluster, _)| cluster.to_string()).collect();
    clusters.dedup();
    let others = if clusters.is_empty() { "of no cluster".to_owned() } else { format!("of {}", clusters.join(", ")) };
    Err(CliError::Failed(format!(
        "{} has no snapshot of cluster {cluster}: expected at least one, found snapshots {others}",
        archive.url()
    )))
}

/// Epochs up to the newest that is verified that have no manifest. The archive can't tell why, but whoever reads it may know better.
fn gaps(verdicts: &[Verdict]) -> Option<String> {
    let mut epochs: Vec<u64> = verdicts.iter().filter_map(|verdict| verdict.epoch.map(Epoch::get)).collect();
    epochs.sort_unstable();
    let mut before = 0;
    let mut ranges = Vec::new();
    for epoch in epochs {
        match epoch.saturating_sub(before) {
            0 | 1 => {}
            2 => ranges.push(format!("{}", before + 1)),
            _ => ranges.push(format!("{}-{}", before + 1, epoch - 1)),
        }
        before = epoch;
    }
    let (which, verb) = match ranges.as_slice() {
        [] => return None,
        [one] if !one.contains('-') => (format!("epoch {one}"), "has"),
        some if some.len() <= MAX_RANGES => (format!("epochs {}", some.join(", ")), "have"),
        few => (format!("epochs {} and {} other ranges", few[..MAX_RANGES].join(", "), few.len() - MAX_RANGES), "have"),
    };
    let cluster = &verdicts.first()?.cluster;
    let unread = if verdicts.iter().any(|verdict| !verdict.verified) { ", or among those that are not verified" } else { "" };
    Some(format!(
        "note: {which} {verb} no manifest: aborted, deleted, or lost{unread} (`stillframe snapshot list {cluster}` says which)"
    ))
}

fn describe(verdicts: &[Verdict]) -> String {
    let number = |n: Option<u64>| n.map_or_else(dash, |n| n.to_string());
    let rows = verdicts.iter().map(|verdict| {
        [
            verdict.snapshot.to_string(),
            if verdict.verified { "verified" } else { "NOT VERIFIED" }.to_owned(),
            number(verdict.epoch.map(Epoch::get)),
            number(verdict.generation.map(Generation::get)),
            verdict.members.map_or_else(dash, |n| n.to_string()),
            number(verdict.objects),
            verdict.bytes.map_or_else(dash, bytes),
            number(verdict.messages_in_flight),
        ]
    });
    let mut text = table(["SNAPSHOT", "", "EPOCH", "GENERATION", "MEMBERS", "OBJECTS", "BYTES", "IN FLIGHT"], rows);
    for verdict in verdicts.iter().filter(|verdict| !verdict.verified) {
        text.push_str(&format!("\n\n{} is not what it should be:", verdict.snapshot));
        for problem in &verdict.problems {
            text.push_str("\n  ");
            text.push_str(problem);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(epoch: Option<u64>) -> Verdict {
        Verdict {
            cluster: ClusterName::new("bank").expect("a name"),
            snapshot: "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("an id"),
            verified: epoch.is_some(),
            epoch: epoch.map(Epoch),
            generation: None,
            members: None,
            objects: None,
            bytes: None,
            messages_in_flight: None,
            problems: Vec::new(),
        }
    }

    #[test]
    fn epochs_without_a_manifest_are_told() {
        let told = |epochs: &[u64]| gaps(&epochs.iter().map(|epoch| verified(Some(*epoch))).collect::<Vec<_>>());
        assert_eq!(told(&[3, 1, 2]), None);
        assert!(told(&[1, 2, 3, 4, 6]).is_some_and(|note| note.contains("epoch 5 has no manifest: aborted, deleted, or lost (")));
        assert!(told(&[4, 6]).is_some_and(|note| note.contains("epochs 1-3, 5 have no manifest")));
        let many: Vec<u64> = (1..=30).map(|n| n * 2).collect();
        assert!(told(&many).is_some_and(|note| note.contains("and 20 other ranges")));
        let one_bad = [verified(Some(1)), verified(None), verified(Some(3))];
        assert!(gaps(&one_bad).is_some_and(|note| note.contains("or among those that are not verified")));
    }
}
