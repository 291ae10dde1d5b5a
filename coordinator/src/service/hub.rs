//! What this replica knows of clusters, and who waits for news of them. The facts are read once a revision, however many members poll.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use stillframe_protocol::{ClusterName, MemberName};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit, watch};

use super::{
    Service, ServiceError,
    assignments::Shared,
    lock,
    transition::{Known, lost},
};
use crate::decide::{Facts, restore::resumed::ResumedPart};

/// A cluster's facts as of one revision.
#[derive(Debug)]
pub struct View {
    /// The facts.
    pub facts: Arc<Facts>,
    /// When they were read, by this process's clock; `facts.now` is the same moment by the database's.
    pub read_at: Instant,
    /// The parts of the snapshot that the restore under way goes back to, once somebody needed them.
    pub parts: OnceCell<BTreeMap<MemberName, ResumedPart>>,
    /// What is the same in the assignments of all members, once somebody needed it.
    pub(super) shared: Shared,
}

impl View {
    fn new(facts: Arc<Facts>, read_at: Instant) -> Self {
        Self { facts, read_at, parts: OnceCell::new(), shared: Shared::default() }
    }

    /// The database's time now, as well as this process can tell.
    #[must_use]
    pub fn now(&self) -> jiff::Timestamp {
        self.facts.now.checked_add(self.read_at.elapsed()).unwrap_or(self.facts.now)
    }
}

/// One cluster's channels.
#[derive(Debug)]
pub struct Channel {
    /// The newest facts known here.
    view: watch::Sender<Option<Arc<View>>>,
    /// Raised by every change, also those that agents needn't know.
    ticks: watch::Sender<u64>,
    /// The facts of the newest version known here.
    latest: Mutex<Option<Remembered>>,
    /// Those who carry out a transition of the cluster.
    turns: Semaphore,
}

/// How many transitions of one cluster this replica has under way at once. They wait for each other at the cluster's row, whose lock is held in
/// the database by one of all; those that wait here instead hold no connection meanwhile.
const TURNS: usize = 2;

/// Facts, and when they were.
#[derive(Debug, Clone)]
struct Remembered {
    facts: Arc<Facts>,
    at: Instant,
}

/// How long members wait to hear how a snapshot ended, so that whoever asked for it is answered first: there are many of them and nothing for
/// them to do.
const OUTCOMES_WAIT: Duration = Duration::from_millis(2);

/// Whether members have to do something about the difference; else it is only how snapshots ended.
fn is_urgent(known: &Facts, next: &Facts) -> bool {
    let members = |facts: &Facts| {
        facts.members.values().map(|m| (m.incarnation, m.state, m.seen, m.standing, m.generation)).collect::<Vec<_>>()
    };
    let aborted = next.outcomes.iter().any(|outcome| !outcome.committed && !known.outcomes.contains(outcome));
    aborted
        || known.cluster.phase != next.cluster.phase
        || known.cluster.epoch != next.cluster.epoch
        || known.cluster.peers_revision != next.cluster.peers_revision
        || known.restore != next.restore
        || members(known) != members(next)
}

/// Every cluster that was asked about.
#[derive(Debug, Default)]
pub struct Hub {
    clusters: Mutex<HashMap<ClusterName, Arc<Channel>>>,
}

impl Hub {
    /// The channels of a cluster.
    pub fn channel(&self, cluster: &ClusterName) -> Arc<Channel> {
        let mut clusters = lock(&self.clusters);
        if let Some(channel) = clusters.get(cluster) {
            return channel.clone();
        }
        let (view, ticks) = (watch::Sender::new(None), watch::Sender::new(0));
        let channel = Arc::new(Channel { view, ticks, latest: Mutex::default(), turns: Semaphore::new(TURNS) });
        clusters.insert(cluster.clone(), channel.clone());
        channel
    }

    /// Takes newer facts, and wakes who waits for them.
    pub fn publish(&self, cluster: &ClusterName, facts: Facts) {
        let channel = self.channel(cluster);
        channel.publish(Arc::new(facts));
        channel.ticks.send_modify(|ticks| *ticks += 1);
    }

    /// Forgets a cluster that isn't there.
    pub fn forget(&self, cluster: &ClusterName) {
        lock(&self.clusters).remove(cluster);
    }

    /// The clusters that somebody waits for, with the revision known here.
    pub fn watched(&self) -> Vec<(ClusterName, u64)> {
        let clusters = lock(&self.clusters);
        clusters
            .iter()
            .filter(|(_, channel)| channel.is_watched())
            .map(|(name, channel)| (name.clone(), channel.revision()))
            .collect()
    }
}

