//! Much more than the spool's memory flows past while a snapshot waits for a marker.
//!
//! In a cluster left to itself a sender hears of a snapshot from the first acknowledgement, and its marker follows at once. So here it hears nothing: the coordinator
//! doesn't tell it, and its transport takes the epoch out of what comes back to it.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use stillframe_agent::{
    Agent, Application, Capture, Context, Limits, MemberName, RestoreError, Room, StateReader, TimerId,
    transport::{Link, Listener, Tcp, Transport},
};
use stillframe_api::{agent::ReportEvent, snapshot::AbortReason};
use stillframe_archive::{ChannelRecord, ChannelsReader, Role};
use stillframe_protocol::{Epoch, Frame, FrameBody};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
};

use crate::{
    cluster::{Process, config, spawn, spawn_agent},
    plane::{Plane, name},
};

const MIB: u64 = 1 << 20;
const MESSAGE_BYTES: usize = 64 << 10;

/// What a process needs besides the spool: windows, buffers, what other tests of this process do meanwhile.
const BESIDES_BYTES: u64 = 96 * MIB;

/// Nothing here waits for longer.
const PATIENCE: Duration = Duration::from_secs(600);

/// TCP whose acknowledgements speak of no epoch after this one, as long as there is one.
#[derive(Debug)]
struct Deaf {
    tcp: Tcp,
    beyond: watch::Receiver<Option<Epoch>>,
}

#[async_trait]
impl Transport for Deaf {
    async fn listen(&self) -> io::Result<Box<dyn Listener>> {
        self.tcp.listen().await
    }

    async fn dial(&self, address: &str, member: &MemberName) -> io::Result<Link> {
        let Link { reader, writer, .. } = self.tcp.dial(address, member).await?;
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let beyond = self.beyond.clone();
        tokio::spawn(async move {
            let _ = muffle(reader, theirs, beyond).await;
        });
        Ok(Link::new(ours, writer))
    }
}

async fn muffle(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    beyond: watch::Receiver<Option<Epoch>>,
) -> io::Result<()> {
    let mut answer = [0; 14];
    from.read_exact(&mut answer).await?;
    to.write_all(&answer).await?;
    let (mut buffer, mut out) = (BytesMut::new(), BytesMut::new());
    while from.read_buf(&mut buffer).await? > 0 {
        while let Some(length) = buffer.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize)
            && buffer.len() >= 4 + length
        {
            let mut frame = buffer.split_to(4 + length).freeze();
            frame.advance(4);
            if !frame.is_empty() {
                let mut frame = Frame::decode(frame).map_err(io::Error::other)?;
                assert!(matches!(frame.body, FrameBody::Ack { .. } | FrameBody::Accept { .. }), "only answers come back");
                frame.epoch = frame.epoch.min(beyond.borrow().unwrap_or(frame.epoch));
                out.extend_from_slice(&(frame.encoded_len() as u32).to_be_bytes());
                frame.encode(&mut out);
            }
        }
        to.write_all(&out.split()).await?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Flow {
    bytes: AtomicU64,
    stop: AtomicBool,
}

impl Flow {
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }

    /// Waits until so many more bytes have come; how many came a second.
    async fn pass(&self, bytes: u64) -> f64 {
        let (begun, from) = (Instant::now(), self.bytes());
        while self.bytes() < from + bytes {
            assert!(begun.elapsed() < PATIENCE, "{} of {bytes} bytes came", self.bytes() - from);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (self.bytes() - from) as f64 / begun.elapsed().as_secs_f64()
    }
}

/// Sends numbered messages: as many bytes a second as it is told, or as many as are taken. What it is late with it doesn't make up for.
struct Source {
    next: u64,
    pace: Option<f64>,
    due: f64,
    looked: Instant,
    flow: Arc<Flow>,
}

impl Source {
    fn pour(&mut self, cx: &mut Context<'_>) {
        let now = Instant::now();
        let passed = now.duration_since(std::mem::replace(&mut self.looked, now)).as_secs_f64();
        self.due = self.pace.map_or(f64::MAX, |pace| (self.due + passed * pace / MESSAGE_BYTES as f64).min(16.0));
        while self.due >= 1.0 && !self.flow.stop.load(Ordering::SeqCst) {
            self.due -= 1.0;
            let mut message = vec![0; MESSAGE_BYTES];
            message[..8].copy_from_slice(&self.next.to_be_bytes());
            self.next += 1;
            if cx.send(&name("sink"), message).unwrap() == Room::Full {
                return;
            }
        }
    }
}

impl Application for Source {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.looked = Instant::now();
        self.on_timer(cx, TimerId(1));
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) {
        if self.pace.is_some() {
            cx.set_timer(timer, Duration::from_millis(2));
        }
        self.pour(cx);
    }

    fn on_ready(&mut self, cx: &mut Context<'_>, _: &MemberName) {
        if self.pace.is_none() {
            self.pour(cx);
        }
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: &MemberName, _: Bytes) {}

    fn capture(&mut self) -> Capture {
        Capture::encode(self.next)
    }

    fn restore(&mut self, _: StateReader) -> Result<(), RestoreError> {
        Ok(())
    }
}

