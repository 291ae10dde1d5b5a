//! One test's bucket (or prefix): its URL, its credentials, and hands that tamper with its objects.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, aws::AmazonS3Builder, path::Path};
use secrecy::SecretString;
use stillframe_archive::{Archive, ArchiveUrl, Credentials, StoreOptions};

/// Where a bucket is and who may use it.
#[derive(Clone)]
pub struct Access {
    /// The server, `http://host:port`.
    pub endpoint: String,
    /// Its region.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The folder in it that is this test's.
    pub prefix: String,
    /// The id of the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// A bucket, seen by a test: over HTTP, as everybody sees it.
#[derive(Debug, Clone)]
pub struct Bucket {
    access: Access,
    store: Arc<dyn ObjectStore>,
}

impl Bucket {
    /// A bucket that exists.
    ///
    /// # Panics
    ///
    /// When the settings make no S3 client.
    #[must_use]
    pub fn new(access: Access) -> Self {
        let store = AmazonS3Builder::new()
            .with_endpoint(&access.endpoint)
            .with_allow_http(access.endpoint.starts_with("http://"))
            .with_virtual_hosted_style_request(false)
            .with_region(&access.region)
            .with_bucket_name(&access.bucket)
            .with_access_key_id(&access.access_key_id)
            .with_secret_access_key(&access.secret_access_key)
            .build()
            .unwrap_or_else(|error| panic!("no S3 client for {access:?}: {error}"));
        Self { access, store: Arc::new(store) }
    }

    /// Another bucket of the same server, with the same credentials; it may not exist.
    #[must_use]
    pub fn in_bucket(&self, bucket: &str) -> Self {
        Self::new(Access { bucket: bucket.to_owned(), ..self.access.clone() })
    }

    /// The same bucket on another server; nobody may be there.
    #[must_use]
    pub fn at(&self, endpoint: &str) -> Self {
        Self::new(Access { endpoint: endpoint.to_owned(), ..self.access.clone() })
    }

    /// What to give as `--archive`.
    ///
    /// # Panics
    ///
    /// When the endpoint makes no archive URL.
    #[must_use]
    pub fn archive_url(&self) -> ArchiveUrl {
        let Access { endpoint, region, bucket, prefix, .. } = &self.access;
        let allow_http = endpoint.starts_with("http://");
        let url = format!("s3://{bucket}/{prefix}?endpoint={endpoint}&region={region}&allow_http={allow_http}&path_style=true");
        url.parse().unwrap_or_else(|error| panic!("{url} is no archive URL: {error}"))
    }

    /// The environment that a process needs to use it.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID".to_owned(), self.access.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), self.access.secret_access_key.clone()),
        ]
    }

    /// The S3 client.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Opens the archive in it, as somebody with nothing but the bucket would.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn archive(&self) -> Archive {
        let credentials = Credentials {
            access_key_id: self.access.access_key_id.clone(),
            secret_access_key: SecretString::from(self.access.secret_access_key.clone()),
            session_token: None,
        };
        let options = StoreOptions { credentials: Some(credentials), ..StoreOptions::default() };
        let opened = Archive::open_with(&self.archive_url(), &options).await;
        opened.unwrap_or_else(|error| panic!("no archive in {:?}: {error}", self.access))
    }

    /// The keys of the archive's objects that have `part` in them, in order; as the archive names them, without the test's prefix.
    ///
    /// # Panics
    ///
    /// When the bucket can't be listed.
    pub async fn keys(&self, part: &str) -> Vec<String> {
        self.written(part).await.into_keys().collect()
    }

    /// The same, with the time at which each was written, in milliseconds since 1970; some stores keep whole seconds only.
    ///
    /// # Panics
    ///
    /// When the bucket can't be listed.
    pub async fn written(&self, part: &str) -> BTreeMap<String, i64> {
        let prefix = Path::from(self.access.prefix.as_str());
        let objects: Vec<_> = self.store.list(Some(&prefix)).try_collect().await.expect("the bucket can't be listed");
        let key = |path: &Path| path.as_ref().strip_prefix(&format!("{}/", self.access.prefix)).map(str::to_owned);
        objects
            .into_iter()
            .filter_map(|object| Some((key(&object.location)?, object.last_modified.timestamp_millis())))
            .filter(|(key, _)| key.contains(part))
            .collect()
    }

    /// An object's bytes.
    ///
    /// # Panics
    ///
    /// When it can't be read.
    pub async fn read(&self, key: &str) -> Bytes {
        self.try_read(key).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// An object's bytes, where somebody may delete it meanwhile.
    ///
    /// # Errors
    ///
    /// When it can't be read.
    pub async fn try_read(&self, key: &str) -> Result<Bytes, String> {
        let read = async { self.store.get(&self.path(key)).await?.bytes().await };
        read.await.map_err(|error| format!("{key} can't be read: {error}"))
    }

    /// Puts other bytes in an object's place.
    ///
    /// # Panics
    ///
    /// When it can't be written.
    pub async fn overwrite(&self, key: &str, bytes: Bytes) {
        let put = self.store.put(&self.path(key), PutPayload::from_bytes(bytes)).await;
        put.unwrap_or_else(|error| panic!("{key} can't be overwritten: {error}"));
    }

    /// Flips one bit in the middle of an object.
    ///
    /// # Panics
    ///
    /// When it is empty, or can't be read or written.
    pub async fn corrupt(&self, key: &str) {
        let mut bytes = self.read(key).await.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        self.overwrite(key, bytes.into()).await;
    }

    /// Cuts an object's second half off.
    ///
    /// # Panics
    ///
    /// When it can't be read or written.
    pub async fn truncate(&self, key: &str) {
        let bytes = self.read(key).await;
        self.overwrite(key, bytes.slice(..bytes.len() / 2)).await;
    }

    /// Deletes an object.
    ///
    /// # Panics
    ///
    /// When it can't be deleted.
    pub async fn delete(&self, key: &str) {
        self.store.delete(&self.path(key)).await.unwrap_or_else(|error| panic!("{key} can't be deleted: {error}"));
    }

    fn path(&self, key: &str) -> Path {
        Path::from(format!("{}/{key}", self.access.prefix))
    }
}
