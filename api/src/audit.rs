//! The audit: a row for every change of state, with who made it, why, and on which request. `docs/audit.md` has the whole story.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::ClusterName;
use utoipa::{IntoParams, ToSchema};

/// The media type of an export: one [`AuditRow`] a line.
pub const NDJSON: &str = "application/x-ndjson";

/// One row of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditRow {
    /// The cluster that it is about; null for what is about none. The rows of a cluster form one chain, those of none another.
    #[schema(value_type = Option<String>)]
    pub cluster: Option<ClusterName>,
    /// Its number in its chain, from 1, without gaps.
    pub seq: u64,
    /// When, by the database's clock, in whole microseconds; in a chain it never goes back.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who: `request`, `member:<name>`, `members` (several together), `schedule:<name>` or `coordinator`.
    pub actor: String,
    /// What was done, `snapshot.committed`.
    pub action: String,
    /// To what: an id or a name.
    pub subject: String,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// The id of the request that it was done for.
    pub request_id: Option<String>,
    /// More, a JSON object. Its text is hashed as it is written here, spaces included.
    #[serde(with = "raw")]
    #[schema(value_type = Object)]
    pub detail: String,
    /// The hash of the row before it in the chain; 64 zeros for the first.
    pub prev_hash: String,
    /// Its own hash: SHA-256 of everything above, in hexadecimal.
    pub hash: String,
}

/// Keeps a JSON value as the text that it is.
mod raw {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
    use serde_json::value::RawValue;

    pub(super) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: Box<RawValue> = RawValue::from_string(text.to_owned()).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer).map_err(D::Error::custom)?;
        Ok(String::from(Box::<str>::from(raw)))
    }
}

/// Which rows to list, newest first. Everything that is given has to match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListAudit {
    /// Only those of this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub cluster: Option<ClusterName>,
    /// Only those of this actor, `member:p1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Only those with this action, `snapshot.committed`; one that ends with a point stands for all that begin with it, `snapshot.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Only those about this subject: a snapshot's or restore's id, a member's or schedule's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Only those at this time or later.
    #[serde(default, deserialize_with = "crate::moment::optional", skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Only those before this time.
    #[serde(default, deserialize_with = "crate::moment::optional", skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// How many items at most (1 to 500, 50 unless told).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::bounded::limit")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which chain to export.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ExportAudit {
    /// Only the chain of this cluster; all of them, one after the other, when it isn't given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub cluster: Option<ClusterName>,
}

/// Which chain to verify.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct VerifyAudit {
    /// Only the chain of this cluster; all of them when it isn't given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub cluster: Option<ClusterName>,
    /// A head of that chain as an earlier verification gave it and as it was kept elsewhere, `<seq>:<hash>`: without it, whoever can write
    /// the whole database could have written the chain anew. Takes `cluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}
