//! Changes of who is there, in batches: when a cluster starts, all its members come at once, and when a network breaks, all are lost at once.
//! Each change alone would read the whole cluster under its lock; together they read it once. While one batch is being carried out, the next
//! gathers, so whoever comes alone waits for nobody. One batch of a cluster at a time is under way here, so those that wait for it hold no
//! connection to the database.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use stillframe_protocol::{ClusterName, Incarnation, MemberId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{Caller, Service, ServiceError, lock, reports::shared};
use crate::{
    decide::{
        Facts, Refusal,
        member::{Ask, Change, Effect, together},
    },
    store::{Renewal, Scope, StoreError},
};

/// How many changes wait at most, of all clusters; more have to wait outside.
const QUEUE: usize = 16_384;

/// How many changes are carried out together.
const BATCH: usize = 1024;

/// What a change came to, and the facts after it.
pub(crate) type Answer = Result<(Effect, Arc<Facts>), ServiceError>;

/// What a batch came to, in the order of its changes.
type Answers = Result<(Vec<Result<Effect, Refusal>>, Arc<Facts>), Arc<ServiceError>>;

#[derive(Debug)]
struct Waiting {
    ask: Ask,
    answer: oneshot::Sender<Answer>,
    /// Its place in the queue.
    _place: OwnedSemaphorePermit,
}

/// Changes that wait, by cluster. A cluster that is in it has a task that carries them out.
#[derive(Debug)]
pub struct Membership {
    queues: Mutex<HashMap<ClusterName, VecDeque<Waiting>>>,
    places: Arc<Semaphore>,
}

impl Default for Membership {
    fn default() -> Self {
        Self { queues: Mutex::default(), places: Arc::new(Semaphore::new(QUEUE)) }
    }
}

impl Membership {
    /// Takes the next changes of a cluster out; when there are none, its task is over.
    fn next(&self, cluster: &ClusterName) -> Vec<Waiting> {
        let mut queues = lock(&self.queues);
        let Some(queue) = queues.get_mut(cluster) else { return Vec::new() };
        let batch: Vec<Waiting> = queue.drain(..queue.len().min(BATCH)).collect();
        if batch.is_empty() {
            queues.remove(cluster);
        }
        batch
    }
}

/// Empties the queue of one cluster. Should it end before its time, those that wait are told so, and the next to come starts another.
struct Worker<'a> {
    membership: &'a Membership,
    cluster: &'a ClusterName,
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.membership.queues).remove(self.cluster);
        }
    }
}

impl Service {
    /// Makes a change of who is there, together with those that others ask for at the same time.
    pub(crate) async fn change_members(self: &Arc<Self>, cluster: &ClusterName, ask: Ask) -> Answer {
        let place = self.membership.places.clone().acquire_owned().await.map_err(|_| ServiceError::Stopping)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { ask, answer, _place: place };
        let is_first = {
            let mut queues = lock(&self.membership.queues);
            let is_first = !queues.contains_key(cluster);
            queues.entry(cluster.clone()).or_default().push_back(waiting);
            is_first
        };
        if is_first {
            let (service, cluster) = (self.clone(), cluster.clone());
            // A task of its own: whoever comes first may go away, the others still wait.
            tokio::spawn(async move {
                let worker = Worker { membership: &service.membership, cluster: &cluster };
                loop {
                    let batch = worker.membership.next(&cluster);
                    if batch.is_empty() {
                        return;
                    }
                    service.carry_out(&cluster, batch).await;
                }
            });
        }
        answered.await.map_err(|_| ServiceError::Stopping)?
    }

    async fn carry_out(&self, cluster: &ClusterName, batch: Vec<Waiting>) {
        // Whoever hung up asks again, or isn't there any more.
        let wanted = batch.into_iter().filter(|waiting| !waiting.answer.is_closed());
        let (asks, answers): (Vec<Ask>, Vec<_>) = wanted.map(|Waiting { ask, answer, .. }| (ask, answer)).unzip();
        if asks.is_empty() {
            return;
        }
        match self.decide_together(cluster, asks.clone()).await {
            // Something that the database refuses: the others needn't suffer for it.
            Err(error) if asks.len() > 1 && matches!(*error, ServiceError::Store(StoreError::Fault { .. })) => {
                for (ask, answer) in asks.into_iter().zip(answers) {
                    let alone = self.decide_together(cluster, vec![ask]).await;
                    drop(answer.send(one(alone)));
                }
            }
            Err(error) => answers.into_iter().for_each(|answer| drop(answer.send(Err(shared(error.clone()))))),
            Ok((effects, facts)) => {
                for (answer, effect) in answers.into_iter().zip(effects) {
                    drop(answer.send(effect.map(|effect| (effect, facts.clone())).map_err(ServiceError::from)));
                }
            }
        }
    }

    async fn decide_together(&self, cluster: &ClusterName, asks: Vec<Ask>) -> Answers {
        let here: Vec<Renewal> = asks.iter().filter_map(|ask| comes(cluster, ask)).collect();
        if !here.is_empty() {
            // Their leases first: else the next look for expired ones would lose them again.
            let renewed = self.store.renew_leases(self.replica, self.settings.lease, &here).await;
            renewed.map_err(|error| Arc::new(error.into()))?;
        }
        let occasion = self.occasion(&Caller::coordinator());
        let effects: Arc<Mutex<Vec<Result<Effect, Refusal>>>> = Arc::default();
        let found = effects.clone();
        let rule = move |facts: &Facts| {
            let (decision, effects) = together(facts, &occasion, &asks);
            // It may be asked again when a race was lost: the last answer is the one that counts.
            *lock(&found) = effects;
            Ok(decision.into())
        };
        let done = self.transition(cluster, Scope::default(), rule).await.map_err(Arc::new)?;
        let effects = std::mem::take(&mut *lock(&effects));
        Ok((effects, done.facts.into()))
    }
}

fn comes(cluster: &ClusterName, ask: &Ask) -> Option<Renewal> {
    match &ask.change {
        Change::Arrive(name, incarnation) => Some(Renewal { lease: (cluster.clone(), name.clone(), *incarnation), take: true }),
        Change::Register(_) | Change::Lose(..) | Change::Leave(..) => None,
    }
}

/// The only answer of a batch of one.
fn one(answers: Answers) -> Answer {
    let (effects, facts) = answers.map_err(shared)?;
    let effect = effects.into_iter().next().unwrap_or(Ok(Effect::Nothing))?;
    Ok((effect, facts))
}

/// What a registration was granted.
pub(crate) fn granted(effect: Effect) -> Option<(MemberId, Incarnation)> {
    match effect {
        Effect::Granted(member_id, incarnation) => Some((member_id, incarnation)),
        Effect::Made | Effect::Nothing => None,
    }
}
