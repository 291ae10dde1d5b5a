//! The coordinator, its database or its archive away.

use std::time::{Duration, Instant};

use stillframe_api::{
    ProblemCode,
    snapshot::{SnapshotState, TakeSnapshot},
};
use stillframe_coordinator::{
    StartError, start,
    store::{
        StoreError,
        idempotency::{KeyedRequest, Keys},
        postgres::PostgresStore,
    },
};
use stillframe_protocol::Generation;
use uuid::Uuid;

use crate::{
    agent::OnSnapshot,
    harness::{World, refused},
};

#[tokio::test]
async fn a_coordinator_started_again_while_recording_goes_on_and_loses_nobody() {
    let mut world = World::start().await;
    let agents = world.running(3).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let taken = world.take().await;
    world.until("two parts", async || agents[1..].iter().all(|a| a.seen(|s| s.reported.contains(&taken.id))).then_some(())).await;
    world.stop_coordinator().await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Report);
    world.start_coordinator().await;
    assert_eq!(world.ended(&taken).await.state, SnapshotState::Committed);
    world.committed().await;
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'member.lost'").await, 0);
}

#[tokio::test]
async fn a_snapshot_that_is_committing_is_finished_by_the_next_coordinator() {
    let mut world = World::start().await;
    let _agents = world.running(2).await;
    // No object can be put under a file.
    let folder = world.directory.path().join("archive/clusters/bank/snapshots");
    let aside = world.directory.path().join("aside");
    std::fs::rename(&folder, &aside).expect("moved");
    std::fs::write(&folder, "in the way").expect("written");
    let taken = world.take().await;
    world
        .until("it committing", async || {
            let now = world.client.snapshot(taken.id).await.expect("it");
            (now.state == SnapshotState::Committing).then_some(())
        })
        .await;
    // From here only forward.
    let problem = refused(world.client.abort_snapshot(taken.id, &Default::default()).await);
    assert_eq!(problem.code, ProblemCode::SnapshotEnded);
    world.stop_coordinator().await;
    std::fs::remove_file(&folder).expect("removed");
    std::fs::rename(&aside, &folder).expect("moved back");
    world.start_coordinator().await;
    assert_eq!(world.ended(&taken).await.state, SnapshotState::Committed);
    world.archive().await.verify_snapshot(&world.cluster, taken.id).await.expect("it verifies");
    world.committed().await;
}

