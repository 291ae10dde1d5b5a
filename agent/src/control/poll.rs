//! The loop that keeps the coordinator's assignment coming: level-triggered, so a lost or a repeated answer changes nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use stillframe_api::{
    HumanDuration,
    agent::{AssignmentQuery, Peers, Register, Registered},
};
use stillframe_protocol::{ClusterName, Epoch, MemberName};

use super::{
    ControlError, ControlPlane,
    lease::Lease,
    mailbox::{Mailbox, Target},
    replicas::{Next, Search},
    reporter::Reporter,
};
use crate::error::AgentError;
use stillframe_api::backoff::Backoff;

/// The longest hold that is asked for.
const MAX_HOLD: Duration = Duration::from_secs(20);

/// The wait to ask for when an answer is wanted at once.
const AT_ONCE: HumanDuration = HumanDuration::from_millis(1);

/// How long the next poll holds back when a snapshot has just begun. A poll costs the coordinator as much as a report; in these moments only the
/// reports are waited for, and most snapshots of small state are over after them, so that the poll brings the outcome at once. Its
/// connection stays open meanwhile, so the coordinator doesn't miss the member.
const REPORTS_FIRST: Duration = Duration::from_millis(15);

/// How often it is said that the coordinator is still away.
const SAY_AGAIN: Duration = Duration::from_secs(5);

/// Waits longer and longer while the coordinator is away, and says so once, then every few seconds.
struct Patience {
    backoff: Backoff,
    away_since: Option<Instant>,
    said_at: Option<Instant>,
}

impl Patience {
    fn new() -> Self {
        Self { backoff: Backoff::new(Duration::from_millis(10), Duration::from_secs(1)), away_since: None, said_at: None }
    }

    async fn wait(&mut self, reason: &str) {
        let now = Instant::now();
        let since = *self.away_since.get_or_insert(now);
        if self.said_at.is_none_or(|said| now.duration_since(said) >= SAY_AGAIN) {
            self.said_at = Some(now);
            tracing::warn!(
                reason,
                for_ms = now.duration_since(since).as_millis() as u64,
                "the coordinator is away; trying again"
            );
        }
        tokio::time::sleep(self.backoff.next_wait()).await;
    }

    fn is_away(&self) -> bool {
        self.away_since.is_some()
    }

    fn over(&mut self) {
        if let Some(since) = self.away_since.take() {
            tracing::info!(for_ms = since.elapsed().as_millis() as u64, "the coordinator is back");
        }
        self.said_at = None;
        self.backoff.reset();
    }
}

/// Registers, however long it takes the coordinator to come up. Also says when the answered request was made: the lease counts from there.
pub(crate) async fn register(
    plane: &dyn ControlPlane,
    cluster: &ClusterName,
    request: &Register,
) -> Result<(Registered, Instant), AgentError> {
    let member: &MemberName = &request.member;
    let mut patience = Patience::new();
    loop {
        let asked = Instant::now();
        match plane.register(cluster, request).await {
            Ok(registered) => {
                patience.over();
                return Ok((registered, asked));
            }
            Err(ControlError::Away(reason) | ControlError::WithoutDatabase(reason)) => patience.wait(&reason).await,
            Err(ControlError::Fenced(why)) => {
                return Err(AgentError::Fenced { cluster: cluster.clone(), member: member.clone(), why });
            }
            Err(ControlError::Refused(detail)) => {
                return Err(AgentError::Refused { cluster: cluster.clone(), member: member.clone(), detail });
            }
        }
    }
}

/// How long a poll is to be held. The lease counts from when a poll was asked, so its answer renews the lease for what the hold left of it: with a
/// quarter, the next answer may be late by half a lease before it runs out.
fn hold(lease: Duration) -> Duration {
    MAX_HOLD.min(lease / 4).max(Duration::from_millis(1))
}

/// How much later than asked for an answer may come: where there are several addresses, such that when it doesn't come, another one can be asked
/// before the lease runs out.
fn margin(lease: Duration, addresses: usize) -> Duration {
    if addresses > 1 { (lease / 4).max(Duration::from_millis(500)) } else { (lease / 2).max(Duration::from_secs(1)) }
}

/// Polls until the coordinator says that this process is done for, or the loop is dropped.
pub(crate) async fn run(reporter: Reporter, lease: Arc<Lease>, mailbox: Arc<Mailbox>) {
    let Reporter { plane, cluster, member, incarnation, .. } = &reporter;
    let hold = hold(lease.length());
    let margin = margin(lease.length(), plane.addresses());
    let mut search = Search::new(plane.addresses(), lease.length());
    let mut query = AssignmentQuery { incarnation: *incarnation, ..AssignmentQuery::default() };
    let mut peers = Arc::new(Peers { revision: 0, members: Vec::new(), left: Vec::new() });
    let mut patience = Patience::new();
    let mut newest = Epoch(0);
    loop {
        let asked = Instant::now();
        // After an outage the answer is wanted at once: until it comes, the member may be holding still.
        query.wait = if patience.is_away() || search.is_looking() { Some(AT_ONCE) } else { HumanDuration::new(hold).ok() };
        let answer = tokio::time::timeout(hold + margin, plane.assignment(cluster, member, &query)).await;
        let answer = answer.unwrap_or_else(|_| Err(ControlError::Away(format!("no answer for {:?}", hold + margin))));
        match answer {
            Ok(mut assignment) => {
                lease.renew(asked);
                patience.over();
                if let Some(newer) = assignment.peers.take() {
                    query.peers_after = newer.revision;
                    peers = Arc::new(newer);
                }
                query.after = assignment.revision;
                query.replica = Some(assignment.replica);
                let view_age = Duration::from_millis(assignment.view_age_ms);
                let begun = assignment.snapshots.iter().filter(|open| open.in_view).map(|open| open.epoch).max();
                mailbox.assign(Target { assignment, peers: Arc::clone(&peers), received_at: Instant::now() });
                if let Some(begun) = begun.filter(|begun| *begun > newest) {
                    newest = begun;
                    tokio::time::sleep(REPORTS_FIRST).await;
                }
                match search.answered(view_age) {
                    Next::Hold => {}
                    Next::LookElsewhere => plane.move_on(),
                }
            }
            Err(ControlError::Away(reason)) => {
                if !search.gave_no_answer() {
                    patience.wait(&reason).await;
                }
            }
            Err(ControlError::WithoutDatabase(reason)) => {
                // Without the database nobody can be declared lost or replaced, so this process goes on.
                lease.renew(asked);
                search.gave_no_answer();
                patience.wait(&reason).await;
            }
            Err(ControlError::Fenced(why)) => return reporter.fenced(why),
            Err(ControlError::Refused(detail)) => return reporter.refused(detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_an_idle_cluster_the_next_answer_comes_long_before_the_lease_runs_out() {
        for lease in [1, 5, 3600].map(Duration::from_secs) {
            // Asked at 0 and answered after a hold; asked again at once, and answered after another: the lease began at 0.
            assert!(2 * hold(lease) <= lease / 2, "{lease:?}");
        }
    }
}
