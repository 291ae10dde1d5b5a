//! Hearing what agents say of themselves, in case they know more than the database does. The rule is in [`crate::decide::claims`].

use stillframe_protocol::ClusterName;

use super::{Caller, Service, ServiceError};
use crate::{
    decide::{
        Facts,
        claims::{self, Claim, Worth},
    },
    store::Scope,
};

impl Service {
    /// Has the cluster leap if what an agent says proves that the database has lost transactions. Costs nothing where it says what is known here.
    pub(crate) async fn hear(&self, cluster: &ClusterName, claim: Claim) -> Result<(), ServiceError> {
        let says_more = || self.hub.channel(cluster).peek(|facts| claims::weigh(facts, &claim) != Worth::Nothing);
        if says_more() == Some(false) {
            return Ok(());
        }
        // Mostly it is this replica that is behind the others. One reads the facts, for all who speak at once.
        let _one_at_a_time = self.claims.lock().await;
        if says_more() == Some(false) {
            return Ok(());
        }
        let view = self.reload(cluster).await?;
        match claims::weigh(&view.facts, &claim) {
            Worth::Nothing => Ok(()),
            Worth::Incredible(why) => {
                tracing::debug!(%cluster, why, "an agent says what can't be");
                Ok(())
            }
            Worth::Evidence(why) => {
                tracing::error!(%cluster, why, "an agent knows more than the database, which has lost transactions; numbers leap, and nothing is deleted until the archive was looked through");
                let occasion = self.occasion(&Caller::acting(format!("member:{}", claim.member)));
                let rule = move |facts: &Facts| Ok(claims::heed(facts, &occasion, &claim).into());
                self.transition(cluster, Scope::default(), rule).await?;
                self.wakes.reconcile.notify_one();
                Ok(())
            }
        }
    }
}
