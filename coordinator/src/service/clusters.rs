//! Clusters: creating, changing and reading.

use stillframe_api::{
    DurationOrZero, HumanDuration, Page,
    channel_state::{Alignment, ChannelSettings},
    cluster::{Cluster, CreateCluster, MAX_MEMBERS, Member, PageQuery},
    page::{DEFAULT_LIMIT, MAX_LIMIT},
    restore::MAX_FALLBACK,
    rollback::{ResumeCluster, RollbackSettings},
    settings::{MAX_CONCURRENT, UpdateCluster},
};
use stillframe_protocol::{ClusterName, MemberName};

use super::{Caller, Service, ServiceError, answers, archives};
use crate::{
    decide::{Facts, alignment, facts::ClusterFacts, rollback, settings},
    store::{ClusterRow, Scope},
};

/// The number of items of a page.
pub(crate) fn page_limit(limit: Option<u32>) -> Result<u32, ServiceError> {
    match limit {
        None => Ok(DEFAULT_LIMIT),
        Some(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        Some(limit) => Err(ServiceError::Invalid(format!("limit must be 1 to {MAX_LIMIT}, found {limit}"))),
    }
}

/// Makes a page of one item more than asked for.
pub(crate) fn page<T>(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next_cursor = if more { items.last().map(cursor) } else { None };
    Page { items, next_cursor }
}

fn check_members(min_members: u32) -> Result<(), ServiceError> {
    if (1..=MAX_MEMBERS).contains(&min_members) {
        return Ok(());
    }
    Err(ServiceError::Invalid(format!("min_members must be 1 to {MAX_MEMBERS}, found {min_members}")))
}

fn check_concurrent(max_concurrent: u32) -> Result<(), ServiceError> {
    if (1..=MAX_CONCURRENT).contains(&max_concurrent) {
        return Ok(());
    }
    Err(ServiceError::Invalid(format!("max_concurrent must be 1 to {MAX_CONCURRENT}, found {max_concurrent}")))
}

fn differences(asked: &CreateCluster, found: &ClusterFacts) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |field: &str, asked: String, found: String| {
        if asked != found {
            differences.push(format!("{field} is {found}, not {asked}"));
        }
    };
    let timeout = u64::try_from(asked.snapshot_timeout.as_millis()).unwrap_or(0);
    compare("min_members", asked.min_members.to_string(), found.min_members.to_string());
    compare("snapshot_timeout", format!("{timeout} ms"), format!("{} ms", found.snapshot_timeout_ms));
    compare("on_loss", format!("{:?}", asked.on_loss), format!("{:?}", found.on_loss));
    compare("max_concurrent", asked.max_concurrent.to_string(), found.max_concurrent.to_string());
    compare("min_pause", format!("{} ms", asked.min_pause.as_millis()), format!("{} ms", found.min_pause_ms));
    compare("archive_prefix", format!("{:?}", asked.archive_prefix), format!("{:?}", found.archive_prefix));
    let RollbackSettings { limit, window, backoff, fallback } = &asked.rollback;
    compare("rollback.limit", limit.to_string(), found.rollback_limit.to_string());
    compare("rollback.window", format!("{} ms", window.as_millis()), format!("{} ms", found.rollback_window_ms));
    compare("rollback.backoff", format!("{} ms", backoff.as_millis()), format!("{} ms", found.rollback_backoff_ms));
    compare("rollback.fallback", fallback.to_string(), found.restore_fallback.to_string());
    let (asked, found) = (asked.channels(), found.channels.settings());
    let timeout = |of: ChannelSettings| of.aligned_timeout.map_or_else(|| "null".to_owned(), |timeout| timeout.to_string());
    compare("channel_state", asked.channel_state.to_string(), found.channel_state.to_string());
    compare("alignment", asked.alignment.to_string(), found.alignment.to_string());
    compare("aligned_timeout", timeout(asked), timeout(found));
    differences
}

/// The most rollbacks that a window's limit may be.
const MAX_ROLLBACKS: u32 = 1_000;

/// Checks the bounds of how a cluster is put back by itself.
fn check_rollback(limit: Option<u32>, fallback: Option<u32>) -> Result<(), ServiceError> {
    for (what, found, most) in [("limit", limit, MAX_ROLLBACKS), ("fallback", fallback, MAX_FALLBACK)] {
        if let Some(found) = found.filter(|found| *found > most) {
            return Err(ServiceError::Invalid(format!("rollback.{what} must be 0 to {most}, found {found}")));
        }
    }
    Ok(())
}

