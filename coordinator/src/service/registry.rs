//! Who polls at this replica, and on which connection: how a member's death is noticed at once, and whose leases are to be renewed.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use stillframe_protocol::{ClusterName, Incarnation, MemberName};
use tokio::sync::mpsc;

use super::lock;
use crate::store::{LeaseKey, Renewal};

/// The number of a connection, in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(u64);

/// A member whose last poll's connection closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspicion {
    /// Who.
    pub lease: LeaseKey,
    /// The connection.
    pub connection: ConnectionId,
}

type Name = (ClusterName, MemberName);

#[derive(Debug)]
struct Entry {
    incarnation: Incarnation,
    /// The connection of the latest poll.
    connection: ConnectionId,
    /// How many polls are held, by connection.
    held: HashMap<ConnectionId, u32>,
    /// When a poll last began or ended.
    last: Instant,
    /// Whether a poll has begun since the leases were last listed for renewal.
    polled: bool,
    /// Whether the lease is to be taken over: the member came from another replica, or registered just now.
    take: bool,
    closed: bool,
}

impl Entry {
    fn is_held(&self) -> bool {
        self.held.values().any(|held| *held > 0)
    }
}

#[derive(Debug, Default)]
struct Inner {
    members: HashMap<Name, Entry>,
    connections: HashMap<ConnectionId, HashSet<Name>>,
}

/// The registry of one replica.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
    next: AtomicU64,
    suspects: mpsc::UnboundedSender<Suspicion>,
    stopping: AtomicBool,
    /// How long ago a member may have polled for the close of its connection to mean anything.
    recent: Duration,
}

/// A connection, from accept to close. Dropped with the connection's I/O, also between two requests.
#[derive(Debug)]
pub struct ConnectionGuard {
    id: ConnectionId,
    registry: Arc<Registry>,
}

impl ConnectionGuard {
    /// The connection's number.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.registry.closed(self.id);
    }
}

/// A poll that is held.
#[derive(Debug)]
pub struct PollGuard<'a> {
    registry: &'a Registry,
    name: Name,
    incarnation: Incarnation,
    connection: ConnectionId,
    /// Whether the member's lease is to be taken over at once: it polled elsewhere before, or not at all.
    pub is_new: bool,
}

impl Drop for PollGuard<'_> {
    fn drop(&mut self) {
        let mut inner = lock(&self.registry.inner);
        let inner = &mut *inner;
        let entry = inner.members.get_mut(&self.name).filter(|entry| entry.incarnation == self.incarnation);
        let Some(entry) = entry else { return };
        if let Some(held) = entry.held.get_mut(&self.connection) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                entry.held.remove(&self.connection);
            }
        }
        entry.last = Instant::now();
        // When somebody asked in the member's name on another connection, the member's own is still the one to watch.
        if entry.connection == self.connection
            && let Some(still) = entry.held.keys().next().copied()
        {
            entry.connection = still;
        }
    }
}

impl Registry {
    /// An empty registry that says whom it suspects: members that polled here within `recent` before their connection closed.
    #[must_use]
    pub fn new(suspects: mpsc::UnboundedSender<Suspicion>, recent: Duration) -> Self {
        let (inner, next, stopping) = (Mutex::default(), AtomicU64::new(1), AtomicBool::new(false));
        Self { inner, next, suspects, stopping, recent }
    }

    /// A connection was accepted.
    pub fn opened(self: &Arc<Self>) -> ConnectionGuard {
        ConnectionGuard { id: ConnectionId(self.next.fetch_add(1, Ordering::Relaxed)), registry: self.clone() }
    }

