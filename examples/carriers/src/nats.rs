//! As much of the NATS client protocol as it takes to publish and to subscribe (<https://docs.nats.io/reference/reference-protocols/nats-protocol>).
//!
//! A task keeps the connection and makes it anew when it breaks. What is published meanwhile is lost, as it is with NATS itself: the agent sends it again.

use std::{io, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

/// Messages that wait to be published; beyond it they are lost.
const QUEUE: usize = 4096;

/// How long to wait before the broker is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The largest message that is taken, the broker's own default.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// A connection to a broker, for one subscription.
#[derive(Debug)]
pub struct Nats {
    publish: mpsc::Sender<(String, Bytes)>,
    messages: mpsc::Receiver<Bytes>,
}

impl Nats {
    /// Subscribes to this subject, over connections to the broker at this `host:port`.
    #[must_use]
    pub fn subscribe(broker: String, subject: String) -> Self {
        let ((publish, to_publish), (deliver, messages)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        tokio::spawn(keep(broker, subject, to_publish, deliver));
        Self { publish, messages }
    }

    /// Publishes, if the queue has room.
    pub fn publish(&self, subject: String, message: Bytes) {
        let _ = self.publish.try_send((subject, message));
    }

    /// The next message. Cancel-safe.
    pub async fn message(&mut self) -> Option<Bytes> {
        self.messages.recv().await
    }
}

async fn keep(broker: String, subject: String, mut publish: mpsc::Receiver<(String, Bytes)>, deliver: mpsc::Sender<Bytes>) {
    while !deliver.is_closed() {
        match serve(&broker, &subject, &mut publish, &deliver).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(broker, %error, "not connected to the broker; trying again"),
        }
        tokio::time::sleep(RETRY_AFTER).await;
        while publish.try_recv().is_ok() {}
    }
}

async fn serve(
    broker: &str,
    subject: &str,
    publish: &mut mpsc::Receiver<(String, Bytes)>,
    deliver: &mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let stream = TcpStream::connect(broker).await?;
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let (mut reader, mut writer) = (BufReader::new(reader), BufWriter::new(writer));
    let hello = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\"version\":\"1\",\"protocol\":1}}\r\nSUB {subject} 1\r\n"
    );
    writer.write_all(hello.as_bytes()).await?;
    writer.flush().await?;
    let (pong, mut pings) = mpsc::channel(1);
    tokio::select! {
        read = read(&mut reader, deliver, &pong) => read,
        written = write(&mut writer, publish, &mut pings) => written,
    }
}

/// Delivers messages until the connection breaks, or nobody wants them any more.
async fn read(reader: &mut BufReader<OwnedReadHalf>, deliver: &mpsc::Sender<Bytes>, pong: &mpsc::Sender<()>) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("MSG") => {
                let length =
                    words.next_back().and_then(|length| length.parse().ok()).filter(|length| *length <= MAX_MESSAGE_BYTES);
                let length: usize = length.ok_or_else(|| io::Error::other(format!("the broker announces {line:?}")))?;
                let mut message = vec![0; length + 2];
                reader.read_exact(&mut message).await?;
                message.truncate(length);
                if deliver.send(message.into()).await.is_err() {
                    return Ok(());
                }
            }
            // One that waits already serves for this one too.
            Some("PING") => drop(pong.try_send(())),
            Some("-ERR") => return Err(io::Error::other(format!("the broker says {}", line.trim()))),
            Some(_) | None => {}
        }
    }
}

/// Publishes until the connection breaks, or nobody publishes any more.
async fn write(
    writer: &mut BufWriter<OwnedWriteHalf>,
    publish: &mut mpsc::Receiver<(String, Bytes)>,
    pings: &mut mpsc::Receiver<()>,
) -> io::Result<()> {
    loop {
        tokio::select! {
            Some(()) = pings.recv() => writer.write_all(b"PONG\r\n").await?,
            message = publish.recv() => {
                let Some((subject, message)) = message else { return Ok(()) };
                writer.write_all(format!("PUB {subject} {}\r\n", message.len()).as_bytes()).await?;
                writer.write_all(&message).await?;
                writer.write_all(b"\r\n").await?;
            }
        }
        if publish.is_empty() {
            writer.flush().await?;
        }
    }
}
