//! Makes `s3s-fs` exact.
//!
//! `s3s-fs` checks a condition and then writes, with nothing in between to stop another writer; it ignores the preconditions of reads; a put
//! makes the bucket that it names; and when a client goes away it leaves work half done. Here writers of a key take turns, reads see no
//! half-written object, lists see none vanish, a bucket exists or it doesn't, and what was begun is finished. Server-side copy isn't offered: Stillframe doesn't use it, because stores differ in it.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use s3s::{
    Body, S3, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
        CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
        DeleteObjectsOutput, ETag, ETagCondition, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput,
        HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, PutObjectInput, PutObjectOutput,
        StreamingBlob, Timestamp, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};
use s3s_fs::FileSystem;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::gate::{Gate, Operation, Point};

/// How many locks the keys share. More than there are writers at once in a test.
const STRIPES: usize = 64;

/// The largest body of one request, in bytes; larger objects come in parts.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// An exact store behind a gate.
#[derive(Debug)]
pub struct Exact {
    root: PathBuf,
    files: Arc<FileSystem>,
    gate: Gate,
    locks: Locks,
}

impl Exact {
    /// A store in this directory, whose folders are the buckets, behind this gate.
    ///
    /// # Errors
    ///
    /// When the directory can't be used.
    pub fn new(root: &Path, gate: Gate) -> Result<Self, s3s_fs::Error> {
        let files = Arc::new(FileSystem::new(root)?);
        Ok(Self { root: root.to_owned(), files, gate, locks: Locks::default() })
    }

    /// Carries a request out in a task of its own, so that a client that goes away can't leave it half done.
    async fn carry_out<T: Send + 'static>(
        &self,
        operation: Operation,
        bucket: &str,
        key: &str,
        work: impl Future<Output = S3Result<T>> + Send + 'static,
    ) -> S3Result<T> {
        let (gate, key) = (self.gate.clone(), key.to_owned());
        gate.saw(operation, &key);
        if !self.root.join(bucket).is_dir() {
            return Err(s3_error!(NoSuchBucket));
        }
        let task = tokio::spawn(async move {
            gate.pass(operation, &key, Point::BeforeTheWork).await?;
            let answer = work.await;
            gate.pass(operation, &key, Point::BeforeTheAnswer).await?;
            answer
        });
        task.await.map_err(|error| s3_error!(InternalError, "the request's task ended: {error}"))?
    }
}

/// Writers of a key take turns and readers wait for them; a list or a bulk delete waits for all of them.
#[derive(Debug, Clone)]
struct Locks {
    all: Arc<RwLock<()>>,
    stripes: Arc<[Arc<RwLock<()>>]>,
}

impl Default for Locks {
    fn default() -> Self {
        Self { all: Arc::default(), stripes: (0..STRIPES).map(|_| Arc::default()).collect() }
    }
}

impl Locks {
    fn stripe(&self, bucket: &str, key: &str) -> Arc<RwLock<()>> {
        let mut hasher = DefaultHasher::new();
        (bucket, key).hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or(0);
        Arc::clone(&self.stripes[index])
    }

    async fn write(&self, bucket: &str, key: &str) -> (OwnedRwLockReadGuard<()>, OwnedRwLockWriteGuard<()>) {
        (Arc::clone(&self.all).read_owned().await, self.stripe(bucket, key).write_owned().await)
    }

    async fn read(&self, bucket: &str, key: &str) -> (OwnedRwLockReadGuard<()>, OwnedRwLockReadGuard<()>) {
        (Arc::clone(&self.all).read_owned().await, self.stripe(bucket, key).read_owned().await)
    }

    async fn everything(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.all).write_owned().await
    }
}

/// Reads the body to its end: a client that stops in the middle mustn't hold a lock, or leave anything behind.
async fn whole(body: Option<StreamingBlob>) -> S3Result<Option<StreamingBlob>> {
    let Some(mut body) = body else { return Ok(None) };
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.try_next().await.map_err(|error| s3_error!(IncompleteBody, "{error}"))? {
        if bytes.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(s3_error!(EntityTooLarge));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(StreamingBlob::from(Body::from(Bytes::from(bytes)))))
}

/// What a read expects of the object (RFC 9110, section 13).
struct Preconditions {
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
    if_modified_since: Option<Timestamp>,
    if_unmodified_since: Option<Timestamp>,
}

impl Preconditions {
    fn are_none(&self) -> bool {
        self.if_match.is_none()
            && self.if_none_match.is_none()
            && self.if_modified_since.is_none()
            && self.if_unmodified_since.is_none()
    }

    fn check(&self, object: &HeadObjectOutput) -> S3Result<()> {
        let tag = object.e_tag.as_ref();
        let is = |condition: &ETagCondition, same: fn(&ETag, &ETag) -> bool| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(expected) => tag.is_some_and(|tag| same(tag, expected)),
        };
        let modified_after = |time: &Timestamp| object.last_modified.as_ref().is_none_or(|modified| modified > time);
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !is(condition, ETag::strong_cmp) => return Err(s3_error!(PreconditionFailed)),
            (None, Some(time)) if modified_after(time) => return Err(s3_error!(PreconditionFailed)),
            (Some(_) | None, Some(_) | None) => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) if is(condition, ETag::weak_cmp) => Err(s3_error!(NotModified)),
            (None, Some(time)) if !modified_after(time) => Err(s3_error!(NotModified)),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }
}

