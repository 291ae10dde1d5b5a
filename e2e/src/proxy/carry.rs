//! One connection, carried through the weather until it ends.

use std::{io, ops::ControlFlow};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::line::{Direction, Line, Weather};

/// The most that is moved at once. Smaller than a part of the tests with large states, so that one can be cut in its middle.
const CHUNK_BYTES: usize = 16 * 1024;

/// Carries bytes both ways until both ends have said all, either breaks, or the line is cut. `first` was read from the caller already.
pub(super) async fn carry(
    line: &Line,
    first: &[u8],
    caller: (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    server: (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
) {
    let ((caller_reads, caller_writes), (server_reads, mut server_writes)) = (caller, server);
    let both = async {
        server_writes.write_all(first).await?;
        tokio::try_join!(
            one_way(line, Direction::Forth, caller_reads, server_writes),
            one_way(line, Direction::Back, server_reads, caller_writes),
        )
    };
    tokio::select! {
        // How a connection ends is its ends' matter.
        done = both => drop(done),
        _ = line.wait_for(|weather| weather == Weather::Cut) => {}
    }
}

async fn one_way(
    line: &Line,
    direction: Direction,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        // What was read before the weather turned hasn't arrived yet.
        let weather = line.wait_for(|weather| !weather.holds(direction)).await;
        if read == 0 {
            return to.shutdown().await;
        }
        let whole = pass(line, weather, direction, &buffer[..read], &mut to).await?;
        if whole.is_break() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
}

async fn pass(
    line: &Line,
    weather: Weather,
    direction: Direction,
    chunk: &[u8],
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<ControlFlow<()>> {
    match (weather, direction) {
        (Weather::Tearing { one_in }, Direction::Forth) if line.hits(one_in) => {
            to.write_all(&chunk[..chunk.len() / 2]).await?;
            to.flush().await?;
            return Ok(ControlFlow::Break(()));
        }
        (Weather::Forgetful { one_in }, Direction::Back) if line.hits(one_in) => return Ok(ControlFlow::Break(())),
        (Weather::Slow(longer), Direction::Forth | Direction::Back) => tokio::time::sleep(longer).await,
        (
            Weather::Fair | Weather::Cut | Weather::Held { .. } | Weather::Tearing { .. } | Weather::Forgetful { .. },
            Direction::Forth | Direction::Back,
        ) => {}
    }
    to.write_all(chunk).await?;
    to.flush().await?;
    Ok(ControlFlow::Continue(()))
}
