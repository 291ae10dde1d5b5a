//! The tasks that read and write a connection. They run on the driver's own thread, so a message changes tasks only in batches and never threads.
//!
//! Each end says something at least every quarter of [`Limits::silence`], and gives the connection up when it has heard nothing for half of it up to the whole: so a
//! peer whose machine, or whose way here, is gone without a word is noticed, on a quiet channel too.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use stillframe_protocol::Frame;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::{Interval, MissedTickBehavior},
};

use super::{
    Input,
    codec::{self, BEAT, CodecError, Splitter},
};
use crate::{config::Limits, transport::Link};

/// What is read at once on a connection that has been quiet: most are, in a large cluster.
const FIRST_READ_BYTES: usize = 4 << 10;

/// What is read at once on a busy one.
const READ_BYTES: usize = 64 << 10;

/// What is gathered before it is handed to the writing task, although the driver isn't done with its batch.
const GATHER_BYTES: usize = 256 << 10;

/// What frames are longer than their payloads, about, for each message under way.
const OVERHEAD_BYTES: u64 = 256;

/// What answers and markers may wait to be written besides a whole window of messages.
const ANSWERS_BYTES: u64 = 4 << 20;

/// The number of a connection in this process: what a replaced one still brings can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// What connections keep to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    splitter: Splitter,
    /// The longest time in which nothing comes before the other end counts as gone.
    silence: Duration,
    /// What may wait to be written.
    backlog_bytes: usize,
}

impl Terms {
    pub(crate) fn new(limits: &Limits) -> Self {
        let messages = limits.window_bytes.saturating_add(limits.window_messages.saturating_mul(OVERHEAD_BYTES));
        let backlog = messages.saturating_add(ANSWERS_BYTES).saturating_add(limits.max_message_bytes as u64);
        Self {
            splitter: Splitter::new(limits.max_message_bytes),
            silence: limits.silence.max(Duration::from_millis(8)),
            backlog_bytes: usize::try_from(backlog).unwrap_or(usize::MAX),
        }
    }
}

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the other end closed it")]
    Closed,
    #[error("nothing has come for {0:?} or longer: the other end, or the way there, is gone")]
    Silent(Duration),
    #[error("the other end doesn't read: more than {0} bytes wait to be written")]
    Stuck(usize),
    #[error("what came in can't be read: {0}")]
    Wrong(#[from] CodecError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the agent has ended")]
    Over,
}

/// What the driver and the writing task both see of what waits to be written.
#[derive(Debug, Default)]
struct Backlog {
    bytes: AtomicUsize,
    too_long: Notify,
}

/// The driver's end of a connection. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Connection {
    id: ConnectionId,
    gathered: BytesMut,
    writer: Option<mpsc::UnboundedSender<Bytes>>,
    /// Whether nothing more is read.
    held: watch::Sender<bool>,
    backlog: Arc<Backlog>,
    backlog_bytes: usize,
    reading: JoinHandle<()>,
    writing: JoinHandle<()>,
}

impl Connection {
    /// Starts to read and to write.
    pub(crate) fn start(id: ConnectionId, link: Link, terms: Terms, inputs: mpsc::Sender<Input>) -> Self {
        // Bounded by `backlog_bytes`. Data never gets there, as the channel's window is smaller; answers to a peer that sends and doesn't read would.
        let (writer, queue) = mpsc::unbounded_channel();
        let (backlog, failed) = (Arc::<Backlog>::default(), inputs.clone());
        let waits = Arc::clone(&backlog);
        let writing = tokio::spawn(async move {
            let written = tokio::select! {
                written = write(link.writer, queue, terms.silence, &waits.bytes) => written.map_err(Ended::Io),
                () = waits.too_long.notified() => Err(Ended::Stuck(terms.backlog_bytes)),
            };
            if let Err(reason) = written {
                let _ = failed.send(Input::Broken { connection: id, reason }).await;
            }
        });
        let (held, gate) = watch::channel(false);
        let reading = tokio::spawn(read(id, link.reader, gate, terms, inputs));
        let backlog_bytes = terms.backlog_bytes;
        Self { id, gathered: BytesMut::new(), writer: Some(writer), held, backlog, backlog_bytes, reading, writing }
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
        let bytes = self.gathered.split().freeze();
        let Some(writer) = self.writer.as_ref().filter(|_| !bytes.is_empty()) else { return };
        let waiting = self.backlog.bytes.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        if waiting > self.backlog_bytes {
            self.writer = None;
            self.backlog.too_long.notify_one();
            return;
        }
        // A writing task that is gone has said so; the driver hears of it next.
        let _ = writer.send(bytes);
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

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    // After a callback that took long, one look is as good as many.
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut queue: mpsc::UnboundedReceiver<Bytes>,
    silence: Duration,
    waiting: &AtomicUsize,
) -> io::Result<()> {
    let mut beat = every(silence / 8);
    let mut spoke = true;
    loop {
        tokio::select! {
            biased;
            bytes = queue.recv() => {
                let Some(bytes) = bytes else { return to.shutdown().await };
                to.write_all(&bytes).await?;
                waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                if queue.is_empty() {
                    to.flush().await?;
                }
                spoke = true;
            }
            _ = beat.tick() => {
                if !std::mem::take(&mut spoke) {
                    to.write_all(&BEAT).await?;
                    to.flush().await?;
                }
            }
        }
    }
}

async fn read(
    id: ConnectionId,
    mut from: impl AsyncRead + Unpin,
    gate: watch::Receiver<bool>,
    terms: Terms,
    inputs: mpsc::Sender<Input>,
) {
    let Err(reason) = loop_reading(id, &mut from, gate, terms, &inputs).await;
    let _ = inputs.send(Input::Broken { connection: id, reason }).await;
}

async fn loop_reading(
    id: ConnectionId,
    from: &mut (impl AsyncRead + Unpin),
    mut gate: watch::Receiver<bool>,
    terms: Terms,
    inputs: &mpsc::Sender<Input>,
) -> Result<std::convert::Infallible, Ended> {
    let mut buffer = BytesMut::new();
    let (mut chunk, mut needed) = (FIRST_READ_BYTES, 0);
    let mut look = every(terms.silence / 2);
    let mut heard = true;
    loop {
        if buffer.capacity() - buffer.len() < needed.max(chunk / 4) {
            buffer.reserve(needed.max(chunk));
        }
        if *gate.borrow() {
            if gate.wait_for(|held| !held).await.is_err() {
                return Err(Ended::Over);
            }
            // What the peer said meanwhile wasn't read.
            heard = true;
            look.reset();
        }
        let read = tokio::select! {
            biased;
            read = from.read_buf(&mut buffer) => read?,
            _ = look.tick() => {
                if !std::mem::take(&mut heard) {
                    return Err(Ended::Silent(terms.silence / 2));
                }
                continue;
            }
        };
        heard = true;
        if read == 0 {
            return Err(Ended::Closed);
        }
        if buffer.len() == buffer.capacity() {
            // The buffer was filled: there is more where that came from.
            chunk = READ_BYTES.min(chunk * 4);
        }
        let mut frames = Vec::new();
        needed = terms.splitter.split(&mut buffer, &mut frames)?;
        // The place where reading waits, besides the gate: a driver that is busy, or holds still, stops the sender through its window and TCP's.
        if !frames.is_empty() && inputs.send(Input::Frames { connection: id, frames }).await.is_err() {
            return Err(Ended::Over);
        }
    }
}

#[cfg(test)]
mod tests {
    use stillframe_protocol::{Epoch, FrameBody, Generation, Incarnation, MemberId, Seq};
    use tokio::io::DuplexStream;

