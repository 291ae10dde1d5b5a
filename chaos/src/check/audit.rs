//! The audit's chain is as it was written, from the first row to the last, and still holds the head that an earlier look found.

use stillframe_api::{audit::VerifyAudit, chain::AuditVerification};

use crate::stage::Stage;

/// Verifies the cluster's chain; gives its head, to be looked for the next time.
///
/// # Errors
/// When a row was edited, removed or moved, or the head of before isn't in the chain any more.
pub async fn chain_verifies(stage: &Stage, head: Option<String>) -> Result<Option<String>, String> {
    let query = VerifyAudit { cluster: Some(stage.cluster.clone()), head };
    let verification =
        stage.client(0).verify_audit(&query).await.map_err(|error| format!("the audit can't be verified: {error}"))?;
    judge(&verification)?;
    Ok(verification.chains.first().and_then(|chain| chain.head.as_ref().map(ToString::to_string)))
}

fn judge(verification: &AuditVerification) -> Result<(), String> {
    if !verification.intact {
        return Err(format!("the audit isn't intact: {verification:?}"));
    }
    if verification.chains.is_empty() {
        return Err("the cluster has no chain in the audit".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_is_broken_or_missing_is_found() {
        let verification = |intact: bool, chains: serde_json::Value| {
            let found = serde_json::json!({ "intact": intact, "chains": chains });
            judge(&serde_json::from_value(found).expect("a verification"))
        };
        assert!(verification(false, serde_json::json!([])).unwrap_err().contains("isn't intact"));
        assert!(verification(true, serde_json::json!([])).unwrap_err().contains("no chain"));
    }
}
