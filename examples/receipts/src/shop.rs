//! The application: a timer that sends orders, a handler that causes receipts, and the two callbacks that hold them back until a snapshot covers them.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde::{Deserialize, Serialize};
use stillframe_agent::{
    Application, Capture, ClusterName, Committed, Context, Coordinators, Cut, Effects, MemberName, RestoreError, StateReader,
    TimerId,
};

use crate::table::Table;

const TICK: TimerId = TimerId(1);

/// How often an order is sent.
const TICK_EVERY: Duration = Duration::from_millis(2);

/// Receipts that may wait to be written before no more orders are sent, so that the state stays small while the table's server is away.
const MAX_WAITING: usize = 100_000;

/// What one member of the shop needs to know.
#[derive(Debug, Clone, Args)]
pub struct ShopArgs {
    /// The coordinator's URL; several replicas with commas between them.
    #[arg(long, env = "STILLFRAME_URL", default_value = "http://127.0.0.1:7700")]
    pub coordinator: Coordinators,
    /// The cluster to join.
    #[arg(long, default_value = "shop")]
    pub cluster: ClusterName,
    /// This member's stable name.
    #[arg(long)]
    pub member: MemberName,
    /// The Postgres database with the table of receipts. Any but the coordinator's own.
    #[arg(long, env = "RECEIPTS_DATABASE_URL")]
    pub table: String,
    /// How many orders this member sends before it has had enough.
    #[arg(long, default_value_t = 1_000_000)]
    pub orders: u64,
}

/// A receipt: for whose order, and for which of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Who sent the order.
    pub customer: MemberName,
    /// The number of the order, counted by who sent it.
    pub order: u64,
}

/// All that has to survive.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    ordered: u64,
    receipts: Effects<Receipt>,
}

/// One member.
#[derive(Debug)]
pub struct Shop {
    state: State,
    orders: u64,
    table: Table,
}

impl Shop {
    /// A member that sends so many orders, with the table for its receipts.
    #[must_use]
    pub fn new(orders: u64, table: Table) -> Self {
        Self { state: State::default(), orders, table }
    }

    /// Forgets the receipts that are in the table by now.
    fn take_note(&mut self) {
        if let Some(written) = self.table.written() {
            self.state.receipts.done(written);
        }
    }
}

impl Application for Shop {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        cx.set_timer(TICK, TICK_EVERY);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: TimerId) {
        cx.set_timer(TICK, TICK_EVERY);
        self.take_note();
        let peers: Vec<MemberName> = cx.peers().cloned().collect();
        if peers.is_empty() || self.state.ordered == self.orders || self.state.receipts.len() >= MAX_WAITING {
            return;
        }
        let order = self.state.ordered + 1;
        // To each in turn; what isn't taken is sent at the next tick.
        let to = &peers[usize::try_from(order).unwrap_or_default() % peers.len()];
        if cx.send(to, Bytes::copy_from_slice(&order.to_le_bytes())).is_ok() {
            self.state.ordered = order;
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, from: &MemberName, message: Bytes) {
        let Ok(order) = message.as_ref().try_into().map(u64::from_le_bytes) else {
            tracing::error!(%from, bytes = message.len(), "expected an order's number in 8 bytes");
            return;
        };
        // Writing the row here would be wrong: a rollback would bring this message again, or undo that it was ever sent.
        self.state.receipts.push(cx.generation(), Receipt { customer: from.clone(), order });
    }

    fn capture(&mut self) -> Capture {
        Capture::encode(self.state.clone())
    }

    fn capture_at(&mut self, cut: Cut) -> Capture {
        self.take_note();
        self.state.receipts.cut(cut);
        self.capture()
    }

    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError> {
        self.state = state.decode()?;
        Ok(())
    }

    fn on_committed(&mut self, committed: Committed) {
        self.table.write(self.state.receipts.committed(&committed).cloned());
    }
}
