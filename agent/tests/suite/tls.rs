//! Members that talk under TLS, and those that would be reachable without.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use stillframe_agent::{AgentConfig, AgentError, DataPlane, TlsFiles};

use crate::{
    certs::{Authority, Files},
    cluster::{config, eventually, money, spawn},
    ledger::{Bank, START, Seen},
    plane::Plane,
    proxy::Proxy,
};

const LEASE: Duration = Duration::from_secs(30);

fn with_tls(config: AgentConfig, authority: &Authority, dir: &Path) -> AgentConfig {
    // The stand-in coordinator's cluster is called test.
    let Files { cert, key, ca } = authority.issue(&dir.join(config.member.as_str()), &format!("{}.test", config.member), false);
    config.data_plane(DataPlane::Tls(TlsFiles { cert, key, ca }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_under_tls_is_snapshotted_and_restored_also_over_connections_that_are_cut() {
    let plane = Plane::new(LEASE).await;
    let (seen, authority) = (Arc::new(Seen::default()), Authority::new());
    let view = ["p1", "p2", "p3"];
    let (mut proxies, mut processes) = (Vec::new(), Vec::new());
    for (of, n) in view.iter().zip(1u64..) {
        let proxy = Proxy::cutting(n * 777).await;
        let config = config(&plane, of).listen(proxy.choose_port()).advertise(proxy.address.to_string());
        processes.push(spawn(&plane, with_tls(config, &authority, plane.dir.path()), Bank::new(n * 31, &seen)));
        proxies.push(proxy);
    }
    plane.registered(3).await;
    plane.run_all(1);
    let mut last = None;
    while proxies.iter().any(|proxy| proxy.cuts.load(Ordering::SeqCst) < 4) {
        let delivered = seen.delivered();
        eventually("traffic", || seen.delivered() > delivered + 300).await;
        let committed = plane.snapshot(1, 16 << 10, &view).await;
        assert_eq!(money(&plane, &committed).await, 3 * START);
        last = Some(committed);
    }
    plane.restore(&last.unwrap(), 2).await;
    let delivered = seen.delivered();
    eventually("traffic after the restore", || seen.delivered() > delivered + 300).await;
    let committed = plane.snapshot(2, 16 << 10, &view).await;
    assert_eq!(money(&plane, &committed).await, 3 * START);
    assert_eq!(*seen.wrong.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_do_not_know_each_others_authority_come_together_once_the_files_are_right() {
    let plane = Plane::new(LEASE).await;
    let (seen, authority) = (Arc::new(Seen::default()), Authority::new());
    let _p1 = spawn(&plane, with_tls(config(&plane, "p1"), &authority, plane.dir.path()), Bank::new(1, &seen));
    let _p2 = spawn(&plane, with_tls(config(&plane, "p2"), &Authority::new(), plane.dir.path()), Bank::new(2, &seen));
    plane.registered(2).await;
    plane.run_all(1);
    // They hear of the snapshot from the coordinator, and have nothing under way between them.
    plane.snapshot(1, 16 << 10, &["p1", "p2"]).await;
    assert_eq!(seen.delivered(), 0, "nobody believes the other one");
    authority.issue(&plane.dir.path().join("p2"), "p2.test", false);
    eventually("traffic, without a restart", || seen.delivered() > 200).await;
    let committed = plane.snapshot(1, 16 << 10, &["p1", "p2"]).await;
    assert_eq!(money(&plane, &committed).await, 2 * START);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_a_member_that_other_machines_could_reach_does_not_start_unless_told() {
    let plane = Plane::new(LEASE).await;
    let seen = Arc::new(Seen::default());
    let of = |member: &str| config(&plane, member);
    let everywhere = || "0.0.0.0:0".parse().unwrap();
    for (config, said) in [
        (of("p1").listen(everywhere()).advertise("127.0.0.1:7000"), "listening on 0.0.0.0:0"),
        (of("p1").listen("[::]:0".parse().unwrap()).advertise("localhost:7000"), "listening on [::]:0"),
        (of("p1").advertise("10.1.2.3:7000"), "advertising 10.1.2.3:7000"),
        (of("p1").advertise("members.example:7000"), "advertising members.example:7000"),
        (of("p1").advertise("[2001:db8::1]:7000"), "advertising [2001:db8::1]:7000"),
    ] {
        let error = spawn(&plane, config, Bank::new(1, &seen)).task.await.unwrap().unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, AgentError::InsecureDataPlane { .. }), "{text}");
        for part in [said, "--tls-cert", "--insecure-data-plane"] {
            assert!(text.contains(part), "{text}");
        }
    }
    let files = with_tls(of("p1"), &Authority::new(), plane.dir.path());
    let fine = [
        of("p1").advertise("[::1]:7000"),
        of("p2").advertise("localhost:7000"),
        of("p3").listen(everywhere()).advertise("10.1.2.3:7000").insecure_data_plane(true),
        AgentConfig { member: "p1".parse().unwrap(), ..files.listen(everywhere()).advertise("10.1.2.3:7000") },
    ];
    for (config, registered) in fine.into_iter().zip([1, 2, 3, 3]) {
        let process = spawn(&plane, config, Bank::new(1, &seen));
        plane.registered(registered).await;
        process.kill().await;
    }
}
