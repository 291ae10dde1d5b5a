//! `stillframe audit`: who did what, when and why; and whether anybody has changed the record since.

use std::{io::BufRead, path::PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use stillframe_api::{
    audit::{AuditRow, ExportAudit, ListAudit, VerifyAudit},
    chain::{AuditVerification, ChainHead, ExportChecker},
};
use stillframe_protocol::ClusterName;

use crate::{
    commands::paging::{self, PageArgs},
    connect::ApiArgs,
    error::CliError,
    output::Output,
    text::{dash, table, time},
};

/// What to do with the audit.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List rows, newest first
    List {
        /// Which rows.
        #[command(flatten)]
        filter: FilterArgs,
        /// Which part of the list.
        #[command(flatten)]
        page: PageArgs,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Print whole chains as JSON, one row a line, to be kept elsewhere and verified by themselves
    Export {
        /// Only the chain of this cluster [default: all chains]
        #[arg(long)]
        cluster: Option<ClusterName>,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Look whether no row was edited, removed, put elsewhere or replaced
    Verify {
        /// Only the chain of this cluster [default: all chains]
        #[arg(long)]
        cluster: Option<ClusterName>,
        /// A head that an earlier verification printed and that was kept elsewhere: finds also a chain that was written anew
        #[arg(long, requires = "cluster", value_name = "SEQ:HASH")]
        head: Option<ChainHead>,
        /// Verify this export instead, without a coordinator; - is standard input
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// Which rows. Everything that is given has to match.
#[derive(Debug, Clone, Args)]
pub struct FilterArgs {
    /// Only those of this cluster
    #[arg(long)]
    cluster: Option<ClusterName>,
    /// Only those of this actor: request, coordinator, member:NAME, members (several together) or schedule:NAME
    #[arg(long)]
    actor: Option<String>,
    /// Only those with this action, "snapshot.committed"; "snapshot." stands for all that begin so
    #[arg(long)]
    action: Option<String>,
    /// Only those about this snapshot, restore, member or schedule
    #[arg(long)]
    subject: Option<String>,
    /// Only those at this time or later, 2026-01-02T03:04:05Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only those before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
}

/// Does it.
///
/// # Errors
/// [`CliError::Failed`] when a chain isn't as it was written, or the file is no export; else nearly always what the coordinator says.
pub async fn run(command: AuditCommand, out: &mut Output) -> Result<(), CliError> {
    match command {
        AuditCommand::List { filter, page, api } => {
            let client = api.client()?;
            let FilterArgs { cluster, actor, action, subject, since, until } = filter;
            let query = ListAudit { cluster, actor, action, subject, since, until, limit: None, cursor: None };
            let page = page.fetch(async |page| {
                client.list_audit(&ListAudit { limit: page.limit, cursor: page.cursor, ..query.clone() }).await
            });
            paging::print(out, &page.await?, list)
        }
        AuditCommand::Export { cluster, api } => {
            let mut export = api.client()?.export_audit(&ExportAudit { cluster }).await?;
            while let Some(line) = export.next_line().await? {
                out.line(line)?;
            }
            Ok(())
        }
        AuditCommand::Verify { cluster, head, file, api } => {
            let found = match file {
                Some(file) => verify_file(&file, cluster, head)?,
                None => {
                    let head = head.map(|head| head.to_string());
                    api.client()?.verify_audit(&VerifyAudit { cluster, head }).await?
                }
            };
            out.result(&found, describe)?;
            match found.chains.iter().filter(|chain| !chain.intact).count() {
                0 => Ok(()),
                bad => Err(CliError::Failed(format!(
                    "{bad} of {} chains of the audit are not as they were written",
                    found.chains.len()
                ))),
            }
        }
    }
}

fn verify_file(file: &PathBuf, cluster: Option<ClusterName>, head: Option<ChainHead>) -> Result<AuditVerification, CliError> {
    let name = file.display();
    let reading = || format!("read the export {name}");
    let lines: Box<dyn BufRead> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::io::BufReader::new(std::fs::File::open(file).map_err(CliError::system(reading()))?))
    };
    let mut checker = ExportChecker::default();
    if let Some(cluster) = &cluster {
        checker.expect(Some(cluster.clone()), head.into_iter().collect());
    }
    let mut rows = 0_u64;
    for (number, line) in lines.lines().enumerate() {
        let line = line.map_err(CliError::system(reading()))?;
        let row: AuditRow = serde_json::from_str(&line).map_err(|error| {
            let number = number + 1;
            CliError::Failed(format!(
                "line {number} of {name} is no row of an export: {error}; expected what `stillframe audit export` printed"
            ))
        })?;
        if cluster.is_none() || row.cluster == cluster {
            checker.take(&row);
            rows += 1;
        }
    }
    // Most likely a mistake.
    if rows == 0 {
        return Err(CliError::Failed(format!("{name} has no row to verify, which proves nothing: expected an export of it")));
    }
    Ok(checker.finish())
}

fn list(rows: &[AuditRow]) -> String {
    let rows = rows.iter().map(|row| {
        [
            time(row.at),
            row.cluster.as_ref().map_or_else(dash, ToString::to_string),
            row.seq.to_string(),
            row.actor.clone(),
            row.action.clone(),
            row.subject.clone(),
            row.reason.clone().unwrap_or_else(dash),
        ]
    });
    table(["AT", "CLUSTER", "SEQ", "ACTOR", "ACTION", "SUBJECT", "REASON"], rows)
}

fn describe(found: &AuditVerification) -> String {
    let rows = found.chains.iter().map(|chain| {
        [
            chain.cluster.as_ref().map_or_else(|| "(of no cluster)".to_owned(), ToString::to_string),
            if chain.intact { "intact" } else { "NOT INTACT" }.to_owned(),
            chain.rows.to_string(),
            chain.head.as_ref().map_or_else(dash, ToString::to_string),
        ]
    });
    let mut text = table(["CHAIN", "", "ROWS", "HEAD"], rows);
    for (chain, fault) in found.chains.iter().filter_map(|chain| chain.fault.as_ref().map(|fault| (chain, fault))) {
        let name = chain.cluster.as_ref().map_or_else(|| "the rows of no cluster".to_owned(), ToString::to_string);
        text.push_str(&format!("\n\nthe chain of {name} is not what was written:\n  {fault}"));
    }
    text
}
