//! The places on which the suite runs: a directory, and a bucket of a real S3 server.

use std::path::PathBuf;

use stillframe_archive::{Archive, ArchiveUrl, Credentials, StoreOptions};
use tempfile::TempDir;

use crate::s3_server::{self, S3Server};

pub(crate) struct Place {
    pub(crate) url: ArchiveUrl,
    pub(crate) options: StoreOptions,
    /// Where the archive's keys are files, for tests that damage them behind the store's back.
    root: PathBuf,
    pub(crate) spill: TempDir,
    pub(crate) server: Option<S3Server>,
    data: TempDir,
}

impl Place {
    pub(crate) fn directory() -> Self {
        let data = tempfile::tempdir().expect("temporary directory");
        let spill = tempfile::tempdir().expect("temporary directory");
        let root = data.path().join("with space").join("archive");
        let options = StoreOptions { credentials: None, spill_dir: Some(spill.path().to_owned()) };
        Self { url: ArchiveUrl::from_dir(&root).expect("a directory's URL"), options, root, spill, server: None, data }
    }

    pub(crate) async fn s3() -> Self {
        let data = tempfile::tempdir().expect("temporary directory");
        let spill = tempfile::tempdir().expect("temporary directory");
        let server = S3Server::start(data.path()).await;
        let url = format!(
            "s3://{}/some/prefix?endpoint=http://{}&region=us-east-1&allow_http=true&path_style=true",
            s3_server::BUCKET,
            server.address
        );
        let credentials = Credentials {
            access_key_id: s3_server::ACCESS_KEY_ID.to_owned(),
            secret_access_key: s3_server::SECRET_ACCESS_KEY.into(),
            session_token: None,
        };
        Self {
            url: url.parse().expect("an S3 URL"),
            options: StoreOptions { credentials: Some(credentials), spill_dir: Some(spill.path().to_owned()) },
            root: data.path().join(s3_server::BUCKET).join("some/prefix"),
            spill,
            server: Some(server),
            data,
        }
    }

    pub(crate) async fn archive(&self) -> Archive {
        Archive::open_or_create_with(&self.url, &self.options).await.expect("the archive opens")
    }

    /// The file that holds the object of a key.
    pub(crate) fn file(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// Files that the S3 server keeps for uploads that are neither completed nor aborted.
    pub(crate) fn unfinished_uploads(&self) -> usize {
        let files = std::fs::read_dir(self.data.path()).expect("the server's directory");
        files.filter(|file| file.as_ref().is_ok_and(|file| file.file_name().to_string_lossy().starts_with(".upload"))).count()
    }

    /// Everything in the archive, as relative paths, hidden files and directories included.
    pub(crate) fn everything(&self) -> Vec<String> {
        fn walk(directory: &std::path::Path, into: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(directory).into_iter().flatten() {
                let path = entry.expect("directory entry").path();
                if path.is_dir() {
                    walk(&path, into);
                }
                into.push(path);
            }
        }
        let mut found = Vec::new();
        walk(&self.root, &mut found);
        found.iter().map(|path| path.strip_prefix(&self.root).expect("below the root").display().to_string()).collect()
    }
}
