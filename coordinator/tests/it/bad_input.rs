//! What is malformed gets one clear problem, and the right status.

use reqwest::{Method, StatusCode};
use stillframe_api::{Problem, ProblemCode, problem::MEDIA_TYPE};

use crate::harness::World;

async fn ask(world: &World, method: Method, path: &str, body: Option<&str>) -> (StatusCode, Problem) {
    let url = world.client.url().join(path).expect("a URL");
    let mut request = reqwest::Client::new().request(method.clone(), url);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_owned());
    }
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("a body");
    let problem: Problem = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{method} {path} -> {status}: {e}: {text:?}"));
    assert_eq!(headers.get("content-type").and_then(|v| v.to_str().ok()), Some(MEDIA_TYPE), "{method} {path}");
    assert_eq!(problem.status, status.as_u16());
    assert!(problem.request_id.is_some(), "{problem:?}");
    (status, problem)
}

/// A request, and the status, the code and a word of the problem that it is to have.
type Case<'a> = (Method, String, Option<String>, u16, ProblemCode, &'a str);

#[tokio::test]
async fn bad_input_is_refused_with_one_clear_problem() {
    let world = World::start().await;
    world.create_cluster(2).await;
    let id = "01890000-0000-7000-8000-000000000000";
    let create = |field: &str| format!(r#"{{"name":"other","min_members":2{field}}}"#);
    let table: Vec<Case> = vec![
        (Method::GET, "nothing/here".into(), None, 404, ProblemCode::NoSuchRoute, "/nothing/here"),
        (Method::GET, "v1/nothing".into(), None, 404, ProblemCode::NoSuchRoute, "/v1/nothing"),
        (Method::DELETE, "v1/clusters".into(), None, 405, ProblemCode::NoSuchRoute, "DELETE"),
        (Method::GET, "v1/clusters/BANK".into(), None, 400, ProblemCode::InvalidRequest, "BANK"),
        (Method::GET, "v1/clusters/none".into(), None, 404, ProblemCode::UnknownCluster, "none"),
        (Method::GET, "v1/clusters/none/members".into(), None, 404, ProblemCode::UnknownCluster, "none"),
        (Method::GET, "v1/clusters/none/snapshots".into(), None, 404, ProblemCode::UnknownCluster, "none"),
        (Method::GET, "v1/clusters?limit=0".into(), None, 400, ProblemCode::InvalidRequest, "1 to 500"),
        (Method::GET, "v1/clusters?limit=x".into(), None, 400, ProblemCode::InvalidRequest, "limit"),
        (Method::GET, "v1/clusters?lmit=1".into(), None, 400, ProblemCode::InvalidRequest, "lmit"),
        (Method::GET, "v1/clusters/bank/snapshots?status=done".into(), None, 400, ProblemCode::InvalidRequest, "status"),
        (Method::GET, "v1/clusters/bank/snapshots?cursor=x".into(), None, 400, ProblemCode::InvalidRequest, "cursor"),
        (Method::GET, "v1/clusters?limit=abc".into(), None, 400, ProblemCode::InvalidRequest, "1 to 500, found \"abc\""),
        (Method::GET, "v1/audit?since=foo".into(), None, 400, ProblemCode::InvalidRequest, "since: expected a time as RFC 3339"),
        (
            Method::POST,
            "v1/clusters".into(),
            Some(r#"["arr",2,"1m"]"#.into()),
            400,
            ProblemCode::InvalidRequest,
            "expected a JSON object, found an array",
        ),
        (
            Method::POST,
            "v1/clusters/bank/restores".into(),
            Some("[]".into()),
            400,
            ProblemCode::InvalidRequest,
            "expected a JSON object, found an array",
        ),
        (
            Method::POST,
            "v1/clusters".into(),
            Some(r#"{"name":"ok","min_members":1,"rollback":[3]}"#.into()),
            400,
            ProblemCode::InvalidRequest,
            "rollback: expected a JSON object, found an array",
        ),
        (
            Method::POST,
            "v1/clusters/bank/snapshots".into(),
            Some("null".into()),
            400,
            ProblemCode::InvalidRequest,
            "expected a JSON object, found null",
        ),
        (
            Method::POST,
            "v1/clusters".into(),
            Some(r#"{"name":"ok","min_members":"two"}"#.into()),
            400,
            ProblemCode::InvalidRequest,
            "min_members: expected a whole number, such as 3, found \"two\"",
        ),
        (
            Method::PUT,
            "v1/clusters/bank/schedules/x".into(),
            Some(r#"{"every":"1s","cron":"@daily"}"#.into()),
            400,
            ProblemCode::InvalidRequest,
            "found both",
        ),
        (
            Method::PUT,
            "v1/clusters/bank/schedules/x".into(),
            Some("{}".into()),
            400,
            ProblemCode::InvalidRequest,
            "found neither",
        ),
        (Method::POST, "v1/clusters".into(), Some("{".into()), 400, ProblemCode::InvalidRequest, "body"),
        (Method::POST, "v1/clusters".into(), None, 415, ProblemCode::InvalidRequest, "content-type"),
        (
            Method::POST,
            "v1/clusters".into(),
            Some(r#"{"name":"a/b","min_members":2}"#.into()),
            400,
            ProblemCode::InvalidRequest,
            "a/b",
        ),
        (
            Method::POST,
            "v1/clusters".into(),
            Some(r#"{"name":"ok","min_members":0}"#.into()),
            400,
            ProblemCode::InvalidRequest,
            "min_members",
        ),
        (
            Method::POST,
            "v1/clusters".into(),
            Some(create(r#","snapshot_timeout":"soon""#)),
            400,
            ProblemCode::InvalidRequest,
            "\"30s\"",
        ),
        (
            Method::POST,
            "v1/clusters".into(),
            Some(create(r#","on_loss":"cry""#)),
            400,
            ProblemCode::InvalidRequest,
            "restore_latest",
        ),
        (
            Method::POST,
            "v1/clusters".into(),
            Some(create(r#","archive_prefix":"../x""#)),
            400,
            ProblemCode::InvalidRequest,
            "archive_prefix",
        ),
        (Method::POST, "v1/clusters".into(), Some(create(r#","colour":"red""#)), 400, ProblemCode::InvalidRequest, "colour"),
        (
            Method::POST,
            "v1/clusters".into(),
            Some(r#"{"name":"bank","min_members":3}"#.into()),
            409,
            ProblemCode::ClusterExists,
            "min_members is 2",
        ),
        (Method::POST, "v1/clusters/none/snapshots".into(), None, 404, ProblemCode::UnknownCluster, "none"),
        (Method::POST, "v1/clusters/bank/snapshots".into(), None, 409, ProblemCode::ClusterNotRunning, "forming"),
        (
            Method::POST,
            "v1/clusters/bank/snapshots".into(),
            Some(r#"{"timeout":"-1s"}"#.into()),
            400,
            ProblemCode::InvalidRequest,
            "-1s",
        ),
        (
            Method::POST,
            "v1/clusters/bank/snapshots".into(),
            Some(r#"{"labels":{"":"x"}}"#.into()),
            400,
            ProblemCode::InvalidRequest,
            "label",
        ),
        (Method::GET, "v1/snapshots/1".into(), None, 400, ProblemCode::InvalidRequest, "\"1\" is no id: expected a UUID"),
        (Method::GET, format!("v1/snapshots/{id}"), None, 404, ProblemCode::UnknownSnapshot, id),
        (Method::GET, format!("v1/snapshots/{id}?wait=never"), None, 400, ProblemCode::InvalidRequest, "never"),
        (Method::POST, format!("v1/snapshots/{id}/abort"), None, 404, ProblemCode::UnknownSnapshot, id),
        (Method::GET, format!("v1/restores/{id}"), None, 404, ProblemCode::UnknownRestore, id),
        (
            Method::POST,
            "v1/clusters/bank/restores".into(),
            Some(format!(r#"{{"snapshot":"{id}"}}"#)),
            404,
            ProblemCode::UnknownSnapshot,
            id,
        ),
        (Method::GET, "v1/clusters/bank/schedules/none".into(), None, 404, ProblemCode::UnknownSchedule, "none"),
        (Method::DELETE, "v1/clusters/bank/schedules/none".into(), None, 404, ProblemCode::UnknownSchedule, "none"),
        (
            Method::PUT,
            "v1/clusters/bank/schedules/s".into(),
            Some(r#"{"every":"10ms"}"#.into()),
            400,
            ProblemCode::InvalidRequest,
            "50ms",
        ),
        (
            Method::PUT,
            "v1/clusters/none/schedules/s".into(),
            Some(r#"{"every":"10s"}"#.into()),
            404,
            ProblemCode::UnknownCluster,
            "none",
        ),
        (Method::GET, "v1/clusters/bank/members/p1/assignment?incarnation=1".into(), None, 404, ProblemCode::UnknownMember, "p1"),
        (Method::GET, "v1/clusters/bank/members/p1/assignment".into(), None, 400, ProblemCode::InvalidRequest, "incarnation"),
        (
            Method::POST,
            "v1/clusters/bank/members".into(),
            Some(format!(r#"{{"member":"p1","instance":"{id}","address":"nowhere"}}"#)),
            400,
            ProblemCode::InvalidRequest,
            "host:port",
        ),
        (
            Method::POST,
            "v1/clusters/bank/members/p1/reports".into(),
            Some(r#"{"incarnation":1,"event":{"kind":"running","generation":1}}"#.into()),
            404,
            ProblemCode::UnknownMember,
            "p1",
        ),
        (Method::GET, "v1/audit?action=%00".into(), None, 400, ProblemCode::InvalidRequest, "NUL"),
        (Method::GET, "v1/audit?subject=a%00".into(), None, 400, ProblemCode::InvalidRequest, "NUL"),
        (Method::GET, "v1/audit?until=9999-12-31T23:59:59Z".into(), None, 400, ProblemCode::InvalidRequest, "to 9999-12-30T22"),
        (
            Method::POST,
            "v1/clusters/bank/schedules/s/pause".into(),
            Some(r#"{"until":"9999-12-31T23:59:59Z"}"#.into()),
            400,
            ProblemCode::InvalidRequest,
            "to 9999-12-30T22",
        ),
        (Method::POST, "v1/clusters/bank/snapshots".into(), Some(" []".into()), 400, ProblemCode::InvalidRequest, "an array"),
        (Method::POST, "v1/clusters/bank/snapshots".into(), Some("null".into()), 400, ProblemCode::InvalidRequest, "null"),
        (Method::POST, "v1/clusters".into(), Some(" ".repeat(2 << 20)), 413, ProblemCode::InvalidRequest, "longer"),
    ];
    for (method, path, body, status, code, says) in table {
        let (found, problem) = ask(&world, method.clone(), &path, body.as_deref()).await;
        assert_eq!((found.as_u16(), problem.code), (status, code), "{method} {path}: {problem:?}");
        assert!(problem.detail.contains(says), "{method} {path}: expected {says:?} in {:?}", problem.detail);
    }
}

#[tokio::test]
async fn a_process_that_runs_says_so_and_a_request_id_is_given_back() {
    let world = World::start().await;
    for path in ["healthz", "readyz"] {
        let url = world.client.url().join(path).expect("a URL");
        let response = reqwest::Client::new().get(url).header("x-request-id", "mine").send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers().get("x-request-id").and_then(|v| v.to_str().ok()), Some("mine"));
    }
}
