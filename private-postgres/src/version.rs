//! Versions of Postgres.

use std::fmt;

/// A server version, such as `17.2`, as `postgres --version` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresVersion {
    major: u32,
    text: String,
}

impl PostgresVersion {
    /// The oldest major version that Stillframe works with.
    pub const OLDEST_MAJOR: u32 = 15;

    /// Reads the output of `postgres --version`, such as `postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)`.
    pub(crate) fn parse(output: &str) -> Option<Self> {
        let (_, rest) = output.split_once("(PostgreSQL)")?;
        let text = rest.split_whitespace().next()?;
        Some(Self { major: leading_number(text)?, text: text.to_owned() })
    }

    /// The part before the first dot. Data written by one major version can't be read by another.
    pub fn major(&self) -> u32 {
        self.major
    }
}

impl fmt::Display for PostgresVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The number that a text such as `18beta1` or `15.8` begins with.
pub(crate) fn leading_number(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_distributions_print() {
        for (output, major, text) in [
            ("postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)\n", 15, "15.8"),
            ("postgres (PostgreSQL) 18beta1", 18, "18beta1"),
            ("postgres (PostgreSQL) 9.6.24", 9, "9.6.24"),
            ("postgres (PostgreSQL) 17devel", 17, "17devel"),
        ] {
            let version = PostgresVersion::parse(output).expect(output);
            assert_eq!((version.major(), version.to_string().as_str()), (major, text));
        }
    }

    #[test]
    fn what_is_no_postgres_has_no_version() {
        for output in ["", "bash: postgres: command not found", "postgres (PostgreSQL)", "postgres (PostgreSQL) unknown"] {
            assert_eq!(PostgresVersion::parse(output), None, "{output}");
        }
    }
}
