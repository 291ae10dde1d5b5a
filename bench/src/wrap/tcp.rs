//! Length-delimited frames over a TCP connection on loopback, by tokio on one thread: bare, and with every message wrapped and unwrapped.

use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use futures::{FutureExt, SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::{BATCH, FIFO, drain, pair::Pair};

type Wire = Framed<TcpStream, LengthDelimitedCodec>;

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// The two ends of a connection.
async fn connection() -> anyhow::Result<(Wire, Wire)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (out, accepted) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    let (out, (into, _)) = (out?, accepted?);
    out.set_nodelay(true)?;
    into.set_nodelay(true)?;
    Ok((LengthDelimitedCodec::builder().new_framed(out), LengthDelimitedCodec::builder().new_framed(into)))
}

/// Nanoseconds a message without anything of ours.
pub(super) fn bare(message: &Bytes, messages: u64) -> anyhow::Result<f64> {
    runtime()?.block_on(async {
        let (mut out, mut into) = connection().await?;
        let began = Instant::now();
        let send = async {
            for n in 1..=messages {
                out.feed(message.clone()).await?;
                if n % BATCH == 0 || n == messages {
                    SinkExt::<Bytes>::flush(&mut out).await?;
                }
            }
            anyhow::Ok(())
        };
        let receive = async {
            for _ in 0..messages {
                std::hint::black_box(into.next().await.context("the connection ended")??);
            }
            anyhow::Ok(())
        };
        tokio::try_join!(send, receive)?;
        Ok(began.elapsed().as_nanos() as f64 / messages as f64)
    })
}

/// Nanoseconds a message with every message wrapped and unwrapped, and the acknowledgements carried back on the same connection.
pub(super) fn wrapped(message: &Bytes, messages: u64) -> anyhow::Result<f64> {
    // A new one each time: what is on its way back when the connection ends would be missing in the next round.
    let Pair { mut a, mut b, to, .. } = Pair::start(FIFO)?;
    let (a, b) = (&mut a, &mut b);
    runtime()?.block_on(async {
        let (mut out, mut into) = connection().await?;
        let began = Instant::now();
        let send = async {
            let mut frames = Vec::new();
            for n in 1..=messages {
                match a.wrap(&to, message.clone())?.envelope {
                    Some(envelope) => out.feed(envelope.into_bytes()).await?,
                    None => {
                        // The window is full: only an acknowledgement helps.
                        SinkExt::<Bytes>::flush(&mut out).await?;
                        let frame = out.next().await.context("the connection ended")??;
                        drain(a.unwrap(frame)?, &mut 0, &mut frames);
                    }
                }
                if n % BATCH == 0 || n == messages {
                    while let Some(Some(frame)) = out.next().now_or_never() {
                        drain(a.unwrap(frame?)?, &mut 0, &mut frames);
                    }
                    drain(a.on_timeout(Instant::now()), &mut 0, &mut frames);
                    for frame in frames.drain(..) {
                        out.feed(frame).await?;
                    }
                    SinkExt::<Bytes>::flush(&mut out).await?;
                }
            }
            while a.status().unsent > 0 {
                let frame = out.next().await.context("the connection ended")??;
                drain(a.unwrap(frame)?, &mut 0, &mut frames);
                for frame in frames.drain(..) {
                    out.send(frame).await?;
                }
            }
            anyhow::Ok(())
        };
        let receive = async {
            let (mut delivered, mut answers, mut frames) = (0, Vec::new(), 0);
            while delivered < messages {
                let frame = into.next().await.context("the connection ended")??;
                drain(b.unwrap(frame)?, &mut delivered, &mut answers);
                frames += 1;
                if frames % BATCH == 0 || delivered == messages {
                    drain(b.on_timeout(Instant::now()), &mut delivered, &mut answers);
                }
                for answer in answers.drain(..) {
                    into.send(answer).await?;
                }
            }
            anyhow::Ok(())
        };
        tokio::try_join!(send, receive)?;
        Ok(began.elapsed().as_nanos() as f64 / messages as f64)
    })
}
