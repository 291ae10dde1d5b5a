//! The tasks that read and write a connection. They run on the driver's own thread, so a message changes tasks only in batches and never threads.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use stillframe_protocol::Frame;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    Input,
    codec::{self, Splitter},
};
use crate::transport::Link;

/// What is read at once on a connection that has been quiet: most are, in a large cluster.
const FIRST_READ_BYTES: usize = 4 << 10;

/// What is read at once on a busy one.
const READ_BYTES: usize = 64 << 10;

/// What is gathered before it is handed to the writing task, although the driver isn't done with its batch.
const GATHER_BYTES: usize = 256 << 10;

/// The number of a connection in this process: what a replaced one still brings can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// The driver's end of a connection. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Connection {
    id: ConnectionId,
    gathered: BytesMut,
    writer: Option<mpsc::UnboundedSender<Bytes>>,
    /// Whether nothing more is read.
    held: watch::Sender<bool>,
    reading: JoinHandle<()>,
    writing: JoinHandle<()>,
}

impl Connection {
    /// Starts to read and to write.
    pub(crate) fn start(id: ConnectionId, link: Link, splitter: Splitter, inputs: mpsc::Sender<Input>) -> Self {
        // Not bounded here, and needs not be: data is bounded by the channel's window, and what answers it by what comes in.
        let (writer, queue) = mpsc::unbounded_channel();
        let failed = inputs.clone();
        let writing = tokio::spawn(async move {
            if let Err(error) = write(link.writer, queue).await {
                let _ = failed.send(Input::Broken { connection: id, reason: error.to_string() }).await;
            }
        });
        let (held, gate) = watch::channel(false);
        let reading = tokio::spawn(read(id, link.reader, gate, splitter, inputs));
        Self { id, gathered: BytesMut::new(), writer: Some(writer), held, reading, writing }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// Stops reading, or goes on. What is being read at that moment still comes.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Gathers a frame. True when it is the first one since the last flush.
    pub(crate) fn push(&mut self, frame: &Frame) -> bool {
        let first = self.gathered.is_empty();
        codec::put(frame, &mut self.gathered);
        if self.gathered.len() >= GATHER_BYTES {
            self.flush();
        }
        first
    }

    /// Hands what was gathered to the writing task.
    pub(crate) fn flush(&mut self) {
        if !self.gathered.is_empty()
            && let Some(writer) = &self.writer
        {
            // A writing task that is gone has said so; the driver hears of it next.
            let _ = writer.send(self.gathered.split().freeze());
        }
    }

    /// Writes the rest and closes; gives up after this time.
    pub(crate) async fn finish(mut self, patience: Duration) {
        self.flush();
        self.writer = None;
        let _ = tokio::time::timeout(patience, &mut self.writing).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reading.abort();
        self.writing.abort();
    }
}

async fn write(mut to: impl AsyncWrite + Unpin, mut queue: mpsc::UnboundedReceiver<Bytes>) -> std::io::Result<()> {
    while let Some(bytes) = queue.recv().await {
        to.write_all(&bytes).await?;
        if queue.is_empty() {
            to.flush().await?;
        }
    }
    to.shutdown().await
}

async fn read(
    id: ConnectionId,
    mut from: impl AsyncRead + Unpin,
    gate: watch::Receiver<bool>,
    splitter: Splitter,
    inputs: mpsc::Sender<Input>,
) {
    let reason = loop_reading(id, &mut from, gate, splitter, &inputs).await;
    let _ = inputs.send(Input::Broken { connection: id, reason }).await;
}

async fn loop_reading(
    id: ConnectionId,
    from: &mut (impl AsyncRead + Unpin),
    mut gate: watch::Receiver<bool>,
    splitter: Splitter,
    inputs: &mpsc::Sender<Input>,
) -> String {
    let mut buffer = BytesMut::new();
    let (mut chunk, mut needed) = (FIRST_READ_BYTES, 0);
    loop {
        if buffer.capacity() - buffer.len() < needed.max(chunk / 4) {
            buffer.reserve(needed.max(chunk));
        }
        if gate.wait_for(|held| !held).await.is_err() {
            return "the agent has ended".to_owned();
        }
        match from.read_buf(&mut buffer).await {
            Ok(0) => return "the other end closed it".to_owned(),
            // The buffer was filled: there is more where that came from.
            Ok(_) if buffer.len() == buffer.capacity() => chunk = READ_BYTES.min(chunk * 4),
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
        let mut frames = Vec::new();
        needed = match splitter.split(&mut buffer, &mut frames) {
            Ok(needed) => needed,
            Err(error) => return error.to_string(),
        };
        // The place where reading waits, besides the gate: a driver that is busy, or holds still, stops the sender through its window and TCP's.
        if !frames.is_empty() && inputs.send(Input::Frames { connection: id, frames }).await.is_err() {
            return "the agent has ended".to_owned();
        }
    }
}
