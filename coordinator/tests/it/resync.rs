//! A database that was lost, wholly or in its last transactions, and the archive that remembers.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stillframe_api::{
    ProblemCode,
    agent::{AssignmentQuery, ReportEvent},
    audit::VerifyAudit,
    cluster::ClusterPhase,
    restore::{RestoreState, StartRestore},
    resync::ResyncArchive,
    snapshot::{SnapshotState, Trigger},
};
use stillframe_archive::{Archive, ObjectKey, Place};
use stillframe_private_postgres::testing::TestDatabase;
use stillframe_protocol::{Generation, Incarnation, Received, SeqRanges, SnapshotId};
use uuid::Uuid;

use crate::{
    agent::Agent,
    harness::{PATIENCE, World},
};

impl World {
    pub(crate) async fn execute(&self, sql: &str) {
        let mut connection = PgConnection::connect(self.database.url()).await.expect("a connection");
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect(sql);
        connection.close().await.expect("closing");
    }

    /// Whether the server did it.
    async fn administered(&self, sql: &str) -> bool {
        let mut url: url::Url = self.database.url().parse().expect("a URL");
        url.set_path("postgres");
        let mut connection = PgConnection::connect(url.as_str()).await.expect("a connection");
        let mut done = true;
        for statement in sql.split("; ") {
            done = done && sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.is_ok();
        }
        connection.close().await.expect("closing");
        done
    }

    async fn committed_ids(&self) -> BTreeSet<SnapshotId> {
        let committed = |s: &stillframe_api::snapshot::Snapshot| s.state == SnapshotState::Committed;
        self.snapshots().await.into_iter().filter(committed).map(|s| s.id).collect()
    }

    async fn audit_is_intact(&self) {
        let found = self.client.verify_audit(&VerifyAudit::default()).await.expect("a verification");
        assert!(found.intact, "{found:?}");
    }
}

/// Two manifests that prove nothing: one names an object that isn't there, one a message that nobody sent.
async fn bad_manifests(archive: &Archive, world: &World, like: SnapshotId) -> [SnapshotId; 2] {
    let mut manifest = archive.read_manifest(&world.cluster, like).await.expect("a manifest");
    let ids = [SnapshotId(Uuid::now_v7()), SnapshotId(Uuid::now_v7())];
    let good = manifest.clone();
    manifest.snapshot = ids[0];
    manifest.epoch.0 += 500;
    let part = &mut manifest.parts[0];
    part.objects[0].place = Place::Key(ObjectKey::state_key(&world.cluster, ids[0], &part.member, part.incarnation));
    archive.write_manifest(&manifest).await.expect("written");
    let mut manifest = good;
    manifest.snapshot = ids[1];
    let from = manifest.parts[0].member.clone();
    manifest.parts[1].received = vec![Received { from, ranges: SeqRanges::prefix(1) }];
    archive.write_manifest(&manifest).await.expect("written");
    ids
}

