//! The command line.

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    commands::{
        archive::ArchiveCommand, audit::AuditCommand, cluster::ClusterCommand, dev::DevArgs, gc::GcCommand, hold::HoldCommand,
        member::MemberCommand, restore::RestoreCommand, retention::RetentionCommand, schedule::ScheduleCommand,
        snapshot::SnapshotCommand,
    },
    demo::DemoArgs,
    exit::EXIT_CODES_HELP,
    logging::LogArgs,
    settings::CoordinatorArgs,
};

/// Checkpoints a distributed application while it runs, and puts it back
#[derive(Debug, Parser)]
#[command(name = "stillframe", version, after_help = EXIT_CODES_HELP, arg_required_else_help = true, subcommand_required = true)]
pub struct Cli {
    /// Print results as JSON on standard output, and an error as one JSON object on standard error
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// What to log, and how.
    #[command(flatten)]
    pub log: LogArgs,
    /// The coordinator's URL, given before the command: it becomes the `url` of the command's own `ApiArgs`
    #[arg(long, global = true, hide = true, value_name = "URL")]
    pub url: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show it all: a live cluster is checkpointed, loses a process, and is put back
    Demo(DemoArgs),
    /// Run a coordinator with everything it needs: a private Postgres and an archive in a directory
    Dev(DevArgs),
    /// Run a coordinator on a Postgres database and an archive
    Coordinator(Box<CoordinatorArgs>),
    /// Create, change and look at clusters
    Cluster {
        /// What to do with clusters.
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Look at the members of a cluster
    Member {
        /// What to do with members.
        #[command(subcommand)]
        command: MemberCommand,
    },
    /// Take, look at, change, abort and verify snapshots
    Snapshot {
        /// What to do with snapshots.
        #[command(subcommand)]
        command: SnapshotCommand,
    },
    /// Put a cluster back to a snapshot
    Restore {
        /// What to do with restores.
        #[command(subcommand)]
        command: RestoreCommand,
    },
    /// Take snapshots periodically
    Schedule {
        /// What to do with schedules.
        #[command(subcommand)]
        command: ScheduleCommand,
    },
    /// Look at the coordinator's archive
    Archive {
        /// What to do with the archive.
        #[command(subcommand)]
        command: ArchiveCommand,
    },
    /// See who did what, and verify that nobody has changed the record
    Audit {
        /// What to do with the audit.
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Say which committed snapshots of a cluster are kept
    Retention {
        /// What to do with a retention.
        #[command(subcommand)]
        command: RetentionCommand,
    },
    /// See what would go from the archive and why, and have it go
    Gc {
        /// What to do about garbage.
        #[command(subcommand)]
        command: GcCommand,
    },
    /// Hold snapshots, so that nothing deletes them
    Hold {
        /// What to do with holds.
        #[command(subcommand)]
        command: HoldCommand,
    },
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// One member process of the demo
    #[command(hide = true)]
    DemoMember(stillframe_bank::MemberArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn refused(words: &[&str]) -> String {
        Cli::try_parse_from([&["stillframe"], words].concat()).expect_err("it is refused").to_string()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Every command with its path, `restore start`.
    fn each(command: &clap::Command, look: &mut impl FnMut(&clap::Command)) {
        look(command);
        command.get_subcommands().for_each(|command| each(command, look));
    }

    #[test]
    fn no_usage_has_alternatives_before_an_argument_that_goes_first() {
        let mut cli = Cli::command();
        cli.build();
        each(&cli, &mut |command| {
            let usage = command.clone().render_usage().to_string();
            let Some(alternatives) = usage.find('|') else { return };
            assert!(usage.starts_with(&format!("Usage: {} ", command.get_bin_name().unwrap_or_default())), "{usage}");
            for positional in command.get_positionals().filter(|argument| argument.is_required_set()) {
                let name = format!("<{}>", positional.get_value_names().expect("a name")[0]);
                assert!(usage.find(&name).is_some_and(|at| at < alternatives), "{name}: {usage}");
            }
        });
    }

    #[test]
    fn json_and_log_are_taken_before_and_after_the_command() {
        for words in [["--json", "--log", "debug", "cluster", "list"], ["cluster", "list", "--json", "--log", "debug"]] {
            let cli = Cli::try_parse_from(["stillframe"].into_iter().chain(words)).expect("fine");
            assert!(cli.json);
            assert_eq!(cli.log.log_filter.as_deref(), Some("debug"));
        }
        assert!(Cli::try_parse_from(["stillframe", "demo", "--json"]).expect("fine").json);
    }

    #[test]
    fn the_url_is_taken_before_and_after_the_command() {
        for words in [["--url", "http://a,http://b", "cluster", "list"], ["cluster", "list", "--url", "http://a,http://b"]] {
            let cli = Cli::try_parse_from(["stillframe"].into_iter().chain(words)).expect("fine");
            let Command::Cluster { command: ClusterCommand::List { api, .. } } = cli.command else { panic!("another command") };
            assert_eq!(api.url, "http://a,http://b");
        }
    }

    #[test]
    fn what_is_malformed_is_refused_with_what_was_expected() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        for (words, says) in [
            (&["snapshot", "take", "Bank"][..], "a-z, 0-9"),
            (&["snapshot", "take", "bank", "--timeout", "soon"], "\"30s\""),
            (&["snapshot", "take", "bank", "--label", "x"], "KEY=VALUE"),
            (&["snapshot", "take", "--wait", "bank"], "--wait last"),
            (&["snapshot", "show", "7"], "snapshot list"),
            (&["snapshot", "list", "bank", "--status", "done"], "committed"),
            (&["snapshot", "list", "bank", "--limit", "0"], "1..=500"),
            (&["snapshot", "verify", "--archive", "x", "bank"], "--all"),
            (&["snapshot", "verify", "--archive", "x", "bank", id, "--all"], "cannot be used with"),
            (&["restore", "start", "bank", "latest"], "snapshot list"),
            (&["restore", "start", "bank"], "--latest"),
            (&["restore", "start", "bank", id, "--latest"], "cannot be used with"),
            (&["restore", "start", "bank", "--before", "yesterday"], "RFC 3339"),
            (&["restore", "start", "bank", "--latest", "--map", "p1"], "OLD=NEW"),
            (&["restore", "start", "bank", "--latest", "--fallback", "17"], "0..=16"),
            (&["restore", "start", "bank", "--latest", "--dry-run", "--wait"], "cannot be used with"),
            (&["restore", "show", "7"], "restore start"),
            (&["schedule", "set", "bank", "x", "--every", "30"], "\"30s\""),
            (&["schedule", "set", "bank", "x"], "--every"),
            (&["schedule", "set", "bank", "x", "--every", "1s", "--cron", "@daily"], "cannot be used with"),
            (&["schedule", "set", "bank", "x", "--cron", "@daily", "--misfire", "twice"], "once"),
            (&["schedule", "pause", "bank", "x", "--until", "soon"], "invalid value"),
            (&["retention", "set", "bank", "--keep-last", "0"], "1..=100000"),
            (&["retention", "set", "bank", "--keep-for", "long"], "\"30s\""),
            (&["gc", "plan", "bank", "--orphans", "eat"], "report or delete"),
            (&["hold", "add", id, "--owner", "me"], "--reason"),
            (&["hold", "remove", id, "x"], "hold list"),
            (&["cluster", "create", "bank"], "--min-members"),
            (&["cluster", "create", "bank", "--min-members", "1", "--min-pause", "0"], "\"30s\""),
            (&["cluster", "update", "bank"], "--max-concurrent"),
            (&["cluster", "update", "bank", "--max-concurrent", "17"], "1..=16"),
            (&["snapshot", "update", id], "--timeout"),
            (&["cluster", "create", "bank", "--min-members", "0"], "1..=10000"),
            (&["cluster", "create", "bank", "--min-members", "1", "--on-loss", "panic"], "restore-latest"),
            (&["dev", "--listen", "example"], "127.0.0.1:7700"),
            (&["audit", "list", "--since", "yesterday"], "invalid value"),
            (&["audit", "verify", "--head", "7:x"], "<seq>:<64"),
            (&["nonsense"], "unrecognized subcommand"),
        ] {
            let error = refused(words);
            assert!(error.contains(says), "{words:?}: {error}");
        }
    }
}
