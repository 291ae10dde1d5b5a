//! The audit as an operator sees it: listed, exported, verified in the database and as a file.

use serde_json::Value;

use crate::support::{real::Real, run};

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_listed_exported_and_verified_and_an_edited_export_is_found_out() {
    let real = Real::start().await;
    for cluster in ["bank", "words"] {
        real.run(&["cluster", "create", cluster, "--min-members", "1"]).await.exits(0);
    }
    real.run(&["schedule", "set", "bank", "often", "--every", "1h"]).await.exits(0);
    let listed = real.run(&["audit", "list", "--cluster", "bank", "--json"]).await.exits(0).json();
    let actions: Vec<&str> = listed["items"].as_array().expect("items").iter().filter_map(|row| row["action"].as_str()).collect();
    assert_eq!(actions, ["schedule.set", "cluster.created"]);
    let text = real.run(&["audit", "list", "--action", "schedule."]).await.exits(0);
    assert!(text.stdout.contains("often") && !text.stdout.contains("cluster.created"), "{text:?}");

    let verified = real.run(&["audit", "verify", "--json"]).await.exits(0).json();
    assert_eq!(verified["intact"], true);
    assert!(verified["chains"].as_array().is_some_and(|chains| chains.len() >= 2), "{verified}");
    let text = real.run(&["audit", "verify", "--cluster", "bank"]).await.exits(0);
    assert!(text.stdout.contains("intact") && text.stdout.contains("2:"), "{text:?}");
    real.run(&["audit", "verify", "--cluster", "nobody"]).await.exits(6);

    let export = real.run(&["audit", "export", "--cluster", "bank"]).await.exits(0).stdout;
    let rows: Vec<Value> = export.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.iter().map(|row| row["seq"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2)]);
    let head = format!("2:{}", rows[1]["hash"].as_str().expect("a hash"));
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let whole = file("whole", &export);
    run(&["audit", "verify", "--file", &whole, "--cluster", "bank", "--head", &head]).exits(0);
    let edited = file("edited", &export.replacen("cluster.created", "cluster.deleted", 1));
    let found = run(&["audit", "verify", "--file", &edited, "--json"]).exits(1);
    assert_eq!(found.json()["chains"][0]["fault"]["seq"], 1);
    let cut = file("cut", export.split_inclusive('\n').next().expect("a line"));
    run(&["audit", "verify", "--file", &cut]).exits(0);
    let found = run(&["audit", "verify", "--file", &cut, "--cluster", "bank", "--head", &head]).exits(1);
    assert!(found.stdout.contains("row 2 is truncated: expected rows up to 2, found the last is 1"), "{found:?}");
    run(&["audit", "verify", "--file", &file("empty", "")]).exits(1).says(&["proves nothing"]);
    run(&["audit", "verify", "--file", &file("other", "{}")]).exits(1).says(&["line 1", "audit export"]);
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_is_shown_with_what_its_store_was_found_to_do() {
    let real = Real::start().await;
    for words in [["archive", "show"], ["archive", "probe"]] {
        let text = real.run(&words).await.exits(0).stdout;
        assert!(text.contains(real.archive()) && text.contains("exclusive"), "{text}");
        let json = real.run(&[&words[..], &["--json"]].concat()).await.exits(0).json();
        assert_eq!((&json["format"], &json["probe"]["create_if_absent"]), (&1.into(), &"exclusive".into()), "{json}");
    }
    let text = real.run(&["archive", "resync", "--dry-run"]).await.exits(0).stdout;
    assert!(text.contains("0 manifests in the archive; 0 clusters would be rebuilt"), "{text}");
    assert_eq!(real.run(&["archive", "resync", "--json"]).await.exits(0).json()["rebuilt"], serde_json::json!([]));
    real.stop().await;
}
