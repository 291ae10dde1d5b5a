//! What the coordinator does: reads facts, lets `decide` decide, has the store write, tells who waits.
//!
//! | to find | look in |
//! | --- | --- |
//! | transitions, who is told, and what the log says | [`transition`], `news` |
//! | what this replica knows of clusters, and who waits for news | [`hub`] |
//! | who polls here, and on which connection | [`registry`] |
//! | members that register, come and are lost, in batches | [`membership`] |
//! | requests | [`clusters`], [`members`], [`snapshots`], [`restores`], [`schedules`] |
//! | what a restore would do | [`plan`] |
//! | what agents poll and report, and what they know more than the database | [`assignments`], [`reports`], [`claims`] |
//! | taking parts in batches, and knowing when all are there | [`parts`], [`gathering`] |
//! | taking words on what members wait for, and seeing that they wait for each other | `progress` |
//! | committing, ending what is overdue | [`commit`], [`deadlines`] |
//! | the audit | [`audit`] |
//! | what is kept, and what is deleted | [`retention`], [`sweep`], [`gc`] |
//! | archives by cluster, trying out the store, taking up what the archive proves | [`archives`], [`probe`], [`resync`] |
//! | how fresh this replica's word is, and telling the others of changes | [`freshness`], [`hints`] |
//! | carrying a request out once | [`idempotency`] |
//! | facts as answers | [`answers`] |
//! | whether this replica can serve | [`health`] |

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;
use stillframe_archive::{Archive, ArchiveUrl, Pace, Probe};
use stillframe_protocol::SnapshotId;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{config::CollectionConfig, store::Store};

pub mod answers;
pub mod archives;
pub mod assignments;
pub mod audit;
pub mod claims;
pub mod clusters;
pub mod commit;
pub mod deadlines;
pub mod error;
pub mod freshness;
pub mod gathering;
pub mod gc;
pub mod health;
pub mod hints;
pub mod hub;
pub mod idempotency;
pub mod members;
pub mod membership;
mod news;
pub mod parts;
pub mod plan;
pub mod probe;
mod progress;
pub mod registry;
pub mod reports;
pub mod restores;
pub mod resync;
pub mod retention;
pub mod schedules;
pub mod snapshots;
pub mod sweep;
pub mod transition;

pub use error::ServiceError;
pub use transition::Caller;

use archives::Archives;
use freshness::Freshness;
use gathering::Gathering;
use hints::Announcements;
use hub::Hub;
use membership::Membership;
use registry::{Registry, Suspicion};
use reports::Queues;

/// What a service goes by.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a member's lease is.
    pub lease: Duration,
    /// How long a member whose connection closed is only suspect.
    pub suspect_grace: Duration,
    /// How often to look for changes made by other replicas.
    pub look_every: Duration,
    /// How long a restore may take to its commit point.
    pub restore_timeout: Duration,
    /// What is deleted, when and how fast.
    pub collection: CollectionConfig,
}

/// Wakes the loops before their time.
#[derive(Debug, Default)]
pub struct Wakes {
    /// Something has a deadline that may be earlier than what is waited for.
    pub deadlines: Notify,
    /// A schedule was set.
    pub schedules: Notify,
    /// The database may know less than the archive.
    pub reconcile: Notify,
    /// Something was left in the archive.
    pub sweep: Notify,
    /// A member has come to this replica.
    pub arrivals: Notify,
    /// The other replicas are to be told of something.
    pub announce: Notify,
}

/// One replica's service.
#[derive(Debug)]
pub struct Service {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) settings: Settings,
    pub(crate) archives: Archives,
    /// A random id of this replica.
    pub(crate) replica: Uuid,
    pub(crate) hub: Hub,
    pub(crate) registry: Arc<Registry>,
    pub(crate) queues: Queues,
    pub(crate) membership: Membership,
    pub(crate) wakes: Wakes,
    /// A turn to decode what a report holds itself, for each processor.
    pub(crate) decoding: Semaphore,
    pub(crate) stopping: CancellationToken,
    /// The snapshots that this replica is committing, so that it doesn't do so twice at once.
    pub(crate) committing: Mutex<HashSet<SnapshotId>>,
    pub(crate) gathering: Gathering,
    /// How fast objects are deleted.
    pub(crate) pace: Pace,
    pub(crate) freshness: Freshness,
    pub(crate) announcements: Announcements,
    /// Held while one agent's word is compared with the database's.
    pub(crate) claims: tokio::sync::Mutex<()>,
    /// What the archive's store was found to do.
    pub(crate) probed: Mutex<Option<Probe>>,
}

impl Service {
    /// Makes a service, and starts its queues. What it suspects comes out of the receiver.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        settings: Settings,
        url: ArchiveUrl,
        archive: Archive,
        stopping: CancellationToken,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Suspicion>) {
        let (suspects, suspicions) = mpsc::unbounded_channel();
        let (queues, ends) = Queues::new();
        let service = Arc::new(Self {
            store,
            settings,
            archives: Archives::new(url, archive),
            replica: Uuid::now_v7(),
            hub: Hub::default(),
            registry: Arc::new(Registry::new(suspects, settings.lease)),
            queues,
            membership: Membership::default(),
            wakes: Wakes::default(),
            decoding: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
            stopping,
            committing: Mutex::default(),
            gathering: Gathering::default(),
            pace: Pace::new(settings.collection.delete_rate),
            freshness: Freshness::default(),
            announcements: Announcements::default(),
            claims: tokio::sync::Mutex::default(),
            probed: Mutex::default(),
        });
        reports::serve(&service, ends);
        (service, suspicions)
    }

    pub(crate) fn lease(&self) -> SignedDuration {
        SignedDuration::try_from(self.settings.lease).unwrap_or(SignedDuration::MAX)
    }
}

/// Locks a mutex that guards plain data: a panic elsewhere leaves it usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
