//! What the coordinator is to an agent.
//!
//! | to find | look in |
//! | --- | --- |
//! | the trait, and its implementation over REST | here, `rest` |
//! | the loop that polls the assignment | `poll` |
//! | what the loop leaves for the driver | `mailbox` |
//! | reports, repeated until they are taken | `reporter` |
//! | whether this process may still act | `lease` |
//! | which of several replicas to ask | `replicas` |

pub(crate) mod lease;
pub(crate) mod mailbox;
pub(crate) mod poll;
pub(crate) mod replicas;
pub(crate) mod reporter;
mod rest;

use std::fmt;

use async_trait::async_trait;
use stillframe_api::agent::{Assignment, AssignmentQuery, Register, Registered, ReportAccepted, ReportEvent};
use stillframe_protocol::{ClusterName, Incarnation, MemberName};

/// Why the coordinator gave no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// It can't be reached, or can't serve now. Whether the request was carried out is unknown; asking again is right.
    #[error("{0}")]
    Away(String),
    /// A newer incarnation has taken over, or the member was removed. This process must stop.
    #[error("{0}")]
    Fenced(String),
    /// It answers, and has no word from its database: nobody can have taken this process's place as far as it knows, and it can't say more.
    /// Asking again, or another replica, is right.
    #[error("{0}")]
    WithoutDatabase(String),
    /// It refused for another reason; asking the same again won't help.
    #[error("{0}")]
    Refused(String),
}

/// The coordinator as an agent sees it. [`stillframe_api::Client`] is one; tests have others.
#[async_trait]
pub trait ControlPlane: fmt::Debug + Send + Sync + 'static {
    /// At how many addresses it can be asked: its replicas. After an error the next request is to go to another one.
    fn addresses(&self) -> usize {
        1
    }

    /// Has the next request go to another address.
    fn move_on(&self) {}

    /// Registers the process. Idempotent by `request.instance`.
    ///
    /// # Errors
    /// [`ControlError`]; only [`ControlError::Away`] and [`ControlError::WithoutDatabase`] are tried again.
    async fn register(&self, cluster: &ClusterName, request: &Register) -> Result<Registered, ControlError>;

    /// The assignment, held until there is news. Dropping the call is how the coordinator sees that the process is gone.
    ///
    /// # Errors
    /// [`ControlError`]; only [`ControlError::Away`] and [`ControlError::WithoutDatabase`] are tried again.
    async fn assignment(
        &self,
        cluster: &ClusterName,
        member: &MemberName,
        query: &AssignmentQuery,
    ) -> Result<Assignment, ControlError>;

    /// Takes a report. Idempotent.
    ///
    /// # Errors
    /// [`ControlError`]; only [`ControlError::Away`] and [`ControlError::WithoutDatabase`] are tried again.
    async fn report(
        &self,
        cluster: &ClusterName,
        member: &MemberName,
        incarnation: Incarnation,
        event: ReportEvent,
    ) -> Result<ReportAccepted, ControlError>;
}
