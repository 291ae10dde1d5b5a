//! The application that the agent drives: one timer that sends transfers, one handler that takes them in.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use stillframe_agent::{Application, Capture, Context, MemberName, RestoreError, Room, StateReader, TimerId};

use crate::ledger::{Ledger, Transfer};

const TICK: TimerId = TimerId(1);

/// How often transfers are sent.
const TICK_EVERY: Duration = Duration::from_millis(5);

/// What a teller shows to the outside while it runs.
#[derive(Debug, Default)]
pub struct Counters {
    /// Transfers sent since the beginning, as of the state the member is in.
    pub sent: AtomicU64,
    /// Transfers received since the beginning.
    pub received: AtomicU64,
    /// The sum of the balances.
    pub balance: AtomicU64,
}

/// One member's accounts, driven by the agent.
#[derive(Debug)]
pub struct Teller {
    ledger: Ledger,
    transfers_per_tick: u32,
    full: BTreeSet<MemberName>,
    /// It is to leave, and has nobody yet to hand its money to.
    waits_to_leave: bool,
    counters: Arc<Counters>,
}

impl Teller {
    /// A teller over this ledger that sends about so many transfers a second.
    #[must_use]
    pub fn new(ledger: Ledger, transfers_per_second: u32, counters: Arc<Counters>) -> Self {
        let ticks_per_second = 1_000 / u32::try_from(TICK_EVERY.as_millis()).unwrap_or(1);
        Self {
            ledger,
            transfers_per_tick: transfers_per_second.div_ceil(ticks_per_second),
            full: BTreeSet::new(),
            waits_to_leave: false,
            counters,
        }
    }

    fn show(&self) {
        self.counters.sent.store(self.ledger.sent, Ordering::Relaxed);
        self.counters.received.store(self.ledger.received, Ordering::Relaxed);
        self.counters.balance.store(self.ledger.total(), Ordering::Relaxed);
    }

    /// Hands all money to the others, an account a transfer. What can't be handed over stays here.
    fn hand_over(&mut self, cx: &mut Context<'_>) {
        let receivers: Vec<MemberName> = cx.peers().cloned().collect();
        for (to, transfer) in self.ledger.withdraw_all(receivers.len()) {
            let sent = transfer.encode().ok().map(|message| cx.send(&receivers[to], message));
            if !matches!(sent, Some(Ok(_))) {
                self.ledger.put_back(transfer);
            }
        }
        self.show();
    }

    /// Leaves once there is somebody to hand the money to.
    fn leave(&mut self, cx: &mut Context<'_>) {
        self.waits_to_leave = cx.peers().next().is_none();
        if !self.waits_to_leave {
            cx.cancel_timer(TICK);
            self.hand_over(cx);
            cx.leave();
        }
    }

    fn transfer(&mut self, cx: &mut Context<'_>) {
        let receivers: Vec<MemberName> = cx.peers().filter(|peer| !self.full.contains(*peer)).cloned().collect();
        let Some((to, transfer)) = self.ledger.withdraw(receivers.len()) else { return };
        let sent = transfer.encode().ok().map(|message| cx.send(&receivers[to], message));
        match sent {
            Some(Ok(Room::Ready)) => {}
            Some(Ok(Room::Full)) => {
                self.full.insert(receivers[to].clone());
            }
            // Not handed over, so the money is still here.
            Some(Err(_)) | None => self.ledger.put_back(transfer),
        }
    }
}

impl Application for Teller {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        cx.set_timer(TICK, TICK_EVERY);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _timer: TimerId) {
        for _ in 0..self.transfers_per_tick {
            self.transfer(cx);
        }
        self.show();
        cx.set_timer(TICK, TICK_EVERY);
    }

    fn on_message(&mut self, _cx: &mut Context<'_>, from: &MemberName, message: Bytes) {
        match Transfer::decode(&message) {
            Ok(transfer) => self.ledger.deposit(transfer),
            Err(error) => tracing::error!(%from, %error, "a message that is no transfer"),
        }
    }

    fn on_ready(&mut self, _cx: &mut Context<'_>, to: &MemberName) {
        self.full.remove(to);
    }

    fn on_peers(&mut self, cx: &mut Context<'_>) {
        if self.waits_to_leave {
            self.leave(cx);
        }
    }

    fn on_leave(&mut self, cx: &mut Context<'_>) {
        self.leave(cx);
    }

    /// What the others had sent before they heard of it has come by now.
    fn on_drained(&mut self, cx: &mut Context<'_>) {
        self.hand_over(cx);
        if self.ledger.total() > 0 {
            tracing::error!(left = self.ledger.total(), "money leaves with this member: there was nobody to hand it to");
        }
    }

    fn capture(&mut self) -> Capture {
        Capture::encode(self.ledger.clone())
    }

    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError> {
        self.ledger = state.decode()?;
        self.full.clear();
        self.waits_to_leave = false;
        self.show();
        Ok(())
    }
}
