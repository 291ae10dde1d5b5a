//! The operator's day with a real coordinator: snapshots are taken, aborted, restored; what can't be is refused.

use std::time::Duration;

use serde_json::{Value, json};
use stillframe_api::{
    Client, HumanDuration,
    agent::{AssignmentQuery, OpenSnapshot, PartReport, Register, ReportEvent},
};
use stillframe_archive::{EncodedObject, ObjectKey, Role};
use stillframe_protocol::{ClusterName, Incarnation, MemberName};
use uuid::Uuid;

use crate::support::real::Real;

/// Longer than the coordinator takes to open a snapshot, also on a busy machine.
const TRIES: usize = 60;

/// The only member of its cluster, played by the test.
struct ByHand {
    client: Client,
    cluster: ClusterName,
    member: MemberName,
    incarnation: Incarnation,
}

impl ByHand {
    async fn join(url: &str) -> Self {
        let client = Client::new(url).expect("a URL");
        let (cluster, member) = (ClusterName::new("bank").expect("a name"), MemberName::new("p1").expect("a name"));
        let register = Register { member: member.clone(), instance: Uuid::now_v7(), address: "127.0.0.1:4100".to_owned() };
        let registered = client.register(&cluster, &register).await.expect("it is taken");
        Self { client, cluster, member, incarnation: registered.incarnation }
    }

    /// Waits until the coordinator wants a snapshot.
    async fn open_snapshot(&self) -> OpenSnapshot {
        let mut after = 0;
        for _ in 0..TRIES {
            let wait = HumanDuration::new(Duration::from_secs(1)).ok();
            let query = AssignmentQuery { incarnation: self.incarnation, after, peers_after: 0, wait, replica: None };
            let assignment = self.client.assignment(&self.cluster, &self.member, &query).await.expect("an assignment");
            if let Some(open) = assignment.snapshots.into_iter().find(|open| open.in_view) {
                return open;
            }
            after = assignment.revision;
        }
        panic!("no snapshot was opened");
    }

    /// Reports a part with a small state and no channels.
    async fn report(&self, open: &OpenSnapshot) {
        let state = EncodedObject::from_bytes(b"the state".to_vec().into());
        let key = ObjectKey::state_key(&self.cluster, open.snapshot, &self.member, self.incarnation);
        let (entry, to_put) = state.into_entry(Role::State, open.inline_limit, key);
        assert!(to_put.is_none(), "it is small enough to go inline");
        let part = PartReport {
            snapshot: open.snapshot,
            epoch: open.epoch,
            generation: open.generation,
            objects: vec![entry],
            sent: vec![],
            received: vec![],
            recorded: vec![],
            logged: vec![],
            peers: vec![],
        };
        let report = self.client.report(&self.cluster, &self.member, self.incarnation, ReportEvent::Part(Box::new(part)));
        assert!(report.await.expect("it is taken").relevant);
    }
}

fn id(value: &Value) -> String {
    value["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_taken_aborted_verified_and_restored_and_what_cannot_be_is_refused() {
    let real = Real::start().await;
    real.run(&["cluster", "create", "bank", "--min-members", "1"]).await.exits(0);
    let member = ByHand::join(&real.url()).await;

    // The first snapshot of a running cluster is the coordinator's own.
    let first = member.open_snapshot().await;
    let under_way = real.run(&["snapshot", "show", &first.snapshot.to_string()]).await.exits(0);
    assert!(under_way.stdout.contains("waits for") && under_way.stdout.contains("automatic"), "{under_way:?}");
    member.report(&first).await;
    let committed = real.run(&["snapshot", "show", &first.snapshot.to_string(), "--wait", "30s", "--json"]).await.exits(0).json();
    assert_eq!(committed["state"], "committed");
    let committed = id(&committed);
    real.run(&["snapshot", "verify", "--archive", real.archive(), "bank", "--all"]).await.exits(0);
    let ended = real.run(&["snapshot", "abort", &committed, "--json"]).await.exits(6).error();
    assert_eq!(ended["code"], "snapshot_ended");

    let hold = id(&real.run(&["hold", "add", &committed, "--owner", "me", "--reason", "a test", "--json"]).await.exits(0).json());
    assert!(real.run(&["hold", "list", &committed]).await.exits(0).stdout.contains("a test"));
    let needed = real.run(&["snapshot", "delete", &committed, "--json"]).await.exits(6).error();
    assert_eq!(needed["code"], "snapshot_needed");
    real.run(&["hold", "remove", &committed, &hold]).await.exits(0);
    let listed = real.run(&["hold", "list", &committed, "--json"]).await.exits(0).json();
    assert_eq!(listed["items"], json!([]));

    let taken = id(&real.run(&["snapshot", "take", "bank", "--label", "who=test", "--json"]).await.exits(0).json());
    let listed = real.run(&["snapshot", "list", "bank", "--json"]).await.exits(0).json();
    assert_eq!((&listed["items"][0]["id"], &listed["items"][1]["id"]), (&json!(taken), &json!(committed)));
    assert_eq!(listed["items"][0]["labels"], json!({"who": "test"}));
    real.run(&["snapshot", "show", &taken, "--wait", "10ms"]).await.exits(4);
    real.run(&["snapshot", "abort", &taken, "--why", "a test"]).await.exits(0);
    real.run(&["snapshot", "show", &taken, "--wait"]).await.exits(3).says(&["requested"]);

    let aborted = real.run(&["restore", "start", "bank", &taken, "--json"]).await.exits(6).error();
    assert_eq!(aborted["code"], "snapshot_not_committed");
    let restore = id(&real.run(&["restore", "start", "bank", &committed, "--json"]).await.exits(0).json());
    real.run(&["restore", "show", &restore, "--wait=10ms"]).await.exits(4).says(&["p1"]);
    let second = real.run(&["restore", "start", "bank", &committed, "--json"]).await.exits(6).error();
    assert_eq!((&second["code"], &second["status"]), (&json!("restore_under_way"), &json!(409)));
    real.run(&["restore", "start", "bank", &committed]).await.exits(6).says(&["hint:"]);
    let shown = real.run(&["cluster", "show", "bank"]).await.exits(0).stdout;
    assert!(shown.contains("restoring") && shown.contains(&restore), "{shown}");
    real.run(&["restore", "start", "bank", "--latest", "--dry-run"]).await.exits(1).says(&["is under way", "would not succeed"]);
    real.run(&["restore", "cancel", &restore, "--why", "a test"]).await.exits(0);
    real.run(&["restore", "show", &restore, "--wait"]).await.exits(1).says(&["a test"]);
    let listed = real.run(&["restore", "list", "bank", "--json"]).await.exits(0).json();
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["failure_reason"]), (&json!(restore), &json!("cancelled")));
    real.run(&["restore", "list", "bank"]).await.exits(0);
    let plan = real.run(&["restore", "start", "bank", "--latest", "--dry-run", "--json"]).await.exits(0).json();
    assert_eq!((&plan["snapshot"], &plan["ready"]), (&json!(committed), &json!(true)));
    let plan = real.run(&["restore", "start", "bank", &committed, "--dry-run", "--map", "p1=q1"]).await.exits(1).stdout;
    assert!(plan.contains("q1") && plan.contains("missing") && plan.contains("would leave"), "{plan}");
    real.run(&["restore", "start", "bank", "--before", "2020-01-01T00:00:00Z"]).await.exits(6).says(&["2020"]);
    real.run(&["cluster", "resume", "bank"]).await.exits(0);
    assert!(real.run(&["member", "list", "bank"]).await.exits(0).stdout.contains("p1      1            live"));
    real.stop().await;
}
