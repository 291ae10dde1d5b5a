//! The audit on real Postgres: chained, complete, never changed by whoever serves requests; and whoever changes it otherwise is found out.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stillframe_api::{
    audit::{AuditRow, ExportAudit, ListAudit, VerifyAudit},
    chain::{ChainFaultKind, ChainReport, ExportChecker},
    cluster::ClusterPhase,
};
use stillframe_coordinator::{Config, start, store::postgres::SERVING_ROLE};
use stillframe_private_postgres::testing::TestDatabase;

use crate::harness::{World, refused};

impl World {
    async fn superuser(&self) -> PgConnection {
        PgConnection::connect(self.database.url()).await.expect("a connection")
    }

    async fn chain(&self) -> ChainReport {
        let query = VerifyAudit { cluster: Some(self.cluster.clone()), head: None };
        self.client.verify_audit(&query).await.expect("a verification").chains.remove(0)
    }

    async fn export(&self) -> Vec<AuditRow> {
        let mut lines = self.client.export_audit(&ExportAudit::default()).await.expect("an export");
        let mut rows = Vec::new();
        while let Some(line) = lines.next_line().await.expect("a line") {
            rows.push(serde_json::from_str(&line).expect("a row"));
        }
        rows
    }
}

async fn execute(connection: &mut PgConnection, sql: impl Into<String>) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(connection).await.map(drop)
}

/// As somebody who owns everything and wants to cover something up.
async fn tamper(connection: &mut PgConnection, sql: &str) {
    let quietly = format!("BEGIN; SET LOCAL session_replication_role = replica; {sql}; COMMIT");
    execute(connection, quietly).await.expect(sql);
}

#[tokio::test]
async fn every_change_has_its_row_with_actor_reason_and_request_and_the_chain_verifies() {
    let world = World::start().await;
    let agents = world.running(2).await;
    let taken = world.take().await;
    world.ended(&taken).await;
    for agent in agents {
        agent.kill().await;
    }
    world.until("somebody lost", async || (world.cluster().await.lost_members > 0).then_some(())).await;

    let report = world.chain().await;
    assert!(report.intact, "{report:?}");
    let rows = world.export().await;
    assert!(rows.len() as u64 >= report.rows && report.rows > 10, "{report:?}");
    let actions: BTreeSet<&str> = rows.iter().map(|row| row.action.as_str()).collect();
    for action in [
        "cluster.created",
        "cluster.running",
        "member.registered",
        "member.lost",
        "snapshot.requested",
        "snapshot.recording",
        "snapshot.committing",
        "snapshot.committed",
    ] {
        assert!(actions.contains(action), "{action} is not in {actions:?}");
    }
    let lost = rows.iter().find(|row| row.action == "member.lost").expect("a row");
    assert_eq!((lost.actor.as_str(), lost.reason.is_some()), ("coordinator", true), "{lost:?}");
    let asked = rows.iter().find(|row| row.subject == taken.id.to_string()).expect("a row");
    assert_eq!((asked.actor.as_str(), asked.action.as_str()), ("request", "snapshot.requested"));
    assert!(asked.request_id.is_some() && rows.iter().all(|row| row.request_id.is_some() || row.actor != "request"), "{rows:?}");

    // What was exported verifies without the database.
    let mut checker = ExportChecker::default();
    rows.iter().for_each(|row| checker.take(row));
    assert!(checker.finish().intact);
}

