//! Which part reports are fit to be taken at all. Whether the part is still wanted is for the store to say, under its lock.

use std::collections::BTreeSet;

use stillframe_api::agent::{MAX_UPLOAD_BYTES, PartReport, Upload};
use stillframe_archive::{ObjectKey, Part, Place, Role};
use stillframe_protocol::{ClusterName, Incarnation, MemberName, Received, Sent};

/// Whose part it is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reporter {
    /// The cluster.
    pub cluster: ClusterName,
    /// The member.
    pub member: MemberName,
    /// Its incarnation.
    pub incarnation: Incarnation,
}

/// How much longer than asked for an inline object may be: the limit is a wish, the manifest's bound is the coordinator's to keep.
const INLINE_BOUND_BYTES: u64 = 16 << 10;

/// Checks that a report speaks of objects that are the reporter's own, in the right places, each once.
///
/// # Errors
/// What was expected and what was found.
pub fn check(reporter: &Reporter, report: &PartReport) -> Result<(), String> {
    let mut roles = BTreeSet::new();
    for object in &report.objects {
        if !roles.insert(object.role) {
            return Err(format!("expected one {} object, found two", object.role));
        }
        match &object.place {
            Place::Key(key) => {
                let Reporter { cluster, member, incarnation } = reporter;
                let expected = ObjectKey::part_key(cluster, report.snapshot, member, *incarnation, object.role);
                if *key != expected {
                    return Err(format!("the {} object of this part is stored under {expected}, found {key}", object.role));
                }
            }
            Place::Inline(content) => {
                let found = content.len() as u64;
                if found != object.bytes || found > INLINE_BOUND_BYTES {
                    return Err(format!(
                        "an inline {} object has the {} bytes it says and at most {INLINE_BOUND_BYTES}, found {found}",
                        object.role, object.bytes
                    ));
                }
            }
        }
    }
    let double = twice("sent", report.sent.iter().map(|s| &s.to))
        .or_else(|| twice("received", report.received.iter().map(|r| &r.from)))
        .or_else(|| twice("recorded", report.recorded.iter().map(|r| &r.from)))
        .or_else(|| twice("logged", report.logged.iter().map(|l| &l.to)))
        .or_else(|| twice("peers", report.peers.iter().map(|p| &p.member)));
    double.map_or(Ok(()), Err)
}

/// Checks that what a member says it counts at its end names each channel once.
///
/// # Errors
/// What was expected and what was found.
pub fn check_end(sent: &[Sent], received: &[Received]) -> Result<(), String> {
    let double = twice("sent", sent.iter().map(|s| &s.to)).or_else(|| twice("received", received.iter().map(|r| &r.from)));
    double.map_or(Ok(()), Err)
}

fn twice<'a>(what: &str, names: impl Iterator<Item = &'a MemberName>) -> Option<String> {
    let mut seen = BTreeSet::new();
    let mut names = names.filter(|name| !seen.insert(*name));
    names.next().map(|name| format!("expected one `{what}` entry a channel, found two for {name}"))
}

/// The part that a member reported, as the manifest has it.
#[must_use]
pub fn of(member: MemberName, incarnation: Incarnation, report: &PartReport) -> Part {
    let PartReport { snapshot: _, epoch: _, generation: _, objects, sent, received, recorded, logged, peers } = report;
    Part {
        member,
        incarnation,
        objects: objects.clone(),
        sent: sent.clone(),
        received: received.clone(),
        recorded: recorded.clone(),
        logged: logged.clone(),
        peers: peers.clone(),
    }
}

/// Checks that an upload is one of an object of the reporter's own.
///
/// # Errors
/// What was expected and what was found.
pub fn check_upload(reporter: &Reporter, upload: &Upload) -> Result<(), String> {
    let Reporter { cluster, member, incarnation } = reporter;
    let own = |role: &Role| ObjectKey::part_key(cluster, upload.snapshot, member, *incarnation, *role) == upload.key;
    if ![Role::State, Role::Channels].iter().any(own) {
        let expected = ObjectKey::state_key(cluster, upload.snapshot, member, *incarnation);
        return Err(format!("an object of this part is stored under {expected} or beside it, found {}", upload.key));
    }
    let id = &upload.upload;
    if id.is_empty() || id.len() > MAX_UPLOAD_BYTES || id.contains('\0') {
        return Err(format!("the id of an upload has 1 to {MAX_UPLOAD_BYTES} bytes without NUL, found {}", id.len()));
    }
    Ok(())
}

/// The bytes of a part's objects, as stored.
#[must_use]
pub fn bytes(report: &PartReport) -> u64 {
    report.objects.iter().map(|object| object.bytes).fold(0, u64::saturating_add)
}
