//! The balances of one member, without any messaging.

use serde::{Deserialize, Serialize};

/// Money on its way from one member to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The number of the account at the receiving member.
    pub account: u32,
    /// How much.
    pub amount: u64,
}

impl Transfer {
    /// The transfer as a message.
    ///
    /// # Errors
    /// Never, for a value of this type; the signature is the encoder's.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When the bytes aren't a transfer.
    pub fn decode(message: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(message)
    }
}

/// One member's accounts: the whole state of the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    balances: Vec<u64>,
    /// The state of the random choice, so that a restored member doesn't repeat itself by accident.
    seed: u64,
    /// Transfers that this member has sent since the beginning.
    pub sent: u64,
    /// Transfers that this member has received since the beginning.
    pub received: u64,
    /// Bytes that only make the state large.
    #[serde(with = "at_once")]
    ballast: Vec<u8>,
}

/// Bytes written and read in one piece: serde takes those of a `Vec` one by one, which is slow where there are millions.
mod at_once {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Whole;
        impl de::Visitor<'_> for Whole {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Whole)
    }
}

impl Ledger {
    /// A ledger of `accounts` accounts (at least 1) that hold `initial` each, and `ballast` bytes of incompressible weight.
    #[must_use]
    pub fn new(accounts: u32, initial: u64, seed: u64, ballast: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let ballast = std::iter::repeat_with(|| random.u8(..)).take(ballast).collect();
        Self { balances: vec![initial; accounts.max(1) as usize], seed: random.get_seed(), sent: 0, received: 0, ballast }
    }

    /// The sum of the balances.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.balances.iter().sum()
    }

    /// Takes a random amount from a random account for one of `receivers` other members: who, and the transfer. None when there is
    /// nobody to send to or the account is empty.
    pub fn withdraw(&mut self, receivers: usize) -> Option<(usize, Transfer)> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let from = random.usize(..self.balances.len());
        let account = u32::try_from(random.usize(..self.balances.len())).ok()?;
        let to = if receivers == 0 { None } else { Some(random.usize(..receivers)) };
        let amount = random.u64(1..=10).min(self.balances[from]);
        self.seed = random.get_seed();
        let to = to.filter(|_| amount > 0)?;
        self.balances[from] -= amount;
        self.sent += 1;
        Some((to, Transfer { account, amount }))
    }

    /// Empties every account towards `receivers` other members, one after the other: who, and the transfer. Nothing when there is nobody.
    pub fn withdraw_all(&mut self, receivers: usize) -> Vec<(usize, Transfer)> {
        if receivers == 0 {
            return Vec::new();
        }
        let numbered = self.balances.iter_mut().enumerate().filter(|(_, balance)| **balance > 0);
        let transfers: Vec<_> = numbered
            .map(|(account, balance)| {
                let amount = std::mem::take(balance);
                (account % receivers, Transfer { account: u32::try_from(account).unwrap_or(0), amount })
            })
            .collect();
        self.sent += transfers.len() as u64;
        transfers
    }

    /// Takes back a withdrawal that couldn't be handed over.
    pub fn put_back(&mut self, transfer: Transfer) {
        self.sent -= 1;
        self.credit(transfer);
    }

    /// Takes in a transfer.
    pub fn deposit(&mut self, transfer: Transfer) {
        self.received += 1;
        self.credit(transfer);
    }

    fn credit(&mut self, transfer: Transfer) {
        let accounts = self.balances.len();
        self.balances[transfer.account as usize % accounts] += transfer.amount;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn money_moves_and_is_never_made(seed: u64, accounts in 1u32..10, initial in 0u64..50, steps in 0usize..300) {
            let mut ledgers = [Ledger::new(accounts, initial, seed, 0), Ledger::new(accounts, initial, !seed, 0)];
            let before: u64 = ledgers.iter().map(Ledger::total).sum();
            for step in 0..steps {
                let (one, other) = (step % 2, (step + 1) % 2);
                if let Some((_, transfer)) = ledgers[one].withdraw(1) {
                    let message = transfer.encode().expect("encodes");
                    ledgers[other].deposit(Transfer::decode(&message).expect("decodes"));
                }
            }
            prop_assert_eq!(ledgers.iter().map(Ledger::total).sum::<u64>(), before);
        }

        #[test]
        fn who_hands_everything_over_has_nothing_left_and_takes_nothing_with_it(seed: u64, accounts in 1u32..10, receivers in 0usize..4) {
            let mut ledger = Ledger::new(accounts, 100, seed, 0);
            let total = ledger.total();
            let given: u64 = ledger.withdraw_all(receivers).iter().map(|(_, transfer)| transfer.amount).sum();
            prop_assert_eq!((given, ledger.total()), if receivers == 0 { (0, total) } else { (total, 0) });
        }

        #[test]
        fn a_withdrawal_put_back_changes_no_total(seed: u64) {
            let mut ledger = Ledger::new(4, 100, seed, 0);
            if let Some((_, transfer)) = ledger.withdraw(3) {
                ledger.put_back(transfer);
            }
            prop_assert_eq!((ledger.total(), ledger.sent), (400, 0));
        }
    }
}