#[tokio::test]
async fn a_lost_database_is_rebuilt_from_the_archive_alone_and_the_cluster_is_restored_from_it() {
    let mut world = World::start().await;
    let agents = world.running(2).await;
    let (older, newest) = (world.committed().await, world.committed().await);
    let before = world.committed_ids().await;
    let bad = bad_manifests(&world.archive().await, &world, older.id).await;
    for agent in agents {
        agent.kill().await;
    }
    world.stop_coordinator().await;
    world.database = TestDatabase::create().await;
    world.config.database_url = world.database.url().to_owned();
    world.start_coordinator().await;

    let dry = world.client.resync_archive(&ResyncArchive { dry_run: true }).await.expect("a report");
    assert_eq!((dry.rebuilt.len(), dry.taken_up.len(), dry.rejected.len()), (1, before.len(), 2), "{dry:?}");
    assert_eq!(world.count("SELECT count(*) FROM clusters").await, 0);
    let done = world.client.resync_archive(&ResyncArchive::default()).await.expect("a report");
    assert_eq!((&done.rebuilt, &done.taken_up, &done.rejected), (&dry.rebuilt, &dry.taken_up, &dry.rejected));
    let why = |id| done.rejected.iter().find(|r| r.snapshot == Some(id)).expect("rejected").problems.join("; ");
    assert!(why(bad[0]).contains("is missing") && why(bad[1]).contains("p1 -> p2"), "{done:?}");
    assert_eq!(world.committed_ids().await, before);
    let cluster = world.cluster().await;
    assert_eq!((cluster.phase, cluster.latest_committed, cluster.min_members), (ClusterPhase::Halted, Some(newest.id), 2));
    assert!(cluster.phase_reason.expect("a reason").contains("restore start"));
    assert_eq!(world.client.snapshot(newest.id).await.expect("it").trigger, Trigger::Resync);
    assert_eq!(world.count("SELECT count(*) FROM collection_now WHERE state = 'suspended'").await, 1);
    // Again it finds nothing more to do.
    let again = world.client.resync_archive(&ResyncArchive::default()).await.expect("a report");
    assert_eq!((again.rebuilt.len(), again.taken_up.len()), (0, 0), "{again:?}");

    let agents = [Agent::start(&world, "p1").await, Agent::start(&world, "p2").await];
    assert!(agents.iter().all(|agent| agent.incarnation > Incarnation(1_000)));
    assert_eq!(world.cluster().await.phase, ClusterPhase::Halted);
    let start = StartRestore::to_latest();
    let restore = world.client.start_restore(&world.cluster, &start).await.expect("a restore");
    let restore = world.client.wait_restore(restore.id, PATIENCE).await.expect("its end");
    assert_eq!(restore.state, RestoreState::Completed, "{restore:?}");
    world.phase(ClusterPhase::Running).await;
    let next = world.committed().await;
    assert!(next.epoch > newest.epoch && next.generation > newest.generation);
    world.archive().await.verify_snapshot(&world.cluster, next.id).await.expect("it verifies");
    world.audit_is_intact().await;

    // Lost again before anything was committed, it begins above the numbers of the first time.
    let first = done.rebuilt[0].clone();
    world.stop_coordinator().await;
    world.database = TestDatabase::create().await;
    world.config.database_url = world.database.url().to_owned();
    world.start_coordinator().await;
    let second = world.client.resync_archive(&ResyncArchive { dry_run: true }).await.expect("a report").rebuilt.remove(0);
    assert!(second.epoch > first.epoch && second.generation > first.generation && second.incarnation > first.incarnation);
}

