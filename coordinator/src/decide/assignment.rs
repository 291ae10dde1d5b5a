//! What a member is to be doing: a function of the cluster's facts, and of nothing that happened before.

use stillframe_api::{cluster::ClusterPhase, restore::RestoreState};
use stillframe_protocol::{Epoch, Generation, Incarnation, MemberName, RestoreId, SnapshotId};

use super::{
    Facts, Refusal,
    facts::{Presence, Standing},
    leave,
};

/// What a member is to be doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Hold still.
    Wait {
        /// Why.
        why: Why,
    },
    /// Run.
    Run {
        /// The generation.
        generation: Generation,
        /// The epoch that counts as cut at its start.
        epoch: Epoch,
        /// The restore from whose part it starts.
        restore: Option<RestoreId>,
    },
    /// Load and verify the part of this snapshot.
    Prepare {
        /// The restore.
        restore: RestoreId,
        /// The snapshot.
        snapshot: SnapshotId,
        /// The generation it makes.
        generation: Generation,
        /// The generation that the member runs in, or was to, until then: what it goes back to if the restore fails.
        in_force: Generation,
        /// The member of the snapshot whose part it is.
        part: MemberName,
        /// How often it was asked to try again.
        attempt: u32,
    },
    /// End with success: it has left.
    End,
    /// Stop.
    Leave {
        /// Why.
        why: String,
    },
}

/// Why a member holds still. Put into words only where it is told: there are many members, and counting them takes time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// For this reason.
    Because(String),
    /// The cluster doesn't run yet.
    NotRunning,
}

impl Why {
    /// In a sentence.
    #[must_use]
    pub fn sentence(&self, facts: &Facts) -> String {
        match self {
            Self::Because(reason) => reason.clone(),
            Self::NotRunning => {
                let there = facts.belonging().filter(|m| m.is_there()).count();
                let least = facts.cluster.min_members;
                format!("the cluster is not running yet: {there} members are there, and at least {least} are needed")
            }
        }
    }
}

/// Whether an incarnation is there and holds still. While it does, changes of the cluster are no news to it.
#[must_use]
pub fn is_waiting(facts: &Facts, name: &MemberName, incarnation: Incarnation) -> bool {
    facts.is_there(name) && matches!(wanted(facts, name, incarnation), Ok(Wanted::Wait { .. }))
}

/// What this incarnation of a member is to be doing.
///
/// # Errors
/// [`Refusal::UnknownMember`], and [`Refusal::Fenced`] for an incarnation that was never given.
pub fn wanted(facts: &Facts, name: &MemberName, incarnation: Incarnation) -> Result<Wanted, Refusal> {
    let cluster = &facts.cluster;
    let Some(member) = facts.members.get(name) else {
        return Err(Refusal::UnknownMember { cluster: cluster.name.clone(), member: name.clone() });
    };
    if incarnation > member.incarnation {
        return Err(Refusal::Fenced { member: name.clone(), expected: member.incarnation, found: incarnation });
    }
    if member.left.is_some_and(|left| left.incarnation >= incarnation) && !leave::lingers(facts, member, incarnation) {
        return Ok(Wanted::End);
    }
    if incarnation < member.incarnation {
        return Ok(Wanted::Leave { why: format!("incarnation {} of {name} has taken over", member.incarnation) });
    }
    let wait = |why: String| Ok(Wanted::Wait { why: Why::Because(why) });
    if member.standing == Standing::Excluded {
        let why = match cluster.latest_committed {
            Some(snapshot) => format!("the cluster was put back to snapshot {snapshot}, which {name} is not in"),
            None => format!("the cluster was put back to a snapshot that {name} is not in"),
        };
        return Ok(Wanted::Leave { why });
    }
    if member.state == Presence::Lost {
        return wait(format!("{name} counts as lost until it is heard of again"));
    }
    if let Some(restore) = facts.restore.as_ref().filter(|restore| !restore.state.has_ended()) {
        match restore.state {
            RestoreState::Preparing => {
                let Some(mine) = restore.members.get(name).filter(|m| m.incarnation == incarnation) else {
                    return wait(cluster.phase_reason.clone().unwrap_or_else(|| "a restore is under way".to_owned()));
                };
                return Ok(Wanted::Prepare {
                    restore: restore.id,
                    snapshot: restore.snapshot,
                    generation: restore.generation,
                    in_force: member.generation,
                    part: mine.part.as_ref().unwrap_or(name).clone(),
                    attempt: mine.attempt,
                });
            }
            // Until all that takes is there, everybody goes on; what is done meanwhile is undone by the restore.
            RestoreState::Planned | RestoreState::Resuming | RestoreState::Completed | RestoreState::Failed => {}
        }
    }
    match (member.standing, cluster.phase) {
        (Standing::Active | Standing::Left, ClusterPhase::Running | ClusterPhase::Restoring) => {
            Ok(Wanted::Run { generation: member.generation, epoch: member.epoch, restore: member.restore })
        }
        (Standing::Active | Standing::Left, ClusterPhase::Halted | ClusterPhase::Forming) => {
            wait(cluster.phase_reason.clone().unwrap_or_else(|| "the cluster is halted".to_owned()))
        }
        (Standing::Replacing, _) => wait(format!(
            "an older incarnation of {name} ran in generation {}: the cluster has to be put back to a snapshot first{}",
            cluster.generation,
            cluster.phase_reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
        )),
        (Standing::Waiting | Standing::Excluded, _) => Ok(Wanted::Wait { why: Why::NotRunning }),
    }
}
