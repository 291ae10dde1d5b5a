//! The audit: listing, exporting and verifying it. It is only read here; every transition writes its own rows.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use stillframe_api::{
    Page,
    audit::{AuditRow, ExportAudit, ListAudit, VerifyAudit},
    chain::{AuditVerification, ChainChecker, ChainHead},
};
use stillframe_protocol::ClusterName;

use super::{Service, ServiceError, clusters};
use crate::store::{AuditFilter, AuditHead};

/// How many rows of a chain are read at once.
const ROWS_AT_ONCE: u32 = 1000;

/// A stretch of an export: rows in the order of their chain.
pub type Stretch = Result<Vec<AuditRow>, ServiceError>;

impl Service {
    /// Rows of the audit, newest first.
    pub async fn audit(&self, query: &ListAudit) -> Result<Page<AuditRow>, ServiceError> {
        let limit = clusters::page_limit(query.limit)?;
        let before = match query.cursor.as_deref().map(str::parse) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => return Err(ServiceError::Invalid("cursor must be the next_cursor of the page before".to_owned())),
        };
        let filter = AuditFilter {
            cluster: query.cluster.clone(),
            actor: query.actor.clone(),
            action: query.action.clone(),
            subject: query.subject.clone(),
            since: query.since,
            until: query.until,
            before,
            limit: limit + 1,
        };
        let page = clusters::page(self.store.audit(&filter).await?, limit, |entry| entry.id.to_string());
        Ok(Page { items: page.items.into_iter().map(|entry| entry.row).collect(), next_cursor: page.next_cursor })
    }

    /// One chain or all of them, a stretch at a time, up to where each ends now.
    pub async fn export_audit(self: &Arc<Self>, query: &ExportAudit) -> Result<BoxStream<'static, Stretch>, ServiceError> {
        let heads = self.heads(query.cluster.as_ref()).await?;
        let service = self.clone();
        let stretches = stream::iter(heads).flat_map(move |chain| service.clone().stretches(chain));
        Ok(stretches.boxed())
    }

    fn stretches(self: Arc<Self>, AuditHead { cluster, head }: AuditHead) -> BoxStream<'static, Stretch> {
        stream::try_unfold(0, move |after| {
            let (service, cluster, last) = (self.clone(), cluster.clone(), head.seq);
            async move {
                let rows = service.store.audit_chain(cluster.as_ref(), after, last, ROWS_AT_ONCE).await?;
                Ok(rows.last().map(|row| row.seq).map(|after| (rows, after)))
            }
        })
        .boxed()
    }

    /// Looks whether the chains are as they were written.
    pub async fn verify_audit(&self, query: &VerifyAudit) -> Result<AuditVerification, ServiceError> {
        let kept: Option<ChainHead> = query.head.as_deref().map(str::parse).transpose().map_err(ServiceError::Invalid)?;
        if kept.is_some() && query.cluster.is_none() {
            return Err(ServiceError::Invalid("head is that of one chain: expected cluster with it".to_owned()));
        }
        let mut chains = Vec::new();
        for AuditHead { cluster, head } in self.heads(query.cluster.as_ref()).await? {
            let last = head.seq;
            let known = kept.iter().cloned().chain((last > 0).then_some(head)).collect();
            let mut checker = ChainChecker::new(cluster.clone(), known);
            let mut after = 0;
            while !checker.is_broken() {
                let rows = self.store.audit_chain(cluster.as_ref(), after, last, ROWS_AT_ONCE).await?;
                let Some(end) = rows.last() else { break };
                after = end.seq;
                // A thousand hashes take a millisecond or so: short enough to do here.
                rows.iter().for_each(|row| checker.take(row));
            }
            chains.push(checker.finish());
        }
        Ok(AuditVerification::of(chains))
    }

    /// The heads of one chain or of all. A cluster that never was has no chain; one that is there without a head has lost it.
    async fn heads(&self, cluster: Option<&ClusterName>) -> Result<Vec<AuditHead>, ServiceError> {
        let heads = self.store.audit_heads(cluster).await?;
        match cluster {
            Some(cluster) if heads.is_empty() => Err(ServiceError::UnknownCluster(cluster.clone())),
            Some(_) | None => Ok(heads),
        }
    }
}
