//! What the log says.

use std::{
    io,
    sync::{Arc, Mutex},
};

use stillframe_api::{
    restore::{RestoreState, StartRestore},
    snapshot::SnapshotState,
};
use tracing_subscriber::{filter::LevelFilter, fmt::MakeWriter, layer::SubscriberExt};

use crate::{
    agent::{Agent, OnSnapshot},
    harness::{PATIENCE, World},
};

/// Lines of the log.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("unpoisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Those with all of these words.
    fn with(&self, words: &[&str]) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().expect("unpoisoned").clone()).expect("text");
        text.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
    }

    fn one(&self, words: &[&str]) -> String {
        let lines = self.with(words);
        assert_eq!(lines.len(), 1, "{words:?}: {lines:#?}\nof\n{}", self.with(&[]).join("\n"));
        lines[0].clone()
    }
}

#[tokio::test]
async fn an_orderly_stop_while_polls_are_held_logs_no_error() {
    let lines = Lines::default();
    drop(tracing::subscriber::set_global_default(tracing_subscriber::registry().with(LevelFilter::OFF)));
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone()).with_max_level(tracing::Level::DEBUG);
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    let mut world = World::start().await;
    let agents = world.running(2).await;
    // Both have heard of all that there is, and ask for more.
    let polls = |what| lines.with(&["/assignment", what]).len();
    world
        .until("polls that are held", async || {
            let revision = world.cluster().await.revision;
            let told = |agent: &Agent| agent.seen(|seen| seen.assignment.as_ref().is_some_and(|it| it.revision == revision));
            let over = polls("finished processing request");
            (agents.iter().all(told) && polls("started processing request") == over + 2).then_some(())
        })
        .await;
    world.stop_coordinator().await;
    assert!(!lines.with(&["can't be served now", "503"]).is_empty(), "polls were held");
    assert_eq!(lines.with(&[" ERROR "]), Vec::<String>::new());
}

#[tokio::test]
async fn one_line_tells_of_each_snapshot_that_ended_each_step_of_a_restore_and_each_change_of_phase() {
    let lines = Lines::default();
    // With a single subscriber, that of one thread, what other tests come to first on theirs counts as not to be logged, and is remembered so for all.
    drop(tracing::subscriber::set_global_default(tracing_subscriber::registry().with(LevelFilter::OFF)));
    // Of this thread, on which everything in this test happens.
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone()).with_max_level(tracing::Level::INFO);
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    let world = World::start().await;
    let second = world.replica().await;
    let agents = world.running(2).await;
    let committed = world.committed().await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let aborted = world.take().await;
    world.client.abort_snapshot(aborted.id, &Default::default()).await.expect("aborted");
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Report);
    let restore = world.client.start_restore(&world.cluster, &StartRestore::to(committed.id)).await.expect("a restore");
    let ended = world.client.wait_restore(restore.id, PATIENCE).await.expect("its end");
    assert_eq!(ended.state, RestoreState::Completed);
    world.until("every snapshot ended", async || world.snapshots().await.iter().all(|s| s.state.has_ended()).then_some(())).await;
    second.stop().await;

    for snapshot in world.snapshots().await {
        let id = snapshot.id.to_string();
        let line = match snapshot.state {
            SnapshotState::Committed => lines.one(&[" INFO ", "snapshot committed", &id]),
            _ => lines.one(&[" INFO ", "snapshot aborted", &id]),
        };
        assert!(line.contains("cluster=bank") && line.contains("epoch="), "{line}");
    }
    let line = lines.one(&["snapshot committed", &committed.id.to_string()]);
    assert!(line.contains("members=2") && line.contains("bytes=6") && line.contains("ms="), "{line}");
    let line = lines.one(&["snapshot aborted", &aborted.id.to_string()]);
    assert!(line.contains("requested") && line.contains("blame="), "{line}");
    let id = restore.id.to_string();
    for state in ["planned", "preparing", "resuming", "completed"] {
        lines.one(&[" INFO ", "restore went on", &id, &format!("state=\"{state}\"")]);
    }
    assert_eq!(lines.with(&["restore went on"]).len(), 4);
    let phases = lines.with(&[" INFO ", "cluster changed its phase"]);
    let of = |n: usize, was: &str, phase: &str| phases[n].contains(&format!("was={was} phase={phase}"));
    assert!(
        phases.len() == 3 && of(0, "Forming", "Running") && of(1, "Running", "Restoring") && of(2, "Restoring", "Running"),
        "{phases:#?}"
    );
}
