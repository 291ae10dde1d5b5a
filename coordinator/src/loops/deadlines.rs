//! Deadlines of snapshots and restores.

use std::sync::Arc;

use stillframe_protocol::ClusterName;

use super::each::each;
use crate::{
    decide::{Facts, snapshot},
    service::{Caller, Service},
    store::Scope,
};

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        let due = service.store.deadlines().await?;
        let act = async |cluster: ClusterName| {
            let occasion = service.occasion(&Caller::coordinator());
            let rule = move |facts: &Facts| Ok(snapshot::deadlines(facts, &occasion).into());
            service.transition(&cluster, Scope::default(), rule).await.map(drop)
        };
        each(due.now, ToString::to_string, act).await?;
        Ok(due.next_in.unwrap_or(super::LOOK_EVERY))
    };
    super::every_in_time(&service, "deadlines", Some(&service.wakes.deadlines), tick).await;
}
