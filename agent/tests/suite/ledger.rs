//! An application that notices any message that is lost, repeated or out of order, in its own state: so a restore that breaks the order is noticed too.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stillframe_agent::{
    Application, Capture, Committed, Context, Covers, MemberName, RestoreError, Room, SendError, SnapshotId, StateReader, TimerId,
};

pub(crate) const START: u64 = 1000;

/// A message: the how many-th to this member it is, and an amount.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) number: u64,
    pub(crate) amount: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) balance: u64,
    pub(crate) sent: BTreeMap<MemberName, u64>,
    pub(crate) received: BTreeMap<MemberName, u64>,
    random: u64,
}

/// What a test sees of a member.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) wrong: Mutex<Vec<String>>,
    pub(crate) delivered: AtomicU64,
    pub(crate) restored: AtomicU64,
    pub(crate) committed: Mutex<Vec<SnapshotId>>,
    /// Told after a restore.
    pub(crate) put_back_to: Mutex<Vec<SnapshotId>>,
    pub(crate) full: AtomicU64,
    pub(crate) ready: AtomicU64,
    /// No new transfers are begun.
    pub(crate) quiet: AtomicBool,
}

impl Seen {
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::SeqCst)
    }
}

/// Transfers random amounts to random peers; `width` of them are under way at a time.
pub(crate) struct Bank {
    pub(crate) ledger: Ledger,
    pub(crate) seen: Arc<Seen>,
    pub(crate) width: u64,
}

const TICK: TimerId = TimerId(7);

impl Bank {
    pub(crate) fn new(seed: u64, seen: &Arc<Seen>) -> Self {
        Self { ledger: Ledger { balance: START, random: seed, ..Ledger::default() }, seen: Arc::clone(seen), width: 8 }
    }

    fn draw(&mut self, below: u64) -> u64 {
        // xorshift64*
        let mut x = self.ledger.random | 1;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.ledger.random = x;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d) % below.max(1)
    }

    fn transfer(&mut self, cx: &mut Context<'_>) {
        if self.seen.quiet.load(Ordering::SeqCst) {
            return;
        }
        let peers: Vec<MemberName> = cx.peers().cloned().collect();
        if peers.is_empty() {
            return;
        }
        let to = peers[self.draw(peers.len() as u64) as usize].clone();
        let amount = self.draw(10).min(self.ledger.balance);
        let number = self.ledger.sent.get(&to).copied().unwrap_or(0) + 1;
        let message = postcard::to_stdvec(&Transfer { number, amount }).unwrap();
        match cx.send(&to, message) {
            Ok(Room::Ready | Room::Full) => {
                self.ledger.balance -= amount;
                self.ledger.sent.insert(to, number);
            }
            Err(SendError::OutboxFull { .. }) => {}
            Err(other) => self.seen.wrong.lock().unwrap().push(other.to_string()),
        }
    }
}

impl Application for Bank {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        cx.set_timer(TICK, Duration::from_millis(2));
        for _ in 0..self.width {
            self.transfer(cx);
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, from: &MemberName, message: Bytes) {
        let transfer: Transfer = postcard::from_bytes(&message).unwrap();
        let last = self.ledger.received.entry(from.clone()).or_default();
        if transfer.number != *last + 1 {
            let wrong = format!("{} got message {} of {from} after {last}", cx.me(), transfer.number);
            self.seen.wrong.lock().unwrap().push(wrong);
        }
        *last = transfer.number;
        self.ledger.balance += transfer.amount;
        self.seen.delivered.fetch_add(1, Ordering::SeqCst);
        self.transfer(cx);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) {
        assert_eq!(timer, TICK);
        cx.set_timer(TICK, Duration::from_millis(2));
        self.transfer(cx);
    }

    fn capture(&mut self) -> Capture {
        Capture::encode(self.ledger.clone())
    }

    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError> {
        self.ledger = state.decode()?;
        self.seen.restored.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn on_committed(&mut self, committed: Committed) {
        let told = match committed.covers {
            Covers::Cut(_) => &self.seen.committed,
            Covers::Everything => &self.seen.put_back_to,
        };
        told.lock().unwrap().push(committed.snapshot);
    }
}
