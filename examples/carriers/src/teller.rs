//! One member's accounts: transfers at random, and carrying out what the agent asks for. The same over any transport.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use stillframe_agent::{
    Capture, Generation, MemberName, Room,
    wrap::{Action, Actions, Envelope, Member},
};
use stillframe_bank::{
    MemberStatus,
    ledger::{Ledger, Transfer},
};

use crate::args::{Error, MemberArgs, print};

/// How often transfers are sent.
const TICK_EVERY: Duration = Duration::from_millis(5);

/// How often a status line is printed.
const STATUS_EVERY: Duration = Duration::from_millis(100);

/// Hands an envelope to the transport: to whom, at which address, what.
pub trait Carry {
    /// Sends it, or loses it.
    fn carry(&mut self, to: &MemberName, address: &str, envelope: Envelope);
}

/// One member's accounts.
#[derive(Debug)]
pub struct Teller {
    ledger: Ledger,
    transfers_per_tick: u32,
    /// Towards whom there is no room.
    full: BTreeSet<MemberName>,
    next_tick: Instant,
    next_status: Option<Instant>,
}

impl Teller {
    /// The accounts at the beginning.
    #[must_use]
    pub fn new(args: &MemberArgs) -> Self {
        let seed = args.member.as_str().bytes().fold(0xbac4, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let ticks_per_second = 1_000 / u32::try_from(TICK_EVERY.as_millis()).unwrap_or(1);
        let now = Instant::now();
        Self {
            ledger: Ledger::new(args.accounts, args.initial, seed, 0),
            transfers_per_tick: args.transfers_per_second.div_ceil(ticks_per_second),
            full: BTreeSet::new(),
            next_tick: now,
            next_status: args.status.then_some(now),
        }
    }

    /// When there is something to do: the agent's timers or the teller's own.
    #[must_use]
    pub fn next_wake(&self, member: &Member) -> Instant {
        member.next_timeout().map_or(self.next_tick, |at| at.min(self.next_tick))
    }

    /// Does what is due: the agent's timers, transfers, a status line.
    ///
    /// # Errors
    /// [`Error`]: the member has to end.
    pub fn turn(&mut self, member: &mut Member, network: &mut impl Carry) -> Result<(), Error> {
        let now = Instant::now();
        self.carry_out(member.on_timeout(now), network)?;
        if now >= self.next_tick {
            self.next_tick = now + TICK_EVERY;
            for _ in 0..self.transfers_per_tick {
                self.transfer(member, network);
            }
        }
        if let Some(at) = self.next_status.filter(|at| now >= *at) {
            self.next_status = Some(at + STATUS_EVERY);
            let Ledger { sent, received, .. } = self.ledger;
            let (generation, balance) = (member.generation().get(), self.ledger.total());
            print(&MemberStatus { member: member.me().clone(), generation, sent, received, balance });
        }
        Ok(())
    }

    /// Carries out actions, in their order. This is all that an application has to do.
    ///
    /// # Errors
    /// [`Error`]: the member has to end.
    pub fn carry_out(&mut self, mut actions: Actions<'_>, network: &mut impl Carry) -> Result<(), Error> {
        while let Some(action) = actions.next_action() {
            match action {
                Action::Start | Action::Peers | Action::Committed(_) => {}
                Action::Restore(state) => {
                    self.ledger = state.decode()?;
                    self.full.clear();
                }
                Action::Capture(request) => actions.answer(request, Capture::encode(self.ledger.clone())),
                Action::Deliver { from, message } => match Transfer::decode(&message) {
                    Ok(transfer) => self.ledger.deposit(transfer),
                    Err(error) => tracing::error!(%from, %error, "a message that is no transfer"),
                },
                Action::Send { to, envelope } => {
                    if let Some(address) = actions.member().address(&to) {
                        network.carry(&to, address, envelope);
                    }
                }
                Action::Ready { to } => drop(self.full.remove(&to)),
                Action::Ended(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn transfer(&mut self, member: &mut Member, network: &mut impl Carry) {
        if member.generation() == Generation(0) {
            return;
        }
        let receivers: Vec<MemberName> = member.peers().filter(|peer| !self.full.contains(*peer)).cloned().collect();
        let Some((to, transfer)) = self.ledger.withdraw(receivers.len()) else { return };
        let to = &receivers[to];
        let wrapped = transfer.encode().ok().map(|message| member.wrap(to, message));
        let Some(Ok(wrapped)) = wrapped else {
            // Not taken, so the money is still here.
            return self.ledger.put_back(transfer);
        };
        if wrapped.room == Room::Full {
            self.full.insert(to.clone());
        }
        if let (Some(envelope), Some(address)) = (wrapped.envelope, member.address(to)) {
            network.carry(to, address, envelope);
        }
    }
}
