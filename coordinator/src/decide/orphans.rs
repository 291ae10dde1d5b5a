//! Which objects of a cluster nobody owns, and which of them may go. Ownership is what counts; age only gives whoever writes the time to say so.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use stillframe_api::{
    gc::{Orphan, OrphanReason, Orphans},
    snapshot::SnapshotState,
};
use stillframe_archive::{ListedObject, ObjectKey, floors};
use stillframe_protocol::SnapshotId;

use super::facts::CollectionState;

/// So few go whatever share of all objects they are.
pub const FEW: u64 = 20;

/// What may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether anything does.
    pub orphans: Orphans,
    /// How old an orphan has to be, by the store's clock.
    pub grace: SignedDuration,
    /// How many may go at once.
    pub max_count: u64,
    /// How many of a hundred objects may go at once, when they are more than [`FEW`].
    pub max_percent: u8,
    /// Whether both limits are to be passed over.
    pub ignore_breaker: bool,
}

/// Who owns the objects of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// It is being taken, or its own sweep is still to come: whatever is under its keys is its own.
    Whole,
    /// It is committed: the manifest, and what that names.
    Named(BTreeSet<ObjectKey>),
    /// It was aborted or deleted, and its sweeps are over.
    Ended,
}

/// What a snapshot owns, by its state. `sweeps` says whether a sweep is still to come.
#[must_use]
pub fn owner(state: SnapshotState, sweeps: bool, named: impl FnOnce() -> BTreeSet<ObjectKey>) -> Owner {
    match state {
        SnapshotState::Pending | SnapshotState::Recording | SnapshotState::Committing => Owner::Whole,
        SnapshotState::Committed => Owner::Named(named()),
        SnapshotState::Aborted | SnapshotState::Deleting | SnapshotState::Deleted if sweeps => Owner::Whole,
        SnapshotState::Aborted | SnapshotState::Deleting | SnapshotState::Deleted => Owner::Ended,
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The orphans, by key.
    pub orphans: Vec<Orphan>,
    /// Why those that could go stay.
    pub withheld: Option<String>,
}

/// Judges every object of a cluster. The owners must have been read after the objects were listed: who writes an object is known before.
#[must_use]
pub fn judge(
    objects: &[ListedObject],
    owners: &BTreeMap<SnapshotId, Owner>,
    rules: &Rules,
    collection: &CollectionState,
    now: Timestamp,
) -> Found {
    let keys: Vec<Option<ObjectKey>> = objects.iter().map(|object| object.key.parse().ok()).collect();
    let manifests: BTreeSet<SnapshotId> =
        keys.iter().flatten().filter(|key| key.is_manifest()).map(ObjectKey::snapshot).collect();
    let because = |key: Option<&ObjectKey>| {
        let Some(key) = key else { return Some(OrphanReason::ForeignKey) };
        let snapshot = key.snapshot();
        match owners.get(&snapshot) {
            Some(Owner::Whole) => None,
            Some(Owner::Named(named)) => (!key.is_manifest() && !named.contains(key)).then_some(OrphanReason::NotInManifest),
            // Only what was committed has a manifest, and what was deleted has lost it first: then the database has forgotten something.
            Some(Owner::Ended) | None if manifests.contains(&snapshot) => Some(OrphanReason::UnknownCommitted),
            Some(Owner::Ended) => Some(OrphanReason::SnapshotEnded),
            None => Some(OrphanReason::UnknownSnapshot),
        }
    };
    let old_enough = |object: &ListedObject| now.duration_since(object.last_modified) >= rules.grace;
    let mut orphans: Vec<Orphan> = objects
        .iter()
        .zip(&keys)
        .filter(|(object, _)| !floors::is_key(&object.key))
        .filter_map(|(object, key)| {
            let because = because(key.as_ref())?;
            let ListedObject { key, bytes, last_modified } = object.clone();
            let goes = may_ever_go(because) && old_enough(object);
            Some(Orphan { key, bytes, last_modified, because, goes })
        })
        .collect();
    orphans.sort_by(|a, b| a.key.cmp(&b.key));
    let withheld = withheld(&orphans, objects.len() as u64, rules, collection);
    if withheld.is_some() {
        for orphan in &mut orphans {
            orphan.goes = false;
        }
    }
    Found { orphans, withheld }
}

fn may_ever_go(because: OrphanReason) -> bool {
    match because {
        OrphanReason::UnknownSnapshot | OrphanReason::SnapshotEnded | OrphanReason::NotInManifest => true,
        OrphanReason::UnknownCommitted | OrphanReason::ForeignKey => false,
    }
}

fn withheld(orphans: &[Orphan], objects: u64, rules: &Rules, collection: &CollectionState) -> Option<String> {
    let go = orphans.iter().filter(|orphan| orphan.goes).count() as u64;
    if go == 0 {
        return None;
    }
    if let CollectionState::Suspended { reason } = collection {
        return Some(format!("nothing is deleted until an operator confirms that the catalog is whole: {reason}"));
    }
    if rules.orphans == Orphans::Report {
        return Some(format!("orphans are only reported; {go} are old enough to be deleted (`--orphans delete`)"));
    }
    let too_large_a_share = go > FEW && go.saturating_mul(100) > objects.saturating_mul(u64::from(rules.max_percent));
    if rules.ignore_breaker || (go <= rules.max_count && !too_large_a_share) {
        return None;
    }
    Some(format!(
        "{go} of {objects} objects would go, and at most {} or {} % may at once: look whether the database is the one of this archive; if it is, \
         pass the limits over (`--ignore-breaker`)",
        rules.max_count, rules.max_percent
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_archive::Role;
    use stillframe_protocol::{ClusterName, Incarnation, MemberName};
    use uuid::Uuid;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T00:00:00Z".parse().expect("a time")
    }

    fn rules() -> Rules {
        let grace = SignedDuration::from_hours(1);
        Rules { orphans: Orphans::Delete, grace, max_count: 1_000, max_percent: 10, ignore_breaker: false }
    }

    fn id(n: u128) -> SnapshotId {
        SnapshotId(Uuid::from_u128(n))
    }

    fn part(n: u128, incarnation: u64) -> ObjectKey {
        let (cluster, member) = (ClusterName::new("bank").expect("a name"), MemberName::new("p1").expect("a name"));
        ObjectKey::part_key(&cluster, id(n), &member, Incarnation(incarnation), Role::State)
    }

    fn manifest(n: u128) -> ObjectKey {
        ObjectKey::manifest_key(&ClusterName::new("bank").expect("a name"), id(n))
    }

    fn object(key: impl ToString, minutes_old: i64) -> ListedObject {
        let last_modified = now().checked_sub(SignedDuration::from_mins(minutes_old)).expect("a time");
        ListedObject { key: key.to_string(), bytes: 1, last_modified }
    }

    #[test]
    fn ownership_counts_and_age_only_gives_time() {
        let owners = BTreeMap::from([
            (id(1), Owner::Whole),
            (id(2), Owner::Named(BTreeSet::from([part(2, 1)]))),
            (id(3), Owner::Ended),
            (id(5), Owner::Ended),
        ]);
        let objects = [
            object(part(1, 1), 9_999),
            object(part(2, 1), 9_999),
            object(manifest(2), 9_999),
            object(part(2, 7), 61),
            object(part(3, 1), 59),
            object(part(4, 1), 61),
            object(manifest(5), 61),
            object(part(5, 1), 61),
            object(part(6, 1), 61),
            object(manifest(6), 61),
            object("clusters/bank/notes.txt", 9_999),
            object(format!("clusters/bank/floors/{}.json", "7f".repeat(32)), 9_999),
        ];
        let found = judge(&objects, &owners, &rules(), &CollectionState::Confirmed, now());
        let found: BTreeMap<String, (OrphanReason, bool)> =
            found.orphans.into_iter().map(|orphan| (orphan.key, (orphan.because, orphan.goes))).collect();
        let expected = [
            (part(2, 7).to_string(), (OrphanReason::NotInManifest, true)),
            (part(3, 1).to_string(), (OrphanReason::SnapshotEnded, false)),
            (part(4, 1).to_string(), (OrphanReason::UnknownSnapshot, true)),
            (manifest(5).to_string(), (OrphanReason::UnknownCommitted, false)),
            (part(5, 1).to_string(), (OrphanReason::UnknownCommitted, false)),
            (part(6, 1).to_string(), (OrphanReason::UnknownCommitted, false)),
            (manifest(6).to_string(), (OrphanReason::UnknownCommitted, false)),
            ("clusters/bank/notes.txt".to_owned(), (OrphanReason::ForeignKey, false)),
        ];
        assert_eq!(found, BTreeMap::from(expected));
    }

    proptest! {
        /// Nothing owned is ever an orphan; nothing goes that is too young, or while it is only to be reported or collection is suspended;
        /// and never more than the limits let go at once.
        #[test]
        fn nothing_goes_that_may_stay(
            snapshots in prop::collection::vec((0u8..4, 0i64..120, prop::bool::ANY), 0..80),
            delete in prop::bool::ANY,
            suspended in prop::bool::ANY,
            max_count in 0u64..60,
        ) {
            let mut owners = BTreeMap::new();
            let mut objects = Vec::new();
            for (n, (kind, age, has_manifest)) in (0u128..).zip(&snapshots) {
                objects.push(object(part(n, 1), *age));
                if *has_manifest {
                    objects.push(object(manifest(n), *age));
                }
                match kind {
                    0 => drop(owners.insert(id(n), Owner::Whole)),
                    1 => drop(owners.insert(id(n), Owner::Named(BTreeSet::from([part(n, 1)])))),
                    2 => drop(owners.insert(id(n), Owner::Ended)),
                    _ => {}
                }
            }
            let orphans = if delete { Orphans::Delete } else { Orphans::Report };
            let rules = Rules { orphans, max_count, ..rules() };
            let collection = if suspended {
                CollectionState::Suspended { reason: "a test".to_owned() }
            } else {
                CollectionState::Confirmed
            };
            let found = judge(&objects, &owners, &rules, &collection, now());
            let going: Vec<&Orphan> = found.orphans.iter().filter(|orphan| orphan.goes).collect();
            let go = going.len() as u64;
            prop_assert!(go == 0 || (delete && !suspended && found.withheld.is_none()));
            prop_assert!(go <= max_count);
            prop_assert!(go <= FEW || go * 100 <= objects.len() as u64 * 10);
            for orphan in found.orphans {
                let key: ObjectKey = orphan.key.parse().expect("a key");
                let owned = matches!(owners.get(&key.snapshot()), Some(Owner::Whole | Owner::Named(_)));
                prop_assert!(!owned, "{key} is owned");
                let age = now().duration_since(orphan.last_modified);
                prop_assert!(!orphan.goes || age >= rules.grace);
                prop_assert!(!orphan.goes || !objects.iter().any(|o| o.key == manifest(key.snapshot().0.as_u128()).to_string()));
            }
        }
    }
}
