//! Clients that don't go on, and more of them than are served at once.

use std::time::Duration;

use stillframe_coordinator::http::deadlines::Patience;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{PATIENCE, World};

const SHORT: Duration = Duration::from_millis(300);

async fn connect(world: &World) -> TcpStream {
    TcpStream::connect(world.config.listen).await.expect("a connection")
}

/// What comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection closed in time");
    // Closed with something unread, it may be reset.
    read.map_err(|error| assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset)).ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_client_that_does_not_go_on_is_let_go_and_a_held_poll_is_not() {
    let world = World::start_with(|config| {
        config.patience = Patience { head: SHORT, piece: SHORT, ..Patience::default() };
        config.lease = Duration::from_secs(8);
    })
    .await;
    let _agents = world.running(2).await;
    let before = world.count("SELECT count(*) FROM audit WHERE action LIKE 'member.%'").await;
    let (mut silent, mut half, mut half_again, mut body) =
        tokio::join!(connect(&world), connect(&world), connect(&world), connect(&world));
    half.write_all(b"GET /healthz HTTP/1.1\r\nHo").await.expect("written");
    half_again.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /hea").await.expect("written");
    let begun = b"POST /v1/clusters HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    body.write_all(begun).await.expect("written");
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(rest(&mut half).await, "");
    let answer = rest(&mut body).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("did not come in time"), "{answer}");
    let mut first = [0; 12];
    half_again.read_exact(&mut first).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200");
    // Polls are held for longer than all of these, and go on being held.
    world.committed().await;
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action LIKE 'member.%'").await, before);
}

#[tokio::test]
async fn a_connection_is_kept_between_requests_for_longer_than_a_head_may_take_but_not_for_ever() {
    let world = World::start_with(|config| {
        config.patience = Patience { head: SHORT, idle: 5 * SHORT, ..Patience::default() };
    })
    .await;
    let mut stream = connect(&world).await;
    let ask = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(ask).await.expect("written");
    let mut some = [0; 4096];
    assert!(stream.read(&mut some).await.expect("an answer") > 0);
    // Nothing comes, not even the end, for as long as a head may take and longer.
    assert!(timeout(2 * SHORT, stream.read(&mut some)).await.is_err());
    stream.write_all(ask).await.expect("written");
    assert!(stream.read(&mut some).await.expect("an answer") > 0);
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn more_connections_than_are_served_at_once_wait_for_their_turn() {
    let world = World::start_with(|config| {
        config.most_connections = 3;
        config.patience = Patience { head: SHORT, ..Patience::default() };
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..9 {
        let mut stream = connect(&world).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHo").await.expect("written");
        held.push(stream);
    }
    // Three times three half requests come first, each for as long as it may take.
    let began = std::time::Instant::now();
    world.client.ready().await.expect("ready");
    assert!(began.elapsed() > 2 * SHORT, "only {:?} after", began.elapsed());
}

#[tokio::test]
async fn who_sends_too_much_before_reading_finds_the_problem() {
    let world = World::start().await;
    let mut stream = connect(&world).await;
    let bytes = 12 << 20;
    let head =
        format!("POST /v1/clusters HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the head written");
    stream.write_all(&vec![b' '; bytes]).await.expect("all of the body written");
    let mut some = vec![0; 4096];
    let read = timeout(PATIENCE, stream.read(&mut some)).await.expect("an answer in time").expect("an answer");
    let answer = String::from_utf8_lossy(&some[..read]);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}
