//! Where an archive is, as one printable URL: `file:///dir`, or `s3://bucket/prefix?endpoint=..&region=..&allow_http=..&path_style=..`.
//!
//! It never holds a secret, so it can be logged, stored and handed to agents. Credentials come from the environment.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use url::Url;

/// The place of an archive.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ArchiveUrl(pub(crate) Place);

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    File { directory: PathBuf },
    S3(S3Place),
}

#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct S3Place {
    pub(crate) bucket: String,
    /// Without slashes at its ends; may be empty.
    pub(crate) prefix: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) allow_http: Option<bool>,
    pub(crate) path_style: Option<bool>,
}

/// A text that isn't the place of an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Not a URL of a kind that can hold an archive.
    #[error("{found:?} is not the place of an archive: expected file:///absolute/directory or s3://bucket/prefix")]
    Scheme {
        /// The text.
        found: String,
    },
    /// The URL is of a known kind, and has a part that is wrong.
    #[error("the archive URL has a wrong {part}: expected {expected}, found {found:?}")]
    Part {
        /// Which part.
        part: &'static str,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// There are credentials in the URL (which isn't repeated here).
    #[error(
        "the archive URL holds credentials: take them out and put them into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, \
         AWS_SESSION_TOKEN)"
    )]
    Credentials,
    /// The endpoint is `http:` and that wasn't allowed.
    #[error(
        "the S3 endpoint {endpoint} is not encrypted: use an https:// endpoint, or add allow_http=true (AWS_ALLOW_HTTP=true) if that is meant"
    )]
    Plaintext {
        /// The endpoint.
        endpoint: String,
    },
}

impl ArchiveUrl {
    /// An archive in a directory; a relative one is taken from the current directory, now.
    ///
    /// # Errors
    /// [`LocationError`] when the path is empty, or isn't UTF-8 and so can't be written as a URL.
    pub fn from_dir(directory: &Path) -> Result<Self, LocationError> {
        let wrong = || LocationError::Part {
            part: "directory",
            expected: "a path in UTF-8",
            found: directory.to_string_lossy().into_owned(),
        };
        let directory = std::path::absolute(directory).map_err(|_| wrong())?;
        if directory.to_str().is_none() {
            return Err(wrong());
        }
        Ok(Self(Place::File { directory }))
    }

    /// The directory, for an archive in one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match &self.0 {
            Place::File { directory } => Some(directory),
            Place::S3(_) => None,
        }
    }
}

impl FromStr for ArchiveUrl {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let url = Url::parse(text).map_err(|_| LocationError::Scheme { found: text.to_owned() })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(LocationError::Credentials);
        }
        match url.scheme() {
            "file" => file(&url),
            "s3" => s3(&url),
            _ => Err(LocationError::Scheme { found: text.to_owned() }),
        }
    }
}

fn file(url: &Url) -> Result<ArchiveUrl, LocationError> {
    if let Some(found) = url.query().or(url.fragment()) {
        return Err(LocationError::Part { part: "query", expected: "none with file://", found: found.to_owned() });
    }
    // `file://dir/x` names a host `dir`: almost always a relative path by mistake.
    match url.host_str() {
        None | Some("" | "localhost") => {}
        Some(host) => {
            return Err(LocationError::Part {
                part: "path",
                expected: "three slashes: file:///absolute/directory",
                found: host.to_owned(),
            });
        }
    }
    let directory = url.to_file_path().map_err(|()| LocationError::Part {
        part: "path",
        expected: "an absolute directory",
        found: url.path().to_owned(),
    })?;
    ArchiveUrl::from_dir(&directory)
}

fn s3(url: &Url) -> Result<ArchiveUrl, LocationError> {
    let wrong = |part, expected, found: &str| LocationError::Part { part, expected, found: found.to_owned() };
    let bucket =
        url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("bucket", "s3://bucket/prefix", url.as_str()))?;
    if let Some(fragment) = url.fragment() {
        return Err(wrong("fragment", "none", fragment));
    }
    let prefix = url.path().trim_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !prefix.is_empty() && !prefix.split('/').all(|segment| !segment.is_empty() && segment.chars().all(plain)) {
        return Err(wrong("prefix", "segments of A-Z, a-z, 0-9, '.', '_' and '-'", prefix));
    }
    let mut place = S3Place { bucket: bucket.to_owned(), prefix: prefix.to_owned(), ..S3Place::default() };
    for (name, value) in url.query_pairs() {
        match &*name {
            "endpoint" => place.endpoint = Some(endpoint(&value)?),
            "region" => place.region = Some(value.into_owned()),
            "allow_http" => place.allow_http = Some(boolean("allow_http", &value)?),
            "path_style" => place.path_style = Some(boolean("path_style", &value)?),
            other
                if ["key", "secret", "token", "password", "credential"]
                    .iter()
                    .any(|word| other.to_ascii_lowercase().contains(word)) =>
            {
                return Err(LocationError::Credentials);
            }
            other => return Err(wrong("parameter", "endpoint, region, allow_http or path_style", other)),
        }
    }
    if let Some(endpoint) = &place.endpoint
        && endpoint.starts_with("http:")
        && place.allow_http != Some(true)
    {
        return Err(LocationError::Plaintext { endpoint: endpoint.clone() });
    }
    Ok(ArchiveUrl(Place::S3(place)))
}