/// The same request with another input, for a look before the real work.
fn another<T, U>(request: &S3Request<T>, input: U) -> S3Request<U> {
    S3Request {
        input,
        method: request.method.clone(),
        uri: request.uri.clone(),
        headers: request.headers.clone(),
        extensions: request.extensions.clone(),
        credentials: request.credentials.clone(),
        region: request.region.clone(),
        service: request.service.clone(),
        trailing_headers: None,
    }
}

async fn look(files: &FileSystem, conditions: &Preconditions, head: S3Request<HeadObjectInput>) -> S3Result<()> {
    if conditions.are_none() {
        return Ok(());
    }
    let found = files.head_object(head).await?;
    conditions.check(&found.output)
}

#[async_trait::async_trait]
impl S3 for Exact {
    async fn put_object(&self, mut request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        request.input.body = whole(request.input.body.take()).await?;
        let (files, locks) = (Arc::clone(&self.files), self.locks.clone());
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        self.carry_out(Operation::Put, &bucket, &key, async move {
            let _locked = locks.write(&request.input.bucket, &request.input.key).await;
            files.put_object(request).await
        })
        .await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let (files, locks) = (Arc::clone(&self.files), self.locks.clone());
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        self.carry_out(Operation::Get, &bucket, &key, async move {
            let input = &request.input;
            let _locked = locks.read(&input.bucket, &input.key).await;
            let conditions = Preconditions {
                if_match: input.if_match.clone(),
                if_none_match: input.if_none_match.clone(),
                if_modified_since: input.if_modified_since.clone(),
                if_unmodified_since: input.if_unmodified_since.clone(),
            };
            let head = HeadObjectInput { bucket: input.bucket.clone(), key: input.key.clone(), ..HeadObjectInput::default() };
            look(&files, &conditions, another(&request, head)).await?;
            // The body is read from the file that is open by now: a later write replaces the name, not this file.
            files.get_object(request).await
        })
        .await
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let (files, locks) = (Arc::clone(&self.files), self.locks.clone());
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        self.carry_out(Operation::Head, &bucket, &key, async move {
            let input = &request.input;
            let _locked = locks.read(&input.bucket, &input.key).await;
            let conditions = Preconditions {
                if_match: input.if_match.clone(),
                if_none_match: input.if_none_match.clone(),
                if_modified_since: input.if_modified_since.clone(),
                if_unmodified_since: input.if_unmodified_since.clone(),
            };
            let found = files.head_object(request).await?;
            conditions.check(&found.output)?;
            Ok(found)
        })
        .await
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let (files, locks) = (Arc::clone(&self.files), self.locks.clone());
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        self.carry_out(Operation::Delete, &bucket, &key, async move {
            let _locked = locks.write(&request.input.bucket, &request.input.key).await;
            files.delete_object(request).await
        })
        .await
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let (files, locks) = (Arc::clone(&self.files), self.locks.clone());
        let bucket = request.input.bucket.clone();
        let keys: Vec<String> = request.input.delete.objects.iter().map(|object| object.key.clone()).collect();
        self.carry_out(Operation::Delete, &bucket, &keys.join(" "), async move {
            let _locked = locks.everything().await;
            files.delete_objects(request).await
        })
        .await
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let (files, locks) = (Arc::clone(&self.files), self.locks.clone());
        let (bucket, prefix) = (request.input.bucket.clone(), request.input.prefix.clone().unwrap_or_default());
        self.carry_out(Operation::List, &bucket, &prefix, async move {
            // `s3s-fs` fails when an object vanishes under its walk.
            let _locked = locks.everything().await;
            files.list_objects_v2(request).await
        })
        .await
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.files.head_bucket(request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let files = Arc::clone(&self.files);
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        self.carry_out(Operation::CreateUpload, &bucket, &key, async move { files.create_multipart_upload(request).await }).await
    }

    async fn upload_part(&self, mut request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        request.input.body = whole(request.input.body.take()).await?;
        let files = Arc::clone(&self.files);
        let locks = self.locks.clone();
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        self.carry_out(Operation::UploadPart, &bucket, &key, async move {
            // A piece that is written while its upload is aborted or completed would stay for ever.
            let _locked = locks.write(&request.input.bucket, &request.input.key).await;
            files.upload_part(request).await.map_err(no_such_upload)
        })
        .await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let (files, locks) = (Arc::clone(&self.files), self.locks.clone());
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        self.carry_out(Operation::CompleteUpload, &bucket, &key, async move {
            let _locked = locks.write(&request.input.bucket, &request.input.key).await;
            files.complete_multipart_upload(request).await
        })
        .await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let files = Arc::clone(&self.files);
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        let locks = self.locks.clone();
        self.carry_out(Operation::AbortUpload, &bucket, &key, async move {
            let _locked = locks.write(&request.input.bucket, &request.input.key).await;
            files.abort_multipart_upload(request).await.map_err(no_such_upload)
        })
        .await
    }
}

/// An upload that isn't there any more is no matter of rights.
fn no_such_upload(error: s3s::S3Error) -> s3s::S3Error {
    match error.code() {
        s3s::S3ErrorCode::AccessDenied => s3_error!(NoSuchUpload),
        _ => error,
    }
}