/// Counts what comes.
struct Sink {
    next: u64,
    flow: Arc<Flow>,
}

impl Application for Sink {
    fn on_message(&mut self, _: &mut Context<'_>, _: &MemberName, message: Bytes) {
        assert_eq!(message[..8], self.next.to_be_bytes());
        self.next += 1;
        self.flow.bytes.fetch_add(message.len() as u64, Ordering::SeqCst);
    }

    fn capture(&mut self) -> Capture {
        Capture::encode(self.next)
    }

    fn restore(&mut self, _: StateReader) -> Result<(), RestoreError> {
        Ok(())
    }
}

/// Resident bytes of this process; nothing where the system doesn't tell.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|kib| kib.trim().strip_suffix(" kB"));
    kib.map_or(0, |kib| kib.parse::<u64>().unwrap_or(0) * 1024)
}

/// The most that was resident since it was begun.
struct Watcher {
    before: u64,
    most: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Watcher {
    fn begin() -> Self {
        let most = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&most);
        let task = tokio::spawn(async move {
            loop {
                seen.fetch_max(resident(), Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { before: resident(), most, task }
    }

    fn grown(&self) -> u64 {
        self.most.load(Ordering::SeqCst).saturating_sub(self.before)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A member that sends to another one and can be kept from hearing of snapshots.
struct Stream {
    plane: Arc<Plane>,
    flow: Arc<Flow>,
    beyond: watch::Sender<Option<Epoch>>,
    sink: Process,
    _source: Process,
}

impl Stream {
    async fn begin(course: &Course, pace: Option<f64>) -> Self {
        let Course { limits, spool_dir, .. } = course.clone();
        let plane = Plane::new(Duration::from_secs(30)).await;
        let flow = Arc::new(Flow::default());
        let (beyond, hears) = watch::channel(None);
        let source = Source { next: 0, pace, due: 0.0, looked: Instant::now(), flow: Arc::clone(&flow) };
        let source = Agent::new(config(&plane, "source").limits(limits.clone()), source);
        let tcp = Tcp::new(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        let source = source.with_control_plane(Arc::<Plane>::clone(&plane)).with_transport(Arc::new(Deaf { tcp, beyond: hears }));
        let mut of_sink = config(&plane, "sink").limits(limits.clone());
        of_sink.spool_dir = spool_dir.unwrap_or(of_sink.spool_dir);
        let sink = spawn(&plane, of_sink, Sink { next: 0, flow: Arc::clone(&flow) });
        let _source = spawn_agent(source);
        plane.registered(2).await;
        plane.run_all(1);
        Self { plane, flow, beyond, sink, _source }
    }

    /// Begins a snapshot that only the receiver hears of, and waits for its cut.
    async fn cut_the_receiver(&self) -> (stillframe_agent::SnapshotId, Epoch) {
        self.beyond.send_replace(Some(Epoch(0)));
        self.plane.deafen("source");
        let (snapshot, epoch) = self.plane.begin(1, 16 << 10);
        self.sink.status("the cut", |status| status.epoch >= epoch).await;
        (snapshot, epoch)
    }

    /// Lets the marker go.
    fn hear(&self) {
        self.beyond.send_replace(None);
        self.plane.hear("source");
    }
}

fn line(what: &str, rate: f64) {
    eprintln!("{what}: {:.0} MiB/s", rate / MIB as f64);
}

#[derive(Debug, Clone)]
struct Course {
    /// What flows past.
    bytes: u64,
    limits: Limits,
    spool_dir: Option<PathBuf>,
    /// The share of the rate of before the snapshot that there must be at least while it records.
    share: f64,
}

/// So many bytes flow past at this pace (bytes a second) and are all in the snapshot, in bounded memory.
async fn records(course: Course, pace: f64) {
    let stream = Stream::begin(&course, Some(pace)).await;
    let Course { bytes, limits, share, .. } = course;
    stream.flow.pass(bytes / 50).await;
    let before = stream.flow.pass(bytes / 10).await;
    let watcher = Watcher::begin();
    let (snapshot, epoch) = stream.cut_the_receiver().await;
    let during = stream.flow.pass(bytes).await;
    assert_eq!(stream.plane.failure(snapshot), None);
    let grown = watcher.grown();
    line("before the snapshot", before);
    line("while it records", during);
    eprintln!("recorded: {} MiB; memory grew by {} MiB", bytes / MIB, grown / MIB);
    assert!(grown <= limits.spool_memory_bytes + BESIDES_BYTES, "memory grew by {} MiB", grown / MIB);
    assert!(during >= before * share, "{during} bytes a second after {before}");
    stream.hear();
    // From here on it is sealed, compressed and put into the archive, and the flow goes on.
    let status = stream.sink.handle.status();
    let begun = Instant::now();
    while status.borrow().parts_reported == 0 {
        assert!(begun.elapsed() < PATIENCE, "the part isn't reported");
        assert_eq!(stream.plane.failure(snapshot), None);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    eprintln!("sealed, compressed and put: {:.1} s", begun.elapsed().as_secs_f64());
    let committed = stream.plane.commit(1, snapshot, epoch, &["sink", "source"]).await;
    let after = stream.flow.pass(bytes / 10).await;
    stream.flow.stop.store(true, Ordering::SeqCst);
    line("afterwards", after);
    assert!(after >= before * share, "{after} bytes a second after {before}");
    // The whole of it is there, from the receiver's cut to the sender's.
    let part = &committed.parts[&name("sink")];
    let first: u64 = postcard::from_bytes(&stream.plane.state_of(part).await).unwrap();
    let end: u64 = postcard::from_bytes(&stream.plane.state_of(&committed.parts[&name("source")]).await).unwrap();
    let object = part.objects.iter().find(|object| object.role == Role::Channels).unwrap();
    let plain = stream.plane.archive.get(object).await.unwrap();
    let mut next = first;
    for record in ChannelsReader::new(plain) {
        if let ChannelRecord::Recorded { payload, .. } = record.unwrap() {
            assert_eq!(payload[..8], next.to_be_bytes());
            next += 1;
        }
    }
    assert!((next - first) * MESSAGE_BYTES as u64 >= bytes, "{first} to {next}");
    // What the sender had taken and not sent yet is in its own part.
    assert!(next <= end && (end - next) * MESSAGE_BYTES as u64 <= limits.outbox_bytes, "{next} and {end}");
    assert!(watcher.grown() <= limits.spool_memory_bytes + BESIDES_BYTES, "memory grew by {} MiB", watcher.grown() / MIB);
}

/// As many bytes as can flow past, and more than the spool takes: the snapshot is given up, naming the channel, and the flow goes on.
async fn gives_up(course: Course) {
    let stream = Stream::begin(&course, None).await;
    let Course { bytes, limits, share, .. } = course;
    stream.flow.pass(bytes / 50).await;
    let before = stream.flow.pass(bytes / 2).await;
    let watcher = Watcher::begin();
    let (snapshot, _) = stream.cut_the_receiver().await;
    let during = stream.flow.pass(bytes).await;
    let grown = watcher.grown();
    let (reason, detail, channel) = stream
        .plane
        .reported("the failure", |_, event| match event {
            ReportEvent::Failed { snapshot: of, reason, detail, channel } if *of == snapshot => {
                Some((*reason, detail.clone(), channel.clone()))
            }
            _ => None,
        })
        .await;
    stream.plane.end(snapshot, false);
    stream.hear();
    let after = stream.flow.pass(bytes / 2).await;
    stream.flow.stop.store(true, Ordering::SeqCst);
    line("before the snapshot, unpaced", before);
    line("while it records and is given up", during);
    line("afterwards", after);
    eprintln!("{detail}; memory grew by {} MiB", grown / MIB);
    assert_eq!(reason, AbortReason::SpoolOverflow);
    assert_eq!(channel.map(|channel| (channel.from, channel.to)), Some((name("source"), name("sink"))));
    assert!(grown <= limits.spool_memory_bytes + BESIDES_BYTES, "memory grew by {} MiB", grown / MIB);
    // Copying what is recorded and writing it share the machine with the flow; waiting for the disk would stop it.
    assert!(during >= before * share && after >= before * share, "{during}, then {after} bytes a second after {before}");
}

fn limits(memory: u64, files: u64) -> Limits {
    Limits { spool_memory_bytes: memory, spool_file_bytes: files, ..Limits::default() }
}

/// A directory in memory, where there is one: the short tests show what the agent does, not how fast a shared disk is.
fn quick_dir() -> Option<PathBuf> {
    let dir = PathBuf::from("/dev/shm");
    tempfile::tempfile_in(&dir).is_ok().then_some(dir)
}

// Others run at the same time, so the short tests ask for little speed: an agent that waited for its disk would stand still.

#[tokio::test(flavor = "multi_thread")]
async fn many_times_the_memory_flows_past_a_marker_that_is_held_back_and_is_recorded() {
    let limits = limits(32 * MIB, 1024 * MIB);
    records(Course { bytes: 160 * MIB, limits, spool_dir: quick_dir(), share: 0.25 }, 32.0 * MIB as f64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_spool_takes_ends_the_snapshot_naming_the_channel_and_the_flow_goes_on() {
    gives_up(Course { bytes: 300 * MIB, limits: limits(16 * MIB, 64 * MIB), spool_dir: quick_dir(), share: 0.1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and 10 GiB of disk: cargo flood"]
async fn ten_gibibytes_flow_past_a_marker_that_is_held_back() {
    let limits = limits(64 * MIB, 16 << 30);
    records(Course { bytes: 10 << 30, limits, spool_dir: None, share: 0.7 }, 64.0 * MIB as f64).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo flood"]
async fn ten_gibibytes_flow_past_and_the_snapshot_is_given_up() {
    gives_up(Course { bytes: 10 << 30, limits: limits(64 * MIB, 512 * MIB), spool_dir: None, share: 0.4 }).await;
}
