//! Schedules.

use stillframe_api::{
    ProblemCode,
    schedule::{Misfire, NextQuery, OnOverlap, PauseSchedule, PutSchedule, Schedule},
    snapshot::{SnapshotState, Trigger},
};
use stillframe_protocol::name::ScheduleName;

use stillframe_api::cluster::PageQuery;

use crate::{
    agent::OnSnapshot,
    harness::{World, refused},
};

fn every(text: &str) -> PutSchedule {
    PutSchedule::every(text.parse().expect("a duration"))
}

fn named(text: &str) -> ScheduleName {
    ScheduleName::new(text).expect("a name")
}

impl World {
    async fn put(&self, name: &str, schedule: &PutSchedule) -> Schedule {
        self.client.put_schedule(&self.cluster, &named(name), schedule).await.expect("a schedule")
    }

    async fn schedule(&self, name: &str) -> Schedule {
        self.client.schedule(&self.cluster, &named(name)).await.expect("it")
    }

    /// Changes the database from outside, as an outage or a clock would.
    async fn change(&self, sql: &'static str) {
        use sqlx::Connection;
        let mut connection = sqlx::PgConnection::connect(self.database.url()).await.expect("a connection");
        sqlx::raw_sql(sql).execute(&mut connection).await.expect(sql);
        connection.close().await.expect("closing");
    }
}

#[tokio::test]
async fn each_slot_of_a_schedule_is_decided_once_also_with_two_replicas() {
    let world = World::start().await;
    let _agents = world.running(2).await;
    let mut second = world.config.clone();
    second.listen.set_port(0);
    let second = stillframe_coordinator::start(second).await.expect("a second replica");
    let name = ScheduleName::new("often").expect("a name");
    let set = world.client.put_schedule(&world.cluster, &name, &every("60ms")).await.expect("a schedule");
    assert!(set.last_slot_at.is_none());
    world
        .until("ten scheduled snapshots", async || {
            let all = world.snapshots().await;
            let of = |s: &&stillframe_api::snapshot::Snapshot| matches!(&s.trigger, Trigger::Schedule { schedule } if schedule == "often");
            (all.iter().filter(of).filter(|s| s.state == SnapshotState::Committed).count() >= 10).then_some(())
        })
        .await;
    let now = world.client.schedule(&world.cluster, &name).await.expect("it");
    assert!(now.next_at > now.last_slot_at);
    world.client.delete_schedule(&world.cluster, &name).await.expect("deleted");
    let (slots, taken) = (
        world.count("SELECT count(*) FROM schedule_slots WHERE snapshot IS NOT NULL").await,
        world.count("SELECT count(*) FROM snapshots WHERE trigger ->> 'kind' = 'schedule'").await,
    );
    assert_eq!(slots, taken);
    assert_eq!(refused(world.client.schedule(&world.cluster, &name).await).code, ProblemCode::UnknownSchedule);
    second.stop().await;
}

#[tokio::test]
async fn a_slot_that_comes_while_a_snapshot_is_under_way_is_skipped_and_says_so() {
    let world = World::start().await;
    let agents = world.running(1).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    world.take().await;
    let name = ScheduleName::new("often").expect("a name");
    world.client.put_schedule(&world.cluster, &name, &every("50ms")).await.expect("a schedule");
    let skip = world.until("a skip", async || world.client.schedule(&world.cluster, &name).await.expect("it").last_skip).await;
    assert!(skip.contains("under way"), "{skip}");
    assert_eq!(world.count("SELECT count(*) FROM snapshots WHERE trigger ->> 'kind' = 'schedule'").await, 0);
}

#[tokio::test]
async fn a_schedule_by_the_clock_shows_its_next_slots_and_is_listed() {
    let world = World::start().await;
    world.create_cluster(1).await;
    let mut nightly = PutSchedule::cron("30 2 * * *", "Australia/Lord_Howe");
    nightly.jitter = "10m".parse().expect("a duration");
    nightly.labels.insert("kind".to_owned(), "nightly".to_owned());
    nightly.misfire = Misfire::Once;
    let set = world.put("nightly", &nightly).await;
    assert_eq!((set.cron.as_deref(), set.time_zone.as_str(), set.every), (Some("30 2 * * *"), "Australia/Lord_Howe", None));
    assert_eq!((set.next.len(), set.next_at), (5, set.next.first().copied()));
    let query = NextQuery { limit: Some(30) };
    let slots = world.client.next_slots(&world.cluster, &named("nightly"), &query).await.expect("slots").items;
    assert_eq!(slots.len(), 30);
    assert!(slots.windows(2).all(|pair| pair[0].slot_at < pair[1].slot_at));
    assert!(slots.iter().all(|s| s.fires_at >= s.slot_at && s.fires_at.duration_since(s.slot_at).as_secs() < 600));
    assert!(slots.iter().any(|s| s.fires_at > s.slot_at), "there is jitter");
    assert_eq!(slots[..5].iter().map(|s| s.fires_at).collect::<Vec<_>>(), set.next);
    assert_eq!(world.schedule("nightly").await, set);
    world.put("a", &every("1h")).await;
    let page = PageQuery { limit: Some(1), cursor: None };
    let first = world.client.list_schedules(&world.cluster, &page).await.expect("a page");
    assert_eq!(first.items.iter().map(|s| s.name.to_string()).collect::<Vec<_>>(), ["a"]);
    let page = PageQuery { limit: Some(1), cursor: first.next_cursor };
    let second = world.client.list_schedules(&world.cluster, &page).await.expect("a page");
    assert_eq!((second.items, second.next_cursor), (vec![set], None));
}