#[tokio::test]
async fn rows_are_listed_newest_first_by_whatever_is_asked_for() {
    let world = World::start().await;
    let _agents = world.running(1).await;
    let taken = world.take().await;
    world.ended(&taken).await;
    let list = async |query: ListAudit| world.client.list_audit(&query).await.expect("a page");

    let about = list(ListAudit { subject: Some(taken.id.to_string()), ..ListAudit::default() }).await.items;
    let actions: Vec<&str> = about.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["snapshot.committed", "snapshot.committing", "snapshot.recording", "snapshot.requested"]);
    let requested = about.last().expect("rows");
    let since = ListAudit { since: Some(requested.at), action: Some("snapshot.".to_owned()), ..ListAudit::default() };
    assert_eq!(list(since.clone()).await.items, about);
    assert_eq!(list(ListAudit { until: Some(requested.at), ..since }).await.items, []);
    let by = ListAudit { actor: Some("member:p1".to_owned()), cluster: Some(world.cluster.clone()), ..ListAudit::default() };
    assert!(list(by).await.items.iter().all(|row| row.actor == "member:p1"));

    let (mut paged, mut cursor) = (Vec::new(), None);
    loop {
        let page = list(ListAudit { limit: Some(3), cursor, ..ListAudit::default() }).await;
        paged.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(paged, list(ListAudit { limit: Some(500), ..ListAudit::default() }).await.items);
    assert!(paged.len() > 8 && paged.is_sorted_by(|a, b| a.seq > b.seq));

    let problem = refused(world.client.list_audit(&ListAudit { cursor: Some("x".to_owned()), ..ListAudit::default() }).await);
    assert_eq!(problem.status, 400);
    let head = Some("7:x".to_owned());
    let problem = refused(world.client.verify_audit(&VerifyAudit { cluster: Some(world.cluster.clone()), head }).await);
    assert!(problem.status == 400 && problem.detail.contains("<seq>"), "{problem:?}");
}

