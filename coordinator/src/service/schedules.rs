//! Schedules: setting, reading, pausing, triggering, deleting, firing.

use jiff::SignedDuration;
use stillframe_api::{
    DurationOrZero, HumanDuration, Page,
    cluster::PageQuery,
    schedule::{MAX_SLOTS, NextQuery, NextSlot, PauseSchedule, PutSchedule, SHOWN_SLOTS, Schedule},
    snapshot::Snapshot,
};
use stillframe_protocol::{ClusterName, SnapshotId, name::ScheduleName};

use super::{
    Caller, Service, ServiceError, answers,
    clusters::{page, page_limit},
    snapshots::check_labels,
};
use crate::{
    decide::{
        Decision, Facts, Occasion, Refusal,
        schedule::{
            fire,
            manage::{self, Pause, Wanted},
        },
    },
    store::{Outcome, ScheduleRow, Scope, Transition},
};

fn ms(duration: HumanDuration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(1)
}

fn wanted(name: &ScheduleName, request: PutSchedule) -> Wanted {
    Wanted {
        name: name.clone(),
        every_ms: request.every.map(ms),
        cron: request.cron,
        time_zone: request.time_zone,
        jitter_ms: DurationOrZero::as_millis(request.jitter),
        min_pause_ms: DurationOrZero::as_millis(request.min_pause),
        timeout_ms: request.timeout.map(ms),
        labels: request.labels,
        on_overlap: request.on_overlap,
        misfire: request.misfire,
    }
}

impl Service {
    /// Carries out a change of a schedule, and has the loop look at it.
    async fn change_schedule(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        name: &ScheduleName,
        rule: impl Fn(&Facts, &Occasion) -> Result<Decision, Refusal> + Send + Sync + 'static,
    ) -> Result<Transition, ServiceError> {
        let occasion = self.occasion(caller);
        let scope = Scope { schedule: Some(name.clone()), request_id: caller.request_id.clone(), ..Scope::default() };
        let rule = move |facts: &Facts| rule(facts, &occasion).map(Into::into);
        let done = self.transition(cluster, scope, rule).await.map_err(|error| match error {
            ServiceError::Refused(Refusal::UnknownSchedule { .. }) => {
                ServiceError::UnknownSchedule(cluster.clone(), name.clone())
            }
            other => other,
        })?;
        self.wakes.schedules.notify_one();
        Ok(done)
    }

    fn answer_schedule(&self, cluster: &ClusterName, name: &ScheduleName, done: Transition) -> Result<Schedule, ServiceError> {
        let now = done.facts.now;
        let schedule = done.facts.schedule.map(|schedule| answers::schedule(cluster.clone(), schedule, now));
        schedule.ok_or_else(|| ServiceError::UnknownSchedule(cluster.clone(), name.clone()))
    }

    /// Sets a schedule.
    pub async fn put_schedule(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        name: &ScheduleName,
        request: PutSchedule,
    ) -> Result<Schedule, ServiceError> {
        check_labels(&request.labels)?;
        let wanted = wanted(name, request);
        let rule = move |facts: &Facts, occasion: &Occasion| manage::set(facts, occasion, &wanted);
        let done = self.change_schedule(caller, cluster, name, rule).await?;
        self.answer_schedule(cluster, name, done)
    }

    /// Pauses a schedule.
    pub async fn pause_schedule(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        name: &ScheduleName,
        request: &PauseSchedule,
    ) -> Result<Schedule, ServiceError> {
        let pause = match (request.until, request.for_duration) {
            (None, None) => Pause::UntilResumed,
            (Some(until), None) => Pause::Until(until),
            (None, Some(duration)) => Pause::For(SignedDuration::from_millis(duration.as_millis())),
            (Some(_), Some(_)) => return Err(ServiceError::Invalid("until and for exclude each other, found both".to_owned())),
        };
        let rule = move |facts: &Facts, occasion: &Occasion| manage::pause(facts, occasion, pause);
        let done = self.change_schedule(caller, cluster, name, rule).await?;
        self.answer_schedule(cluster, name, done)
    }

    /// Ends a schedule's pause.
    pub async fn resume_schedule(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        name: &ScheduleName,
    ) -> Result<Schedule, ServiceError> {
        let done = self.change_schedule(caller, cluster, name, manage::resume).await?;
        self.answer_schedule(cluster, name, done)
    }

    /// Takes a snapshot as a schedule would.
    pub async fn trigger_schedule(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        name: &ScheduleName,
    ) -> Result<Snapshot, ServiceError> {
        let id = SnapshotId(caller.id());
        if caller.is_repeated() && self.store.snapshot(id).await?.is_some() {
            return self.snapshot(id, None).await;
        }
        let rule =
            move |facts: &Facts, occasion: &Occasion| manage::trigger(facts, &Occasion { snapshot: id, ..occasion.clone() });
        let done = self.change_schedule(caller, cluster, name, rule).await?;
        self.answer_from_facts(cluster, done.facts, id).await
    }

    async fn schedule_row(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<ScheduleRow, ServiceError> {
        if let Some(row) = self.store.schedule(cluster, name).await? {
            return Ok(row);
        }
        self.cluster(cluster).await?;
        Err(ServiceError::UnknownSchedule(cluster.clone(), name.clone()))
    }

    /// A schedule.
    pub async fn schedule(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<Schedule, ServiceError> {
        let ScheduleRow { cluster, now, facts } = self.schedule_row(cluster, name).await?;
        Ok(answers::schedule(cluster, facts, now))
    }

    /// The next slots of a schedule.
    pub async fn next_slots(
        &self,
        cluster: &ClusterName,
        name: &ScheduleName,
        query: &NextQuery,
    ) -> Result<Page<NextSlot>, ServiceError> {
        let limit = match query.limit {
            None => SHOWN_SLOTS,
            Some(limit) if (1..=MAX_SLOTS).contains(&limit) => limit as usize,
            Some(limit) => return Err(ServiceError::Invalid(format!("limit must be 1 to {MAX_SLOTS}, found {limit}"))),
        };
        let row = self.schedule_row(cluster, name).await?;
        Ok(Page { items: answers::next_slots(&row.cluster, &row.facts, limit), next_cursor: None })
    }

    /// Schedules by name.
    pub async fn schedules(&self, cluster: &ClusterName, query: &PageQuery) -> Result<Page<Schedule>, ServiceError> {
        let limit = page_limit(query.limit)?;
        let rows = self.store.schedules(cluster, query.cursor.as_deref(), limit + 1).await?;
        if rows.is_empty() {
            self.cluster(cluster).await?;
        }
        let answer = |ScheduleRow { cluster, now, facts }| answers::schedule(cluster, facts, now);
        Ok(page(rows.into_iter().map(answer).collect(), limit, |schedule: &Schedule| schedule.name.to_string()))
    }

    /// Deletes a schedule.
    pub async fn delete_schedule(&self, caller: &Caller, cluster: &ClusterName, name: &ScheduleName) -> Result<(), ServiceError> {
        self.change_schedule(caller, cluster, name, manage::delete).await.map(drop)
    }

    /// Decides a schedule's slot, if one is due.
    pub async fn fire(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<(), ServiceError> {
        let occasion = self.occasion(&Caller::acting(format!("schedule:{name}")));
        let scope = Scope { schedule: Some(name.clone()), ..Scope::default() };
        let rule = move |facts: &Facts| {
            Ok(match fire::fire(facts, &occasion)? {
                Some((decision, slot)) => Outcome { decision, slot },
                None => Decision::nothing(facts).into(),
            })
        };
        self.transition(cluster, scope, rule).await.map(drop)
    }
}
