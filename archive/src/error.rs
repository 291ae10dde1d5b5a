//! What can go wrong with an archive, and whether to try again.

use std::{error::Error as StdError, fmt, io, path::PathBuf};

use uuid::Uuid;

use crate::{location::LocationError, manifest::ManifestError};

/// An operation on an archive failed. Reading never changes anything; what a failed write may have left is said at each variant.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// An object that should be there isn't.
    #[error("{key} is missing: expected {expected}, found nothing")]
    NotFound {
        /// The key.
        key: String,
        /// What should be there.
        expected: String,
    },
    /// An object is shorter than recorded.
    #[error("{key} is truncated: expected {expected} bytes, found {found}")]
    Truncated {
        /// The key.
        key: String,
        /// The recorded length.
        expected: u64,
        /// The length found.
        found: u64,
    },
    /// An object's bytes aren't those recorded.
    #[error("{key} is corrupted: expected {expected}, found {found}")]
    Corrupted {
        /// The key.
        key: String,
        /// What was recorded: a digest or a length.
        expected: String,
        /// What was found in its place.
        found: String,
    },
    /// A key holds other bytes than those to be written. Nothing was written: keys are written once.
    #[error(
        "{key} exists with other bytes: expected {expected}, found {found}; nothing was written, for no key is ever written with other bytes \
         (is a second coordinator using this archive?)"
    )]
    Conflict {
        /// The key.
        key: String,
        /// The digest of the bytes to be written.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Nobody wants the object any more, or nobody could be told that it is uploaded. Nothing was written.
    #[error("{key} is not uploaded: what it belongs to is over, or the coordinator can't be told of the upload")]
    Unwanted {
        /// The key.
        key: String,
    },
    /// A manifest that can't be read.
    #[error("{key} is not a manifest: {source}")]
    Manifest {
        /// The key.
        key: String,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// There is no archive at this place.
    #[error(
        "{url} is not an archive: expected {expected}, found {found}; check the place, or start a coordinator on it to create an archive"
    )]
    NotAnArchive {
        /// The place.
        url: String,
        /// What should be there.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Another archive than the expected one.
    #[error("{url} is another archive: expected {expected}, found {found}; check the place")]
    OtherArchive {
        /// The place.
        url: String,
        /// The id expected.
        expected: Uuid,
        /// The id found.
        found: Uuid,
    },
    /// The archive was made by a newer Stillframe.
    #[error("{url} has format {found}: expected at most {expected}; use a newer stillframe")]
    NewerFormat {
        /// The place.
        url: String,
        /// The newest format that this version reads.
        expected: u32,
        /// The format found.
        found: u64,
    },
    /// The bucket doesn't exist. Nothing was written.
    #[error("the bucket of {url} does not exist: create it, or check its name, the endpoint and the region")]
    NoBucket {
        /// The place.
        url: String,
    },
    /// The store refuses.
    #[error(
        "access to {url} is denied: {source}; check the permissions (of the directory, or of the AWS_* credentials in the environment)"
    )]
    Denied {
        /// The place.
        url: String,
        /// What the store answered.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The store can't be reached, didn't answer in time, or answered that it can't now. A write may have happened: do it again with the
    /// same bytes, which is always safe.
    #[error("the store of {url} can't be reached or doesn't answer: {source}; check that it runs and that the address is right")]
    Unreachable {
        /// The place.
        url: String,
        /// What happened.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Nothing more could be opened, neither a file nor a connection. A write may have happened: do it again with the same bytes.
    #[error(
        "nothing could be opened for {url}: {source}; too many files and connections are open in this process or on this machine: raise the \
         limit (ulimit -n, LimitNOFILE=)"
    )]
    OpenFiles {
        /// The place.
        url: String,
        /// What the system answered.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// No credentials for S3 could be had. Nothing was asked of the store.
    #[error(
        "there are no credentials for {url}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or run where a role gives \
         them (asking for the role's said: {source})"
    )]
    NoCredentials {
        /// The place.
        url: String,
        /// What asking for a role's credentials said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The store or its settings can't do what an archive needs. Nothing was written.
    #[error("the store of {url} can't be used: {source}")]
    Unusable {
        /// The place.
        url: String,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The place isn't well-formed.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The temporary directory failed.
    #[error("temporary files can't be kept in {}: {source}; check its space and permissions", directory.display())]
    Spill {
        /// The directory.
        directory: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Objects keep appearing under a snapshot that is being deleted: someone still writes there. What was found was deleted.
    #[error("{prefix} is not empty after {rounds} rounds of deleting: somebody still writes there; delete again later")]
    StillWritten {
        /// What the keys begin with.
        prefix: String,
        /// How often it was listed and emptied.
        rounds: u32,
    },
}

impl ArchiveError {
    /// Whether the same call can succeed later with nothing changed by hand: retry with backoff. Everything else needs a hand, or is about
    /// bytes that won't get better.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::OpenFiles { .. } | Self::StillWritten { .. } => true,
            Self::NotFound { .. }
            | Self::Truncated { .. }
            | Self::Corrupted { .. }
            | Self::Conflict { .. }
            | Self::Manifest { .. }
            | Self::NotAnArchive { .. }
            | Self::OtherArchive { .. }
            | Self::NewerFormat { .. }
            | Self::NoBucket { .. }
            | Self::Denied { .. }
            | Self::NoCredentials { .. }
            | Self::Unusable { .. }
            | Self::Location(_)
            | Self::Unwanted { .. }
            | Self::Spill { .. } => false,
        }
    }

    /// Whether the store holds something else than was recorded (missing, truncated, corrupted): trying again won't help, another snapshot
    /// will.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Truncated { .. } | Self::Corrupted { .. } | Self::Manifest { .. })
    }

    /// The key that it is about, where it is about one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::NotFound { key, .. }
            | Self::Truncated { key, .. }
            | Self::Corrupted { key, .. }
            | Self::Conflict { key, .. }
            | Self::Manifest { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// What a store's client said, told by its innermost cause: the layers around it speak of the client's own retries and requests, which
/// nobody can do anything about. They are kept as the source.
#[derive(Debug)]
pub(crate) struct StoreCause(object_store::Error);

/// As much of an answer's body as is repeated, in bytes.
const MAX_CAUSE_BYTES: usize = 300;

impl StoreCause {
    pub(crate) fn of(error: object_store::Error) -> Box<dyn StdError + Send + Sync> {
        Box::new(Self(error))
    }
}

impl fmt::Display for StoreCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut innermost: &dyn StdError = &self.0;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let line = innermost.to_string();
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().map(|(at, _)| at).find(|at| *at >= MAX_CAUSE_BYTES) {
            Some(end) => write!(f, "{}...", &line[..end]),
            None => f.write_str(&line),
        }
    }
}

