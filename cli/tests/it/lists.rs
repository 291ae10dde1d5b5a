//! Lists: tables for people, `{"items", "next_cursor"}` for programs, page after page where asked.

use serde_json::{Value, json};

use crate::support::{
    fake::Fake,
    run_at,
    samples::{cluster, snapshot},
};

fn two_pages() -> Fake {
    Fake::start(|request, _| {
        let page = |names: &[&str], next: Option<&str>| json!({"items": names.iter().map(|name| cluster(name)).collect::<Vec<Value>>(), "next_cursor": next});
        (200, if request.contains("cursor=abc") { page(&["c"], None) } else { page(&["a", "b"], Some("abc")) })
    })
}

#[test]
fn a_page_is_a_table_and_says_when_there_is_more() {
    let ran = run_at(two_pages().url(), &["cluster", "list"]).exits(0).says(&["--all", "--cursor abc"]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("CLUSTER  PHASE"), "{ran:?}");
    assert!(lines[1].starts_with("a        running  2 live"), "{ran:?}");
    assert_eq!(lines.len(), 3, "{ran:?}");
}

#[test]
fn json_is_the_apis_own_page_and_nothing_else() {
    let fake = two_pages();
    let ran = run_at(fake.url(), &["cluster", "list", "--json", "--limit", "2"]).exits(0);
    assert_eq!(ran.json(), json!({"items": [cluster("a"), cluster("b")], "next_cursor": "abc"}));
    assert_eq!(ran.stderr, "");
    assert_eq!(fake.asked(), ["GET /v1/clusters?limit=2"]);
}

#[test]
fn all_pages_are_fetched_where_asked() {
    let fake = two_pages();
    let page = run_at(fake.url(), &["cluster", "list", "--json", "--all"]).exits(0).json();
    let names: Vec<&Value> = page["items"].as_array().expect("items").iter().map(|item| &item["name"]).collect();
    assert_eq!((names, &page["next_cursor"]), (vec![&json!("a"), &json!("b"), &json!("c")], &Value::Null));
    assert_eq!(fake.asked().len(), 2);
}

#[test]
fn an_empty_list_is_a_table_without_rows() {
    let fake = Fake::start(|_, _| (200, json!({"items": [], "next_cursor": null})));
    assert_eq!(run_at(fake.url(), &["member", "list", "bank"]).exits(0).stdout.lines().count(), 1);
}

#[test]
fn snapshots_can_be_listed_by_state() {
    let fake = Fake::start(|_, _| (200, json!({"items": [snapshot("aborted")], "next_cursor": null})));
    let ran = run_at(fake.url(), &["snapshot", "list", "bank", "--status", "aborted"]).exits(0);
    assert!(ran.stdout.contains("aborted: deadline_exceeded") && ran.stdout.contains("schedule hourly"), "{ran:?}");
    assert_eq!(fake.asked(), ["GET /v1/clusters/bank/snapshots?status=aborted"]);
}

#[test]
fn a_deleted_schedule_is_told_in_json_too() {
    let fake = Fake::start(|_, _| (204, json!("")));
    let ran = run_at(fake.url(), &["schedule", "delete", "bank", "hourly", "--json"]).exits(0);
    assert_eq!(ran.json(), json!({"cluster": "bank", "name": "hourly", "deleted": true}));
}