impl Channel {
    fn publish(self: &Arc<Self>, facts: Arc<Facts>) {
        let at = Instant::now();
        {
            let mut latest = lock(&self.latest);
            if latest.as_ref().is_none_or(|known| known.facts.cluster.version < facts.cluster.version) {
                *latest = Some(Remembered { facts: facts.clone(), at });
            }
        }
        let is_urgent = self.view().is_none_or(|known| is_urgent(&known.facts, &facts));
        let view = Arc::new(View::new(facts, at));
        if is_urgent {
            self.show(view);
        } else {
            let channel = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(OUTCOMES_WAIT).await;
                channel.show(view);
            });
        }
    }

    fn show(&self, view: Arc<View>) {
        self.view.send_if_modified(|known| {
            let newer = known.as_ref().is_none_or(|known| known.facts.cluster.revision < view.facts.cluster.revision);
            if newer {
                *known = Some(view);
            }
            newer
        });
    }

    /// Whether somebody here waits for news of it, so that the view is kept up to date.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.view.receiver_count() + self.ticks.receiver_count() > 0
    }

    fn revision(&self) -> u64 {
        self.view.borrow().as_ref().map_or(0, |view| view.facts.cluster.revision)
    }

    /// The newest facts known here.
    #[must_use]
    pub fn view(&self) -> Option<Arc<View>> {
        self.view.borrow().clone()
    }

    /// The facts of the newest version known here, which may be out of date; their `now` is the database's time as well as can be told.
    #[must_use]
    pub fn remembered(&self) -> Option<Facts> {
        let Remembered { facts, at } = lock(&self.latest).clone()?;
        let mut facts = Arc::unwrap_or_clone(facts);
        // In whole microseconds, as the database keeps it: what is written must be what is remembered.
        let elapsed = Duration::from_micros(u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX));
        facts.now = facts.now.checked_add(elapsed).unwrap_or(facts.now);
        Some(facts)
    }

    /// Looks at the facts of the newest version known here, without copying them.
    pub fn peek<T>(&self, look: impl FnOnce(&Facts) -> T) -> Option<T> {
        let facts = lock(&self.latest).as_ref().map(|known| known.facts.clone())?;
        Some(look(&facts))
    }

    /// Waits for one's turn to carry out a transition.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.turns.acquire().await.ok()
    }

    /// Waits for facts that agents must know.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<View>>> {
        self.view.subscribe()
    }

    /// Waits for any change.
    #[must_use]
    pub fn subscribe_ticks(&self) -> watch::Receiver<u64> {
        self.ticks.subscribe()
    }
}

impl Service {
    /// The facts of a cluster as known here, read if they aren't yet.
    pub(crate) async fn view(&self, cluster: &ClusterName) -> Result<Arc<View>, ServiceError> {
        if let Some(view) = self.hub.channel(cluster).view() {
            return Ok(view);
        }
        self.reload(cluster).await
    }

    /// The facts of a cluster, read anew.
    pub(crate) async fn reload(&self, cluster: &ClusterName) -> Result<Arc<View>, ServiceError> {
        let known = self.hub.channel(cluster).peek(Known::of);
        let Some(mut facts) = self.store.facts(cluster).await? else {
            self.hub.forget(cluster);
            return Err(ServiceError::UnknownCluster(cluster.clone()));
        };
        if let Some(evidence) = lost(known, &facts) {
            self.fell_behind(cluster, Some(evidence)).await?;
            facts = self.store.facts(cluster).await?.ok_or_else(|| ServiceError::UnknownCluster(cluster.clone()))?;
        }
        self.hub.publish(cluster, facts);
        let view = self.hub.channel(cluster).view();
        view.ok_or_else(|| ServiceError::UnknownCluster(cluster.clone()))
    }

    /// Reads a cluster's facts anew, for whoever waits for them; one that isn't there any more is no error.
    pub(crate) async fn catch_up(&self, cluster: &ClusterName) -> Result<(), ServiceError> {
        match self.reload(cluster).await {
            Ok(_) | Err(ServiceError::UnknownCluster(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until `look` finds that it has ended, at most so long. Looks at once, at every change known here unless it is known here to be
    /// open still, and now and again besides.
    pub(crate) async fn wait_for<T, F>(
        &self,
        cluster: &ClusterName,
        wait: Duration,
        open: impl Fn(&Facts) -> bool,
        ended: impl Fn(&T) -> bool,
        look: impl Fn() -> F,
    ) -> Result<T, ServiceError>
    where
        F: Future<Output = Result<T, ServiceError>>,
    {
        /// How often to look although nothing was heard: another replica may have done it.
        const LOOK_EVERY: Duration = Duration::from_millis(500);
        let deadline = tokio::time::Instant::now() + wait;
        let channel = self.hub.channel(cluster);
        let mut ticks = channel.subscribe_ticks();
        loop {
            ticks.borrow_and_update();
            let found = look().await?;
            if ended(&found) || tokio::time::Instant::now() >= deadline {
                return Ok(found);
            }
            let look_again = tokio::time::Instant::now() + LOOK_EVERY;
            loop {
                tokio::select! {
                    _ = ticks.changed() => if !channel.peek(&open).unwrap_or(false) { break },
                    () = tokio::time::sleep_until(deadline.min(look_again)) => break,
                    () = self.stopping.cancelled() => return Ok(found),
                }
            }
        }
    }
}