impl StdError for StoreCause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

/// The kinds of failure of a store that are told apart. The one place that looks into `object_store`'s errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreFailure {
    NotFound,
    Exists,
    Denied,
    Unsupported,
    OpenFiles,
    Unavailable,
}

/// `ENFILE` and `EMFILE`, of every Unix.
const TOO_MANY_OPEN: [i32; 2] = [23, 24];

impl StoreFailure {
    pub(crate) fn of(error: &object_store::Error) -> Self {
        use object_store::Error;
        match error {
            Error::NotFound { .. } => Self::NotFound,
            Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => Self::Exists,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Self::Denied,
            Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::InvalidPath { .. }
            | Error::UnknownConfigurationKey { .. } => Self::Unsupported,
            error if io_error(error).and_then(io::Error::raw_os_error).is_some_and(|code| TOO_MANY_OPEN.contains(&code)) => {
                Self::OpenFiles
            }
            // The local store reports a refusal by the file system as a generic error.
            error => match io_error(error).map(io::Error::kind) {
                Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => Self::Denied,
                _ => Self::Unavailable,
            },
        }
    }
}

fn io_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::store_error;

    #[test]
    fn too_many_open_files_are_told_as_that_and_not_as_a_store_that_is_away() {
        let url = "file:///tmp/archive".parse().expect("an archive URL");
        for code in TOO_MANY_OPEN {
            let source = Box::new(io::Error::from_raw_os_error(code));
            let error = store_error(&url, object_store::Error::Generic { store: "LocalFileSystem", source });
            assert!(error.is_transient() && error.to_string().contains("ulimit -n"), "{error}");
        }
        let source = Box::new(io::Error::from(io::ErrorKind::ConnectionRefused));
        let error = store_error(&url, object_store::Error::Generic { store: "S3", source });
        assert!(matches!(error, ArchiveError::Unreachable { .. }), "{error}");
    }
}
