//! A reader that goes away (`stillframe ... | head`) makes no command panic.

use serde_json::json;

use crate::support::{fake::Fake, finish, samples::cluster, stillframe};

#[test]
fn a_closed_stdout_changes_nothing_but_what_is_printed() {
    let fake = Fake::start(|_, _| (200, json!({"items": vec![cluster("a"); 500], "next_cursor": null})));
    for words in [&["cluster", "list"][..], &["cluster", "list", "--json"], &["--help"], &["completions", "bash"]] {
        let mut child = stillframe(words).env("STILLFRAME_URL", fake.url()).spawn().expect("the command can be started");
        drop(child.stdout.take());
        let ran = finish(child).exits(0);
        assert_eq!(ran.stderr, "", "{words:?}");
    }
}

#[test]
fn a_closed_stderr_changes_nothing_either() {
    for words in
        [&["cluster", "list", "--url", "http://127.0.0.1:1"][..], &["cluster", "list", "--url", "http://127.0.0.1:1", "--json"]]
    {
        let mut child = stillframe(words).spawn().expect("the command can be started");
        drop(child.stderr.take());
        finish(child).exits(5);
    }
}