#[tokio::test]
async fn without_its_database_the_coordinator_says_so_and_goes_on_when_it_is_back() {
    let world = World::start().await;
    let _agents = world.running(2).await;
    let away = format!(
        "ALTER DATABASE {0} ALLOW_CONNECTIONS false; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{0}'",
        world.database.name()
    );
    world.administer(away).await;
    let problem = refused(world.client.take_snapshot(&world.cluster, &TakeSnapshot::default()).await);
    assert_eq!((problem.code, problem.status), (ProblemCode::DatabaseUnavailable, 503));
    assert_eq!(
        world.client.ready().await.err().and_then(|e| e.problem().map(|p| p.code)),
        Some(ProblemCode::DatabaseUnavailable)
    );
    world.administer(format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", world.database.name())).await;
    world.until("it ready again", async || world.client.ready().await.ok()).await;
    world
        .until("the cluster whole", async || world.client.take_snapshot(&world.cluster, &TakeSnapshot::default()).await.ok())
        .await;
    world.committed().await;
}

#[tokio::test]
async fn on_a_server_that_takes_no_writes_the_coordinator_says_so_loses_nobody_and_goes_on_when_there_is_one_that_does() {
    let lease = Duration::from_secs(3);
    let world = World::start_with(|config| config.lease = lease).await;
    let _agents = world.running(2).await;
    let name = world.database.name().to_owned();
    // As after a failover: connections are made anew, to what takes no writes now.
    let demoted = format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    );
    world.administer(demoted).await;
    let unavailable = world
        .until("a write refused by the server", async || {
            let problem = refused(world.client.take_snapshot(&world.cluster, &TakeSnapshot::default()).await);
            assert_eq!((problem.code, problem.status), (ProblemCode::DatabaseUnavailable, 503), "{problem}");
            problem.detail.contains("25006").then_some(problem)
        })
        .await;
    assert!(unavailable.detail.contains("can't be used just now"), "{unavailable}");
    world
        .until("it not ready for that", async || {
            let problem = world.client.ready().await.err()?.problem()?.clone();
            assert_eq!(problem.code, ProblemCode::DatabaseUnavailable, "{problem}");
            problem.detail.contains("read-only").then_some(())
        })
        .await;
    // Long enough for every lease to run out.
    let began = Instant::now();
    world.until("more than a lease's time", async || (began.elapsed() > lease + lease / 3).then_some(())).await;
    // Every connection that there is now leads to the read-only server, and goes on saying so: only new ones don't.
    let held = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert!(world.count(held).await > 0);
    world.administer(format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await;
    world.until("it ready again", async || world.client.ready().await.ok()).await;
    world
        .until("the cluster whole", async || world.client.take_snapshot(&world.cluster, &TakeSnapshot::default()).await.ok())
        .await;
    // None of the old ones is used once more.
    let ask = TakeSnapshot::default();
    for _ in 0..12 {
        let all = (0..4).map(|_| world.client.take_snapshot(&world.cluster, &ask));
        for taken in futures::future::join_all(all).await {
            world.client.abort_snapshot(taken.expect("a snapshot").id, &Default::default()).await.ok();
        }
    }
    world.committed().await;
    for why in ["connection", "lease"] {
        let lost = match why {
            "lease" => "SELECT count(*) FROM audit WHERE action = 'member.lost' AND reason LIKE '%lease%'",
            _ => "SELECT count(*) FROM audit WHERE action = 'member.lost' AND reason NOT LIKE '%lease%'",
        };
        assert_eq!(world.count(lost).await, 0, "lost for its {why}");
    }
    assert_eq!(world.cluster().await.generation, Generation(1));
}

#[tokio::test]
async fn a_connection_to_a_server_that_takes_no_writes_is_not_used_again_whatever_it_was_used_for() {
    let world = World::start().await;
    let (store, name) = (PostgresStore::connect(world.database.url(), 4).await.expect("a store"), world.database.name());
    let claims = async |round: u32| {
        let claim = |n| {
            let request = KeyedRequest { key: format!("{round}-{n}"), fingerprint: String::new() };
            let store = store.clone();
            async move { store.claim(&request, Uuid::now_v7(), Duration::from_secs(60)).await }
        };
        futures::future::join_all((0..8).map(claim)).await
    };
    world.administer(format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    // Those that were made before still write.
    assert!(claims(0).await.iter().any(Result::is_ok));
    let mine = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    world.count(mine).await;
    world
        .until("every connection a new one", async || {
            let refused = |e: StoreError| matches!(e, StoreError::Unavailable { reason } if reason.contains("25006"));
            claims(1).await.into_iter().all(|claimed| claimed.is_err_and(refused)).then_some(())
        })
        .await;
    world.administer(format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await;
    for claimed in claims(2).await {
        claimed.expect("over a new connection");
    }
    store.close().await;
}

#[tokio::test]
async fn requests_that_are_hung_up_on_leave_no_connection_inside_a_transaction() {
    let world = World::start().await;
    let agents = world.running(2).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    for n in 0..80_u32 {
        // A connection of its own, cut somewhere on the way.
        let client = stillframe_api::Client::new(world.client.url().as_str()).expect("a client");
        let asked = TakeSnapshot::default();
        let asking = client.take_snapshot(&world.cluster, &asked);
        drop(tokio::time::timeout(Duration::from_micros(u64::from(n) * 100), asking).await);
    }
    let none_inside = world.until("no connection inside a transaction", async || {
        let inside =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        (world.count(inside).await == 0).then_some(())
    });
    // Sooner than the server ends such a transaction by itself.
    tokio::time::timeout(Duration::from_secs(10), none_inside).await.expect("no connection inside a transaction");
    assert!(world.count("SELECT count(*) FROM snapshots WHERE state = 'pending'").await <= 16);
}

#[tokio::test]
async fn what_an_aborted_snapshot_left_in_the_archive_is_deleted() {
    let world = World::start().await;
    let agents = world.running(1).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let taken = world.take().await;
    let left = world.directory.path().join(format!("archive/clusters/bank/snapshots/{}/parts/p1.1", taken.id));
    std::fs::create_dir_all(&left).expect("a folder");
    std::fs::write(left.join("state"), "orphan").expect("an orphan");
    world.client.abort_snapshot(taken.id, &Default::default()).await.expect("aborted");
    world.until("it gone", async || (!left.join("state").exists()).then_some(())).await;
    world
        .until("it noted", async || {
            (world.count("SELECT count(*) FROM snapshots WHERE sweeps = 1 AND sweep_at IS NOT NULL").await == 1).then_some(())
        })
        .await;
}

#[tokio::test]
async fn what_can_not_be_used_at_the_start_is_named() {
    let world = World::start().await;
    let mut config = world.config.clone();
    assert!(matches!(start(config.clone()).await, Err(StartError::Listen { listen, .. }) if listen == config.listen));
    config.listen.set_port(0);
    let mut away = config.clone();
    away.database_url = "postgres://me:hunter2@127.0.0.1:1/none".to_owned();
    let error = start(away).await.expect_err("no database").to_string();
    assert!(error.contains("127.0.0.1:1") && error.contains("--database-url") && !error.contains("hunter2"), "{error}");
    std::fs::write(world.directory.path().join("file"), "no directory").expect("written");
    let mut away = config.clone();
    away.archive = stillframe_archive::ArchiveUrl::from_dir(&world.directory.path().join("file")).expect("a URL");
    let error = start(away).await.expect_err("no archive").to_string();
    assert!(error.contains("file") && error.contains("--archive"), "{error}");
}
