//! Bad input against a real coordinator: each gets one clear message, the right exit code, and what to do.

use serde_json::json;

use crate::support::{real::Real, samples::ID};

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_what_to_do() {
    let real = Real::start().await;
    for words in [
        &["cluster", "show", "nobody"][..],
        &["member", "list", "nobody"],
        &["snapshot", "take", "nobody"],
        &["snapshot", "list", "nobody"],
        &["restore", "start", "nobody", ID],
        &["schedule", "show", "nobody", "hourly"],
        &["schedule", "set", "nobody", "hourly", "--every", "1h"],
    ] {
        let error = real.run(&[words, &["--json"]].concat()).await.exits(6).error();
        assert_eq!((&error["code"], &error["status"]), (&json!("unknown_cluster"), &json!(404)), "{words:?}");
        real.run(words).await.exits(6).says(&["nobody", "hint:"]);
    }
    for (words, code) in [
        (&["snapshot", "show", ID][..], "unknown_snapshot"),
        (&["snapshot", "abort", ID], "unknown_snapshot"),
        (&["restore", "show", ID], "unknown_restore"),
    ] {
        let error = real.run(&[words, &["--json"]].concat()).await.exits(6).error();
        assert_eq!((&error["code"], &error["status"]), (&json!(code), &json!(404)), "{words:?}");
    }
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_created_can_be_looked_at_but_not_yet_snapshot() {
    let real = Real::start().await;
    let create = ["cluster", "create", "bank", "--min-members", "2", "--json"];
    let created = real.run(&create).await.exits(0).json();
    assert_eq!((&created["name"], &created["phase"]), (&json!("bank"), &json!("forming")));
    real.run(&create).await.exits(0);
    let other = real.run(&["cluster", "create", "bank", "--min-members", "3", "--json"]).await.exits(6).error();
    assert_eq!((&other["code"], &other["status"]), (&json!("cluster_exists"), &json!(409)));

    let listed = real.run(&["cluster", "list", "--json"]).await.exits(0).json();
    assert_eq!((&listed["items"][0]["name"], &listed["next_cursor"]), (&json!("bank"), &json!(null)));
    assert!(real.run(&["cluster", "show", "bank"]).await.exits(0).stdout.contains("0 of 2"));
    assert_eq!(real.run(&["member", "list", "bank", "--json"]).await.exits(0).json()["items"], json!([]));
    let early = real.run(&["snapshot", "take", "bank", "--json"]).await.exits(6).error();
    assert_eq!(early["code"], json!("cluster_not_running"));
    let unknown = real.run(&["restore", "start", "bank", ID, "--json"]).await.exits(6).error();
    assert_eq!(unknown["code"], json!("unknown_snapshot"));

    let set = real.run(&["schedule", "set", "bank", "hourly", "--every", "1h", "--json"]).await.exits(0).json();
    assert_eq!((&set["name"], &set["every"]), (&json!("hourly"), &json!("1h")));
    assert!(real.run(&["schedule", "show", "bank", "hourly"]).await.exits(0).stdout.contains("1h"));
    real.run(&["schedule", "set", "bank", "fast", "--every", "1ms"]).await.exits(6).says(&["50ms"]);
    real.run(&["schedule", "delete", "bank", "hourly"]).await.exits(0);
    let gone = real.run(&["schedule", "show", "bank", "hourly", "--json"]).await.exits(6).error();
    assert_eq!(gone["code"], json!("unknown_schedule"));
    real.stop().await;
}
