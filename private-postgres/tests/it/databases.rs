//! Databases, their URLs, and the helper for tests.

use stillframe_private_postgres::testing::TestDatabase;
use stillframe_private_postgres::{Options, start};

use crate::support::{number, run, start_quietly};

#[tokio::test]
async fn a_database_can_be_made_twice_and_by_many_at_once() {
    let server = start_quietly(Options::temporary()).await.expect("start");
    let name = r#"na"me with ä and /"#;
    let (one, two) = tokio::join!(server.create_database(name), server.create_database(name));
    let url = one.expect("one");
    assert_eq!(url, two.expect("two"));
    assert_eq!(url, server.create_database(name).await.expect("again"));
    assert_eq!(number(&url, "SELECT count(*) FROM pg_database WHERE datname = current_database()").await, 1);
    server.stop().await.expect("stop");
}

#[tokio::test]
async fn each_test_has_a_database_for_itself() {
    let (one, two) = (TestDatabase::create().await, TestDatabase::create().await);
    run(one.url(), "CREATE TABLE t ()").await;
    run(two.url(), "CREATE TABLE t ()").await;
    assert_ne!(one.name(), two.name());
}

#[tokio::test]
async fn a_test_database_is_gone_after_the_test_even_with_open_connections() {
    let (database, observer) = (TestDatabase::create().await, TestDatabase::create().await);
    let name = database.name().to_owned();
    let pool = sqlx::PgPool::connect(database.url()).await.expect("connect");
    drop(database);
    let count = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(number(observer.url(), &count).await, 0);
    drop(pool);
}

#[test]
fn a_start_can_be_spawned_on_another_thread() {
    fn is_send<T: Send>(_: T) {}
    is_send(start(Options::temporary(), |_| {}));
}
