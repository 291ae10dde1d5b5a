//! What operators ask for while things break. Each request is a task of its own, so that a slow answer keeps nothing else waiting.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use stillframe_api::{
    Client, HumanDuration,
    client::ClientError,
    problem::ProblemCode,
    restore::StartRestore,
    snapshot::{AbortSnapshot, ListSnapshots, Snapshot, SnapshotState, TakeSnapshot},
};
use stillframe_protocol::{ClusterName, RestoreId};
use tokio::task::JoinSet;

use crate::{
    plan::{Ask, Step},
    timeline::{Timeline, Voice},
};

/// How long an operator waits for an answer of one replica.
const PATIENCE: Duration = Duration::from_secs(5);

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
    clients: Vec<Client>,
    timeline: Arc<Timeline>,
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
            under_way: JoinSet::new(),
            answers: BTreeMap::new(),
            restores: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Asks.
    pub fn ask(&mut self, step: Step) {
        let (cluster, timeline) = (self.cluster.clone(), Arc::clone(&self.timeline));
        let (before, from) = self.clients.split_at(step.replica % self.clients.len());
        let clients = [from, before].concat();
        self.under_way.spawn(async move {
            let answer = answer(&clients, &cluster, step.ask).await;
            timeline.say(Voice::Ask, format!("{}: {}", answer.ask, answer.word));
            answer
        });
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

/// Asks one replica after the other until one answers.
async fn answer(clients: &[Client], cluster: &ClusterName, ask: Ask) -> Answer {
    let mut word = "nobody answered".to_owned();
    for client in clients {
        let answered = tokio::time::timeout(PATIENCE, carry_out(client, cluster, ask)).await;
        match answered {
            Ok(Ok((word, restore))) => return Answer { ask, word: word.to_owned(), restore, violation: None },
            Ok(Err(error)) => {
                let Some(problem) = error.problem() else { continue };
                let code = serde_json::to_value(problem.code).ok().and_then(|code| code.as_str().map(str::to_owned));
                word = format!("refused, {}", code.unwrap_or_default());
                let violation = (problem.code == ProblemCode::Internal).then(|| format!("{ask}: {problem}"));
                if violation.is_some() || !error.is_transient() {
                    return Answer { ask, word, restore: None, violation };
                }
            }
            Err(_) => {}
        }
    }
    Answer { ask, word, restore: None, violation: None }
}

type Carried = Result<(&'static str, Option<RestoreId>), ClientError>;

async fn carry_out(client: &Client, cluster: &ClusterName, ask: Ask) -> Carried {
    match ask {
        Ask::Snapshot => client.take_snapshot(cluster, &TakeSnapshot::default()).await.map(|_| ("accepted", None)),
        Ask::HastySnapshot { timeout } => {
            let request = TakeSnapshot { timeout: HumanDuration::new(timeout).ok(), ..TakeSnapshot::default() };
            client.take_snapshot(cluster, &request).await.map(|_| ("accepted", None))
        }
        Ask::Abort => match snapshots(client, cluster, None).await?.first() {
            Some(newest) => {
                let why = AbortSnapshot { why: Some("chaos".to_owned()) };
                client.abort_snapshot(newest.id, &why).await.map(|_| ("accepted", None))
            }
            None => Ok(("there was none", None)),
        },
        Ask::RestoreLatest => restore(client, cluster, 0).await,
        Ask::RestoreOlder { pick } => restore(client, cluster, pick).await,
        Ask::Delete { pick } => {
            let committed = snapshots(client, cluster, Some(SnapshotState::Committed)).await?;
            let Some(number) = usize::try_from(pick).unwrap_or(usize::MAX).checked_rem(committed.len()) else {
                return Ok(("there was none", None));
            };
            client.delete_snapshot(committed[number].id).await.map(|_| ("accepted", None))
        }
    }
}

async fn snapshots(client: &Client, cluster: &ClusterName, state: Option<SnapshotState>) -> Result<Vec<Snapshot>, ClientError> {
    let query = ListSnapshots { status: state, limit: Some(50), cursor: None };
    Ok(client.list_snapshots(cluster, &query).await?.items)
}

async fn restore(client: &Client, cluster: &ClusterName, pick: u64) -> Carried {
    let committed = snapshots(client, cluster, Some(SnapshotState::Committed)).await?;
    let Some(number) = usize::try_from(pick).unwrap_or(usize::MAX).checked_rem(committed.len()) else {
        return Ok(("there was none", None));
    };
    let request = StartRestore::to(committed[number].id);
    client.start_restore(cluster, &request).await.map(|restore| ("accepted", Some(restore.id)))
}
