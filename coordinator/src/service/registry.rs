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
use crate::store::LeaseKey;

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
    connection: ConnectionId,
    /// How many polls are held.
    held: u32,
    /// When a poll last began or ended.
    last: Instant,
    closed: bool,
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
    /// Whether the member polls here for the first time, so that its lease is to be taken over at once.
    pub is_new: bool,
}

impl Drop for PollGuard<'_> {
    fn drop(&mut self) {
        let mut inner = lock(&self.registry.inner);
        if let Some(entry) = inner.members.get_mut(&self.name).filter(|entry| entry.incarnation == self.incarnation) {
            entry.held = entry.held.saturating_sub(1);
            entry.last = Instant::now();
        }
    }
}

impl Registry {
    /// An empty registry that says whom it suspects.
    #[must_use]
    pub fn new(suspects: mpsc::UnboundedSender<Suspicion>) -> Self {
        Self { inner: Mutex::default(), next: AtomicU64::new(1), suspects, stopping: AtomicBool::new(false) }
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
            let Some(entry) = inner.members.get_mut(&name).filter(|entry| entry.connection == connection) else { continue };
            entry.closed = true;
            let lease = (name.0, name.1, entry.incarnation);
            // The receiver lives as long as the coordinator: when it is gone, nobody needs to know.
            drop(self.suspects.send(Suspicion { lease, connection }));
        }
    }

    /// A poll begins.
    pub fn hold(&self, lease: &LeaseKey, connection: ConnectionId) -> PollGuard<'_> {
        let (cluster, member, incarnation) = lease.clone();
        let name = (cluster, member);
        let mut inner = lock(&self.inner);
        let inner = &mut *inner;
        let fresh = Entry { incarnation, connection, held: 0, last: Instant::now(), closed: false };
        let is_new = inner.members.get(&name).is_none_or(|entry| entry.incarnation != incarnation || entry.closed);
        let entry = inner.members.entry(name.clone()).or_insert(fresh);
        if entry.incarnation < incarnation {
            (entry.incarnation, entry.held) = (incarnation, 0);
        }
        if entry.incarnation == incarnation {
            if entry.connection != connection
                && let Some(names) = inner.connections.get_mut(&entry.connection)
            {
                names.remove(&name);
            }
            entry.connection = connection;
            entry.held += 1;
            entry.closed = false;
            entry.last = Instant::now();
            inner.connections.entry(connection).or_default().insert(name.clone());
        }
        PollGuard { registry: self, name, incarnation, is_new }
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

    /// Whether the member's connection closed and it isn't back.
    #[must_use]
    pub fn is_suspect(&self, cluster: &ClusterName, member: &MemberName, incarnation: Incarnation) -> bool {
        let inner = lock(&self.inner);
        inner
            .members
            .get(&(cluster.clone(), member.clone()))
            .is_some_and(|entry| entry.closed && entry.incarnation == incarnation)
    }

    /// The leases to renew: those of members that hold a poll, or did within `recent`. Forgets who hasn't been here for an hour.
    pub fn held(&self, recent: Duration) -> Vec<LeaseKey> {
        const FORGET: Duration = Duration::from_secs(3600);
        let mut inner = lock(&self.inner);
        inner.members.retain(|_, entry| entry.held > 0 || entry.last.elapsed() < FORGET);
        inner
            .members
            .iter()
            .filter(|(_, entry)| !entry.closed && (entry.held > 0 || entry.last.elapsed() < recent))
            .map(|((cluster, member), entry)| (cluster.clone(), member.clone(), entry.incarnation))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(incarnation: u64) -> LeaseKey {
        let cluster = ClusterName::new("c").expect("a name");
        (cluster, MemberName::new("p").expect("a name"), Incarnation(incarnation))
    }

    fn registry() -> (Arc<Registry>, mpsc::UnboundedReceiver<Suspicion>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Arc::new(Registry::new(sender)), receiver)
    }

    #[test]
    fn a_connection_that_closes_between_two_polls_makes_its_member_suspect() {
        let (registry, mut suspects) = registry();
        let connection = registry.opened();
        drop(registry.hold(&lease(1), connection.id()));
        drop(connection);
        let suspicion = suspects.try_recv().expect("a suspicion");
        assert_eq!(suspicion.lease, lease(1));
        assert!(registry.is_still_gone(&suspicion));
        assert!(registry.held(Duration::from_secs(60)).is_empty());
    }

    #[test]
    fn a_member_that_polls_on_another_connection_is_not_suspect() {
        let (registry, mut suspects) = registry();
        let (old, new) = (registry.opened(), registry.opened());
        drop(registry.hold(&lease(1), old.id()));
        let held = registry.hold(&lease(1), new.id());
        drop(old);
        assert!(suspects.try_recv().is_err());
        assert_eq!(registry.held(Duration::ZERO), vec![lease(1)]);
        drop(held);
        assert!(registry.held(Duration::ZERO).is_empty());
    }

    #[test]
    fn a_poll_of_an_older_incarnation_holds_nobodys_lease() {
        let (registry, mut suspects) = registry();
        let (old, new) = (registry.opened(), registry.opened());
        let _newer = registry.hold(&lease(2), new.id());
        let _zombie = registry.hold(&lease(1), old.id());
        drop(old);
        assert!(suspects.try_recv().is_err());
        assert_eq!(registry.held(Duration::ZERO), vec![lease(2)]);
    }

    #[test]
    fn a_member_that_comes_back_within_the_grace_period_is_not_gone() {
        let (registry, mut suspects) = registry();
        let (old, new) = (registry.opened(), registry.opened());
        drop(registry.hold(&lease(1), old.id()));
        drop(old);
        let suspicion = suspects.try_recv().expect("a suspicion");
        let back = registry.hold(&lease(1), new.id());
        assert!(back.is_new);
        assert!(!registry.is_still_gone(&suspicion));
    }
}
