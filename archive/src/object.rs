//! What a manifest says of an object: what it is for, where it is, how long, its digest and its encoding.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{digest::Digest, key::ObjectKey};

/// What an object of a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The application's captured state: bytes that only the application reads.
    State,
    /// The messages recorded for the member's incoming channels, its unsent messages and its timers: see [`crate::channels`].
    Channels,
}

impl Role {
    pub(crate) const ALL: [Self; 2] = [Self::State, Self::Channels];

    /// The word for it in keys and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Channels => "channels",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the plain bytes became the object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// One Zstandard frame (RFC 8878).
    Zstd,
    /// The plain bytes themselves, where compression would save less than 5 %.
    Raw,
}

/// Where an object's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An object of its own, under this key.
    Key(ObjectKey),
    /// In the manifest itself (base64 in JSON): small objects travel with the report and cost no put.
    Inline(Bytes),
}

/// An object as the manifest describes it.
///
/// In JSON `{"role","key","bytes","digest","encoding","plain_bytes"}`, or with `inline` (base64) in place of `key`; unknown fields are
/// ignored. It is self-describing in JSON only: don't put it through a format without field names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EntryJson", into = "EntryJson")]
pub struct ObjectEntry {
    /// What it holds.
    pub role: Role,
    /// Where its bytes are.
    pub place: Place,
    /// Length of the encoded bytes.
    pub bytes: u64,
    /// Digest of the encoded bytes.
    pub digest: Digest,
    /// How they are encoded.
    pub encoding: Encoding,
    /// Length of the plain bytes.
    pub plain_bytes: u64,
}

impl ObjectEntry {
    /// The key, where it has an object of its own.
    #[must_use]
    pub fn key(&self) -> Option<&ObjectKey> {
        match &self.place {
            Place::Key(key) => Some(key),
            Place::Inline(_) => None,
        }
    }

    /// What to call it in messages: its key, or that it is inline.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.place {
            Place::Key(key) => key.to_string(),
            Place::Inline(_) => format!("(inline {})", self.role),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct EntryJson {
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<ObjectKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inline: Option<String>,
    bytes: u64,
    digest: Digest,
    encoding: Encoding,
    plain_bytes: u64,
}

impl From<ObjectEntry> for EntryJson {
    fn from(entry: ObjectEntry) -> Self {
        let ObjectEntry { role, place, bytes, digest, encoding, plain_bytes } = entry;
        let (key, inline) = match place {
            Place::Key(key) => (Some(key), None),
            Place::Inline(content) => (None, Some(BASE64.encode(content))),
        };
        Self { role, key, inline, bytes, digest, encoding, plain_bytes }
    }
}

impl TryFrom<EntryJson> for ObjectEntry {
    type Error = String;

    fn try_from(json: EntryJson) -> Result<Self, String> {
        let EntryJson { role, key, inline, bytes, digest, encoding, plain_bytes } = json;
        let place = match (key, inline) {
            (Some(key), None) => Place::Key(key),
            (None, Some(text)) => {
                Place::Inline(BASE64.decode(text).map_err(|error| format!("the inline {role} is not base64: {error}"))?.into())
            }
            (Some(_), Some(_)) => return Err(format!("the {role} object has both `key` and `inline`: expected one of them")),
            (None, None) => return Err(format!("the {role} object has neither `key` nor `inline`: expected one of them")),
        };
        Ok(Self { role, place, bytes, digest, encoding, plain_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

    #[test]
    fn an_object_with_both_places_or_none_is_refused() {
        let entry = |place: &str| {
            let json =
                format!(r#"{{"role":"state",{place}"bytes":0,"digest":"{DIGEST}","encoding":"raw","plain_bytes":0,"later":1}}"#);
            serde_json::from_str::<ObjectEntry>(&json).map_err(|error| error.to_string())
        };
        let key = r#""key":"clusters/c/snapshots/00000000-0000-0000-0000-000000000007/parts/p.1/state","#;
        assert!(entry(key).is_ok());
        assert!(entry(r#""inline":"","#).is_ok());
        assert!(entry(&format!(r#"{key}"inline":"","#)).expect_err("refused").contains("both"));
        assert!(entry("").expect_err("refused").contains("neither"));
        assert!(entry(r#""inline":"?","#).expect_err("refused").contains("base64"));
        assert!(entry(r#""key":"../x","#).expect_err("refused").contains("not an object key"));
    }
}
