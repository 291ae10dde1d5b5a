//! Members: registering, losing, regaining.

use stillframe_api::{
    HumanDuration,
    agent::{Register, Registered},
};
use stillframe_protocol::{ClusterName, Incarnation};

use super::{Caller, Service, ServiceError};
use crate::{
    decide::member::{self, Evidence, Registration},
    store::{LeaseKey, Renewal, Scope},
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
    pub async fn register(&self, caller: &Caller, cluster: &ClusterName, request: Register) -> Result<Registered, ServiceError> {
        check_address(&request.address)?;
        let registration = Registration {
            member: request.member.clone(),
            instance: request.instance,
            address: request.address,
            lease: self.lease(),
        };
        let occasion = self.occasion(&Caller { actor: format!("member:{}", request.member), ..caller.clone() });
        let scope = Scope { request_id: caller.request_id.clone(), ..Scope::default() };
        let rule = move |facts: &crate::decide::Facts| member::register(facts, &occasion, &registration).map(Into::into);
        let done = self.transition(cluster, scope, rule).await?;
        let archive = self.archives.get(done.facts.cluster.archive_prefix.as_deref()).await?;
        let (member_id, incarnation) =
            done.facts.members.get(&request.member).map(|m| (m.member_id, m.incarnation)).unwrap_or_default();
        tracing::info!(%cluster, member = %request.member, %incarnation, "member registered");
        Ok(Registered {
            member_id,
            incarnation,
            archive: archive.url().to_string(),
            archive_id: archive.id(),
            lease: HumanDuration::from_millis(u64::try_from(self.settings.lease.as_millis()).unwrap_or(u64::MAX)),
        })
    }

    /// Declares a member lost, if the evidence holds under the lock.
    pub async fn lose(&self, lease: &LeaseKey, evidence: Evidence) -> Result<(), ServiceError> {
        let (cluster, name, incarnation) = lease.clone();
        let occasion = self.occasion(&Caller::coordinator());
        let member = name.clone();
        let rule = move |facts: &crate::decide::Facts| Ok(member::lost(facts, &occasion, &name, incarnation, evidence).into());
        let done = self.transition(&cluster, Scope::default(), rule).await?;
        if done.changed {
            tracing::warn!(%cluster, %member, %incarnation, ?evidence, phase = ?done.facts.cluster.phase, "member lost");
        }
        Ok(())
    }

    /// Takes back a member that was declared lost and isn't.
    pub async fn regain(&self, lease: &LeaseKey) -> Result<(), ServiceError> {
        let (cluster, name, incarnation): (ClusterName, _, Incarnation) = lease.clone();
        let occasion = self.occasion(&Caller::acting(format!("member:{name}")));
        let rule = move |facts: &crate::decide::Facts| member::returned(facts, &occasion, &name, incarnation).map(Into::into);
        // The lease first: else the next look for expired ones would lose the member again.
        self.store.renew_leases(self.replica, self.settings.lease, &[Renewal { lease: lease.clone(), take: true }]).await?;
        let done = self.transition(&cluster, Scope::default(), rule).await?;
        if done.changed {
            tracing::info!(%cluster, member = %lease.1, %incarnation, "member is back");
        }
        Ok(())
    }
}
