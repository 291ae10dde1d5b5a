//! What is wrong is refused with one clear message that says what to do.

use std::net::TcpListener;

use reqwest::{Client, Method, header::CONTENT_TYPE};
use stillframe_api::problem::{MEDIA_TYPE, Problem, ProblemCode};
use stillframe_e2e::{
    World,
    process::{CoordinatorProcess, Process, coordinator::CoordinatorSettings, port},
    s3::S3Server,
};
use stillframe_private_postgres::testing::TestDatabase;

use crate::options;

#[tokio::test]
async fn a_bad_request_is_answered_with_a_problem_that_has_the_right_status_and_code() {
    let world = World::without_members(&options()).await;
    let (http, base) = (Client::builder().no_proxy().build().expect("a client"), world.coordinator.url());
    let send = async |method: Method, path: &str, body: &str| {
        let request =
            http.request(method, format!("{base}{path}")).header(CONTENT_TYPE, "application/json").body(body.to_owned());
        request.send().await.expect("the coordinator answers")
    };
    let bank = r#"{"name":"bank","min_members":2}"#;
    assert_eq!(send(Method::POST, "/v1/clusters", bank).await.status(), 201);
    assert_eq!(send(Method::POST, "/v1/clusters", bank).await.status(), 200, "the same again is fine");

    let id = "0190a6e4-0000-7000-8000-000000000000";
    let snapshot = format!("/v1/snapshots/{id}");
    let (restore_of, shown_restore) = (format!(r#"{{"snapshot":"{id}"}}"#), format!("/v1/restores/{id}"));
    let cases: &[(Method, &str, &str, u16, ProblemCode)] = &[
        (Method::GET, "/v1/clusters/nobody", "", 404, ProblemCode::UnknownCluster),
        (Method::GET, "/v1/clusters/nobody/members", "", 404, ProblemCode::UnknownCluster),
        (Method::GET, "/v1/clusters/No%20Name", "", 400, ProblemCode::InvalidRequest),
        (Method::POST, "/v1/clusters", r#"{"name":"No Name","min_members":2}"#, 400, ProblemCode::InvalidRequest),
        (Method::POST, "/v1/clusters", r#"{"name":"a..b","min_members":2}"#, 400, ProblemCode::InvalidRequest),
        (Method::POST, "/v1/clusters", r#"{"name":"few","min_members":0}"#, 400, ProblemCode::InvalidRequest),
        (
            Method::POST,
            "/v1/clusters",
            r#"{"name":"slow","min_members":2,"snapshot_timeout":"soon"}"#,
            400,
            ProblemCode::InvalidRequest,
        ),
        (Method::POST, "/v1/clusters", r#"{"name":"bank","min_members":3}"#, 409, ProblemCode::ClusterExists),
        (Method::POST, "/v1/clusters", r#"{"name":"more","min_members":2,"colour":"red"}"#, 400, ProblemCode::InvalidRequest),
        (Method::POST, "/v1/clusters", "{", 400, ProblemCode::InvalidRequest),
        (Method::POST, "/v1/clusters/nobody/snapshots", "{}", 404, ProblemCode::UnknownCluster),
        (Method::POST, "/v1/clusters/bank/snapshots", "{}", 409, ProblemCode::ClusterNotRunning),
        (Method::POST, "/v1/clusters/bank/snapshots", r#"{"timeout":"-5s"}"#, 400, ProblemCode::InvalidRequest),
        (Method::GET, "/v1/clusters/bank/snapshots?status=lost", "", 400, ProblemCode::InvalidRequest),
        (Method::GET, "/v1/clusters/bank/snapshots?limit=0", "", 400, ProblemCode::InvalidRequest),
        (Method::GET, "/v1/clusters/bank/snapshots?limit=501", "", 400, ProblemCode::InvalidRequest),
        (Method::GET, "/v1/clusters/bank/snapshots?cursor=nonsense", "", 400, ProblemCode::InvalidRequest),
        (Method::GET, &snapshot, "", 404, ProblemCode::UnknownSnapshot),
        (Method::GET, "/v1/snapshots/7", "", 400, ProblemCode::InvalidRequest),
        (Method::POST, "/v1/clusters/bank/restores", &restore_of, 404, ProblemCode::UnknownSnapshot),
        (Method::POST, "/v1/clusters/bank/restores", "{}", 400, ProblemCode::InvalidRequest),
        (Method::GET, &shown_restore, "", 404, ProblemCode::UnknownRestore),
        (Method::PUT, "/v1/clusters/bank/schedules/often", r#"{"every":"1ms"}"#, 400, ProblemCode::InvalidRequest),
        (Method::PUT, "/v1/clusters/bank/schedules/often", r#"{"every":"often"}"#, 400, ProblemCode::InvalidRequest),
        (Method::GET, "/v1/clusters/bank/schedules/never", "", 404, ProblemCode::UnknownSchedule),
        (Method::GET, "/v1/clusters/bank/members/x/assignment?incarnation=1", "", 404, ProblemCode::UnknownMember),
        (Method::GET, "/v1/nothing", "", 404, ProblemCode::NoSuchRoute),
        (Method::DELETE, "/v1/clusters/bank", "", 405, ProblemCode::NoSuchRoute),
    ];
    let mut wrong = Vec::new();
    for (method, path, body, status, code) in cases {
        let answer = send(method.clone(), path, body).await;
        let (found_status, kind) = (answer.status().as_u16(), answer.headers().get(CONTENT_TYPE).cloned());
        let text = answer.text().await.expect("it has a body");
        let problem: Option<Problem> = serde_json::from_str(&text).ok();
        let is_right = found_status == *status
            && kind.is_some_and(|kind| kind == MEDIA_TYPE)
            && problem.is_some_and(|problem| problem.code == *code && problem.status == *status && !problem.detail.is_empty());
        if !is_right {
            wrong.push(format!("{method} {path} {body}\n  expected {status} {code:?}\n  found {found_status} {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_coordinator_that_cannot_start_says_why_in_one_line_and_ends() {
    let database = TestDatabase::create().await;
    let server = S3Server::start();
    let bucket = server.bucket("stillframe");
    let settings = CoordinatorSettings {
        database_url: database.url().to_owned(),
        archive: bucket.archive_url(),
        environment: bucket.environment(),
        lease: "5s".to_owned(),
        restore_timeout: "60s".to_owned(),
    };
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken_port = taken.local_addr().expect("it has an address").port();
    let nobody = port::unused();
    let no_database =
        CoordinatorSettings { database_url: format!("postgres://me:hunter2@127.0.0.1:{nobody}/none"), ..settings.clone() };
    let no_bucket = CoordinatorSettings { archive: bucket.in_bucket("elsewhere").archive_url(), ..settings.clone() };
    let no_store =
        CoordinatorSettings { archive: bucket.at(&format!("http://127.0.0.1:{nobody}")).archive_url(), ..settings.clone() };

    let directory = tempfile::tempdir().expect("a directory");
    for (case, settings, port, says) in [
        ("port", &settings, taken_port, vec!["listen", "--listen"]),
        ("database", &no_database, port::unused(), vec!["database", "--database-url"]),
        ("bucket", &no_bucket, port::unused(), vec!["elsewhere"]),
        ("store", &no_store, port::unused(), vec!["127.0.0.1"]),
    ] {
        let mut command = CoordinatorProcess::command(&options().program, settings, port);
        command.env("STILLFRAME_LOG", "off");
        let mut process = Process::start(case, directory.path(), &mut command);
        let status = process.end().await;
        assert!(status.code().is_some_and(|code| code != 0), "{case}: {status}");
        let said = std::fs::read_to_string(directory.path().join(format!("{case}.err"))).expect("it has said something");
        let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
        assert!(errors == 1 && said.lines().count() <= 2, "{case}: {said}");
        assert!(says.iter().all(|word| said.contains(word)), "{case}: {said}");
        assert!(!said.contains("hunter2") && !said.contains("panicked"), "{case}: {said}");
    }
}
