//! Members: registering, coming, being lost.

use std::sync::Arc;

use stillframe_api::{
    HumanDuration,
    agent::{Register, Registered, ReportAccepted},
    cluster::{LeaveRequest, Member},
};
use stillframe_protocol::{ClusterName, Incarnation, MemberName};

use super::{Caller, Service, ServiceError, answers, membership::granted};
use crate::{
    decide::{
        Facts, Refusal, leave,
        member::{Ask, Change, Effect, Evidence, Registration},
    },
    store::{LeaseKey, Scope},
};

/// The longest address, in bytes.
const MAX_ADDRESS_BYTES: usize = 255;

fn check_address(address: &str) -> Result<(), ServiceError> {
    let fine = address.len() <= MAX_ADDRESS_BYTES
        && address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
        && address.chars().all(|c| c.is_ascii_graphic());
    if fine {
        return Ok(());
    }
    let found: String = address.chars().take(300).collect();
    Err(ServiceError::Invalid(format!("address must be host:port with a port from 1 to 65535, found {found:?}")))
}

impl Service {
    /// Registers a process as a member.
    pub async fn register(
        self: &Arc<Self>,
        caller: &Caller,
        cluster: &ClusterName,
        request: Register,
    ) -> Result<Registered, ServiceError> {
        check_address(&request.address)?;
        let Register { member, instance, address } = request;
        let registration = Registration { member: member.clone(), instance, address, lease: self.lease() };
        let (actor, request_id) = (format!("member:{member}"), caller.request_id.clone());
        let ask = Ask { actor, request_id, change: Change::Register(registration) };
        let (effect, facts) = self.change_members(cluster, ask).await?;
        let archive = self.archives.get(facts.cluster.archive_prefix.as_deref()).await?;
        let (member_id, incarnation) = granted(effect).unwrap_or_default();
        tracing::info!(%cluster, %member, %incarnation, "member registered");
        Ok(Registered {
            member_id,
            incarnation,
            archive: archive.url().to_string(),
            archive_id: archive.id(),
            lease: HumanDuration::from_millis(u64::try_from(self.settings.lease.as_millis()).unwrap_or(u64::MAX)),
        })
    }

    /// Declares a member lost, if the evidence holds under the lock.
    pub async fn lose(self: &Arc<Self>, lease: &LeaseKey, evidence: Evidence) -> Result<(), ServiceError> {
        let (cluster, member, incarnation) = lease;
        let change = Change::Lose(member.clone(), *incarnation, evidence);
        let ask = Ask { actor: Caller::coordinator().actor, request_id: None, change };
        let (effect, facts) = self.change_members(cluster, ask).await?;
        if effect == Effect::Made {
            tracing::warn!(%cluster, %member, %incarnation, ?evidence, phase = ?facts.cluster.phase, "member lost");
        }
        Ok(())
    }

    /// Takes what a member says towards leaving, its own or another's.
    pub(super) async fn leave_step(
        self: &Arc<Self>,
        caller: &Caller,
        cluster: &ClusterName,
        member: MemberName,
        incarnation: Incarnation,
        step: leave::Step,
    ) -> Result<ReportAccepted, ServiceError> {
        let says = match &step {
            leave::Step::Wants { .. } => "member is leaving",
            leave::Step::Ended { .. } => "member has left",
            leave::Step::Drained { .. } => "",
        };
        let (actor, request_id) = (format!("member:{member}"), caller.request_id.clone());
        let ask = Ask { actor, request_id, change: Change::Leave(member.clone(), incarnation, step) };
        let (effect, _) = self.change_members(cluster, ask).await?;
        if effect == Effect::Made && !says.is_empty() {
            tracing::info!(%cluster, %member, %incarnation, "{says}");
        }
        Ok(ReportAccepted { relevant: effect == Effect::Made })
    }

    /// Asks a member to leave, or to stay after all.
    pub async fn ask_to_leave(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        member: &MemberName,
        wish: Option<LeaveRequest>,
    ) -> Result<Member, ServiceError> {
        let (occasion, name) = (self.occasion(caller), member.clone());
        let scope = Scope { request_id: caller.request_id.clone(), ..Scope::default() };
        let rule = move |facts: &Facts| match wish {
            Some(LeaveRequest { force }) => leave::ask(facts, &occasion, &name, force).map(Into::into),
            None => leave::take_back(facts, &occasion, &name).map(Into::into),
        };
        let done = self.transition(cluster, scope, rule).await?;
        let unknown = || Refusal::UnknownMember { cluster: cluster.clone(), member: member.clone() };
        let facts = done.facts.members.get(member).ok_or_else(unknown)?;
        let is_suspect = self.registry.is_suspect(cluster, member, facts.incarnation);
        Ok(answers::member_of(facts, self.lease(), is_suspect))
    }

    /// Takes note that a member asks for its assignment: the first time, or again after it was declared lost.
    pub async fn arrive(self: &Arc<Self>, lease: &LeaseKey) -> Result<(), ServiceError> {
        let (cluster, member, incarnation) = lease;
        let ask =
            Ask { actor: format!("member:{member}"), request_id: None, change: Change::Arrive(member.clone(), *incarnation) };
        let (effect, _) = self.change_members(cluster, ask).await?;
        if effect == Effect::Made {
            tracing::info!(%cluster, %member, %incarnation, "member is there");
        }
        Ok(())
    }
}
