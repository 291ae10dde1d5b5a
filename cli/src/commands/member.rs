//! `stillframe member`: look at the members of a cluster, ask one to leave.

use clap::Subcommand;
use stillframe_api::cluster::{LeaveRequest, Member, MemberState};
use stillframe_protocol::{ClusterName, MemberName};

use super::paging::{self, PageArgs};
use crate::{
    connect::ApiArgs,
    error::CliError,
    output::Output,
    text::{facts, table, time},
};

/// What to do with members.
#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// List a cluster's members by name
    List {
        /// The cluster
        cluster: ClusterName,
        /// Which part of the list.
        #[command(flatten)]
        page: PageArgs,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Ask a member to leave for good: it hands over what it has, and ends; snapshots go on without it
    Leave {
        /// The cluster
        cluster: ClusterName,
        /// The member
        member: MemberName,
        /// Also if fewer than the cluster's min_members would stay
        #[arg(long)]
        force: bool,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Take back that a member was asked to leave, while it hasn't begun to
    Stay {
        /// The cluster
        cluster: ClusterName,
        /// The member
        member: MemberName,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// Does it.
///
/// # Errors
/// [`CliError`], nearly always what the coordinator says.
pub async fn run(command: MemberCommand, out: &mut Output) -> Result<(), CliError> {
    match command {
        MemberCommand::List { cluster, page, api } => {
            let client = api.client()?;
            let page = page.fetch(async |query| client.list_members(&cluster, &query).await).await?;
            paging::print(out, &page, list)
        }
        MemberCommand::Leave { cluster, member, force, api } => {
            let member = api.client()?.leave(&cluster, &member, &LeaveRequest { force }).await?;
            out.result(&member, describe)
        }
        MemberCommand::Stay { cluster, member, api } => {
            let member = api.client()?.stay(&cluster, &member).await?;
            out.result(&member, describe)
        }
    }
}

fn state(state: MemberState) -> &'static str {
    match state {
        MemberState::Live => "live",
        MemberState::Suspect => "suspect",
        MemberState::Lost => "lost",
        MemberState::Leaving => "leaving",
        MemberState::Left => "left",
    }
}

fn describe(member: &Member) -> String {
    let asked = if member.asked_to_leave { "yes" } else { "no" };
    facts([
        ("member", Some(member.name.to_string())),
        ("incarnation", Some(member.incarnation.to_string())),
        ("state", Some(state(member.state).to_owned())),
        ("asked to leave", Some(asked.to_owned())),
        ("address", Some(member.address.clone())),
    ])
}

fn list(members: &[Member]) -> String {
    let rows = members.iter().map(|member| {
        [
            member.name.to_string(),
            member.incarnation.to_string(),
            state(member.state).to_owned(),
            member.address.clone(),
            time(member.registered_at),
            time(member.last_seen_at),
        ]
    });
    table(["MEMBER", "INCARNATION", "STATE", "ADDRESS", "REGISTERED", "LAST SEEN"], rows)
}