#[tokio::test]
async fn who_edits_removes_reorders_or_cuts_rows_is_found_out_and_the_first_bad_row_named() {
    let world = World::start().await;
    let _agents = world.running(1).await;
    world.committed().await;
    let mut superuser = world.superuser().await;
    let rows = world.chain().await.rows;
    let last = format!("(SELECT max(seq) FROM audit WHERE cluster = 'bank' AND seq <= {rows})");
    for (sql, undo, seq, kind) in [
        ("UPDATE audit SET actor = 'nobody' WHERE cluster = 'bank' AND seq = 3".to_owned(), true, 3, ChainFaultKind::Edited),
        (
            "UPDATE audit SET detail = detail || '{\"x\": 1}' WHERE cluster = 'bank' AND seq = 2".to_owned(),
            true,
            2,
            ChainFaultKind::Edited,
        ),
        ("UPDATE audit SET reason = 'because' WHERE cluster = 'bank' AND seq = 4".to_owned(), true, 4, ChainFaultKind::Edited),
        (
            "UPDATE audit SET actor = 'nobody' WHERE cluster = 'bank' AND seq = 3;
             UPDATE audit a SET hash = audit_hash(a) WHERE cluster = 'bank' AND seq = 3"
                .to_owned(),
            true,
            3,
            ChainFaultKind::Replaced,
        ),
        ("DELETE FROM audit WHERE cluster = 'bank' AND seq = 5".to_owned(), true, 5, ChainFaultKind::Missing),
        ("DELETE FROM audit WHERE cluster = 'bank' AND seq = 1".to_owned(), true, 1, ChainFaultKind::Missing),
        (
            "UPDATE audit SET seq = -seq WHERE cluster = 'bank' AND seq IN (2, 3);
             UPDATE audit SET seq = 5 + seq WHERE cluster = 'bank' AND seq < 0"
                .to_owned(),
            true,
            2,
            ChainFaultKind::Edited,
        ),
        (format!("DELETE FROM audit WHERE cluster = 'bank' AND seq >= {last}"), true, rows, ChainFaultKind::Truncated),
    ] {
        if undo {
            execute(&mut superuser, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM audit").await.expect("kept");
        }
        tamper(&mut superuser, &sql).await;
        let report = world.chain().await;
        let fault = report.fault.unwrap_or_else(|| panic!("not found: {sql}"));
        assert_eq!((fault.seq, fault.kind), (seq, kind), "{sql}: {fault}");
        assert!(!report.intact && report.head.is_none());
        tamper(&mut superuser, "DELETE FROM audit; INSERT INTO audit OVERRIDING SYSTEM VALUE SELECT * FROM kept").await;
        assert!(world.chain().await.intact, "{sql}");
    }

    // Written anew to its end, head and all: only a head that was kept elsewhere shows it.
    let kept = world.chain().await.head.expect("a head");
    let anew = "
        DO $$
        DECLARE line audit; before text := repeat('0', 64);
        BEGIN
            UPDATE audit SET actor = 'nobody' WHERE cluster = 'bank' AND seq = 3;
            FOR line IN SELECT * FROM audit WHERE cluster = 'bank' ORDER BY seq LOOP
                line.prev_hash := before;
                before := audit_hash(line);
                UPDATE audit SET prev_hash = line.prev_hash, hash = before WHERE id = line.id;
            END LOOP;
            UPDATE audit_heads SET hash = before WHERE cluster = 'bank';
        END $$";
    tamper(&mut superuser, anew).await;
    assert!(world.chain().await.intact);
    let query = VerifyAudit { cluster: Some(world.cluster.clone()), head: Some(kept.to_string()) };
    let found = world.client.verify_audit(&query).await.expect("a verification");
    let fault = found.chains[0].fault.clone().expect("a fault");
    assert_eq!((fault.seq, fault.kind), (kept.seq, ChainFaultKind::Replaced));
}

#[tokio::test]
async fn neither_the_role_that_serves_nor_the_owner_by_mistake_changes_a_row() {
    let world = World::start().await;
    world.create_cluster(1).await;
    let mut connection = world.superuser().await;
    let statements = [
        "UPDATE audit SET actor = 'x'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "DELETE FROM audit_heads",
        "TRUNCATE audit_heads",
    ];
    for sql in statements {
        let error = execute(&mut connection, sql).await.expect_err(sql);
        assert_eq!(error.as_database_error().and_then(|e| e.code()).as_deref(), Some("23000"), "{sql}: {error}");
    }
    // Whoever inserts can't choose number, time or hash.
    let forged = "INSERT INTO audit (cluster, actor, action, subject, detail, seq, prev_hash, hash, at)
                  VALUES ('bank', 'x', 'x', 'x', '{}', 77, 'x', 'x', '2000-01-01')";
    execute(&mut connection, forged).await.expect("inserted");
    assert!(world.chain().await.intact);
    execute(&mut connection, format!("SET ROLE {SERVING_ROLE}")).await.expect("the role");
    let ddl =
        ["UPDATE audit_heads SET seq = 0", "DROP TABLE audit", "ALTER TABLE audit DISABLE TRIGGER ALL", "CREATE TABLE mine ()"];
    for sql in statements.into_iter().chain(ddl) {
        let error = execute(&mut connection, sql).await.expect_err(sql);
        assert_eq!(error.as_database_error().and_then(|e| e.code()).as_deref(), Some("42501"), "{sql}: {error}");
    }
    // And that is what serves.
    let serves = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'stillframe coordinator'";
    assert!(world.count(serves).await > 0);
    let mut options: sqlx::postgres::PgConnectOptions = world.database.url().parse().expect("a URL");
    options = options.options([("role", SERVING_ROLE)]);
    let mut serving = PgConnection::connect_with(&options).await.expect("connected");
    execute(&mut serving, "RESET ROLE").await.expect("reset");
    execute(&mut serving, "DELETE FROM audit").await.expect_err("still the role");
}

#[tokio::test]
async fn rows_written_before_there_was_a_chain_are_chained_by_the_migration() {
    use stillframe_coordinator::store::postgres::MIGRATOR;
    let database = TestDatabase::create().await;
    let mut connection = PgConnection::connect(database.url()).await.expect("a connection");
    let first = MIGRATOR.iter().find(|migration| migration.version == 1).expect("0001").sql.as_str().to_owned();
    let chained = MIGRATOR.iter().find(|migration| migration.version == 50).expect("0050").sql.as_str().to_owned();
    execute(&mut connection, first).await.expect("the first");
    let old = "INSERT INTO audit (cluster, actor, action, subject, detail)
               SELECT CASE n % 3 WHEN 0 THEN NULL ELSE 'c' || n % 3 END, 'a', 'b', n::text, jsonb_build_object('n', n, 'a', '\u{e4}')
                 FROM generate_series(1, 20) AS g(n)";
    execute(&mut connection, old).await.expect("old rows");
    execute(&mut connection, chained).await.expect("the chain");
    execute(&mut connection, "INSERT INTO audit (cluster, actor, action, subject, detail) VALUES ('c1', 'a', 'b', 'new', '{}')")
        .await
        .expect("a new row");
    let rows: Vec<serde_json::Value> = sqlx::query_scalar(
        "SELECT to_jsonb(a) || jsonb_build_object('at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), 'text', detail::text)
           FROM audit a ORDER BY coalesce(cluster, ''), seq",
    )
    .fetch_all(&mut connection)
    .await
    .expect("rows");
    let mut checker = ExportChecker::default();
    for row in &rows {
        let mut row = row.clone();
        let text = row["text"].take();
        row["detail"] = serde_json::json!({});
        let mut row: AuditRow = serde_json::from_value::<Loose>(row).expect("a row").into();
        row.detail = text.as_str().expect("text").to_owned();
        checker.take(&row);
    }
    let found = checker.finish();
    assert!(found.intact, "{found:?}");
    assert_eq!(found.chains.iter().map(|chain| chain.rows).collect::<Vec<_>>(), [6, 8, 7]);
}

/// A row as the database gives it, with columns that aren't part of it.
#[derive(serde::Deserialize)]
struct Loose {
    cluster: Option<stillframe_protocol::ClusterName>,
    seq: u64,
    at: jiff::Timestamp,
    actor: String,
    action: String,
    subject: String,
    reason: Option<String>,
    request_id: Option<String>,
    prev_hash: String,
    hash: String,
}

impl From<Loose> for AuditRow {
    fn from(row: Loose) -> Self {
        let Loose { cluster, seq, at, actor, action, subject, reason, request_id, prev_hash, hash } = row;
        Self { cluster, seq, at, actor, action, subject, reason, request_id, detail: String::new(), prev_hash, hash }
    }
}

#[tokio::test]
async fn a_user_that_may_not_make_roles_serves_as_itself_and_one_that_owns_nothing_serves_as_the_role() {
    let world = World::start().await;
    let database = TestDatabase::create().await;
    let (owner, server) = (format!("owner_{}", database.name()), format!("server_{}", database.name()));
    world
        .administer(format!(
            "CREATE ROLE {owner} LOGIN PASSWORD 'x'; CREATE ROLE {server} LOGIN PASSWORD 'x'; ALTER DATABASE {} OWNER TO {owner}",
            database.name()
        ))
        .await;
    let mut admin = PgConnection::connect(database.url()).await.expect("a connection");
    execute(&mut admin, format!("ALTER SCHEMA public OWNER TO {owner}")).await.expect("owned");
    let url = |user: &str| {
        let mut url: url::Url = database.url().parse().expect("a URL");
        let mut query: Vec<(String, String)> = url.query_pairs().into_owned().filter(|(key, _)| key != "user").collect();
        query.push(("user".to_owned(), user.to_owned()));
        url.query_pairs_mut().clear().extend_pairs(query);
        if !url.username().is_empty() {
            url.set_username(user).expect("a user");
        }
        url.to_string()
    };
    let config = |url: String| {
        let mut config = Config::new(url, world.config.archive.clone(), std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        config.max_connections = 2;
        config
    };
    // Nobody has made the schema yet, and this one may not.
    let error = start(config(url(&server))).await.expect_err("no schema").to_string();
    assert!(error.contains("0001") && error.contains("owner"), "{error}");
    // The owner may not take the role on: it serves all the same.
    let coordinator = start(config(url(&owner))).await.expect("the owner serves");
    coordinator.stop().await;
    let serving = "SELECT count(*) FROM pg_roles WHERE rolname = 'stillframe_serving'";
    assert_eq!(world.count(serving).await, 1);
    // What the log says to run once.
    execute(&mut admin, format!("GRANT {SERVING_ROLE} TO {server}")).await.expect("granted");
    let coordinator = start(config(url(&server))).await.expect("the other serves");
    let client = stillframe_api::Client::new(&format!("http://{}", coordinator.local_addr())).expect("a client");
    let settings = stillframe_api::cluster::CreateCluster::new(world.cluster.clone(), 1);
    let made = client.create_cluster(&settings).await.expect("made");
    assert_eq!(made.phase, ClusterPhase::Forming);
    coordinator.stop().await;
    execute(
        &mut admin,
        format!("DROP OWNED BY {server}; DROP ROLE {server}; REASSIGN OWNED BY {owner} TO CURRENT_USER; DROP OWNED BY {owner}"),
    )
    .await
    .expect("cleaned up");
    world.administer(format!("DROP ROLE {owner}")).await;
}
