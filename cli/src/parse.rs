//! Values of the command line: each error says what was expected.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use jiff::Timestamp;
use stillframe_api::{HumanDuration, schedule::MIN_EVERY};
use stillframe_archive::ArchiveUrl;
use stillframe_protocol::{HoldId, MemberName, RestoreId, SnapshotId};

use crate::error::CliError;

/// A snapshot's id.
///
/// # Errors
/// What was expected and where to find it.
pub fn snapshot_id(text: &str) -> Result<SnapshotId, String> {
    text.parse().map_err(|_| "no snapshot id: expected a UUID, as `stillframe snapshot list <CLUSTER>` shows them".to_owned())
}

/// A restore's id.
///
/// # Errors
/// What was expected and where to find it.
pub fn restore_id(text: &str) -> Result<RestoreId, String> {
    text.parse().map_err(|_| "no restore id: expected a UUID, as `stillframe restore start` prints it".to_owned())
}

/// A hold's id.
///
/// # Errors
/// What was expected and where to find it.
pub fn hold_id(text: &str) -> Result<HoldId, String> {
    text.parse().map_err(|_| "no hold id: expected a UUID, as `stillframe hold list <SNAPSHOT>` shows them".to_owned())
}

/// A point in time.
///
/// # Errors
/// What was expected.
pub fn timestamp(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "no time: expected RFC 3339 with a zone, such as 2026-03-01T14:00:00Z".to_owned())
}

/// A renaming, `old=new`.
///
/// # Errors
/// What was expected.
pub fn renaming(text: &str) -> Result<(MemberName, MemberName), String> {
    let (part, name) = text.split_once('=').ok_or("no renaming: expected OLD=NEW, such as --map p1=q1")?;
    let parse =
        |text: &str| text.parse::<MemberName>().map_err(|error| format!("{error}; expected OLD=NEW, such as --map p1=q1"));
    Ok((parse(part)?, parse(name)?))
}

/// An address to listen on: `ip:port`, or `localhost:port`.
///
/// # Errors
/// What was expected.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    let expected = || "no address to listen on: expected ip:port, such as 127.0.0.1:7700 or 0.0.0.0:7700".to_owned();
    match text.strip_prefix("localhost:") {
        Some(port) => port.parse().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).map_err(|_| expected()),
        None => text.parse().map_err(|_| expected()),
    }
}

/// A label, `key=value`.
///
/// # Errors
/// What was expected.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("no label: expected KEY=VALUE, such as --label release=1.4".to_owned()),
    }
}

/// How often a schedule takes a snapshot.
///
/// # Errors
/// What was expected.
pub fn interval(text: &str) -> Result<HumanDuration, String> {
    let every: HumanDuration = text.parse().map_err(|error: stillframe_api::duration::DurationError| error.to_string())?;
    if every < MIN_EVERY {
        return Err(format!("expected {MIN_EVERY} to 366 days, such as \"1s\", found {every}"));
    }
    Ok(every)
}

/// How long `--wait` waits: a duration, or nothing for as long as it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until it has ended. Snapshots and restores have deadlines of their own.
    UntilEnded,
    /// At most so long.
    AtMost(HumanDuration),
}

/// What `--wait` has for "as long as it takes", when nothing follows it.
pub const UNTIL_ENDED: &str = "until-ended";

/// The value of `--wait`.
///
/// # Errors
/// What was expected, and how to keep the next argument apart.
pub fn wait(text: &str) -> Result<Wait, String> {
    if text == UNTIL_ENDED {
        return Ok(Wait::UntilEnded);
    }
    text.parse().map(Wait::AtMost).map_err(|error: stillframe_api::duration::DurationError| {
        format!("{error}; to wait for as long as it takes, put --wait last with nothing after it")
    })
}

/// An archive: a `file://` or `s3://` URL, or the path of a directory. Not a clap parser, because clap repeats what it can't parse,
/// and there may be a secret in it by mistake.
///
/// # Errors
/// [`CliError::Usage`] with what was expected.
pub fn archive(text: &str) -> Result<ArchiveUrl, CliError> {
    if text.is_empty() {
        return Err(CliError::usage("the archive is empty: expected file:///directory, s3://bucket/prefix or a directory"));
    }
    let url = if text.contains("://") { text.parse() } else { ArchiveUrl::from_dir(Path::new(text)) };
    url.map_err(CliError::usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_ip_or_localhost_with_a_port() {
        for (text, expected) in [("127.0.0.1:7700", "127.0.0.1:7700"), ("localhost:0", "127.0.0.1:0"), ("[::1]:80", "[::1]:80")] {
            assert_eq!(listen(text).map(|address| address.to_string()), Ok(expected.to_owned()));
        }
        for text in ["", "7700", ":7700", "localhost", "localhost:x", "example.org:80", "127.0.0.1:70000"] {
            assert!(listen(text).expect_err(text).contains("127.0.0.1:7700"), "{text}");
        }
    }

    #[test]
    fn a_label_has_a_key_and_perhaps_an_empty_value() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(label("a="), Ok(("a".to_owned(), String::new())));
        for text in ["", "a", "=b"] {
            assert!(label(text).expect_err(text).contains("KEY=VALUE"));
        }
    }

    #[test]
    fn an_interval_is_no_shorter_than_a_schedule_takes() {
        assert_eq!(interval("50ms"), Ok(MIN_EVERY));
        for text in ["1ms", "49ms"] {
            assert!(interval(text).expect_err(text).contains("50ms to 366 days"));
        }
        assert!(interval("soon").expect_err("a word").contains("\"30s\""));
    }

    #[test]
    fn wait_takes_a_duration_or_nothing() {
        assert_eq!(wait("10s"), Ok(Wait::AtMost(HumanDuration::from_millis(10_000))));
        assert_eq!(wait(UNTIL_ENDED), Ok(Wait::UntilEnded));
        assert!(wait("bank").expect_err("a name").contains("put --wait last"));
    }

    #[test]
    fn an_archive_is_a_url_or_a_directory_and_never_shows_credentials() {
        assert_eq!(archive("file:///a/b").ok(), archive("/a/b").ok());
        assert!(archive("archive").is_ok_and(|url| url.to_string().ends_with("/archive")));
        for text in ["", "gs://x", "s3://AKIA:hunter2@bucket", "s3://"] {
            let error = archive(text).expect_err(text).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn ids_that_are_no_uuids_say_where_to_find_one() {
        assert!(snapshot_id("7").expect_err("a number").contains("snapshot list"));
        assert!(restore_id("x").expect_err("a letter").contains("restore start"));
    }
}