impl Service {
    /// Makes a cluster; gives whether it is new.
    pub async fn create_cluster(&self, caller: &Caller, settings: CreateCluster) -> Result<(Cluster, bool), ServiceError> {
        check_members(settings.min_members)?;
        check_concurrent(settings.max_concurrent)?;
        check_rollback(Some(settings.rollback.limit), Some(settings.rollback.fallback))?;
        settings::check_channels(&settings.channels().into())?;
        if let Some(prefix) = &settings.archive_prefix {
            archives::check_prefix(prefix)?;
        }
        // Before the cluster is there, so that a bucket that can't be written is found out now.
        self.archives.get(settings.archive_prefix.as_deref()).await?;
        let (facts, is_new) = self.store.create_cluster(&settings, caller.request_id.clone()).await?;
        let differences = differences(&settings, &facts);
        if !differences.is_empty() {
            return Err(ServiceError::ClusterExists { cluster: facts.name, differences: differences.join("; ") });
        }
        if is_new {
            return Ok((
                answers::cluster(ClusterRow {
                    facts,
                    live_members: 0,
                    lost_members: 0,
                    under_way: Vec::new(),
                    pending: 0,
                    restore: None,
                }),
                true,
            ));
        }
        Ok((self.cluster(&settings.name).await?, false))
    }

    /// Changes settings of a cluster.
    pub async fn update_cluster(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        request: &UpdateCluster,
    ) -> Result<Cluster, ServiceError> {
        request.min_members.map_or(Ok(()), check_members)?;
        request.max_concurrent.map_or(Ok(()), check_concurrent)?;
        let rollback = request.rollback.unwrap_or_default();
        check_rollback(rollback.limit, rollback.fallback)?;
        let milliseconds = |duration: HumanDuration| u64::try_from(duration.as_millis()).unwrap_or(1);
        let changes = settings::Changes {
            min_members: request.min_members,
            snapshot_timeout_ms: request.snapshot_timeout.map(milliseconds),
            on_loss: request.on_loss,
            max_concurrent: request.max_concurrent,
            min_pause_ms: request.min_pause.map(DurationOrZero::as_millis),
            rollback_limit: rollback.limit,
            rollback_window_ms: rollback.window.map(milliseconds),
            rollback_backoff_ms: rollback.backoff.map(milliseconds),
            restore_fallback: rollback.fallback,
            channel_state: request.channel_state,
            alignment: request.alignment,
            aligned_timeout_ms: request.aligned_timeout.map(|timeout| timeout.map(milliseconds)),
        };
        let cycle = if request.alignment == Some(Alignment::Aligned) { self.cycle(cluster).await? } else { None };
        let occasion = self.occasion(caller);
        let scope = Scope { request_id: caller.request_id.clone(), ..Scope::default() };
        let rule = move |facts: &Facts| settings::update_cluster(facts, &occasion, changes, cycle.as_deref()).map(Into::into);
        self.transition(cluster, scope, rule).await?;
        self.cluster(cluster).await
    }

    /// A cycle that the channels of the latest committed snapshot form. A newer one that is committed meanwhile may form another: that is found when the
    /// next aligned snapshot is taken.
    async fn cycle(&self, cluster: &ClusterName) -> Result<Option<Vec<MemberName>>, ServiceError> {
        let Some(facts) = self.store.cluster(cluster).await?.map(|row| row.facts) else { return Ok(None) };
        let Some(latest) = facts.latest_committed else { return Ok(None) };
        Ok(alignment::cycle_of(&self.store.parts(latest).await?, &facts.latest_mapping))
    }

    /// A cluster.
    pub async fn cluster(&self, name: &ClusterName) -> Result<Cluster, ServiceError> {
        let row = self.store.cluster(name).await?;
        row.map(answers::cluster).ok_or_else(|| ServiceError::UnknownCluster(name.clone()))
    }

    /// Has a halted cluster go on, in its generation or from its latest committed snapshot.
    pub async fn resume_cluster(
        &self,
        caller: &Caller,
        name: &ClusterName,
        request: ResumeCluster,
    ) -> Result<Cluster, ServiceError> {
        if request.fallback > MAX_FALLBACK {
            return Err(ServiceError::Invalid(format!("fallback must be 0 to {MAX_FALLBACK}, found {}", request.fallback)));
        }
        let occasion = self.occasion(caller);
        let scope = Scope { request_id: caller.request_id.clone(), ..Scope::default() };
        let rule = move |facts: &Facts| rollback::resume(facts, &occasion, request.fallback).map(Into::into);
        self.transition(name, scope, rule).await?;
        self.cluster(name).await
    }

    /// Clusters by name.
    pub async fn clusters(&self, query: &PageQuery) -> Result<Page<Cluster>, ServiceError> {
        let limit = page_limit(query.limit)?;
        let rows = self.store.clusters(query.cursor.as_deref(), limit + 1).await?;
        Ok(page(rows.into_iter().map(answers::cluster).collect(), limit, |cluster: &Cluster| cluster.name.to_string()))
    }

    /// Members by name.
    pub async fn members(&self, cluster: &ClusterName, query: &PageQuery) -> Result<Page<Member>, ServiceError> {
        let limit = page_limit(query.limit)?;
        let rows = self.store.members(cluster, query.cursor.as_deref(), limit + 1).await?;
        if rows.is_empty() {
            self.cluster(cluster).await?;
        }
        let member = |row: crate::store::MemberRow| {
            let is_suspect = self.registry.is_suspect(cluster, &row.name, row.incarnation);
            answers::member(row, is_suspect)
        };
        Ok(page(rows.into_iter().map(member).collect(), limit, |member: &Member| member.name.to_string()))
    }
}
