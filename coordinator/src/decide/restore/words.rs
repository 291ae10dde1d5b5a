//! What members say of their parts, and trying again.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use stillframe_api::{
    agent::PrepareProblem,
    restore::{RestoreFailure, RestorePhase, RestoreState},
};
use stillframe_protocol::{Generation, Incarnation, MemberName, RestoreId};

use super::failure::{fail, unreadable};
use crate::decide::{Decision, Draft, Facts, Occasion};

/// What a member says of its part of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Being loaded.
    Loading {
        /// The restore.
        restore: RestoreId,
        /// The generation it is prepared for.
        generation: Generation,
        /// The bytes loaded so far.
        bytes: u64,
    },
    /// Loaded and verified.
    Prepared {
        /// The restore.
        restore: RestoreId,
        /// The generation it was prepared for.
        generation: Generation,
        /// The bytes loaded.
        bytes: u64,
    },
    /// Can't be loaded.
    PrepareFailed {
        /// The restore.
        restore: RestoreId,
        /// The generation it was prepared for.
        generation: Generation,
        /// The attempt that failed.
        attempt: u32,
        /// Whether trying again may help.
        problem: PrepareProblem,
        /// What is wrong.
        detail: String,
    },
    /// The member runs in this generation.
    Running {
        /// The generation.
        generation: Generation,
    },
}

/// The pause before the first time that a member tries again; it doubles with each, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// The longest pause between two attempts.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(30);

fn retry_at(now: Timestamp, attempt: u32) -> Timestamp {
    let pause = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
    now.checked_add(pause).unwrap_or(now)
}

/// Takes the words of members, in order. Those of other incarnations, generations or restores change nothing.
#[must_use]
pub fn heard(facts: &Facts, occasion: &Occasion, words: &[(MemberName, Incarnation, Word)]) -> Decision {
    let mut draft = Draft::new(facts, occasion);
    for (name, incarnation, word) in words {
        let Some(restore) = draft.next.restore.as_mut() else { continue };
        let (state, current) = (restore.state, (restore.id, restore.generation));
        let Some(member) = restore.members.get_mut(name).filter(|member| member.incarnation == *incarnation) else { continue };
        match (word, state) {
            (Word::Loading { restore, generation, bytes }, RestoreState::Preparing) if (*restore, *generation) == current => {
                // It may have been overtaken by the word that the part is prepared.
                if matches!(member.phase, RestorePhase::Waiting | RestorePhase::Loading) {
                    (member.phase, member.bytes) = (RestorePhase::Loading, *bytes);
                }
            }
            (Word::Prepared { restore, generation, bytes }, RestoreState::Preparing) if (*restore, *generation) == current => {
                (member.phase, member.bytes, member.error) = (RestorePhase::Prepared, *bytes, None);
            }
            (Word::PrepareFailed { restore, generation, attempt, problem, detail }, RestoreState::Preparing)
                if (*restore, *generation) == current && *attempt == member.attempt =>
            {
                // Said twice, it counts once.
                if matches!(member.phase, RestorePhase::Waiting | RestorePhase::Loading) {
                    failed(&mut draft, name, *problem, detail);
                }
            }
            (Word::Running { generation }, RestoreState::Resuming) if *generation == current.1 => {
                member.phase = RestorePhase::Running;
            }
            (Word::Loading { .. } | Word::Prepared { .. } | Word::PrepareFailed { .. } | Word::Running { .. }, _) => {}
        }
    }
    draft.decide()
}

/// A member couldn't load its part: it tries again, another snapshot is tried, or the restore fails.
fn failed(draft: &mut Draft<'_>, name: &MemberName, problem: PrepareProblem, detail: &str) {
    let now = draft.now();
    let Some(restore) = draft.next.restore.as_mut() else { return };
    let (id, retries) = (restore.id, restore.retries);
    let Some(member) = restore.members.get_mut(name) else { return };
    member.error = Some(detail.to_owned());
    let reason = match problem {
        PrepareProblem::Unreadable => {
            member.phase = RestorePhase::Failed;
            return unreadable(draft, name, detail);
        }
        PrepareProblem::Unavailable => RestoreFailure::Unavailable,
        PrepareProblem::Member => RestoreFailure::MemberFailed,
    };
    let attempt = member.attempt;
    if attempt < retries {
        member.phase = RestorePhase::Retrying;
        let at = retry_at(now, attempt);
        // One moment for all of them: who fails a little later tries again with the others.
        restore.retry_at = Some(restore.retry_at.map_or(at, |earlier| earlier.max(at)));
        let line = json!({ "member": name, "attempt": attempt, "detail": detail });
        draft.audit("restore.retrying", id, line);
        return;
    }
    member.phase = RestorePhase::Failed;
    let tried = if attempt == 0 { String::new() } else { format!(" (tried {} times)", attempt.saturating_add(1)) };
    fail(draft, reason, format!("{name}: {detail}{tried}"));
}
