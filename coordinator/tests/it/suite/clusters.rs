//! Clusters are made once, and told by name.

use std::time::Duration;

use stillframe_api::{
    channel_state::{Alignment, ChannelState},
    cluster::{CreateCluster, OnLoss},
    rollback::RollbackSettings,
};
use stillframe_coordinator::{
    decide::{facts::ChannelFacts, settings},
    store::{StoreError, TransactError},
};

use super::{
    restores::do_their_part,
    steps::{bank, cluster, rule, sure},
    subject::Subject,
};

fn settings() -> CreateCluster {
    CreateCluster {
        snapshot_timeout: "7s".parse().expect("a duration"),
        on_loss: OnLoss::Halt,
        archive_prefix: Some("a/b".to_owned()),
        max_concurrent: 3,
        min_pause: "2s".parse().expect("a duration"),
        rollback: RollbackSettings {
            limit: 9,
            window: "1m".parse().expect("a duration"),
            backoff: "3s".parse().expect("a duration"),
            fallback: 2,
        },
        channel_state: ChannelState::Marker,
        alignment: Alignment::Aligned,
        aligned_timeout: Some("4s".parse().expect("a duration")),
        ..CreateCluster::new(bank(), 4)
    }
}

pub(super) async fn a_cluster_is_made_once_and_whoever_comes_second_is_given_the_first(s: &Subject) {
    let (made, first) = s.store().create_cluster(&settings(), Some("r1".to_owned())).await.expect("made");
    let other = CreateCluster::new(bank(), 1);
    let (found, second) = s.other().await.create_cluster(&other, Some("r2".to_owned())).await.expect("found");
    assert!(first && !second);
    assert_eq!(found, made);
    let rows = s.store().audit_chain(Some(&bank()), 0, u64::MAX, 10).await.expect("rows");
    let told: Vec<_> = rows.iter().map(|row| (row.action.as_str(), row.request_id.as_deref())).collect();
    assert_eq!(told, [("cluster.created", Some("r1"))], "the second made nothing");
}

pub(super) async fn of_many_who_make_a_cluster_at_once_one_does(s: &Subject) {
    let settings = CreateCluster::new(bank(), 1);
    let other = s.other().await;
    let made = (0..8).map(|n| if n % 2 == 0 { s.store() } else { other }.create_cluster(&settings, None));
    let made = futures::future::join_all(made).await;
    assert_eq!(made.into_iter().filter(|made| made.as_ref().expect("made or found").1).count(), 1);
}

pub(super) async fn a_cluster_has_the_settings_it_was_made_with(s: &Subject) {
    s.create_with(settings()).await;
    let facts = s.facts().await.cluster;
    let settings = (facts.min_members, facts.snapshot_timeout_ms, facts.on_loss, facts.max_concurrent, facts.min_pause_ms);
    assert_eq!(settings, (4, 7_000, OnLoss::Halt, 3, 2_000));
    let rollback = (facts.rollback_limit, facts.rollback_window_ms, facts.rollback_backoff_ms, facts.restore_fallback);
    assert_eq!(rollback, (9, 60_000, 3_000, 2));
    let channels =
        ChannelFacts { channel_state: ChannelState::Marker, alignment: Alignment::Aligned, aligned_timeout_ms: Some(4_000) };
    assert_eq!((facts.channels, facts.channels_in_force), (channels, ChannelFacts::default()), "it hasn't run yet");
    assert_eq!((facts.archive_prefix.as_deref(), facts.created_at), (Some("a/b"), s.now().await));
    assert_eq!((facts.revision, facts.version, facts.peers_revision), (1, 1, 1));
}

pub(super) async fn a_cluster_that_breaks_a_constraint_is_not_made(s: &Subject) {
    let made = s.store().create_cluster(&CreateCluster::new(bank(), 0), None).await;
    assert!(matches!(made, Err(StoreError::Fault { .. })), "{made:?}");
    assert!(s.store().cluster(&bank()).await.expect("an answer").is_none());
}

