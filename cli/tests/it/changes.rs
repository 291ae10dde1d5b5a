//! Changing what runs: settings of a cluster, schedules that pause and fire, collection. What is said, in words and in JSON, and what is refused.

use serde_json::json;

use crate::support::{real::Real, run, samples::ID};

#[tokio::test(flavor = "multi_thread")]
async fn settings_schedules_and_collection_are_changed_and_shown_and_what_can_not_be_is_refused() {
    let real = Real::start().await;
    real.run(&["cluster", "create", "bank", "--min-members", "2"]).await.exits(0);

    let words = ["--rollback-limit", "7", "--rollback-backoff", "3s", "--max-concurrent", "2", "--min-pause", "10s"];
    let updated = real.run(&[&["cluster", "update", "bank", "--json"], &words[..]].concat()).await.exits(0).json();
    assert_eq!(updated["rollback"], json!({"limit": 7, "window": "10m", "backoff": "3s", "fallback": 0}));
    assert_eq!((&updated["max_concurrent"], &updated["min_pause"]), (&json!(2), &json!("10s")));
    let text = real.run(&["cluster", "update", "bank", "--restore-fallback", "2", "--on-loss", "halt"]).await.exits(0).stdout;
    assert!(text.contains("at most 7 in 10m, 3s apart at first, to one of 2 older snapshots if need be"), "{text}");
    assert!(text.contains("halt"), "{text}");
    assert!(text.contains("marker, unaligned"), "{text}");
    let words = ["--channel-state", "sender-logged", "--aligned-timeout", "2s", "--json"];
    let updated = real.run(&[&["cluster", "update", "bank"], &words[..]].concat()).await.exits(0).json();
    let channels = (&updated["channel_state"], &updated["alignment"], &updated["aligned_timeout"], &updated["in_force"]);
    assert_eq!(channels, (&json!("sender_logged"), &json!("unaligned"), &json!("2s"), &json!(null)));
    let excluded = real.run(&["cluster", "update", "bank", "--alignment", "aligned", "--json"]).await.exits(6).error();
    assert_eq!((&excluded["code"], &excluded["status"]), (&json!("invalid_request"), &json!(422)));
    let words = ["--channel-state", "marker", "--alignment", "aligned", "--aligned-timeout", "0s"];
    let text = real.run(&[&["cluster", "update", "bank"], &words[..]].concat()).await.exits(0).stdout;
    assert!(text.lines().any(|line| line.starts_with("channels") && line.ends_with("aligned")), "{text}");
    // One that has never run has nothing to go on from.
    let never = real.run(&["cluster", "resume", "bank", "--json"]).await.exits(6).error();
    assert_eq!((&never["code"], &never["status"]), (&json!("cluster_not_running"), &json!(409)));

    real.run(&["schedule", "set", "bank", "nightly", "--cron", "30 2 * * *", "--time-zone", "Europe/Berlin"]).await.exits(0);
    let shown = real.run(&["schedule", "show", "bank", "nightly", "--json"]).await.exits(0).json();
    assert_eq!((&shown["cron"], &shown["time_zone"]), (&json!("30 2 * * *"), &json!("Europe/Berlin")));
    real.run(&["schedule", "pause", "bank", "nightly", "--for", "1h"]).await.exits(0);
    assert!(real.run(&["schedule", "show", "bank", "nightly"]).await.exits(0).stdout.contains("paused"));
    real.run(&["schedule", "resume", "bank", "nightly"]).await.exits(0);
    assert!(!real.run(&["schedule", "list", "bank"]).await.exits(0).stdout.contains("paused"));
    let early = real.run(&["schedule", "trigger", "bank", "nightly", "--json"]).await.exits(6).error();
    assert_eq!(early["code"], "cluster_not_running");
    let unknown = real.run(&["schedule", "pause", "bank", "hourly", "--json"]).await.exits(6).error();
    assert_eq!((&unknown["code"], &unknown["status"]), (&json!("unknown_schedule"), &json!(404)));
    real.run(&["schedule", "set", "bank", "odd", "--cron", "61 * * * *"]).await.exits(6).says(&["61 * * * *"]);
    real.run(&["schedule", "set", "bank", "odd", "--cron", "@daily", "--time-zone", "Mars/Olympus"])
        .await
        .exits(6)
        .says(&["Mars/Olympus"]);

    assert_eq!(real.run(&["gc", "show", "--json"]).await.exits(0).json()["suspended"], false);
    assert_eq!(real.run(&["gc", "show"]).await.exits(0).stdout.trim(), "what is to go is deleted");
    let plan = real.run(&["gc", "plan", "bank", "--orphans", "delete", "--json"]).await.exits(0).json();
    assert_eq!((&plan["cluster"], &plan["snapshots"], &plan["orphans"]["go"]), (&json!("bank"), &json!([]), &json!(0)));
    assert!(real.run(&["gc", "plan", "bank"]).await.exits(0).stdout.contains("0 of 0 committed go"));
    let done = real.run(&["gc", "run", "bank", "--json"]).await.exits(0).json();
    assert_eq!(
        (&done["snapshots"], &done["swept_objects"], &done["uploads"], &done["orphans"]),
        (&json!(0), &json!(0), &json!(0), &json!(0))
    );
    assert!(real.run(&["gc", "run", "bank"]).await.exits(0).stdout.contains("0 are being deleted"));
    assert_eq!(real.run(&["gc", "confirm", "--json"]).await.exits(0).json()["suspended"], false);
    for words in [["gc", "plan", "nobody"], ["gc", "run", "nobody"], ["cluster", "resume", "nobody"]] {
        let error = real.run(&[&words[..], &["--json"]].concat()).await.exits(6).error();
        assert_eq!((&error["code"], &error["exit_code"]), (&json!("unknown_cluster"), &json!(6)), "{words:?}");
    }

    for words in [
        &["hold", "add", ID, "--owner", "me", "--reason", "a test"][..],
        &["hold", "list", ID],
        &["snapshot", "update", ID, "--timeout", "1m"],
        &["snapshot", "delete", ID],
    ] {
        let error = real.run(&[words, &["--json"]].concat()).await.exits(6).error();
        assert_eq!((&error["code"], &error["status"]), (&json!("unknown_snapshot"), &json!(404)), "{words:?}");
    }
    let unknown = real.run(&["restore", "cancel", ID, "--json"]).await.exits(6).error();
    assert_eq!((&unknown["code"], &unknown["status"]), (&json!("unknown_restore"), &json!(404)));
    let audited =
        real.run(&["audit", "list", "--cluster", "bank", "--action", "cluster.updated", "--json"]).await.exits(0).json();
    assert_eq!(audited["items"].as_array().map(Vec::len), Some(4), "{audited}");
    real.stop().await;
}