    use super::*;

    fn data(length: usize) -> Frame {
        Frame {
            generation: Generation(1),
            from: MemberId(1),
            from_incarnation: Incarnation(1),
            to: MemberId(2),
            to_incarnation: Incarnation(2),
            epoch: Epoch(0),
            markers: Vec::new(),
            body: FrameBody::Data { seq: Seq(1), payload: vec![7; length].into() },
        }
    }

    fn start(pipe: DuplexStream, limits: &Limits) -> (Connection, mpsc::Receiver<Input>) {
        let (inputs, received) = mpsc::channel(16);
        let (reader, writer) = tokio::io::split(pipe);
        (Connection::start(ConnectionId(1), Link::new(reader, writer), Terms::new(limits), inputs), received)
    }

    async fn broken(inputs: &mut mpsc::Receiver<Input>) -> Ended {
        match inputs.recv().await {
            Some(Input::Broken { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn quiet_ends_that_are_there_keep_a_connection() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let limits = Limits { silence: Duration::from_secs(2), ..Limits::default() };
        let (_us, mut our_inputs) = start(ours, &limits);
        let (_them, mut their_inputs) = start(theirs, &limits);
        let longer_than_that = tokio::time::timeout(limits.silence + limits.silence / 2, async {
            tokio::select! {
                input = our_inputs.recv() => input,
                input = their_inputs.recv() => input,
            }
        });
        assert!(longer_than_that.await.is_err(), "nobody gave up, and beats reach no driver");
    }

    #[tokio::test]
    async fn an_end_that_vanished_without_a_word_is_noticed() {
        let limits = Limits { silence: Duration::from_millis(100), ..Limits::default() };
        let (ours, _held_but_silent) = tokio::io::duplex(1 << 16);
        let (_us, mut inputs) = start(ours, &limits);
        assert!(matches!(broken(&mut inputs).await, Ended::Silent(_)));
    }

    #[tokio::test]
    async fn an_end_that_does_not_read_costs_a_bounded_backlog() {
        let limits = Limits { window_messages: 10, window_bytes: 1 << 20, ..Limits::default() };
        let (ours, _never_read) = tokio::io::duplex(1 << 10);
        let (mut us, mut inputs) = start(ours, &limits);
        let bound = Terms::new(&limits).backlog_bytes;
        let frame = data(100_000);
        for _ in 0..2 * bound / 100_000 {
            us.push(&frame);
            us.flush();
            assert!(us.backlog.bytes.load(Ordering::Relaxed) <= bound + frame.encoded_len() + 4);
        }
        let reason = broken(&mut inputs).await;
        assert!(matches!(reason, Ended::Stuck(limit) if limit == bound), "{reason}");
        assert!(us.gathered.is_empty(), "and nothing piles up afterwards");
    }

    #[tokio::test]
    async fn a_frame_beyond_the_limit_ends_the_connection_and_says_which_limit() {
        let limits = Limits { max_message_bytes: 1000, ..Limits::default() };
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let (_us, mut inputs) = start(ours, &limits);
        theirs.write_all(&0x7fff_ffff_u32.to_be_bytes()).await.unwrap();
        let reason = broken(&mut inputs).await.to_string();
        assert!(reason.contains("2147483647 bytes") && reason.contains("Limits::max_message_bytes"), "{reason}");
    }
}