#[tokio::test]
async fn a_schedule_that_can_not_be_is_refused_with_a_hint() {
    let world = World::start().await;
    world.create_cluster(1).await;
    for (schedule, says) in [
        (every("1ms"), "every must be at least 50ms, found 1ms"),
        (PutSchedule::cron("0 0 30 2 *", "UTC"), "names none"),
        (PutSchedule::cron("@daily", "Mars/Olympus"), "IANA name"),
        (PutSchedule { cron: Some("@daily".to_owned()), ..every("1h") }, "exactly one of every and cron"),
    ] {
        let problem = refused(world.client.put_schedule(&world.cluster, &named("x"), &schedule).await);
        assert_eq!((problem.code, problem.status), (ProblemCode::InvalidRequest, 400));
        assert!(problem.detail.contains(says) && problem.hint.is_some(), "{problem}");
    }
    let unknown = refused(world.client.resume_schedule(&world.cluster, &named("x")).await);
    assert_eq!((unknown.code, unknown.status), (ProblemCode::UnknownSchedule, 404));
    let unknown = refused(world.client.delete_schedule(&world.cluster, &named("x")).await);
    assert_eq!(unknown.code, ProblemCode::UnknownSchedule);
}

#[tokio::test]
async fn a_paused_schedule_takes_nothing_until_it_is_resumed_or_triggered() {
    let world = World::start().await;
    let _agents = world.running(1).await;
    let mut often = every("100ms");
    often.labels.insert("by".to_owned(), "often".to_owned());
    world.put("often", &often).await;
    world.until("a slot", async || world.schedule("often").await.last_snapshot).await;
    let paused = world.client.pause_schedule(&world.cluster, &named("often"), &PauseSchedule::default()).await.expect("paused");
    assert!(paused.paused && paused.next.is_empty() && paused.next_at.is_none());
    let triggered = world.client.trigger_schedule(&world.cluster, &named("often")).await.expect("a snapshot");
    assert_eq!(triggered.labels.get("by").map(String::as_str), Some("often"));
    assert_eq!(world.ended(&triggered).await.state, SnapshotState::Committed);
    let now = world.schedule("often").await;
    assert_eq!((now.last_slot_at, now.last_snapshot), (paused.last_slot_at, Some(triggered.id)), "no slot has passed meanwhile");
    let for_a_while = PauseSchedule { for_duration: Some("1h".parse().expect("a duration")), until: None };
    let paused = world.client.pause_schedule(&world.cluster, &named("often"), &for_a_while).await.expect("paused");
    assert!(paused.paused && paused.next_at >= paused.paused_until);
    let resumed = world.client.resume_schedule(&world.cluster, &named("often")).await.expect("resumed");
    assert!(!resumed.paused && resumed.paused_until.is_none());
    world.until("another slot", async || (world.schedule("often").await.last_slot_at > paused.last_slot_at).then_some(())).await;
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action IN ('schedule.paused', 'schedule.resumed')").await, 3);
}

#[tokio::test]
async fn slots_that_were_missed_in_an_outage_are_counted_and_taken_once_or_not_at_all() {
    let mut world = World::start().await;
    let _agents = world.running(1).await;
    let once = PutSchedule { misfire: Misfire::Once, ..every("1h") };
    world.put("once", &once).await;
    world.put("skip", &every("1h")).await;
    world.stop_coordinator().await;
    // As if it had been away for more than three hours.
    world.change("UPDATE schedules SET next_at = clock_timestamp() - interval '3 hours 10 minutes', next_slot_at = NULL").await;
    world.start_coordinator().await;
    let decided = async |name| {
        let now = world.schedule(name).await;
        now.last_slot_at.is_some().then_some(now)
    };
    let skipped = world.until("the missed slots skipped", async || decided("skip").await).await;
    assert_eq!((skipped.missed, skipped.last_snapshot), (4, None));
    assert!(skipped.last_skip.expect("why").contains("missed"));
    let once = world.until("the missed slots decided", async || decided("once").await).await;
    assert_eq!(once.missed, 4);
    assert!(once.next_at > once.last_slot_at);
    assert!(once.last_snapshot.is_some() || once.last_skip.is_some(), "the members may not have been back yet: {once:?}");
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'schedule.missed'").await, 2);
    assert!(world.count("SELECT count(*) FROM snapshots WHERE trigger ->> 'schedule' = 'once'").await <= 1);
    assert_eq!(world.count("SELECT count(*) FROM schedule_slots").await, 2);
}

#[tokio::test]
async fn a_slot_that_overlaps_waits_its_turn_where_the_schedule_says_so() {
    let world = World::start().await;
    let agents = world.running(1).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let holder = world.take().await;
    let queueing = PutSchedule { on_overlap: OnOverlap::Queue, ..every("60ms") };
    world.put("queueing", &queueing).await;
    let skip = world.until("a second slot", async || world.schedule("queueing").await.last_skip).await;
    assert!(skip.contains("still waits"), "{skip}");
    let pending = world.cluster().await.pending;
    world.client.delete_schedule(&world.cluster, &named("queueing")).await.expect("deleted");
    assert_eq!(pending, 1);
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Report);
    world.client.abort_snapshot(holder.id, &Default::default()).await.expect("aborted");
    let waits = world.snapshots().await.into_iter().find(|s| matches!(s.trigger, Trigger::Schedule { .. })).expect("it");
    assert_eq!(world.ended(&waits).await.state, SnapshotState::Committed);
}
