//! Promise 9: every change is carried out once under its key, and the same key with another request is a 409. Over all routes that change
//! something, as the description of the API has them.

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use stillframe_api::{IDEMPOTENCY_KEY, snapshot::SnapshotState};
use stillframe_coordinator::openapi;
use uuid::Uuid;

use crate::{agent::OnSnapshot, harness::World};

/// An operation that changes something: its method, its path with names filled in, a body, and another one.
struct Change {
    operation: String,
    method: Method,
    path: String,
    body: Value,
    other: Value,
}

/// What is answered, as much of it as has to be the same.
#[derive(Debug, PartialEq)]
struct Answer {
    status: StatusCode,
    location: Option<String>,
    body: String,
}

async fn answer(response: Response) -> (Answer, bool) {
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().expect("ASCII").to_owned());
    let (status, location, replayed) = (response.status(), header("location"), header("idempotency-replayed").is_some());
    (Answer { status, location, body: response.text().await.expect("a body") }, replayed)
}

fn send(base: &str, change: &Change, key: &str, body: &Value) -> RequestBuilder {
    let request = reqwest::Client::new().request(change.method.clone(), format!("{base}{}", change.path));
    request.header(IDEMPOTENCY_KEY, format!("\"{key}\"")).json(body)
}

fn base(world: &World) -> String {
    world.client.url().as_str().trim_end_matches('/').to_owned()
}

/// Every operation of operators that changes something. Those that are known here get a request that is carried out; any other gets one that may be
/// refused, and a refusal too has to be the same each time.
async fn changes(world: &World) -> Vec<Change> {
    let api = serde_json::to_value(openapi()).expect("JSON");
    // One to do anything with, and one to go back to.
    let (spare, committed) = (world.committed().await.id, world.committed().await.id);
    let mut changes = Vec::new();
    for (path, item) in api["paths"].as_object().expect("paths") {
        for method in ["post", "put", "patch", "delete"] {
            let operation = &item[method];
            let is_agents = operation["tags"].as_array().is_some_and(|tags| tags.contains(&json!("agents")));
            if operation.is_null() || is_agents {
                continue;
            }
            let parameters = operation["parameters"].as_array().expect("parameters");
            assert!(parameters.iter().any(|p| p["name"] == "idempotency-key" && p["in"] == "header"), "{method} {path}");
            let operation = operation["operationId"].as_str().expect("an id").to_owned();
            let (body, other) = match operation.as_str() {
                "create_cluster" => {
                    (json!({"name": "new", "min_members": 2, "snapshot_timeout": "30s"}), json!({"name": "newer"}))
                }
                "put_schedule" | "delete_schedule" => (json!({"every": "1h"}), json!({"every": "2h"})),
                "start_restore" => (json!({"snapshot": committed}), json!({"snapshot": Uuid::now_v7()})),
                _ => (json!({}), json!({"labels": {"a": "b"}})),
            };
            let snapshot = if operation == "abort_snapshot" { world.take().await.id } else { spare };
            let path = path
                .replace("{cluster}", world.cluster.as_str())
                .replace("{snapshot}", &snapshot.to_string())
                .replace("{schedule}", "often")
                .replace("{restore}", &Uuid::now_v7().to_string());
            let path = path.split('/').map(|s| if s.starts_with('{') { "x" } else { s }).collect::<Vec<_>>().join("/");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            changes.push(Change { operation, method, path, body, other });
        }
    }
    // What ends the others' preconditions goes last.
    changes.sort_by_key(|change| match change.operation.as_str() {
        "start_restore" => 2,
        "delete_schedule" => 1,
        _ => 0,
    });
    changes
}

/// As if the replica had died after it did what was asked, before its answer was kept.
async fn forget_the_answer(world: &World, key: &str) {
    use sqlx::Connection;
    let mut connection = sqlx::PgConnection::connect(world.database.url()).await.expect("a connection");
    let forget = "UPDATE idempotency_keys SET status = NULL, body = NULL, claimed_until = clock_timestamp() WHERE key = $1";
    let forgotten = sqlx::query(forget).bind(key).execute(&mut connection).await.expect("forgotten");
    assert_eq!(forgotten.rows_affected(), 1);
    connection.close().await.expect("closing");
}

