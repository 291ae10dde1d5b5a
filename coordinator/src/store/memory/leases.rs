//! Leases.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{clock::later, state::State};
use crate::{
    decide::facts::Presence,
    store::{LeaseKey, Renewal},
};

/// How many expired ones are told at once.
const BATCH: usize = 1_000;

impl State {
    pub(super) fn renew_leases(&mut self, holder: Uuid, lease: Duration, renewals: &[Renewal], now: Timestamp) {
        for Renewal { lease: (cluster, member, incarnation), take } in renewals {
            let member = self.clusters.get_mut(cluster).and_then(|cluster| cluster.members.get_mut(member));
            let Some(member) = member.filter(|member| member.facts.incarnation == *incarnation) else { continue };
            if *take || member.facts.holder == Some(holder) {
                member.facts.holder = Some(holder);
                member.facts.lease_expires_at = later(now, lease);
                member.seen_at = now;
            }
        }
    }

    pub(super) fn expired_leases(&self, now: Timestamp) -> Vec<LeaseKey> {
        let members =
            self.clusters.values().flat_map(|cluster| cluster.members.values().map(move |member| (cluster, &member.facts)));
        let expired = members.filter(|(_, member)| member.state == Presence::Live && member.lease_expires_at <= now);
        expired.take(BATCH).map(|(cluster, m)| (cluster.facts.name.clone(), m.name.clone(), m.incarnation)).collect()
    }
}
