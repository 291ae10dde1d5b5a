//! The database's URL, which may hold a password and so can't be printed.

use std::convert::Infallible;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::error::CliError;

/// A database URL. Its `Debug` shows nothing of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "String")]
pub struct DatabaseUrl(SecretString);

impl From<String> for DatabaseUrl {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl DatabaseUrl {
    /// Takes any text, for clap: what clap can't parse it repeats, so the check comes later.
    pub(crate) fn taken(text: &str) -> Result<Self, Infallible> {
        Ok(text.to_owned().into())
    }

    /// Whether there is nothing in it, as in an environment variable that is set to nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.expose_secret().is_empty()
    }

    /// The URL itself, once it is known to be one of Postgres.
    ///
    /// # Errors
    /// [`CliError::Usage`] when it isn't; the URL isn't repeated.
    pub fn checked(&self) -> Result<&str, CliError> {
        let text = self.0.expose_secret();
        let scheme = url::Url::parse(text).ok().map(|url| url.scheme().to_owned());
        match scheme.as_deref() {
            Some("postgres" | "postgresql") => Ok(text),
            Some(_) | None => Err(CliError::usage(
                "the database URL (not shown, it may hold a password) is none of Postgres: expected postgres://user:password@host:port/database",
            )),
        }
    }
}
