use std::sync::Arc;

use stillframe_protocol::{Generation, Incarnation, MemberId};

use super::*;
use crate::{
    link::{
        acceptor::{self, Gate, Patience},
        dialer,
        preamble::Preamble,
    },
    transport::Tcp,
};

#[path = "../../../tests/suite/certs.rs"]
mod certs;

use certs::Authority;

fn cluster() -> ClusterName {
    ClusterName::new("bank").unwrap()
}

fn member(name: &str) -> MemberName {
    MemberName::new(name).unwrap()
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn files(files: certs::Files) -> TlsFiles {
    let certs::Files { cert, key, ca } = files;
    TlsFiles { cert, key, ca }
}

/// A member's transport; its certificate is its own, of this authority, and has expired if so told.
fn tls(authority: &Authority, name: &str, expired: bool) -> (Arc<dyn Transport>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let issued = authority.issue(dir.path(), &format!("{name}.bank"), expired);
    (Arc::new(Tls::new(anywhere(), files(issued), cluster(), &member(name)).unwrap()), dir)
}

fn plain() -> Arc<dyn Transport> {
    Arc::new(Tcp::new(anywhere()))
}

/// How `p1`, as it says, fares when it calls `p2`: what both say of it.
async fn meet(callee: &dyn Transport, caller: Arc<dyn Transport>) -> (Result<(), String>, Result<(), String>) {
    let mut listener = callee.listen().await.unwrap();
    let address = listener.address().unwrap();
    let (_generation, generation) = tokio::sync::watch::channel(Generation(1));
    let gate = Gate {
        cluster: cluster(),
        member: member("p2"),
        incarnation: Incarnation(1),
        generation,
        max_message_bytes: 1000,
        patience: Patience::default(),
    };
    let preamble = Preamble {
        cluster: cluster(),
        generation: Generation(1),
        from: member("p1"),
        from_id: MemberId(1),
        from_incarnation: Incarnation(1),
        to: member("p2"),
        to_incarnation: Incarnation(1),
    };
    let call = async { dialer::dial(caller, address, preamble).await.map(drop).map_err(|error| error.to_string()) };
    let answer = async { acceptor::admit_alone(listener.accept().await.unwrap(), gate).await.map_err(|error| error.to_string()) };
    let both = async { tokio::join!(answer, call) };
    tokio::time::timeout(Duration::from_secs(30), both).await.expect("nothing hangs")
}

fn says(result: &Result<(), String>, words: &str) {
    match result {
        Ok(()) => panic!("it worked; expected: {words}"),
        Err(found) => assert!(found.contains(words), "expected {words:?} in {found:?}"),
    }
}

#[tokio::test]
async fn members_of_one_authority_come_together() {
    let authority = Authority::new();
    let ((p1, _d1), (p2, _d2)) = (tls(&authority, "p1", false), tls(&authority, "p2", false));
    let (answer, call) = meet(&*p2, p1).await;
    assert_eq!((answer, call), (Ok(()), Ok(())));
}

#[tokio::test]
async fn certificates_of_different_authorities_are_refused() {
    let ((p1, _d1), (p2, _d2)) = (tls(&Authority::new(), "p1", false), tls(&Authority::new(), "p2", false));
    let (answer, call) = meet(&*p2, p1).await;
    says(&call, "the other end's certificate isn't accepted: it isn't of the authority in this member's CA file");
    says(&answer, "the other end doesn't accept this member's certificate: it isn't of the authority");
}

#[tokio::test]
async fn a_caller_whose_certificate_is_of_an_unknown_authority_is_refused_and_told() {
    // The caller knows the callee's authority; the callee doesn't know the caller's.
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (p2, _d2) = tls(&ours, "p2", false);
    let dir = tempfile::tempdir().unwrap();
    let mut mixed = files(theirs.issue(&dir.path().join("theirs"), "p1.bank", false));
    mixed.ca = ours.issue(&dir.path().join("ours"), "p1.bank", false).ca;
    let p1 = Arc::new(Tls::new(anywhere(), mixed, cluster(), &member("p1")).unwrap());
    let (answer, call) = meet(&*p2, p1).await;
    says(&answer, "the other end's certificate isn't accepted: it isn't of the authority in this member's CA file");
    says(&call, "the other end doesn't accept this member's certificate: it isn't of the authority in the other end's CA file");
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused_at_either_end() {
    let authority = Authority::new();
    let ((p1, _d1), (p2, _d2)) = (tls(&authority, "p1", false), tls(&authority, "p2", true));
    let (answer, call) = meet(&*p2, p1).await;
    says(&call, "it has expired");
    says(&answer, "it has expired");
    let ((p1, _d1), (p2, _d2)) = (tls(&authority, "p1", true), tls(&authority, "p2", false));
    let (answer, call) = meet(&*p2, p1).await;
    says(&answer, "it has expired");
    says(&call, "the other end doesn't accept this member's certificate: it has expired");
}

#[tokio::test]
async fn a_certificate_of_another_member_is_refused_at_either_end() {
    let authority = Authority::new();
    // Whoever answers there is p3, not p2.
    let ((p1, _d1), (p3, _d3)) = (tls(&authority, "p1", false), tls(&authority, "p3", false));
    let (answer, call) = meet(&*p3, p1).await;
    says(&call, "it is of another member");
    says(&answer, "it is of another member");
    // Whoever says that it is p1 is p3.
    let ((p3, _d3), (p2, _d2)) = (tls(&authority, "p3", false), tls(&authority, "p2", false));
    let (answer, call) = meet(&*p2, p3).await;
    says(&answer, "p1 called, but its certificate is another member's");
    says(&call, "its credentials are of another");
}

#[tokio::test]
async fn a_plain_caller_and_a_member_with_tls_are_told_of_the_difference() {
    let (p2, _d2) = tls(&Authority::new(), "p2", false);
    let (answer, call) = meet(&*p2, plain()).await;
    says(&call, "speaks TLS, and this member's data plane is plain");
    says(&answer, "doesn't speak TLS");
}

#[tokio::test]
async fn a_caller_with_tls_and_a_plain_member_are_told_of_the_difference() {
    let (p1, _d1) = tls(&Authority::new(), "p1", false);
    let (answer, call) = meet(&*plain(), p1).await;
    says(&call, "doesn't speak TLS: its data plane is plain");
    says(&answer, "speaks TLS, and this member's data plane is plain");
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_by_the_next_connection_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let (p1, _d1) = tls(&authority, "p1", false);
    let (p2, dir) = tls(&authority, "p2", false);
    authority.issue(dir.path(), "p2.bank", true);
    let (_, call) = meet(&*p2, Arc::clone(&p1)).await;
    says(&call, "it has expired");
    authority.issue(dir.path(), "p2.bank", false);
    let (answer, call) = meet(&*p2, Arc::clone(&p1)).await;
    assert_eq!((answer, call), (Ok(()), Ok(())));
    // In the middle of being replaced: the key is new, the certificate isn't yet.
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(authority.issue(other.path(), "p2.bank", false).key, dir.path().join("key.pem")).unwrap();
    let (answer, call) = meet(&*p2, Arc::clone(&p1)).await;
    assert_eq!((answer, call), (Ok(()), Ok(())));
    std::fs::remove_file(dir.path().join("cert.pem")).unwrap();
    let (answer, call) = meet(&*p2, p1).await;
    assert_eq!((answer, call), (Ok(()), Ok(())));
}

#[test]
fn files_that_are_of_no_use_are_said_at_once() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let good = files(authority.issue(&dir.path().join("p1"), "p1.bank", false));
    let other = files(authority.issue(&dir.path().join("p2"), "p2.bank", false));
    let new =
        |files: TlsFiles, name: &str| Tls::new(anywhere(), files, cluster(), &member(name)).map(drop).map_err(|e| e.to_string());
    assert_eq!(new(good.clone(), "p1"), Ok(()));
    says(&new(good.clone(), "p2"), "expected p2.bank among its DNS names");
    says(&new(TlsFiles { key: other.key, ..good.clone() }, "p1"), "can't be used with the key in");
    says(&new(TlsFiles { ca: dir.path().join("none"), ..good.clone() }, "p1"), "none can't be read");
    says(&new(TlsFiles { cert: good.key.clone(), ..good.clone() }, "p1"), "BEGIN CERTIFICATE");
    says(&new(TlsFiles { key: good.cert.clone(), ..good.clone() }, "p1"), "holds no private key");
    says(&new(good, "p1-.x"), "is no DNS name");
}
