//! What a restore would do, for people.

use stillframe_api::{
    HumanDuration,
    restore_plan::{PlannedPresence, RestorePlan},
};

use crate::text::{bytes, dash, facts, table, time};

fn presence(presence: PlannedPresence) -> &'static str {
    match presence {
        PlannedPresence::Live => "live",
        PlannedPresence::Away => "away",
        PlannedPresence::Missing => "missing",
    }
}

fn names<'a>(names: impl Iterator<Item = &'a stillframe_protocol::MemberName>) -> String {
    names.map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Why it wouldn't succeed now.
pub(super) fn not_ready(plan: &RestorePlan) -> String {
    let mut why = Vec::new();
    if let Some(restore) = plan.under_way {
        why.push(format!("restore {restore} is under way"));
    }
    let away = names(plan.members.iter().filter(|m| m.presence != PlannedPresence::Live).map(|m| &m.member));
    if !away.is_empty() {
        why.push(format!("{away} would be waited for"));
    }
    if let Some(object) = plan.unreadable.first() {
        let more = plan.unreadable.len().saturating_sub(1);
        let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        why.push(format!("{}{more}", object.detail));
    }
    if let Some(reason) = &plan.unavailable {
        why.push(format!("the archive couldn't be asked: {reason}"));
    }
    format!("the restore would not succeed now: {}", why.join("; "))
}

pub(super) fn describe(plan: &RestorePlan) -> String {
    let lost = match (plan.lost.snapshots.len(), plan.lost.more) {
        (0, _) => "no later snapshot".to_owned(),
        (1, _) => "1 later snapshot".to_owned(),
        (n, false) => format!("{n} later snapshots"),
        (n, true) => format!("more than {n} later snapshots"),
    };
    let since = HumanDuration::from_millis(plan.lost.since_ms / 1000 * 1000);
    let leaving = names(plan.leaving.iter());
    let above = facts([
        ("cluster", Some(plan.cluster.to_string())),
        ("snapshot", Some(plan.snapshot.to_string())),
        ("epoch", Some(plan.epoch.to_string())),
        ("complete at", Some(time(plan.taken_at))),
        ("to load", Some(bytes(plan.bytes))),
        ("would be lost", Some(format!("the last {since}; {lost} would be left behind"))),
        ("would leave", Some(leaving).filter(|leaving| !leaving.is_empty())),
        ("under way", plan.under_way.map(|restore| format!("restore {restore}, which has to end first"))),
        ("archive", plan.unavailable.clone()),
        ("ready", Some(if plan.ready { "yes" } else { "no" }.to_owned())),
    ]);
    let rows = plan.members.iter().map(|member| {
        let part = if member.part == member.member { dash() } else { member.part.to_string() };
        let incarnation = member.incarnation.map_or_else(dash, |incarnation| incarnation.to_string());
        [member.member.to_string(), part, incarnation, presence(member.presence).to_owned(), bytes(member.bytes)]
    });
    let members = table(["MEMBER", "PART OF", "INCARNATION", "IS", "BYTES"], rows);
    let unreadable: String = plan.unreadable.iter().map(|object| format!("\n{}: {}", object.part, object.detail)).collect();
    let unreadable = if unreadable.is_empty() { unreadable } else { format!("\n\nunreadable:{unreadable}") };
    format!("{above}\n\n{members}{unreadable}")
}
