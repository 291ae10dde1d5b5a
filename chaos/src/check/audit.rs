//! The audit's chain is as it was written, from the first row to the last, and still holds the head that an earlier look found.

use stillframe_api::audit::VerifyAudit;

use crate::stage::Stage;

/// Verifies the cluster's chain; gives its head, to be looked for the next time.
///
/// # Errors
/// When a row was edited, removed or moved, or the head of before isn't in the chain any more.
pub async fn chain_verifies(stage: &Stage, head: Option<String>) -> Result<Option<String>, String> {
    let query = VerifyAudit { cluster: Some(stage.cluster.clone()), head };
    let verification =
        stage.client(0).verify_audit(&query).await.map_err(|error| format!("the audit can't be verified: {error}"))?;
    if !verification.intact {
        return Err(format!("the audit isn't intact: {verification:?}"));
    }
    Ok(verification.chains.first().and_then(|chain| chain.head.as_ref().map(ToString::to_string)))
}
