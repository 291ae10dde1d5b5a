//! Opening the store behind an archive: a directory or a bucket, with few and short retries, because whoever calls knows a deadline.

use std::{path::PathBuf, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    local::LocalFileSystem,
    multipart::MultipartStore,
    prefix::PrefixStore,
};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    error::{ArchiveError, StoreCause},
    location::{ArchiveUrl, LocationError, Place, S3Place},
};

/// After this long no request is tried again; the default of three minutes would outlive most snapshots' deadlines.
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_RETRIES: usize = 4;
const CONNECT_TIMEOUT: &str = "3s";
/// Between two pieces of an answer, and for the answer to the upload of one piece.
const READ_TIMEOUT: &str = "20s";
/// For a whole request: long enough for a large object over a slow line, as long as something comes.
const REQUEST_TIMEOUT: &str = "600s";

/// Credentials for S3, where they don't come from the environment. They can't be printed.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The access key's id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: SecretString,
    /// The session's token, with temporary credentials.
    pub session_token: Option<SecretString>,
}

/// What opening an archive takes besides its place.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Credentials for S3; without them those of the environment are used (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, or what the machine's role gives).
    pub credentials: Option<Credentials>,
    /// Where objects beyond 1 MiB are kept while they are fetched; the system's directory for temporary files when not given.
    pub spill_dir: Option<PathBuf>,
}

/// A store, and itself again where others can abort its uploads in pieces.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) uploads: Option<Arc<dyn MultipartStore>>,
}

impl Opened {
    fn with_uploads<S: ObjectStore + MultipartStore>(store: Arc<S>) -> Self {
        Self { store: store.clone(), uploads: Some(store) }
    }
}

impl<S: ObjectStore> From<Arc<S>> for Opened {
    fn from(store: Arc<S>) -> Self {
        Self { store, uploads: None }
    }
}

/// Opens the store at a place. A directory must exist, and for S3 there must be credentials.
pub(crate) async fn open(url: &ArchiveUrl, options: &StoreOptions) -> Result<Opened, ArchiveError> {
    let unusable = |source: object_store::Error| ArchiveError::Unusable { url: url.to_string(), source: StoreCause::of(source) };
    match &url.0 {
        // What is acknowledged must outlast a power failure, as it does on S3.
        Place::File { directory } => {
            Ok(Arc::new(LocalFileSystem::new_with_prefix(directory).map_err(unusable)?.with_fsync(true)).into())
        }
        Place::S3(place) => {
            let builder = s3(place, options)?;
            let is_signed = builder.get_config_value(&AmazonS3ConfigKey::SkipSignature).is_none_or(|skip| skip != "true");
            let store = builder.build().map_err(unusable)?;
            if is_signed {
                // Without any in the environment the machine's role is asked, which is away almost everywhere: better said now than with each object.
                let asked = store.credentials().get_credential().await;
                asked.map_err(|source| ArchiveError::NoCredentials { url: url.to_string(), source: StoreCause::of(source) })?;
            }
            match place.prefix.as_str() {
                "" => Ok(Opened::with_uploads(Arc::new(store))),
                prefix => Ok(Opened::with_uploads(Arc::new(PrefixStore::new(store, prefix)))),
            }
        }
    }
}

fn s3(place: &S3Place, options: &StoreOptions) -> Result<AmazonS3Builder, LocationError> {
    let client = |key| AmazonS3ConfigKey::Client(key);
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&place.bucket)
        .with_config(client(ClientConfigKey::ConnectTimeout), CONNECT_TIMEOUT)
        .with_config(client(ClientConfigKey::ReadTimeout), READ_TIMEOUT)
        .with_config(client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
        .with_retry(RetryConfig {
            backoff: BackoffConfig { init_backoff: Duration::from_millis(50), max_backoff: Duration::from_secs(2), base: 2. },
            max_retries: MAX_RETRIES,
            retry_timeout: RETRY_TIMEOUT,
        });
    if let Some(endpoint) = &place.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &place.region {
        builder = builder.with_region(region);
    }
    if let Some(allow) = place.allow_http {
        builder = builder.with_allow_http(allow);
    }
    if let Some(path_style) = place.path_style {
        builder = builder.with_virtual_hosted_style_request(!path_style);
    }
    if let Some(credentials) = &options.credentials {
        builder = builder
            .with_access_key_id(&credentials.access_key_id)
            .with_secret_access_key(credentials.secret_access_key.expose_secret());
        if let Some(token) = &credentials.session_token {
            builder = builder.with_token(token.expose_secret());
        }
    }
    // The endpoint may come from the environment, where the URL's own check doesn't see it.
    let allowed = builder.get_config_value(&client(ClientConfigKey::AllowHttp)).is_some_and(|value| value == "true");
    match builder.get_config_value(&AmazonS3ConfigKey::Endpoint) {
        Some(endpoint) if endpoint.starts_with("http:") && !allowed => Err(LocationError::Plaintext { endpoint }),
        _ => Ok(builder),
    }
}
