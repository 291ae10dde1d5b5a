//! Snapshots whose parts are all there and that nobody finishes: a replica died, or this one has just started.

use std::{sync::Arc, time::Duration};

use stillframe_protocol::SnapshotId;

use super::each::each;
use crate::{
    service::{Service, ServiceError},
    store::StoreError,
};

/// How often to look for what another replica left: it is what the death of one delays its snapshots by.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many are looked at together.
const PAGE: u32 = 100;

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        let service = &service;
        let page = |after| async move { Ok(service.store.unfinished(after, PAGE).await?) };
        page_through(page, |page| commit_all(service, service.without_committing(page))).await?;
        Ok(LOOK_EVERY)
    };
    super::every_in_time(&service, "commit", None, tick).await;
}

/// Page by page, to the end: however many can't be finished just now, because their archive is away say, those behind them have their turn too.
async fn page_through<P, A>(
    page: impl Fn(Option<SnapshotId>) -> P,
    act: impl Fn(Vec<SnapshotId>) -> A,
) -> Result<(), ServiceError>
where
    P: Future<Output = Result<Vec<SnapshotId>, ServiceError>>,
    A: Future<Output = Result<(), ServiceError>>,
{
    let (mut after, mut done) = (None, Ok(()));
    loop {
        let snapshots = page(after).await?;
        let Some(last) = snapshots.last().copied() else { return done };
        match act(snapshots).await {
            Err(error @ ServiceError::Store(StoreError::Unavailable { .. })) => return Err(error),
            result => done = done.and(result),
        }
        after = Some(last);
    }
}

/// Commits those that are complete, all asked for at once; one by one where one of them can't be read.
async fn commit_all(service: &Arc<Service>, snapshots: Vec<SnapshotId>) -> Result<(), ServiceError> {
    let commit = async |some: &[SnapshotId]| {
        let complete = service.store.complete_snapshots(some).await?;
        complete.into_iter().for_each(|snapshot| service.commit_soon(snapshot));
        Ok(())
    };
    if snapshots.is_empty() {
        return Ok(());
    }
    match commit(&snapshots).await {
        Err(ServiceError::Store(StoreError::Fault { .. })) => {
            each(snapshots, ToString::to_string, async |snapshot| commit(&[snapshot]).await).await
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_page_that_fails_does_not_hide_those_behind_it_and_is_told_of() {
        let id = |n: u128| SnapshotId(Uuid::from_u128(n));
        let page = |after: Option<SnapshotId>| {
            let behind = (1..=5).map(id).filter(|id| Some(*id) > after);
            std::future::ready(Ok(behind.take(2).collect()))
        };
        let acted = Mutex::new(Vec::new());
        let act = |page: Vec<SnapshotId>| {
            acted.lock().expect("no panic").extend(page.iter().copied());
            let fault = || StoreError::Fault { reason: "a row that can't be read".to_owned() }.into();
            std::future::ready(if page.contains(&id(1)) { Err(fault()) } else { Ok(()) })
        };
        assert!(page_through(page, act).await.is_err());
        assert_eq!(acted.into_inner().expect("no panic"), (1..=5).map(id).collect::<Vec<_>>());
    }
}