#[tokio::test]
async fn what_was_committed_in_transactions_that_a_failover_lost_is_taken_up_again_and_no_number_is_used_twice() {
    let mut world = World::start().await;
    let _agents = world.running(2).await;
    world.committed().await;
    world.stop_coordinator().await;
    let (name, old, lost) =
        (world.database.name(), format!("{}_old", world.database.name()), format!("{}_lost", world.database.name()));
    world.administer(format!("CREATE DATABASE {old} TEMPLATE {name}")).await;
    let (name, away) = (name.to_owned(), "ALLOW_CONNECTIONS false");
    world.start_coordinator().await;
    let newer = [world.committed().await, world.committed().await];
    // Under the running coordinator, the database becomes an older copy of itself. Tried until no
    // connection that was being made is in the way.
    world.administer(format!("ALTER DATABASE {name} {away}")).await;
    let swap = format!(
        "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = '{name}'; ALTER DATABASE {name} RENAME TO {lost}"
    );
    let swapped = async {
        while !world.administered(&swap).await {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(3 * PATIENCE, swapped).await.expect("nobody is in the way");
    world.administer(format!("ALTER DATABASE {old} RENAME TO {name}")).await;
    // Every connection of the coordinator has to be made anew first, which takes long on a busy machine.
    let reconciled = async {
        while world.count("SELECT count(*) FROM audit WHERE action = 'cluster.reconciled'").await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(3 * PATIENCE, reconciled).await.expect("what was lost is taken up");
    for snapshot in &newer {
        let again = world.client.snapshot(snapshot.id).await.expect("it is known");
        assert_eq!((again.state, again.epoch, again.view()), (SnapshotState::Committed, snapshot.epoch, snapshot.view()));
    }
    assert_eq!(world.cluster().await.latest_committed, Some(newer[1].id));
    assert_eq!(world.count("SELECT count(*) FROM collection_now WHERE state = 'confirmed'").await, 1);
    let next =
        world.until("a new snapshot", async || world.client.take_snapshot(&world.cluster, &Default::default()).await.ok()).await;
    let next = world.ended(&next).await;
    assert_eq!(next.state, SnapshotState::Committed, "{next:?}");
    assert!(next.epoch.map(|epoch| epoch.0) > newer[1].epoch.map(|epoch| epoch.0 + 1_000));
    world.audit_is_intact().await;
    world.administer(format!("DROP DATABASE {lost}")).await;
}

#[tokio::test]
async fn a_database_that_lost_transactions_and_counted_up_to_the_same_version_again_is_found_out_by_its_stamp() {
    let world = World::start().await;
    let _agents = world.running(2).await;
    let before = world.committed().await;
    let known = world.cluster().await;
    // The same version of another history: a server that lost this one's last transactions, on the same timeline, and made others since. The coordinator
    // remembers the facts of its own, on which a snapshot would be decided in one statement.
    world.execute("UPDATE clusters SET stamp = gen_random_uuid()").await;
    let taken = world.take().await;
    let why = "SELECT count(*) FROM audit WHERE action = 'cluster.fell_behind' AND reason LIKE '%with the stamp%'";
    assert_eq!(world.count(why).await, 1, "it was taken for the facts that are remembered");
    let taken = world.ended(&taken).await;
    assert!(taken.epoch.map(|epoch| epoch.0) > before.epoch.map(|epoch| epoch.0 + 1_000), "{taken:?}");
    world
        .until("it reconciled", async || {
            (world.count("SELECT count(*) FROM collection_now WHERE state = 'confirmed'").await == 1).then_some(())
        })
        .await;
    world.committed().await;
    assert!(world.cluster().await.revision > known.revision + 1_000);
    assert_eq!(world.count(why).await, 1);
    world.audit_is_intact().await;
}

#[tokio::test]
async fn every_version_has_a_stamp_of_its_own_also_where_a_replica_of_an_earlier_release_makes_it() {
    let world = World::start().await;
    let _agents = world.running(1).await;
    world
        .execute("CREATE TABLE stamps (version bigint, stamp uuid); INSERT INTO stamps SELECT version, stamp FROM clusters")
        .await;
    world.committed().await;
    world.execute("INSERT INTO stamps SELECT version, stamp FROM clusters").await;
    // As it writes: it knows nothing of stamps.
    world.execute("UPDATE clusters SET version = version + 1; INSERT INTO stamps SELECT version, stamp FROM clusters").await;
    let of_each =
        "SELECT count(*) FROM (SELECT count(DISTINCT version) v, count(DISTINCT stamp) s FROM stamps) c WHERE (v, s) = (3, 3)";
    assert_eq!(world.count(of_each).await, 1);
    world.committed().await;
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'cluster.fell_behind'").await, 0);
}

#[tokio::test]
async fn agents_that_know_more_than_a_database_which_was_put_back_while_no_coordinator_ran_are_evidence_enough() {
    let mut world = World::start().await;
    let _agents = world.running(2).await;
    world.committed().await;
    world.stop_coordinator().await;
    let (name, old, lost) =
        (world.database.name().to_owned(), format!("{}_old", world.database.name()), format!("{}_lost", world.database.name()));
    world.administer(format!("CREATE DATABASE {old} TEMPLATE {name}")).await;
    world.start_coordinator().await;
    let newer = [world.committed().await, world.committed().await];
    world.stop_coordinator().await;
    // The same server and timeline, and no coordinator that remembers anything.
    world.administer(format!("ALTER DATABASE {name} RENAME TO {lost}")).await;
    world.administer(format!("ALTER DATABASE {old} RENAME TO {name}")).await;
    world.start_coordinator().await;
    for snapshot in &newer {
        world
            .until("what the archive proves", async || {
                let now = world.client.snapshot(snapshot.id).await.ok()?;
                (now.state == SnapshotState::Committed && now.epoch == snapshot.epoch).then_some(())
            })
            .await;
    }
    world
        .until("it reconciled", async || {
            (world.count("SELECT count(*) FROM collection_now WHERE state = 'confirmed'").await == 1).then_some(())
        })
        .await;
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'member.knew_more'").await, 1);
    assert_eq!(world.cluster().await.latest_committed, Some(newer[1].id));
    let next = world.committed().await;
    assert!(next.epoch.map(|epoch| epoch.0) > newer[1].epoch.map(|epoch| epoch.0 + 1_000));
    world.audit_is_intact().await;
    world.administer(format!("DROP DATABASE {lost}")).await;
}

#[tokio::test]
async fn numbers_that_an_agent_makes_up_are_refused_and_raise_the_clusters_by_one_leap_an_hour_at_most() {
    let world = World::start().await;
    let agents = world.running(2).await;
    let before = world.committed().await.epoch.expect("an epoch").0;
    let leaps = async || world.count("SELECT count(*) FROM audit WHERE action = 'cluster.fell_behind'").await;
    let claims = async |incarnation: u64| {
        let query = AssignmentQuery { incarnation: Incarnation(incarnation), ..AssignmentQuery::default() };
        let refused = world.client.assignment(&world.cluster, &agents[0].member, &query).await.expect_err("refused");
        assert_eq!(refused.problem().map(|problem| problem.code), Some(ProblemCode::Fenced), "{refused}");
    };
    let reports = async |generation: u64| {
        let event = ReportEvent::Running { generation: Generation(generation) };
        // An answer that changes nothing, whatever it says.
        drop(world.client.report(&world.cluster, &agents[0].member, agents[0].incarnation, event).await);
    };
    for incarnation in [10_000, i64::MAX as u64, u64::MAX] {
        claims(incarnation).await;
        reports(incarnation).await;
    }
    assert_eq!(leaps().await, 0, "more than can have been lost");
    reports(2).await;
    assert_eq!(leaps().await, 1, "it may be in a generation that was lost");
    for incarnation in [2, 900, 1_100, 1_900] {
        claims(incarnation).await;
        reports(incarnation).await;
    }
    assert_eq!(leaps().await, 1, "once was enough for an hour");
    let next = world.committed().await;
    assert!(next.epoch.is_some_and(|epoch| epoch.0 > before + 1_000 && epoch.0 < before + 200_000), "{next:?}");
    world.audit_is_intact().await;
}

trait Viewed {
    fn view(&self) -> Vec<String>;
}

impl Viewed for stillframe_api::snapshot::Snapshot {
    fn view(&self) -> Vec<String> {
        self.members.iter().map(|m| format!("{}.{}", m.member, m.incarnation)).collect()
    }
}

#[tokio::test]
async fn on_another_timeline_nothing_is_deleted_until_the_archive_was_looked_through_and_an_abort_that_never_was_is_undone() {
    let world = World::start().await;
    let _agents = world.running(2).await;
    let (kept, taken) = (world.committed().await, world.committed().await);
    // As a promoted standby has it that didn't hear of the commit, and has aborted the snapshot since.
    world
        .execute(&format!(
            "BEGIN; SET LOCAL session_replication_role = replica;
             DELETE FROM parts WHERE snapshot = '{0}';
             UPDATE clusters SET latest_committed = '{1}';
             UPDATE snapshots SET state = 'aborted', sweep_at = clock_timestamp() + interval '1 hour', messages_in_flight = NULL, committing_at = NULL,
                    abort = '{{\"reason\": \"requested\", \"detail\": \"\", \"member\": null, \"channel\": null, \"missing\": []}}' WHERE id = '{0}';
             UPDATE continuity SET home = '1/00000001';
             COMMIT",
            taken.id, kept.id
        ))
        .await;
    world
        .until("it committed again", async || {
            let now = world.client.snapshot(taken.id).await.ok()?;
            (now.state == SnapshotState::Committed).then_some(now)
        })
        .await;
    world
        .until("it reconciled", async || {
            (world.count("SELECT count(*) FROM collection_now WHERE state = 'confirmed'").await == 1).then_some(())
        })
        .await;
    let actions = "SELECT count(DISTINCT action) FROM audit WHERE action IN ('cluster.fell_behind', 'snapshot.taken_up', 'cluster.reconciled')";
    assert_eq!(world.count(actions).await, 3);
    assert_eq!(world.count("SELECT count(*) FROM parts p JOIN snapshots s ON s.id = p.snapshot WHERE s.state = 'committed' AND s.view_members = 2").await % 2, 0);
    world.archive().await.verify_snapshot(&world.cluster, taken.id).await.expect("nothing of it was deleted");
    world.committed().await;
    world.audit_is_intact().await;
}
