//! A command line that is wrong exits 2 with one message, before anything is done.

use serde_json::json;

use crate::support::{finish, run, stillframe};

#[test]
fn a_wrong_command_line_exits_2() {
    run(&["nonsense"]).exits(2);
    run(&["snapshot", "take"]).exits(2).says(&["<CLUSTER>"]);
    run(&["snapshot", "take", "Bank"]).exits(2).says(&["cluster name \"Bank\" is not allowed", "expected 1 to 64 of a-z"]);
    run(&["snapshot", "take", "bank", "--timeout", "soon"]).exits(2).says(&["\"30s\""]);
    run(&["snapshot", "show", "latest"]).exits(2).says(&["snapshot list"]);
    run(&["cluster", "list", "--url", "localhost:7700"]).exits(2).says(&["expected http://host:port"]);
    run(&["cluster", "list", "--url", "nonsense"]).exits(2).says(&["such as http://127.0.0.1:7700"]);
    run(&["restore", "start"]).exits(2).says(&["restore start [OPTIONS] <CLUSTER> <SNAPSHOT|--latest|--before <TIME>>"]);
    run(&["snapshot", "take", "bank", "--timeout", "-5s"]).exits(2).says(&["--timeout", "\"30s\"", "found -5s"]);
    run(&["demo", "--snapshot-every", "1ms"]).exits(2).says(&["--snapshot-every", "50ms to 366 days"]);
    run(&["demo", "--data-dir", "/dev/null"]).exits(2).says(&["--data-dir", "/dev/null is a file"]);
    run(&["coordinator", "--config", "/nope.toml"]).exits(2).says(&["/nope.toml", "--config"]);
    run(&["cluster", "list", "--log", "a=b=c=d"]).exits(2).says(&["no log filter"]);
}

#[test]
fn with_json_a_usage_error_is_an_object_too() {
    let error = run(&["snapshot", "show", "latest", "--json"]).exits(2).error();
    assert_eq!((&error["code"], &error["exit_code"]), (&json!("usage"), &json!(2)));
    assert!(error["detail"].as_str().expect("a text").contains("snapshot list"), "{error}");
}

#[test]
fn help_and_version_exit_0_and_help_lists_the_exit_codes() {
    let help = run(&["--help"]).exits(0);
    for says in ["Exit codes:", "  4  timed out", "snapshot", "coordinator"] {
        assert!(help.stdout.contains(says), "{says}: {help:?}");
    }
    assert!(!help.stdout.contains("demo-member"), "{help:?}");
    assert!(run(&["--version"]).exits(0).stdout.starts_with("stillframe 0."));
    run(&[]).exits(2);
}

#[test]
fn a_password_in_the_environment_is_not_in_the_help() {
    let command = |word| {
        let mut command = stillframe(&[word, "--help"]);
        command.env("DATABASE_URL", "postgres://me:hunter2@db/x").env("STILLFRAME_ARCHIVE", "s3://AKIA:hunter2@bucket");
        finish(command.spawn().expect("the command can be started")).exits(0)
    };
    assert!(!command("coordinator").stdout.contains("hunter2"));
    assert!(!command("dev").stdout.contains("hunter2"));
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&["completions", shell]).exits(0);
        assert!(ran.stdout.contains("snapshot") && ran.stdout.contains("min-members"), "{shell}");
    }
}
