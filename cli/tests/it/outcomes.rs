//! Each way a command can end has an exit code of its own, and with `--json` everything it prints can be read by a program.

use serde_json::json;

use crate::support::{
    fake::Fake,
    run, run_at,
    samples::{ID, problem, restore, snapshot},
};

#[test]
fn a_snapshot_that_was_committed_exits_0_and_tells_its_progress_on_stderr() {
    let fake = Fake::start(|_, nth| (200, snapshot(["pending", "recording", "committed"][nth.min(2)])));
    let ran = run_at(fake.url(), &["snapshot", "take", "bank", "--label", "a=b", "--wait"]).exits(0);
    assert!(ran.stdout.contains("committed") && ran.stdout.contains(ID), "{ran:?}");
    let ran = ran.says(&["pending", "recording: 1 of 2 members have reported; waits for p2"]);
    assert_eq!(fake.asked().len(), 3, "{ran:?}");
    assert_eq!(fake.asked()[0], "POST /v1/clusters/bank/snapshots");
    assert!(fake.asked()[1].starts_with(&format!("GET /v1/snapshots/{ID}?wait=")), "{:?}", fake.asked());
}

#[test]
fn a_snapshot_that_was_aborted_exits_3_with_reason_and_blame() {
    let fake = Fake::start(|_, nth| (200, snapshot(if nth == 0 { "recording" } else { "aborted" })));
    let ran = run_at(fake.url(), &["snapshot", "take", "bank", "--wait"]).exits(3);
    let ran = ran.says(&[ID, "deadline_exceeded", "17 of 20 messages"]);
    assert!(ran.stdout.contains("member p2, channel p1 -> p2"), "{ran:?}");

    let fake = Fake::start(|_, _| (200, snapshot("aborted")));
    let ran = run_at(fake.url(), &["snapshot", "take", "bank", "--wait", "--json"]).exits(3);
    assert_eq!(ran.json()["abort"]["reason"], "deadline_exceeded");
    assert_eq!((&ran.error()["code"], &ran.error()["exit_code"]), (&json!("snapshot_aborted"), &json!(3)));
}

#[test]
fn showing_an_aborted_snapshot_is_no_failure() {
    let fake = Fake::start(|_, _| (200, snapshot("aborted")));
    run_at(fake.url(), &["snapshot", "show", ID]).exits(0);
    run_at(fake.url(), &["snapshot", "show", ID, "--wait"]).exits(3);
}

#[test]
fn a_wait_that_runs_out_exits_4_and_prints_how_far_it_is() {
    let fake = Fake::start(|_, _| (200, snapshot("recording")));
    let ran = run_at(fake.url(), &["snapshot", "take", "bank", "--wait", "20ms", "--json"]).exits(4);
    assert_eq!(ran.json()["state"], "recording");
    assert_eq!(ran.error()["code"], "timed_out");
    run_at(fake.url(), &["snapshot", "show", ID, "--wait=20ms"]).exits(4).says(&[
        "hasn't ended within 20ms",
        "waits for p2",
        "hint:",
    ]);
}

#[test]
fn a_restore_that_failed_exits_1_and_names_the_object() {
    let fake = Fake::start(|_, nth| (200, restore(["planned", "preparing", "failed"][nth.min(2)])));
    run_at(fake.url(), &["restore", "start", "bank", ID, "--wait"])
        .exits(1)
        .says(&["preparing: 0 of 1 members have their parts; waiting for p1", "clusters/bank/x/state is truncated"]);

    let fake = Fake::start(|_, _| (200, restore("completed")));
    assert_eq!(run_at(fake.url(), &["restore", "show", ID, "--wait", "--json"]).exits(0).json()["state"], "completed");
}

#[test]
fn a_refusal_exits_6_with_what_to_do() {
    for (code, status) in
        [("unknown_cluster", 404), ("restore_under_way", 409), ("snapshot_not_committed", 409), ("invalid_request", 400)]
    {
        let fake = Fake::start(move |_, _| (status, problem(code, status)));
        let ran = run_at(fake.url(), &["cluster", "show", "bank"]).exits(6);
        let ran = ran.says(&["error: a title: expected this, found that\nhint: do this now\n"]);
        assert_eq!(ran.stdout, "");
        let error = run_at(fake.url(), &["cluster", "show", "bank", "--json"]).exits(6).error();
        assert_eq!((&error["code"], &error["status"], &error["exit_code"]), (&json!(code), &json!(status), &json!(6)));
    }
}

#[test]
fn what_cannot_be_reached_exits_5_and_says_where_to_look() {
    for code in ["database_unavailable", "archive_unavailable"] {
        let fake = Fake::start(move |_, _| (503, problem(code, 503)));
        run_at(fake.url(), &["cluster", "list"]).exits(5);
    }
    // Port 1 is nobody's.
    run(&["cluster", "list", "--url", "http://127.0.0.1:1"]).exits(5).says(&[
        "http://127.0.0.1:1/",
        "can't be reached",
        "--url",
        "stillframe dev",
    ]);
    let error = run(&["cluster", "list", "--url", "http://127.0.0.1:1", "--json"]).exits(5).error();
    assert_eq!((&error["code"], &error["exit_code"]), (&json!("unreachable"), &json!(5)));

    let web = Fake::start(|_, _| (200, json!("<html>")));
    run_at(web.url(), &["cluster", "list"]).exits(5).says(&["isn't Stillframe's", "--url"]);
}

#[test]
fn a_coordinator_that_is_away_for_a_moment_does_not_end_a_wait() {
    let fake = Fake::start(|_, nth| match nth {
        0 => (202, snapshot("recording")),
        1 | 2 => (503, problem("database_unavailable", 503)),
        _ => (200, snapshot("committed")),
    });
    run_at(fake.url(), &["snapshot", "take", "bank", "--wait"]).exits(0).says(&["trying again"]);
}

#[test]
fn a_fault_of_the_coordinators_own_exits_1() {
    let fake = Fake::start(|_, _| (500, problem("internal", 500)));
    run_at(fake.url(), &["cluster", "list"]).exits(1);
}
