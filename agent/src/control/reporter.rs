//! Reports to the coordinator, repeated until they are taken.

use std::{sync::Arc, time::Duration};

use stillframe_api::agent::ReportEvent;
use stillframe_protocol::{ClusterName, Incarnation, MemberName};

use super::{
    ControlError, ControlPlane,
    mailbox::{End, Mailbox},
};
use crate::{deadline::Deadline, error::AgentError};
use stillframe_api::backoff::Backoff;

/// How a report ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reported {
    /// It was taken.
    Accepted,
    /// What it speaks of is over.
    Irrelevant,
    /// It was refused, or its time is over.
    GivenUp,
}

/// Reports as one member.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) plane: Arc<dyn ControlPlane>,
    pub(crate) cluster: ClusterName,
    pub(crate) member: MemberName,
    pub(crate) incarnation: Incarnation,
    pub(crate) mailbox: Arc<Mailbox>,
}

impl Reporter {
    /// Reports until the coordinator answers; gives up at `until`, if there is one.
    pub(crate) async fn report(&self, event: ReportEvent, until: Option<&Deadline>) -> Reported {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            match self.plane.report(&self.cluster, &self.member, self.incarnation, event.clone()).await {
                Ok(accepted) if accepted.relevant => return Reported::Accepted,
                Ok(_) => return Reported::Irrelevant,
                Err(ControlError::Away(reason) | ControlError::WithoutDatabase(reason)) => {
                    let wait = backoff.next_wait();
                    if until.is_some_and(|until| until.left() <= wait) {
                        tracing::warn!(%reason, "a report was given up: the coordinator can't be reached");
                        return Reported::GivenUp;
                    }
                    tokio::time::sleep(wait).await;
                }
                Err(ControlError::Fenced(why)) => {
                    self.fenced(why);
                    return Reported::GivenUp;
                }
                Err(ControlError::Refused(detail)) => {
                    tracing::warn!(%detail, "the coordinator refuses a report");
                    return Reported::GivenUp;
                }
            }
        }
    }

    /// Reports once; whether it arrives doesn't matter.
    pub(crate) async fn mention(&self, event: ReportEvent) {
        match self.plane.report(&self.cluster, &self.member, self.incarnation, event).await {
            Ok(_) | Err(ControlError::Away(_) | ControlError::WithoutDatabase(_) | ControlError::Refused(_)) => {}
            Err(ControlError::Fenced(why)) => self.fenced(why),
        }
    }

    pub(crate) fn fenced(&self, why: String) {
        let (cluster, member) = (self.cluster.clone(), self.member.clone());
        self.mailbox.end(End::Failed(AgentError::Fenced { cluster, member, why }));
    }

    pub(crate) fn refused(&self, detail: String) {
        let (cluster, member) = (self.cluster.clone(), self.member.clone());
        self.mailbox.end(End::Failed(AgentError::Refused { cluster, member, detail }));
    }
}