    /// From now on closing connections say nothing: it is we who close them.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    fn closed(&self, connection: ConnectionId) {
        let mut inner = lock(&self.inner);
        let Some(names) = inner.connections.remove(&connection) else { return };
        if self.stopping.load(Ordering::Acquire) {
            return;
        }
        for name in names {
            let Some(entry) = inner.members.get_mut(&name) else { continue };
            let was_held = entry.held.remove(&connection).is_some();
            // Polls on another connection: that one tells. Hasn't polled here for long: it polls elsewhere, and only drops what it needs no more.
            if entry.connection != connection || entry.is_held() || (!was_held && entry.last.elapsed() > self.recent) {
                continue;
            }
            entry.closed = true;
            let lease = (name.0, name.1, entry.incarnation);
            // The receiver lives as long as the coordinator: when it is gone, nobody needs to know.
            drop(self.suspects.send(Suspicion { lease, connection }));
        }
    }

    /// A poll begins; `moved` when the member says that another replica answered it before.
    pub fn hold(&self, lease: &LeaseKey, connection: ConnectionId, moved: bool) -> PollGuard<'_> {
        let (cluster, member, incarnation) = lease.clone();
        let name = (cluster, member);
        let mut inner = lock(&self.inner);
        let inner = &mut *inner;
        let mut is_new = moved || inner.members.get(&name).is_none_or(|entry| entry.incarnation != incarnation || entry.closed);
        let entry = inner.members.entry(name.clone()).or_insert_with(|| Entry {
            incarnation,
            connection,
            held: HashMap::new(),
            last: Instant::now(),
            polled: false,
            take: false,
            closed: false,
        });
        if entry.incarnation < incarnation {
            entry.incarnation = incarnation;
            entry.held.clear();
        }
        if entry.incarnation == incarnation {
            entry.connection = connection;
            *entry.held.entry(connection).or_default() += 1;
            entry.closed = false;
            entry.polled = true;
            entry.take |= is_new;
            entry.last = Instant::now();
            inner.connections.entry(connection).or_default().insert(name.clone());
        } else {
            is_new = false;
        }
        PollGuard { registry: self, name, incarnation, connection, is_new }
    }

    /// Whether the member hasn't polled since that connection closed.
    #[must_use]
    pub fn is_still_gone(&self, suspicion: &Suspicion) -> bool {
        let (cluster, member, incarnation) = suspicion.lease.clone();
        let inner = lock(&self.inner);
        inner
            .members
            .get(&(cluster, member))
            .is_some_and(|entry| entry.closed && entry.incarnation == incarnation && entry.connection == suspicion.connection)
    }

    /// Forgets a member that hasn't polled here since that connection closed.
    pub fn forget(&self, suspicion: &Suspicion) {
        if self.is_still_gone(suspicion) {
            let (cluster, member, _) = suspicion.lease.clone();
            lock(&self.inner).members.remove(&(cluster, member));
        }
    }

    /// Whether the member's connection closed and it isn't back.
    #[must_use]
    pub fn is_suspect(&self, cluster: &ClusterName, member: &MemberName, incarnation: Incarnation) -> bool {
        let inner = lock(&self.inner);
        inner
            .members
            .get(&(cluster.clone(), member.clone()))
            .is_some_and(|entry| entry.closed && entry.incarnation == incarnation)
    }

    /// The leases to take over at once: those of members that have just come here.
    pub fn arrivals(&self) -> Vec<Renewal> {
        let mut inner = lock(&self.inner);
        let arrived = inner.members.iter_mut().filter(|(_, entry)| entry.take && !entry.closed);
        arrived
            .map(|(name, entry)| {
                entry.take = false;
                Renewal { lease: key(name, entry), take: true }
            })
            .collect()
    }

    /// The leases to renew: those of members that hold a poll, or did within `recent`. A lease is taken from another replica only where a poll
    /// is held here that began since the last call and within `recent`: the member itself chose to be here. A replica that wakes up after a
    /// while takes nobody from where they went meanwhile. Forgets who hasn't been here for an hour.
    pub fn renewals(&self, recent: Duration) -> Vec<Renewal> {
        const FORGET: Duration = Duration::from_secs(3600);
        let mut inner = lock(&self.inner);
        inner.members.retain(|_, entry| entry.is_held() || entry.last.elapsed() < FORGET);
        let mut renewals = Vec::new();
        for (name, entry) in &mut inner.members {
            let (polled, is_recent) = (std::mem::take(&mut entry.polled), entry.last.elapsed() < recent);
            if !entry.closed && (entry.is_held() || is_recent) {
                let take = is_recent && (std::mem::take(&mut entry.take) || (polled && entry.is_held()));
                renewals.push(Renewal { lease: key(name, entry), take });
            }
        }
        renewals
    }

    /// These could not be renewed: to be tried again.
    pub fn not_renewed(&self, renewals: &[Renewal]) {
        let mut inner = lock(&self.inner);
        for Renewal { lease: (cluster, member, incarnation), take } in renewals {
            let entry = inner.members.get_mut(&(cluster.clone(), member.clone()));
            if let Some(entry) = entry.filter(|entry| entry.incarnation == *incarnation) {
                entry.take |= take;
            }
        }
    }
}