pub(super) async fn what_is_wanted_of_channels_is_in_force_from_the_next_generation_on(s: &Subject) {
    let logged = ChannelFacts { channel_state: ChannelState::SenderLogged, ..ChannelFacts::default() };
    let first =
        s.running_with(CreateCluster { channel_state: ChannelState::SenderLogged, ..CreateCluster::new(bank(), 1) }).await;
    s.commit(first).await;
    let now = async || {
        let cluster = s.facts().await.cluster;
        (cluster.channels, cluster.channels_in_force)
    };
    assert_eq!(now().await, (logged, logged));
    let update = async |changes: settings::Changes| {
        s.decide(rule(move |facts, o| settings::update_cluster(facts, o, changes, None))).await;
    };
    let (channel_state, alignment) = (Some(ChannelState::Marker), Some(Alignment::Aligned));
    update(settings::Changes { channel_state, alignment, aligned_timeout_ms: Some(Some(9)), ..Default::default() }).await;
    let aligned = ChannelFacts { alignment: Alignment::Aligned, aligned_timeout_ms: Some(9), ..ChannelFacts::default() };
    assert_eq!(now().await, (aligned, logged), "not in this one");
    s.lose("p1").await;
    s.register("p1").await;
    do_their_part(s).await;
    assert_eq!(now().await, (aligned, aligned));
    update(settings::Changes { aligned_timeout_ms: Some(None), ..Default::default() }).await;
    assert_eq!(now().await.0.aligned_timeout_ms, None);
}

pub(super) async fn an_unknown_cluster_is_none_and_has_no_transition(s: &Subject) {
    assert!(s.store().facts(&bank()).await.expect("an answer").is_none());
    assert!(s.store().cluster(&bank()).await.expect("an answer").is_none());
    let done = s.try_transact(Default::default(), sure(|_, _| panic!("nothing to decide on"))).await;
    assert!(matches!(done, Err(TransactError::UnknownCluster(name)) if name == bank()));
    assert!(s.store().members(&bank(), None, 10).await.expect("a list").is_empty());
    assert!(s.store().snapshot_states(&bank()).await.expect("a list").is_empty());
}

pub(super) async fn clusters_are_listed_by_name_page_by_page(s: &Subject) {
    for name in ["c2", "c1", "c3"] {
        s.store().create_cluster(&CreateCluster::new(cluster(name), 1), None).await.expect("made");
    }
    let names = async |after, limit| -> Vec<String> {
        let rows = s.store().clusters(after, limit).await.expect("a list");
        rows.into_iter().map(|row| row.facts.name.to_string()).collect()
    };
    assert_eq!(names(None, 2).await, ["c1", "c2"]);
    assert_eq!(names(Some("c2"), 2).await, ["c3"]);
    assert_eq!(names(Some("c25"), 2).await, ["c3"], "also after a name that isn't there");
    assert!(names(Some("c3"), 2).await.is_empty());
}

pub(super) async fn the_revisions_of_those_clusters_are_told_that_are_there(s: &Subject) {
    s.running(1).await;
    let revision = s.facts().await.cluster.revision;
    assert!(revision > 1);
    let told = s.store().revisions(&[cluster("nobody"), bank()]).await.expect("told");
    assert_eq!(told, [(bank(), revision)]);
    s.store().check().await.expect("it takes writes");
}

pub(super) async fn a_cluster_tells_how_many_members_are_there_and_what_is_under_way(s: &Subject) {
    let first = s.running(2).await;
    s.commit(first).await;
    let (recording, _, waiting) = (s.take().await, s.pass(Duration::from_secs(1)).await, s.take().await);
    s.lose("p2").await;
    // Its snapshot goes with it, and the next waits for the member.
    let row = s.store().cluster(&bank()).await.expect("a row").expect("the cluster");
    assert_eq!((row.live_members, row.lost_members), (1, 1));
    assert_eq!(row.facts, s.facts().await.cluster);
    assert_eq!(row.restore, s.facts().await.restore.map(|restore| restore.id));
    let under_way: Vec<_> = s.facts().await.snapshots.iter().filter_map(|snapshot| snapshot.under_way()).collect();
    assert_eq!(row.under_way, under_way);
    assert!(s.snapshot(recording).await.state.has_ended());
    let pending = s.facts().await.snapshots.iter().filter(|snapshot| snapshot.id == waiting).count();
    assert_eq!(row.pending as usize, pending);
}
