//! The addresses of a coordinator's replicas, as people write them: `http://a:7700,http://b:7700`.

use std::{fmt, str::FromStr};

use url::Url;

use crate::ClientError;

/// How many addresses a client takes.
pub const MAX_COORDINATORS: usize = 16;

/// One to [`MAX_COORDINATORS`] addresses of replicas of one coordinator. All of them serve the same clusters, so any may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinators(Vec<Url>);

impl Coordinators {
    /// The addresses, in the order in which they are tried at first. Never empty.
    #[must_use]
    pub fn urls(&self) -> &[Url] {
        &self.0
    }
}

impl FromStr for Coordinators {
    type Err = ClientError;

    /// Reads addresses with commas between them. Repeated ones count once.
    fn from_str(text: &str) -> Result<Self, ClientError> {
        let mut urls: Vec<Url> = Vec::new();
        for part in text.split(',') {
            let url = address(part.trim())?;
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        if urls.len() > MAX_COORDINATORS {
            let reason = format!("{MAX_COORDINATORS} addresses at most, found {}", urls.len());
            return Err(ClientError::BadUrl { found: text.chars().take(300).collect(), reason });
        }
        Ok(Self(urls))
    }
}

impl fmt::Display for Coordinators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<&str> = self.0.iter().map(Url::as_str).collect();
        f.write_str(&urls.join(","))
    }
}

fn address(text: &str) -> Result<Url, ClientError> {
    let bad = |reason: String| ClientError::BadUrl { found: text.to_owned(), reason };
    let mut base: Url = text.parse().map_err(|_: url::ParseError| bad("such as http://127.0.0.1:7700".to_owned()))?;
    if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
        return Err(bad(format!("found scheme {:?}", base.scheme())));
    }
    if !base.username().is_empty() || base.password().is_some() {
        // It would end up in every error message.
        base.set_username("").and_then(|()| base.set_password(None)).map_err(|()| bad("it holds credentials".to_owned()))?;
        return Err(ClientError::BadUrl {
            found: base.to_string(),
            reason: "a user and password in it aren't taken (left out here)".to_owned(),
        });
    }
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    Ok(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_addresses_are_told_apart_by_commas_and_each_counts_once() {
        let found: Coordinators = "http://a:1, http://b:2/x,http://a:1/".parse().expect("addresses");
        assert_eq!(found.to_string(), "http://a:1/,http://b:2/x/");
        let many: Vec<String> = (0..=MAX_COORDINATORS).map(|n| format!("http://h{n}")).collect();
        assert!(many.join(",").parse::<Coordinators>().expect_err("too many").to_string().contains("16 addresses at most"));
    }

    #[test]
    fn what_is_no_coordinator_url_is_refused_and_no_password_is_repeated() {
        for url in ["", "127.0.0.1:7700", "ftp://host", "http://", "http://a,", "http://a,http://me:hunter2@host:7700"] {
            let error = url.parse::<Coordinators>().expect_err(url).to_string();
            assert!(error.contains("expected http://host:port") && !error.contains("hunter2"), "{error}");
        }
    }
}
