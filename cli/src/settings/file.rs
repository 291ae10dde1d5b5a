//! The settings file, TOML.

use std::{fs, io::ErrorKind, path::Path};

use serde::Deserialize;
use stillframe_api::{HumanDuration, gc::Orphans};

use super::database_url::DatabaseUrl;
use crate::{error::CliError, logging::LogFormat};

/// What a settings file may hold; each key may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsFile {
    /// As `--database-url`.
    pub database_url: Option<DatabaseUrl>,
    /// As `--archive`.
    pub archive: Option<String>,
    /// As `--listen`.
    pub listen: Option<String>,
    /// As `--lease`.
    pub lease: Option<HumanDuration>,
    /// As `--suspect-grace`.
    pub suspect_grace: Option<HumanDuration>,
    /// As `--restore-timeout`.
    pub restore_timeout: Option<HumanDuration>,
    /// As `--max-connections`.
    pub max_connections: Option<u32>,
    /// As `--gc-interval`.
    pub gc_interval: Option<HumanDuration>,
    /// As `--sweep-again`.
    pub sweep_again: Option<HumanDuration>,
    /// As `--delete-rate`.
    pub delete_rate: Option<u32>,
    /// As `--orphans`.
    pub orphans: Option<Orphans>,
    /// As `--orphan-interval`.
    pub orphan_interval: Option<HumanDuration>,
    /// As `--orphan-grace`.
    pub orphan_grace: Option<HumanDuration>,
    /// As `--orphan-max-count`.
    pub orphan_max_count: Option<u64>,
    /// As `--orphan-max-percent`.
    pub orphan_max_percent: Option<u8>,
    /// As `--log`.
    pub log: Option<String>,
    /// As `--log-format`.
    pub log_format: Option<LogFormat>,
}

impl SettingsFile {
    /// Reads a settings file.
    ///
    /// # Errors
    /// [`CliError::Usage`] when it can't be read or isn't what is expected. It names the line and doesn't quote it: there may be a password
    /// in it.
    pub fn read(path: &Path) -> Result<Self, CliError> {
        let text = fs::read_to_string(path).map_err(|error| {
            let shown = path.display();
            CliError::usage(match error.kind() {
                ErrorKind::NotFound => format!(
                    "there is no settings file {shown}: expected one in TOML; name one that is there with --config, or leave that out and give the \
                     settings by options or environment variables"
                ),
                _ => format!("the settings file {shown} can't be read: expected a file in TOML that this user may read, found: {error}"),
            })
        })?;
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            CliError::usage(format!("the settings file {} is wrong in line {line}: {}", path.display(), error.message()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SettingsFile, CliError> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), text).expect("it can be written");
        SettingsFile::read(file.path())
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_without_secrets() {
        for (text, says) in [
            ("listen = \"x\"\ndatabse_url = \"postgres://me:hunter2@db/x\"\n", "line 2: unknown field `databse_url`"),
            ("database_url = \"postgres://me:hunter2@db/x\n", "line 1"),
            ("lease = \"soon\"\n", "\"30s\""),
            ("log_format = \"xml\"\n", "`json`"),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = SettingsFile::read(Path::new("/nowhere/stillframe.toml")).expect_err("it isn't there");
        for says in ["/nowhere/stillframe.toml", "--config"] {
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
