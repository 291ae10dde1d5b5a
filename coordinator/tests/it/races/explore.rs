//! Running two operations at the same time, in every order that one preemption makes: each is stopped once at each of its steps, there the other
//! runs to its end or until it waits for what the stopped one holds. Then the same pair many times at once, as chance has it.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use stillframe_coordinator::service::ServiceError;
use tokio::{sync::Barrier, task::JoinHandle};

use super::{
    field::{Begun, Field, Replica},
    invariants,
};
use crate::harness::PATIENCE;

/// How often a pair is run at once.
const AT_ONCE: usize = 8;

/// More steps than any operation has.
const MOST_STEPS: usize = 60;

pub(super) type Done = Result<(), ServiceError>;

/// One of the two, carried out by one replica.
pub(super) type Operation<T> = Arc<dyn Fn(Arc<Replica>, T) -> BoxFuture<'static, Done> + Send + Sync>;

/// An operation out of an async function.
pub(super) fn operation<T, F>(act: impl Fn(Arc<Replica>, T) -> F + Send + Sync + 'static) -> Operation<T>
where
    F: Future<Output = Done> + Send + 'static,
{
    Arc::new(move |replica, from| Box::pin(act(replica, from)))
}

/// Two operations that conflict.
pub(super) struct Pair<T> {
    pub(super) first: Operation<T>,
    pub(super) second: Operation<T>,
}

/// What a pair begins from: a cluster of its own.
pub(super) trait Start: Clone + Send + 'static {
    fn begun(&self) -> &Begun;
}

impl Start for Begun {
    fn begun(&self) -> &Begun {
        self
    }
}

impl<T: Clone + Send + 'static> Start for (Begun, T) {
    fn begun(&self) -> &Begun {
        &self.0
    }
}

/// What the two came to.
pub(super) struct Came {
    pub(super) first: Done,
    pub(super) second: Done,
}

/// The orders there were, and what was wrong after some.
#[derive(Debug, Default)]
pub(super) struct Explored {
    pub(super) orders: Vec<String>,
    pub(super) violations: Vec<String>,
}

impl Explored {
    pub(super) fn must_hold(&self) {
        println!("{}", self.orders.join("\n"));
        assert!(self.violations.is_empty(), "of {} orders:\n{}", self.orders.len(), self.violations.join("\n"));
    }
}

/// Explores a pair, up to the first order in which something is wrong. `check` says what is wrong after both, besides what must always hold.
pub(super) async fn explore<T: Start>(
    field: &Arc<Field>,
    set: impl AsyncFn() -> T,
    pair: Pair<T>,
    check: impl AsyncFn(&T, &Came) -> Vec<String>,
) -> Explored {
    let mut explored = Explored::default();
    // One order in which something is wrong is enough.
    let look = async |explored: &mut Explored, order: String, from: T, came: Came| {
        field.quiet().await;
        let mut wrong = check(&from, &came).await;
        let unexpected =
            |done: &Done| done.as_ref().err().filter(|e| !matches!(e, ServiceError::Refused(_))).map(ToString::to_string);
        wrong.extend([&came.first, &came.second].into_iter().filter_map(unexpected));
        wrong.extend(invariants::violations(field, &from.begun().cluster).await);
        explored.violations.extend(wrong.into_iter().map(|what| format!("{order}: {what}")));
        explored.orders.push(order);
        explored.violations.is_empty()
    };
    for stopped in [0, 1] {
        let (operations, who) = ([&pair.first, &pair.second], ["the first", "the second"]);
        for nth in 1..MOST_STEPS {
            let from = set().await;
            field.quiet().await;
            let (one, other) = (&field.replicas[stopped], &field.replicas[1 - stopped]);
            one.gate.stop_at(nth);
            let mut stops = spawn(operations[stopped], one, &from);
            let at = tokio::select! {
                at = one.gate.stopped() => Some(at),
                () = over(&stops) => None,
            };
            let mut runs = spawn(operations[1 - stopped], other, &from);
            if at.is_some() {
                ends_or_waits(field, &runs).await;
            }
            one.gate.open();
            let (stopped_came, came) = (joined(&mut stops).await, joined(&mut runs).await);
            let came = match stopped {
                0 => Came { first: stopped_came, second: came },
                _ => Came { first: came, second: stopped_came },
            };
            let order = format!("{} stopped {nth}., {}", who[stopped], at.unwrap_or("after its end"));
            if !look(&mut explored, order, from, came).await {
                return explored;
            }
            if at.is_none() {
                break;
            }
        }
    }
    for n in 0..AT_ONCE {
        let from = set().await;
        let barrier = Arc::new(Barrier::new(2));
        let start = |operation: &Operation<T>, replica: &Arc<Replica>| {
            let (barrier, running) = (barrier.clone(), operation(replica.clone(), from.clone()));
            tokio::spawn(async move {
                barrier.wait().await;
                running.await
            })
        };
        let (mut first, mut second) = (start(&pair.first, &field.replicas[0]), start(&pair.second, &field.replicas[1]));
        let came = Came { first: joined(&mut first).await, second: joined(&mut second).await };
        if !look(&mut explored, format!("at once, {n}."), from, came).await {
            break;
        }
    }
    explored
}

fn spawn<T: Start>(operation: &Operation<T>, replica: &Arc<Replica>, from: &T) -> JoinHandle<Done> {
    tokio::spawn(operation(replica.clone(), from.clone()))
}

async fn joined(task: &mut JoinHandle<Done>) -> Done {
    tokio::time::timeout(PATIENCE, task).await.expect("it ends").expect("it doesn't panic")
}

async fn over(task: &JoinHandle<Done>) {
    while !task.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until it has ended, or waits for a lock in the database.
async fn ends_or_waits(field: &Field, task: &JoinHandle<Done>) {
    let mut connection = field.connection().await;
    let looking = async {
        while !task.is_finished() {
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let waits: i64 = sqlx::query_scalar(waits).fetch_one(&mut *connection).await.expect("a count");
            if waits > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it ends or waits");
}
