use std::{
    io::{Seek, SeekFrom, Write},
    path::Path,
    sync::{Condvar, Mutex},
};

use proptest::prelude::*;
use stillframe_archive::ChannelsReader;
use stillframe_protocol::{MemberName, Seq};

use super::{budget::SpoolFile, *};

fn message(seq: u64, length: usize) -> ChannelRecord {
    ChannelRecord::Recorded { from: MemberName::new("p1").unwrap(), seq: Seq(seq), payload: vec![seq as u8; length].into() }
}

/// Waits until a thread that writes has given back what it holds.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < until, "waited for {what}");
        std::thread::yield_now();
    }
}

proptest! {
    #[test]
    fn what_was_recorded_is_read_back_from_memory_or_file(
        lengths in proptest::collection::vec(prop_oneof![0usize..300, 0usize..100_000], 0..40),
        memory in prop_oneof![0u64..4000, 4_000_000u64..9_000_000],
        in_the_end in 0usize..200_000,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let budget = SpoolBudget::new(memory, 1 << 30, dir.path());
        let mut spool = Spool::new(&budget);
        let mut expected = Vec::new();
        for (n, length) in lengths.iter().enumerate() {
            let record = message(n as u64 + 1, *length);
            match spool.push(&record) {
                Ok(()) => expected.push(record),
                // So little memory that the disk has no time: that isn't what is looked at here.
                Err(SpoolError::Slow { .. }) => return Ok(()),
                Err(other) => panic!("{other}"),
            }
        }
        let more = [message(1000, in_the_end), ChannelRecord::Timer { id: 1, remaining_ms: 5 }];
        let reader = spool.finish(&more).unwrap();
        expected.extend(more);
        let found: Vec<_> = ChannelsReader::new(reader).map(Result::unwrap).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(budget.memory.used(), 0);
        prop_assert_eq!(budget.files.used(), 0);
    }

    #[test]
    fn spools_never_hold_more_than_their_limits(
        lengths in proptest::collection::vec(0usize..3000, 1..60), memory in 0u64..9000, file in 0u64..30_000,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let budget = SpoolBudget::new(memory, file, dir.path());
        let mut spools = [Spool::new(&budget), Spool::new(&budget)];
        for (n, length) in lengths.iter().enumerate() {
            let pushed = spools[n % 2].push(&message(n as u64 + 1, *length));
            prop_assert!(budget.memory.used() <= memory);
            prop_assert!(budget.files.used() <= file);
            if let Err(error) = pushed {
                prop_assert_eq!(error.reason(), AbortReason::SpoolOverflow, "{}", error);
                break;
            }
        }
        drop(spools);
        eventually("the memory back", || budget.memory.used() == 0);
        eventually("the files' room back", || budget.files.used() == 0);
    }
}

static DISK: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// A file on a disk that stands still until it is let go.
#[derive(Debug)]
struct StuckFile(std::fs::File);

impl Read for StuckFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for StuckFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Write for StuckFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _turns = DISK.1.wait_while(DISK.0.lock().unwrap(), |turns| !*turns).unwrap();
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn stuck_file(dir: &Path) -> io::Result<Box<dyn SpoolFile>> {
    Ok(Box::new(StuckFile(tempfile::tempfile_in(dir)?)))
}

#[test]
fn a_disk_that_stands_still_costs_the_snapshot_and_no_time() {
    const MEMORY: u64 = 4 << 20;
    let dir = tempfile::tempdir().unwrap();
    let budget = SpoolBudget::with_files(MEMORY, 1 << 30, dir.path(), stuck_file);
    // What is recorded while the disk stands still is kept in memory, and written when it turns again.
    let mut patient = Spool::new(&budget);
    let mut kept = 0;
    while budget.memory.used() < MEMORY * 3 / 4 {
        kept += 1;
        patient.push(&message(kept, 10_000)).unwrap();
    }
    assert!(!patient.in_memory());
    // When the memory is full of what waits, recording ends at once: nobody lets the disk go meanwhile.
    let mut hasty = Spool::new(&budget);
    let error = (1..).find_map(|seq| hasty.push(&message(seq, 10_000)).err()).unwrap();
    assert!(matches!(error, SpoolError::Slow { .. }) && error.to_string().contains("spool_memory_bytes"), "{error}");
    assert_eq!(error.reason(), AbortReason::SpoolOverflow);
    assert!(budget.memory.used() <= MEMORY);
    drop(hasty);
    *DISK.0.lock().unwrap() = true;
    DISK.1.notify_all();
    let found = ChannelsReader::new(patient.finish(&[]).unwrap()).map(Result::unwrap).count();
    assert_eq!(found as u64, kept);
    eventually("everything back", || budget.memory.used() == 0 && budget.files.used() == 0);
}

#[test]
fn without_a_file_all_of_the_memory_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let budget = SpoolBudget::new(1 << 20, 0, dir.path());
    let mut spool = Spool::new(&budget);
    let error = (1..).find_map(|seq| spool.push(&message(seq, 1000)).err()).unwrap();
    assert!(matches!(error, SpoolError::Full { .. }), "{error}");
    assert!(budget.memory.used() > (1 << 20) - 2000);
}

#[test]
fn a_directory_that_cannot_be_written_fails_the_snapshot_and_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("gone");
    let mut spool = Spool::new(&SpoolBudget::new(1 << 20, 1 << 30, &gone));
    let error = (1..1000).find_map(|seq| spool.push(&message(seq, 10_000)).err());
    let error = match error {
        Some(error) => error,
        None => spool.finish(&[]).unwrap_err(),
    };
    assert!(error.to_string().contains(gone.to_str().unwrap()), "{error}");
}

#[test]
fn what_a_sender_logs_all_at_once_is_neither_copied_nor_waits_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let budget = SpoolBudget::new(1 << 20, 64 << 20, dir.path());
    let logged = |seq: u64, payload: &bytes::Bytes| ChannelRecord::Logged {
        to: MemberName::new("p2").unwrap(),
        seq: Seq(seq),
        payload: payload.clone(),
    };
    let payload = bytes::Bytes::from(vec![7; 1 << 20]);
    let mut spool = Spool::new(&budget);
    for seq in 1..=60 {
        spool.push(&logged(seq, &payload)).unwrap();
    }
    assert_eq!((spool.bytes(), budget.memory.used()), (60 << 20, 0));
    assert!(budget.files.used() >= 60 << 20, "the limits hold for it all the same");
    let mut beyond = Spool::new(&budget);
    let error = (1..).find_map(|seq| beyond.push(&logged(seq, &payload)).err()).unwrap();
    assert!(matches!(error, SpoolError::Full { .. }), "{error}");
    drop(beyond);
    // It comes first, then all else.
    let mut found = ChannelsReader::new(spool.finish(&[ChannelRecord::Timer { id: 1, remaining_ms: 5 }]).unwrap());
    assert!((1..=60).all(|seq| found.next().unwrap().unwrap() == logged(seq, &payload)));
    assert!(matches!(found.next().unwrap().unwrap(), ChannelRecord::Timer { .. }));
    drop(found);
    assert_eq!((budget.memory.used(), budget.files.used()), (0, 0));
}