#[test]
fn what_no_coordinator_could_make_sense_of_is_told_before_one_is_asked() {
    for (words, says) in [
        (&["cluster", "update", "bank"][..], "required"),
        (&["cluster", "update", "bank", "--rollback-limit", "1001"], "1001"),
        (&["cluster", "update", "bank", "--restore-fallback", "17"], "17"),
        (&["cluster", "update", "bank", "--rollback-window", "soon"], "soon"),
        (&["cluster", "update", "bank", "--channel-state", "none"], "sender-logged"),
        (&["cluster", "update", "bank", "--aligned-timeout", "soon"], "soon"),
        (&["cluster", "resume", "bank", "--fallback", "17"], "17"),
        (&["cluster", "resume", "Bank"], "Bank"),
        (&["gc", "run", "bank", "--orphans", "eat"], "expected report or delete"),
        (&["gc", "plan"], "required"),
        (&["hold", "add", "yesterday", "--owner", "me", "--reason", "x"], "yesterday"),
        (&["hold", "add", ID, "--owner", "me"], "--reason"),
        (&["hold", "remove", ID, "that"], "that"),
        (&["schedule", "pause", "bank", "x", "--for", "1h", "--until", "2030-01-01T00:00:00Z"], "cannot be used with"),
        (&["schedule", "set", "bank", "x"], "required"),
        (&["restore", "cancel", "it"], "it"),
        (&["restore", "start", "bank", "--latest", "--map", "a"], "a"),
        (&["audit", "verify", "--head", "3:ff"], "64 hexadecimal digits"),
        (&["archive", "resync", "bank"], "bank"),
    ] {
        run(words).exits(2).says(&[says]);
        let error = run(&[words, &["--json"]].concat()).exits(2).error();
        assert_eq!((&error["code"], &error["exit_code"]), (&json!("usage"), &json!(2)), "{words:?}");
    }
}
