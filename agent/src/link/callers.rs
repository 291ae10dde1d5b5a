//! How many callers there may be that aren't members' connections yet. A flood of them, by mistake or on purpose, costs a bounded number of file descriptors, and keeps
//! no member out: one that calls says who it is at once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use stillframe_protocol::MemberId;
use tokio::{sync::Notify, task::AbortHandle};

/// How many may not have said who they are. More wait in the operating system.
const MAX_UNKNOWN: usize = 256;

/// What each of them has to say who it is, when others wait: enough for a few hundred TLS handshakes at once, so that members that all come back at the same time
/// don't keep each other from coming in.
const GRACE: Duration = Duration::from_millis(500);

/// How many may wait, as members that they say they are, for this member to come to their generation or to have time for them. One for each member: a newer call of it
/// ends the older.
const MAX_INTRODUCED: usize = 4096;

/// The callers of one listener.
#[derive(Debug, Clone, Default)]
pub(super) struct Callers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    /// One more has said who it is, or is gone.
    fewer: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// Everyone here. A task that is being spawned has no handle yet.
    tasks: HashMap<u64, Option<AbortHandle>>,
    /// Since when they have been here.
    unknown: BTreeMap<u64, Instant>,
    introduced: HashMap<MemberId, u64>,
}

impl Callers {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Valid after any panic: each change is one call.
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more may come: until somebody has said who it is, or the one that hasn't for longest has had its time.
    pub(super) async fn room(&self) {
        loop {
            let left = {
                let mut inner = self.inner();
                let Some((oldest, since)) = inner.unknown.first_key_value().filter(|_| inner.unknown.len() >= MAX_UNKNOWN) else {
                    return;
                };
                let (oldest, left) = (*oldest, GRACE.saturating_sub(since.elapsed()));
                if left.is_zero() {
                    inner.unknown.remove(&oldest);
                    let task = inner.tasks.remove(&oldest).flatten();
                    drop(inner);
                    tracing::debug!("too many callers don't say who they are; the oldest one is closed");
                    task.inspect(AbortHandle::abort);
                    return;
                }
                left
            };
            let _ = tokio::time::timeout(left, self.0.fewer.notified()).await;
        }
    }

    /// Takes one more in, whose task is spawned here.
    pub(super) fn take(&self, spawn: impl FnOnce(Place) -> AbortHandle) {
        let mut inner = self.inner();
        let number = inner.next;
        inner.next += 1;
        inner.unknown.insert(number, Instant::now());
        inner.tasks.insert(number, None);
        drop(inner);
        // Not under the lock: a runtime that is ending drops the task, and its place, at once.
        let task = spawn(Place { number, callers: self.clone() });
        if let Some(handle) = self.inner().tasks.get_mut(&number) {
            *handle = Some(task);
        }
    }
}

/// A caller's place. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    callers: Callers,
}

impl Place {
    /// It has said that it is this member. False when too many wait already.
    pub(super) fn introduce(&self, from: MemberId) -> bool {
        let mut inner = self.callers.inner();
        if inner.unknown.remove(&self.number).is_none() {
            return false;
        }
        self.callers.0.fewer.notify_one();
        if inner.introduced.len() >= MAX_INTRODUCED && !inner.introduced.contains_key(&from) {
            return false;
        }
        let older = inner.introduced.insert(from, self.number);
        let older = older.and_then(|older| inner.tasks.remove(&older)).flatten();
        drop(inner);
        if let Some(older) = older {
            older.abort();
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.callers.inner();
        inner.tasks.remove(&self.number);
        if inner.unknown.remove(&self.number).is_none() {
            inner.introduced.retain(|_, number| *number != self.number);
        }
        self.callers.0.fewer.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Caller {
        place: Option<Place>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Caller {
        fn new(callers: &Callers) -> Self {
            let task = tokio::spawn(std::future::pending());
            let mut place = None;
            callers.take(|taken| {
                place = Some(taken);
                task.abort_handle()
            });
            Self { place, task }
        }

        fn introduce(&self, from: u32) -> bool {
            self.place.as_ref().is_some_and(|place| place.introduce(MemberId(from)))
        }

        async fn ends(&mut self) {
            let ended = tokio::time::timeout(std::time::Duration::from_secs(20), &mut self.task).await;
            assert!(ended.unwrap().unwrap_err().is_cancelled());
        }
    }

    #[tokio::test]
    async fn one_more_than_may_be_unknown_waits_and_costs_the_oldest_its_place_in_the_end() {
        let callers = Callers::default();
        let mut taken: Vec<Caller> = (0..MAX_UNKNOWN).map(|_| Caller::new(&callers)).collect();
        assert!(taken[0].introduce(1), "who has said who it is doesn't count");
        callers.room().await;
        let more = Caller::new(&callers);
        assert!(!taken[1].task.is_finished(), "there was room");
        {
            let mut room = std::pin::pin!(callers.room());
            assert!(futures::poll!(room.as_mut()).is_pending(), "the oldest has its time");
            assert!(taken[5].introduce(5));
            room.await;
        }
        assert!(!taken[1].task.is_finished(), "there was room without it");
        let _most = Caller::new(&callers);
        callers.room().await;
        taken[1].ends().await;
        assert!(!taken[0].task.is_finished() && !taken[2].task.is_finished() && !more.task.is_finished());
        assert!(!taken[1].introduce(2), "it is too late for it");
    }

    #[tokio::test]
    async fn a_member_that_calls_again_ends_its_older_call_and_no_other() {
        let callers = Callers::default();
        let (mut older, other, newer) = (Caller::new(&callers), Caller::new(&callers), Caller::new(&callers));
        assert!(older.introduce(1) && other.introduce(2) && newer.introduce(1));
        older.ends().await;
        assert!(!other.task.is_finished() && !newer.task.is_finished());
        drop(older);
        assert_eq!(callers.inner().introduced.len(), 2, "the newer one keeps its place");
    }

    #[tokio::test]
    async fn waiting_members_are_bounded_too() {
        let callers = Callers::default();
        let taken: Vec<Caller> = (0..MAX_INTRODUCED as u32)
            .map(|n| {
                let caller = Caller::new(&callers);
                assert!(caller.introduce(n));
                caller
            })
            .collect();
        let more = Caller::new(&callers);
        assert!(!more.introduce(u32::MAX));
        drop(taken);
        assert!(callers.inner().introduced.is_empty() && callers.inner().tasks.len() <= 1);
    }
}
