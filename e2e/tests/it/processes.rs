//! The tests' own processes: what freezes, stays frozen, and what is dropped, is gone.

use std::process::Command;

use rustix::process::{Pid, test_kill_process};
use stillframe_e2e::{process::Process, wait::eventually};

/// A process that prints a growing number for ever.
fn counter(directory: &std::path::Path) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", "n=0; while :; do n=$((n+1)); echo $n; done"]);
    Process::start("counter", directory, &mut command)
}

async fn counts_past(process: &Process, past: u64) -> u64 {
    eventually(&format!("it counts past {past}"), async || {
        let found = process.last_printed(|line| line.parse().ok());
        found.filter(|found| *found > past).ok_or_else(|| format!("{found:?}"))
    })
    .await
}

#[tokio::test]
async fn a_frozen_process_does_nothing_until_it_is_thawed_and_a_dropped_one_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut process = counter(directory.path());
    counts_past(&process, 0).await;

    process.freeze().await;
    let frozen_at = process.printed().len();
    assert_eq!(process.printed().len(), frozen_at);
    assert!(process.ended().is_none());
    process.thaw().await;
    let count = counts_past(&process, 0).await;
    counts_past(&process, count).await;

    let id = Pid::from_raw(i32::try_from(process.id()).expect("an id")).expect("an id");
    test_kill_process(id).expect("it runs");
    drop(process);
    test_kill_process(id).expect_err("it is gone");
}

#[tokio::test]
async fn a_process_started_again_under_its_name_shows_only_what_it_has_printed_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let print = |text: &str| {
        let mut command = Command::new("echo");
        command.arg(text);
        Process::start("echo", directory.path(), &mut command)
    };
    assert!(print("one").end().await.success());
    let mut second = print("two");
    second.end().await;
    assert_eq!(second.printed(), "two\n");
}