#[tokio::test]
async fn every_change_is_carried_out_once_under_its_key() {
    let world = World::start().await;
    let agents = world.running(2).await;
    let changes = {
        let changes = changes(&world).await;
        // From here on snapshots stay open, so that there is something to abort.
        agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
        changes
    };
    assert!(changes.len() >= 6, "too few operations were found");
    let url = base(&world);
    for change in &changes {
        let (what, key) = (&change.operation, format!("{}-1", change.operation));
        let (first, replayed) = answer(send(&url, change, &key, &change.body).send().await.expect("an answer")).await;
        assert!(!replayed && first.status.as_u16() < 500, "{what}: {first:?}");
        let known =
            ["create_cluster", "put_schedule", "delete_schedule", "take_snapshot", "start_restore"].contains(&what.as_str());
        assert!(!known || first.status.is_success(), "{what}: {first:?}");
        world
            .until("the answer kept", async || {
                let (again, replayed) = answer(send(&url, change, &key, &change.body).send().await.expect("an answer")).await;
                assert_eq!(again, first, "{what}");
                replayed.then_some(())
            })
            .await;
        let (other, _) = answer(send(&url, change, &key, &change.other).send().await.expect("an answer")).await;
        assert_eq!(other.status, StatusCode::CONFLICT, "{what}: {other:?}");
        assert!(other.body.contains("idempotency_key_reused"), "{what}: {other:?}");

        forget_the_answer(&world, &key).await;
        let (again, replayed) = answer(send(&url, change, &key, &change.body).send().await.expect("an answer")).await;
        assert!(!replayed, "{what}");
        assert_eq!(
            (again.status.is_success(), &again.location),
            (first.status.is_success(), &first.location),
            "{what}: {again:?}"
        );
    }
    assert_eq!(world.count("SELECT count(*) FROM restores").await, 1);
}

#[tokio::test]
async fn one_of_many_requests_with_one_key_is_carried_out_and_all_get_its_answer() {
    let world = World::start().await;
    let _agents = world.running(2).await;
    let second = world.replica().await;
    let urls = [base(&world), format!("http://{}", second.local_addr())];
    let before = world.count("SELECT count(*) FROM snapshots").await;
    let path = format!("/v1/clusters/{}/snapshots", world.cluster);
    let change = Change { operation: String::new(), method: Method::POST, path, body: json!({}), other: json!(null) };
    let asking = (0..12).map(|n| send(&urls[n % 2], &change, "many", &change.body).send());
    let mut answers = Vec::new();
    for response in futures::future::join_all(asking).await {
        answers.push(answer(response.expect("an answer")).await.0);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.status == StatusCode::ACCEPTED), "{answers:?}");
    assert_eq!(world.count("SELECT count(*) FROM snapshots").await, before + 1);
    second.stop().await;
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_and_without_one_each_request_counts() {
    let world = World::start().await;
    let _agents = world.running(1).await;
    let path = format!("/v1/clusters/{}/snapshots", world.cluster);
    let change = Change { operation: String::new(), method: Method::POST, path, body: json!({}), other: json!(null) };
    let (refused, _) = answer(send(&base(&world), &change, "a b", &change.body).send().await.expect("an answer")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.body.contains("visible ASCII") && refused.body.contains("request_id"), "{refused:?}");
    let url = format!("{}{}", base(&world), change.path);
    for _ in 0..2 {
        let taken = reqwest::Client::new().post(&url).send().await.expect("an answer");
        assert_eq!(taken.status(), StatusCode::ACCEPTED);
    }
    let committed = world.committed().await;
    assert_eq!(committed.state, SnapshotState::Committed);
}
