//! Another S3 endpoint for the tests that need no gate.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `STILLFRAME_TEST_S3_ENDPOINT` | `http://host:port` or `https://host`; when it isn't set, the tests start their own server |
//! | `STILLFRAME_TEST_S3_BUCKET` | a bucket that exists; each test has a prefix of its own in it, which it leaves behind |
//! | `STILLFRAME_TEST_S3_REGION` | `us-east-1` unless set |
//! | `STILLFRAME_TEST_S3_ACCESS_KEY_ID` | the id of the key |
//! | `STILLFRAME_TEST_S3_SECRET_ACCESS_KEY` | the key |
//!
//! `cargo run -p stillframe-e2e --example s3-server` starts the tests' own server in a process of its own and prints these variables.

use uuid::Uuid;

use super::bucket::{Access, Bucket};

/// A fresh prefix on the endpoint that the environment names, or nothing when it names none.
///
/// # Panics
///
/// When the endpoint is named but the bucket or the key isn't.
#[must_use]
pub fn bucket() -> Option<Bucket> {
    let optional = |name: &str| std::env::var(format!("STILLFRAME_TEST_S3_{name}")).ok().filter(|value| !value.is_empty());
    let needed = |name: &str| {
        optional(name)
            .unwrap_or_else(|| panic!("STILLFRAME_TEST_S3_ENDPOINT is set, so STILLFRAME_TEST_S3_{name} must be set too"))
    };
    let endpoint = optional("ENDPOINT")?;
    Some(Bucket::new(Access {
        endpoint,
        region: optional("REGION").unwrap_or_else(|| "us-east-1".to_owned()),
        bucket: needed("BUCKET"),
        prefix: format!("stillframe-e2e/{}", Uuid::now_v7()),
        access_key_id: needed("ACCESS_KEY_ID"),
        secret_access_key: needed("SECRET_ACCESS_KEY"),
    }))
}
