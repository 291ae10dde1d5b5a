//! `stillframe member`: look at the members of a cluster.

use clap::Subcommand;
use stillframe_api::cluster::{Member, MemberState};
use stillframe_protocol::ClusterName;

use super::paging::{self, PageArgs};
use crate::{
    connect::ApiArgs,
    error::CliError,
    output::Output,
    text::{table, time},
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
    }
}

fn state(state: MemberState) -> &'static str {
    match state {
        MemberState::Live => "live",
        MemberState::Suspect => "suspect",
        MemberState::Lost => "lost",
    }
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