fn endpoint(value: &str) -> Result<String, LocationError> {
    let wrong =
        || LocationError::Part { part: "endpoint", expected: "http://host:port or https://host", found: value.to_owned() };
    let url = Url::parse(value).map_err(|_| wrong())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(LocationError::Credentials);
    }
    match matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() {
        true => Ok(value.trim_end_matches('/').to_owned()),
        false => Err(wrong()),
    }
}

fn boolean(part: &'static str, value: &str) -> Result<bool, LocationError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(LocationError::Part { part, expected: "true or false", found: value.to_owned() }),
    }
}

impl fmt::Display for ArchiveUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::File { directory } => match Url::from_file_path(directory) {
                Ok(url) => f.write_str(url.as_str()),
                Err(()) => write!(f, "file://{}", directory.display()),
            },
            Place::S3(place) => place.fmt(f),
        }
    }
}

impl fmt::Display for S3Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let booleans = [("allow_http", self.allow_http), ("path_style", self.path_style)];
        for (name, value) in [("endpoint", &self.endpoint), ("region", &self.region)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        for (name, value) in booleans {
            if let Some(value) = value {
                query.append_pair(name, if value { "true" } else { "false" });
            }
        }
        let query = query.finish();
        if query.is_empty() { Ok(()) } else { write!(f, "?{query}") }
    }
}

impl fmt::Debug for ArchiveUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ArchiveUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ArchiveUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_from_what_is_printed() {
        for text in [
            "file:///var/lib/archive",
            "file:///with%20space",
            "s3://bucket",
            "s3://bucket/some/prefix?endpoint=http%3A%2F%2F127.0.0.1%3A9000&region=us-east-1&allow_http=true&path_style=true",
        ] {
            let url: ArchiveUrl = text.parse().expect("well-formed");
            assert_eq!(url.to_string(), text);
            assert_eq!(
                serde_json::from_str::<ArchiveUrl>(&serde_json::to_string(&url).expect("well-formed")).expect("well-formed"),
                url
            );
        }
        let plain: ArchiveUrl = "s3://b/p/?endpoint=http://127.0.0.1:9000/&allow_http=1".parse().expect("well-formed");
        assert_eq!(plain.to_string(), "s3://b/p?endpoint=http%3A%2F%2F127.0.0.1%3A9000&allow_http=true");
        assert!(
            ArchiveUrl::from_dir(Path::new("relative")).expect("well-formed").directory().expect("well-formed").is_absolute()
        );
    }

    #[test]
    fn credentials_in_the_url_are_refused_and_not_repeated() {
        for text in [
            "s3://AKIA:hunter2@bucket/prefix",
            "s3://bucket?secret_access_key=hunter2",
            "s3://bucket?access_key_id=hunter2",
            "s3://bucket?endpoint=https://u:hunter2@host",
            "https://u:hunter2@host/bucket",
        ] {
            let error = text.parse::<ArchiveUrl>().expect_err(text);
            assert_eq!(error, LocationError::Credentials);
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn a_place_that_cannot_be_meant_is_refused_with_what_was_expected() {
        for (text, says) in [
            ("archive", "file:///absolute/directory"),
            ("./archive", "file:///absolute/directory"),
            ("gs://bucket", "s3://bucket/prefix"),
            ("file://archive/dir", "three slashes"),
            ("file:///dir?x=1", "query"),
            ("s3:///prefix", "bucket"),
            ("s3://bucket/a//b", "prefix"),
            ("s3://bucket/a%2Fb", "prefix"),
            ("s3://bucket?endpont=https://x", "endpoint, region"),
            ("s3://bucket?endpoint=127.0.0.1:9000", "http://host:port"),
            ("s3://bucket?allow_http=maybe", "true or false"),
            ("s3://bucket?endpoint=http://127.0.0.1:9000", "allow_http=true"),
        ] {
            let error = text.parse::<ArchiveUrl>().expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