fn key((cluster, member): &Name, entry: &Entry) -> LeaseKey {
    (cluster.clone(), member.clone(), entry.incarnation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(incarnation: u64) -> LeaseKey {
        let cluster = ClusterName::new("c").expect("a name");
        (cluster, MemberName::new("p").expect("a name"), Incarnation(incarnation))
    }

    const LONG: Duration = Duration::from_secs(60);

    fn registry() -> (Arc<Registry>, mpsc::UnboundedReceiver<Suspicion>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Arc::new(Registry::new(sender, LONG)), receiver)
    }

    fn renewal(incarnation: u64, take: bool) -> Vec<Renewal> {
        vec![Renewal { lease: lease(incarnation), take }]
    }

    #[test]
    fn a_connection_that_closes_between_two_polls_makes_its_member_suspect() {
        let (registry, mut suspects) = registry();
        let connection = registry.opened();
        drop(registry.hold(&lease(1), connection.id(), false));
        drop(connection);
        let suspicion = suspects.try_recv().expect("a suspicion");
        assert_eq!(suspicion.lease, lease(1));
        assert!(registry.is_still_gone(&suspicion));
        assert!(registry.renewals(LONG).is_empty());
    }

    #[test]
    fn a_member_that_polls_on_another_connection_is_not_suspect() {
        let (registry, mut suspects) = registry();
        let (old, new) = (registry.opened(), registry.opened());
        drop(registry.hold(&lease(1), old.id(), false));
        let held = registry.hold(&lease(1), new.id(), false);
        drop(old);
        assert!(suspects.try_recv().is_err());
        assert_eq!(registry.renewals(LONG), renewal(1, true));
        drop(held);
        assert!(registry.renewals(Duration::ZERO).is_empty());
    }

    #[test]
    fn a_stray_poll_in_a_members_name_does_not_make_it_suspect_and_does_not_hide_its_death() {
        let (registry, mut suspects) = registry();
        let (own, stray) = (registry.opened(), registry.opened());
        let held = registry.hold(&lease(1), own.id(), false);
        drop(registry.hold(&lease(1), stray.id(), false));
        drop(stray);
        assert!(suspects.try_recv().is_err());
        drop(held);
        drop(own);
        assert_eq!(suspects.try_recv().expect("a suspicion").lease, lease(1));
    }

    #[test]
    fn a_connection_that_a_member_has_long_left_says_nothing_when_it_closes() {
        let (sender, mut suspects) = mpsc::unbounded_channel();
        let registry = Arc::new(Registry::new(sender, Duration::ZERO));
        let connection = registry.opened();
        drop(registry.hold(&lease(1), connection.id(), false));
        drop(connection);
        assert!(suspects.try_recv().is_err());
    }

    #[test]
    fn a_poll_of_an_older_incarnation_holds_nobodys_lease() {
        let (registry, mut suspects) = registry();
        let (old, new) = (registry.opened(), registry.opened());
        let _newer = registry.hold(&lease(2), new.id(), false);
        let _zombie = registry.hold(&lease(1), old.id(), false);
        drop(old);
        assert!(suspects.try_recv().is_err());
        assert_eq!(registry.renewals(LONG), renewal(2, true));
    }

    #[test]
    fn a_member_that_comes_back_within_the_grace_period_is_not_gone() {
        let (registry, mut suspects) = registry();
        let (old, new) = (registry.opened(), registry.opened());
        drop(registry.hold(&lease(1), old.id(), false));
        drop(old);
        let suspicion = suspects.try_recv().expect("a suspicion");
        let back = registry.hold(&lease(1), new.id(), false);
        assert!(back.is_new);
        assert!(!registry.is_still_gone(&suspicion));
    }

    #[test]
    fn a_lease_is_taken_when_the_member_comes_and_kept_only_while_it_polls_here() {
        let (registry, _suspects) = registry();
        let connection = registry.opened();
        let held = registry.hold(&lease(1), connection.id(), false);
        assert_eq!(registry.arrivals(), renewal(1, true));
        assert!(registry.arrivals().is_empty());
        registry.not_renewed(&renewal(1, true));
        assert_eq!(registry.arrivals(), renewal(1, true));
        assert_eq!(registry.renewals(LONG), renewal(1, true), "it began to poll since");
        assert_eq!(registry.renewals(LONG), renewal(1, false), "no poll since: another replica may have it");
        drop(held);
        assert_eq!(registry.renewals(LONG), renewal(1, false));
        assert!(registry.hold(&lease(1), connection.id(), true).is_new, "it was elsewhere meanwhile");
        assert_eq!(registry.arrivals(), renewal(1, true));
    }

    #[test]
    fn a_replica_that_was_stopped_for_a_while_takes_no_lease_when_it_wakes() {
        let (registry, _suspects) = registry();
        let connection = registry.opened();
        let _held = registry.hold(&lease(1), connection.id(), true);
        // Its poll began long ago, by the clock that went on.
        assert_eq!(registry.renewals(Duration::ZERO), renewal(1, false));
    }
}
