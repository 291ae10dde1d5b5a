//! The archives of clusters: the coordinator's, or a folder of it as an archive of its own.

use std::{collections::HashMap, sync::Mutex};

use stillframe_archive::{Archive, ArchiveUrl};
use url::Url;

use super::{ServiceError, lock};

/// The longest archive prefix, in bytes.
const MAX_PREFIX_BYTES: usize = 255;

/// Every archive that was opened, by prefix.
#[derive(Debug)]
pub struct Archives {
    base: ArchiveUrl,
    opened: Mutex<HashMap<Option<String>, Archive>>,
}

impl Archives {
    /// With the coordinator's own.
    #[must_use]
    pub fn new(base: ArchiveUrl, archive: Archive) -> Self {
        Self { base, opened: Mutex::new(HashMap::from([(None, archive)])) }
    }

    /// The archive under a prefix, opened or created.
    ///
    /// # Errors
    /// [`ServiceError::Archive`], or [`ServiceError::Invalid`] for a prefix that is none.
    pub async fn get(&self, prefix: Option<&str>) -> Result<Archive, ServiceError> {
        let key = prefix.map(str::to_owned);
        if let Some(archive) = lock(&self.opened).get(&key) {
            return Ok(archive.clone());
        }
        let url = match prefix {
            Some(prefix) => under(&self.base, prefix)?,
            None => self.base.clone(),
        };
        let archive = Archive::open_or_create(&url).await?;
        lock(&self.opened).insert(key, archive.clone());
        Ok(archive)
    }
}

/// Checks a prefix.
///
/// # Errors
/// [`ServiceError::Invalid`] with what was expected.
pub fn check_prefix(prefix: &str) -> Result<(), ServiceError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.chars().all(plain);
    if prefix.len() <= MAX_PREFIX_BYTES && prefix.split('/').all(segment) && !prefix.split('/').any(|s| s == "clusters") {
        return Ok(());
    }
    Err(ServiceError::Invalid(format!(
        "archive_prefix {:?} is not allowed: expected segments of a-z, A-Z, 0-9, '.', '_' and '-' with '/' between them, none of them \"..\" or \
         \"clusters\", {MAX_PREFIX_BYTES} bytes at most",
        prefix.chars().take(300).collect::<String>()
    )))
}

fn under(base: &ArchiveUrl, prefix: &str) -> Result<ArchiveUrl, ServiceError> {
    check_prefix(prefix)?;
    let wrong = |error: &dyn std::fmt::Display| ServiceError::Archive(format!("{base} has no folder {prefix}: {error}"));
    if let Some(directory) = base.directory() {
        return ArchiveUrl::from_dir(&directory.join(prefix)).map_err(|error| wrong(&error));
    }
    let mut url: Url = base.to_string().parse().map_err(|error: url::ParseError| wrong(&error))?;
    let path = format!("{}/{prefix}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.as_str().parse().map_err(|error: stillframe_archive::LocationError| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_folder_of_the_archive_and_can_not_lead_out_of_it() {
        for (base, prefix, expected) in [
            ("file:///a", "team/bank", "file:///a/team/bank"),
            ("s3://b", "x", "s3://b/x"),
            ("s3://b/p?region=us-east-1", "x/y", "s3://b/p/x/y?region=us-east-1"),
        ] {
            let base: ArchiveUrl = base.parse().expect("an archive URL");
            assert_eq!(under(&base, prefix).expect(prefix).to_string(), expected);
        }
        for prefix in ["", "/", "a//b", "../x", "a/..", "a b", "clusters/x", "a/clusters", &"x".repeat(256)] {
            assert!(check_prefix(prefix).is_err(), "{prefix:?}");
        }
    }
}
