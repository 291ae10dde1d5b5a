//! The sum of a snapshot, from the archive alone: balances, and the money in messages.

use std::io::Read;

use stillframe_archive::{Archive, ArchiveError, Manifest, Message, Messages, Role};
use stillframe_protocol::MemberName;

use crate::ledger::{Ledger, Transfer};

/// What a snapshot of the bank holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Audit {
    /// The sum of all balances.
    pub balances: u64,
    /// The sum of the transfers that were in flight at the cut.
    pub in_flight: u64,
    /// The sum of the transfers handed over but not yet sent at the cut.
    pub unsent: u64,
    /// How many transfers were in flight at the cut.
    pub messages_in_flight: u64,
    /// How many transfers the members had sent since the beginning.
    pub transfers: u64,
}

impl Audit {
    /// All the money there is.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.balances + self.in_flight + self.unsent
    }
}

/// Why a snapshot can't be summed up.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// An object can't be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// An object of the part isn't what the bank writes.
    #[error("the {what} of {member} is not the bank's: {reason}")]
    Foreign {
        /// The member.
        member: MemberName,
        /// State or channels.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// Sums up a snapshot, object by object; every digest is checked on the way.
///
/// # Errors
/// [`AuditError`] when an object can't be read or isn't the bank's.
pub async fn audit(archive: &Archive, manifest: &Manifest) -> Result<Audit, AuditError> {
    let mut sum = Audit::default();
    let messages = Messages::of(manifest);
    for part in &manifest.parts {
        for object in &part.objects {
            let mut plain = archive.get(object).await?;
            match object.role {
                Role::State => {
                    let foreign = |reason: String| AuditError::Foreign { member: part.member.clone(), what: "state", reason };
                    let mut bytes = Vec::new();
                    plain.read_to_end(&mut bytes).map_err(|e| foreign(e.to_string()))?;
                    let ledger: Ledger = postcard::from_bytes(&bytes).map_err(|e| foreign(e.to_string()))?;
                    sum.balances += ledger.total();
                    sum.transfers += ledger.sent;
                }
                Role::Channels => {
                    let foreign = |reason: String| AuditError::Foreign { member: part.member.clone(), what: "channels", reason };
                    for message in messages.read(&part.member, plain) {
                        let amount =
                            |payload: &[u8]| Transfer::decode(payload).map(|t| t.amount).map_err(|e| foreign(e.to_string()));
                        match message.map_err(|e| foreign(e.to_string()))? {
                            Message::InFlight { payload, .. } => {
                                sum.in_flight += amount(&payload)?;
                                sum.messages_in_flight += 1;
                            }
                            Message::Unsent { payload, .. } => sum.unsent += amount(&payload)?,
                        }
                    }
                }
            }
        }
    }
    Ok(sum)
}
