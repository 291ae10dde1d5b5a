//! Trying out the archive's store, and saying what was found.

use std::{sync::Arc, time::Duration};

use stillframe_api::archive::ArchiveInfo;
use stillframe_archive::{FORMAT, Probe, ProbeError};

use super::{Service, ServiceError, lock};

impl Service {
    /// The coordinator's archive, and what its store was found to do.
    pub async fn archive_info(&self) -> Result<ArchiveInfo, ServiceError> {
        let archive = self.archives.get(None).await?;
        let probe = lock(&self.probed).clone().map(Into::into);
        Ok(ArchiveInfo { id: archive.id(), url: archive.url().to_string(), format: FORMAT, probe })
    }

    /// Tries the store out anew.
    pub async fn probe_archive(&self) -> Result<ArchiveInfo, ServiceError> {
        let archive = self.archives.get(None).await?;
        match archive.probe().await {
            Ok(found) => self.probed(found),
            Err(error) => return Err(ServiceError::Archive(error.to_string())),
        }
        self.archive_info().await
    }

    /// Takes note of what was found, and says so in the log.
    pub(crate) fn probed(&self, found: Probe) {
        let Probe { took_ms, put_ms, create_if_absent, list_is_current, multipart, delete, .. } = &found;
        let create_if_absent = create_if_absent.as_str();
        if *list_is_current && *multipart && *delete {
            tracing::info!(create_if_absent, took_ms, put_ms, "the store was tried out");
        } else {
            tracing::warn!(
                create_if_absent,
                list_is_current,
                multipart,
                delete,
                "the store was tried out, and can't do everything"
            );
        }
        *lock(&self.probed) = Some(found);
    }

    /// Tries the store out in the background until that is done, because it couldn't be at the start. A store that loses what it acknowledges
    /// stops the coordinator.
    pub(crate) fn probe_later(self: &Arc<Self>) {
        let service = self.clone();
        tokio::spawn(async move {
            let mut pause = Duration::from_secs(1);
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = service.stopping.cancelled() => return,
                }
                pause = (pause * 2).min(Duration::from_secs(60));
                let Ok(archive) = service.archives.get(None).await else { continue };
                match archive.probe().await {
                    Ok(found) => return service.probed(found),
                    Err(error @ ProbeError::Loses { .. }) => {
                        tracing::error!(%error, "the coordinator stops");
                        service.stopping.cancel();
                        return;
                    }
                    Err(error) => tracing::debug!(%error, "the store could not be tried out yet"),
                }
            }
        });
    }
}
