//! What operators ask for while things break. Each request is a task of its own, so that a slow answer keeps nothing else waiting.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use stillframe_api::{
    Client, HumanDuration,
    client::ClientError,
    gc::{GcOptions, Orphans},
    problem::ProblemCode,
    restore::StartRestore,
    retention::CreateHold,
    snapshot::{AbortSnapshot, ListSnapshots, Snapshot, SnapshotState, TakeSnapshot},
};
use stillframe_protocol::{ClusterName, HoldId, RestoreId, SnapshotId};
use tokio::task::JoinSet;

use crate::{
    plan::{Ask, Step},
    timeline::{Timeline, Voice},
};

/// How long an operator tries, at one replica after the other.
pub const PATIENCE: Duration = Duration::from_secs(6);

/// How long an answer may take at last: some are tried with nothing but silence on the way.
const GIVES_UP_AFTER: Duration = Duration::from_secs(30);

/// The label by which the snapshots of one request are found: however often it was sent, there mustn't be two.
pub const ASKED_AS: &str = "asked-as";

/// The holds that were accepted and whose release wasn't asked for yet.
type Holds = Arc<Mutex<Vec<(SnapshotId, HoldId)>>>;

/// How a request ended.
#[derive(Debug)]
struct Answer {
    ask: Ask,
    /// In a word, to be counted by.
    word: String,
    restore: Option<RestoreId>,
    violation: Option<String>,
}

