//! Schedules: setting, reading, deleting, firing.

use stillframe_api::schedule::{MIN_EVERY, PutSchedule, Schedule};
use stillframe_protocol::{ClusterName, name::ScheduleName};

use super::{Caller, Service, ServiceError, answers};
use crate::{
    decide::{Decision, Facts, schedule},
    store::{NewSchedule, Outcome, Scope},
};

impl Service {
    /// Sets a schedule.
    pub async fn put_schedule(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        name: &ScheduleName,
        request: PutSchedule,
    ) -> Result<Schedule, ServiceError> {
        if request.every < MIN_EVERY {
            return Err(ServiceError::Invalid(format!("every must be at least {MIN_EVERY}, found {}", request.every)));
        }
        let ms = |duration: stillframe_api::HumanDuration| u64::try_from(duration.as_millis()).unwrap_or(1);
        let new = NewSchedule { name: name.clone(), every_ms: ms(request.every), timeout_ms: request.timeout.map(ms) };
        self.cluster(cluster).await?;
        let facts = self.store.put_schedule(cluster, &new, caller.request_id.clone()).await?;
        self.wakes.schedules.notify_one();
        Ok(answers::schedule(cluster.clone(), facts))
    }

    /// A schedule.
    pub async fn schedule(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<Schedule, ServiceError> {
        if let Some(row) = self.store.schedule(cluster, name).await? {
            return Ok(answers::schedule(row.cluster, row.facts));
        }
        self.cluster(cluster).await?;
        Err(ServiceError::UnknownSchedule(cluster.clone(), name.clone()))
    }

    /// Deletes a schedule.
    pub async fn delete_schedule(&self, caller: &Caller, cluster: &ClusterName, name: &ScheduleName) -> Result<(), ServiceError> {
        if self.store.delete_schedule(cluster, name, caller.request_id.clone()).await? {
            return Ok(());
        }
        self.cluster(cluster).await?;
        Err(ServiceError::UnknownSchedule(cluster.clone(), name.clone()))
    }

    /// Decides a schedule's slot, if one is due.
    pub(crate) async fn fire(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<(), ServiceError> {
        let occasion = self.occasion(&Caller::acting(format!("schedule:{name}")));
        let scope = Scope { schedule: Some(name.clone()), ..Scope::default() };
        let rule = move |facts: &Facts| {
            Ok(match schedule::fire(facts, &occasion)? {
                Some((decision, slot)) => Outcome { decision, slot: Some(slot) },
                None => Decision::nothing(facts).into(),
            })
        };
        self.transition(cluster, scope, rule).await.map(drop)
    }
}
