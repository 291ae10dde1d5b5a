//! The Unix socket of a server, and the URL for it.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::run_as::RunAs;
use crate::{Error, files};

/// The number in the socket's name. No network port is opened.
pub(crate) const PORT: u16 = 5432;
/// The cluster's superuser.
pub(crate) const SUPERUSER: &str = "stillframe";
/// The longest path of a socket on any system (macOS; Linux has 107).
const PATH_LIMIT_BYTES: usize = 103;

/// The directory of the socket: the cluster itself, or a short one of its own when that path is too long or has characters that
/// would need quoting in the server's settings or can't be in a URL.
#[derive(Debug)]
pub(crate) struct Socket {
    dir: PathBuf,
    own: Option<TempDir>,
}

impl Socket {
    pub(crate) fn choose(cluster: &Path, run_as: &RunAs) -> Result<Self, Error> {
        if is_suitable(cluster) {
            return Ok(Self { dir: cluster.to_owned(), own: None });
        }
        let own = files::temporary_dir(run_as)?;
        Ok(Self { dir: own.path().to_owned(), own: Some(own) })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory to remove when the server has ended.
    pub(crate) fn to_remove(&self) -> Option<&Path> {
        self.own.as_ref().map(TempDir::path)
    }

    /// The URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        let dir = percent_encode(&self.dir.to_string_lossy());
        // Everything is said that a client would else take from its environment (PGPORT, PGUSER, PGSSLMODE, ...).
        format!("postgres://{SUPERUSER}@{dir}:{PORT}/{}?sslmode=disable", percent_encode(database))
    }
}

fn is_suitable(dir: &Path) -> bool {
    let name_bytes = format!("/.s.PGSQL.{PORT}").len();
    dir.to_str().is_some_and(|dir| {
        dir.len() + name_bytes <= PATH_LIMIT_BYTES && !dir.contains([',', '"', '\'', '\\']) && !dir.contains(char::is_whitespace)
    })
}

/// Leaves only what RFC 3986 calls unreserved.
fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use sqlx::postgres::PgConnectOptions;

    use super::*;

    #[test]
    fn the_url_means_the_socket_to_sqlx() {
        let socket = Socket { dir: PathBuf::from("/tmp/ä%b/c-d"), own: None };
        let options = PgConnectOptions::from_str(&socket.url("a b")).expect("a URL");
        assert_eq!(options.get_socket().map(PathBuf::as_path), Some(Path::new("/tmp/ä%b/c-d")));
        assert_eq!((options.get_port(), options.get_database(), options.get_username()), (PORT, Some("a b"), SUPERUSER));
    }

    #[test]
    fn a_path_is_suitable_when_every_system_takes_it() {
        assert!(is_suitable(Path::new("/tmp/stillframe-pg-a1B2c3/cluster")));
        assert!(!is_suitable(Path::new("/tmp/with space")));
        assert!(!is_suitable(Path::new("/tmp/with,comma")));
        assert!(is_suitable(&Path::new("/").join("x".repeat(88))));
        assert!(!is_suitable(&Path::new("/").join("x".repeat(89))));
    }
}