/// Requests under way, and how the others ended.
#[derive(Debug)]
pub struct Workload {
    cluster: ClusterName,
    /// Each knows all replicas, and asks another one first.
    clients: Vec<Client>,
    timeline: Arc<Timeline>,
    asked: u64,
    holds: Holds,
    under_way: JoinSet<Answer>,
    /// How requests ended, by what was asked and a word.
    pub answers: BTreeMap<(&'static str, String), u32>,
    /// The restores that were accepted.
    pub restores: Vec<RestoreId>,
    /// Answers that mustn't be.
    pub violations: Vec<String>,
}

impl Workload {
    /// Nothing asked yet.
    #[must_use]
    pub fn new(cluster: ClusterName, clients: Vec<Client>, timeline: Arc<Timeline>) -> Self {
        Self {
            cluster,
            clients,
            timeline,
            asked: 0,
            holds: Holds::default(),
            under_way: JoinSet::new(),
            answers: BTreeMap::new(),
            restores: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Asks.
    pub fn ask(&mut self, step: Step) {
        self.asked += 1;
        let asker = Asker {
            client: self.clients[step.replica % self.clients.len()].clone(),
            cluster: self.cluster.clone(),
            label: format!("{}", self.asked),
            holds: Arc::clone(&self.holds),
        };
        let timeline = Arc::clone(&self.timeline);
        self.under_way.spawn(async move {
            let answer = asker.answer(step.ask).await;
            timeline.say(Voice::Ask, format!("{}: {}", answer.ask, answer.word));
            answer
        });
    }

    /// The holds are gone with their database.
    pub fn forget_holds(&mut self) {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Waits until everything asked has ended.
    pub async fn all_ended(&mut self) {
        while let Some(ended) = self.under_way.join_next().await {
            let Ok(answer) = ended else {
                self.violations.push("a task of the workload has panicked".to_owned());
                continue;
            };
            *self.answers.entry((answer.ask.name(), answer.word)).or_default() += 1;
            self.restores.extend(answer.restore);
            self.violations.extend(answer.violation);
        }
    }
}

type Carried = Result<(&'static str, Option<RestoreId>), ClientError>;

/// What a request needs to be made.
struct Asker {
    client: Client,
    cluster: ClusterName,
    label: String,
    holds: Holds,
}

impl Asker {
    async fn answer(&self, ask: Ask) -> Answer {
        let answer = |word: String, restore, violation| Answer { ask, word, restore, violation };
        match tokio::time::timeout(GIVES_UP_AFTER, self.carry_out(ask)).await {
            Ok(Ok((word, restore))) => answer(word.to_owned(), restore, None),
            Ok(Err(error)) => {
                let Some(problem) = error.problem() else { return answer("nobody answered".to_owned(), None, None) };
                let code = serde_json::to_value(problem.code).ok().and_then(|code| code.as_str().map(str::to_owned));
                let violation = (problem.code == ProblemCode::Internal).then(|| format!("{ask}: {problem}"));
                answer(format!("refused, {}", code.unwrap_or_default()), None, violation)
            }
            Err(_) => answer("nobody answered".to_owned(), None, None),
        }
    }

    async fn carry_out(&self, ask: Ask) -> Carried {
        let (client, cluster) = (&self.client, &self.cluster);
        let labels = BTreeMap::from([(ASKED_AS.to_owned(), self.label.clone())]);
        match ask {
            Ask::Snapshot => {
                let request = TakeSnapshot { labels, ..TakeSnapshot::default() };
                client.take_snapshot(cluster, &request).await.map(|_| ("accepted", None))
            }
            Ask::HastySnapshot { timeout } => {
                let request = TakeSnapshot { timeout: HumanDuration::new(timeout).ok(), labels };
                client.take_snapshot(cluster, &request).await.map(|_| ("accepted", None))
            }
            Ask::Abort => match self.snapshots(None).await?.first() {
                Some(newest) => {
                    let why = AbortSnapshot { why: Some("chaos".to_owned()) };
                    client.abort_snapshot(newest.id, &why).await.map(|_| ("accepted", None))
                }
                None => Ok(("there was none", None)),
            },
            Ask::RestoreLatest => self.restore(0).await,
            Ask::RestoreOlder { pick } => self.restore(pick).await,
            Ask::Delete { pick } => match self.committed(pick).await? {
                Some(snapshot) => client.delete_snapshot(snapshot).await.map(|_| ("accepted", None)),
                None => Ok(("there was none", None)),
            },
            Ask::Hold { pick, expires_in } => self.hold(pick, expires_in).await,
            Ask::Release { pick } => self.release(pick).await,
            Ask::CollectGarbage => {
                let options = GcOptions { orphans: Some(Orphans::Delete), ignore_breaker: false };
                client.run_gc(cluster, &options).await.map(|_| ("accepted", None))
            }
        }
    }

    async fn snapshots(&self, state: Option<SnapshotState>) -> Result<Vec<Snapshot>, ClientError> {
        let query = ListSnapshots { status: state, limit: Some(50), cursor: None };
        Ok(self.client.list_snapshots(&self.cluster, &query).await?.items)
    }

    async fn committed(&self, pick: u64) -> Result<Option<SnapshotId>, ClientError> {
        let committed = self.snapshots(Some(SnapshotState::Committed)).await?;
        Ok(picked(&committed, pick).map(|snapshot| snapshot.id))
    }

    async fn restore(&self, pick: u64) -> Carried {
        let Some(snapshot) = self.committed(pick).await? else { return Ok(("there was none", None)) };
        let restore = self.client.start_restore(&self.cluster, &StartRestore::to(snapshot)).await?;
        Ok(("accepted", Some(restore.id)))
    }

    async fn hold(&self, pick: u64, expires_in: Option<Duration>) -> Carried {
        let Some(snapshot) = self.committed(pick).await? else { return Ok(("there was none", None)) };
        let expires_in = expires_in.and_then(|expires_in| HumanDuration::new(expires_in).ok());
        let hold = CreateHold { owner: "chaos".to_owned(), reason: self.label.clone(), expires_in };
        let hold = self.client.hold_snapshot(snapshot, &hold).await?;
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).push((snapshot, hold.id));
        Ok(("accepted", None))
    }

    async fn release(&self, pick: u64) -> Carried {
        let picked = {
            let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
            usize::try_from(pick).unwrap_or(usize::MAX).checked_rem(holds.len()).map(|number| holds.swap_remove(number))
        };
        let Some((snapshot, hold)) = picked else { return Ok(("there was none", None)) };
        self.client.release_hold(snapshot, hold).await.map(|()| ("accepted", None))
    }
}

fn picked(snapshots: &[Snapshot], pick: u64) -> Option<&Snapshot> {
    snapshots.get(usize::try_from(pick).unwrap_or(usize::MAX).checked_rem(snapshots.len())?)
}
