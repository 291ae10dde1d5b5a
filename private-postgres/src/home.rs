//! The directory on disk that a server lives in.
//!
//! | name | what it is |
//! | --- | --- |
//! | `owner.lock` | locked by the process that has the server, holds its process id |
//! | `location` | only when the rest is elsewhere: the path of the directory that has it |
//! | `postgres.log` | what `initdb` and the server print. Locked as long as any process of theirs lives, because they inherit it |
//! | `cluster/` | the Postgres data directory, owned by the user that Postgres runs as |
//! | `cluster.new/` | a cluster that `initdb` hasn't finished |

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::run_as::RunAs;
use crate::version::leading_number;
use crate::{DataDir, Error, Progress, files, poll};

/// How long a server whose parent is gone may take to shut down.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(60);
/// How long the lock of the owner may be seen after its end: a child process that is just being started has a copy of it until it
/// runs its program.
const OWNER_LIMIT: Duration = Duration::from_secs(1);
/// A log larger than this is emptied by the next start.
const LOG_LIMIT_BYTES: u64 = 4 << 20;

/// A directory that this process has for itself, and the user that Postgres runs as in it.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    run_as: RunAs,
    log: File,
    log_start: u64,
    _owner: Option<File>,
    temporary: Option<TempDir>,
}

impl Home {
    /// Takes possession of the directory, and waits until a server that was left behind in it has shut down.
    pub(crate) async fn open(data_dir: &DataDir, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<Self, Error> {
        let mut choices = RunAs::choices()?;
        match data_dir {
            DataDir::Temporary => {
                let run_as = choices.swap_remove(0);
                let temporary = files::temporary_dir(&run_as)?;
                let dir = temporary.path().to_owned();
                let log = lock_log(&dir, &dir, progress).await?;
                Ok(Self { dir, run_as, log, log_start: 0, _owner: None, temporary: Some(temporary) })
            }
            DataDir::Kept(chosen) => {
                let chosen = std::path::absolute(chosen).map_err(Error::file("find", chosen))?;
                let mode = if choices[0] == RunAs::Caller { 0o700 } else { 0o711 };
                files::make_dir(&chosen, mode)?;
                let owner = lock_owner(&chosen).await?;
                let (dir, run_as) = locate(&chosen, choices, progress)?;
                let log = lock_log(&chosen, &dir, progress).await?;
                let log_start = log.metadata().map_err(Error::file("look at", log_path(&dir)))?.len();
                Ok(Self { dir, run_as, log, log_start, _owner: Some(owner), temporary: None })
            }
        }
    }

    /// The directory that has the cluster.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn run_as(&self) -> &RunAs {
        &self.run_as
    }

    /// The Postgres data directory.
    pub(crate) fn cluster(&self) -> PathBuf {
        cluster(&self.dir)
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        log_path(&self.dir)
    }

    pub(crate) fn log(&self) -> &File {
        &self.log
    }

    /// What was printed since this process took possession, or the end of it.
    pub(crate) fn log_tail(&self) -> String {
        files::tail(&self.log, self.log_start)
    }

    /// The directory to remove when the server has ended.
    pub(crate) fn to_remove(&self) -> Option<&Path> {
        self.temporary.as_ref().map(TempDir::path)
    }

    /// The major version of the Postgres that made the cluster; `None` when there is no cluster yet.
    pub(crate) fn cluster_major(&self) -> Result<Option<u32>, Error> {
        let path = self.cluster().join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => leading_number(&text).map(Some).ok_or_else(|| {
                Error::file("read a version from", &path)(std::io::Error::new(ErrorKind::InvalidData, format!("found {text:?}")))
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read", &path)(error)),
        }
    }

    /// The process id that the server left in its own lock file.
    pub(crate) fn postmaster_pid(&self) -> Option<u32> {
        postmaster_pid(&self.dir)
    }

    /// Removes the server's own lock file when it names a process that is certainly no Postgres.
    ///
    /// No process of an earlier server lives: each would hold the lock on the log. But after a crash its id may by now be that of
    /// something else, which is common in containers, and Postgres would refuse to start for it.
    pub(crate) fn clear_stale_pid(&self) -> Result<(), Error> {
        let Some(pid) = self.postmaster_pid() else { return Ok(()) };
        match fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(name) if name.trim_end() != "postgres" => {
                let path = self.cluster().join("postmaster.pid");
                fs::remove_file(&path).map_err(Error::file("remove", &path))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn cluster(dir: &Path) -> PathBuf {
    dir.join("cluster")
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("postgres.log")
}

fn postmaster_pid(dir: &Path) -> Option<u32> {
    fs::read_to_string(cluster(dir).join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

fn pointer_path(data_dir: &Path) -> PathBuf {
    data_dir.join("location")
}

/// The lock that a living process has on its data directory. The kernel lets go of it when that process ends.
async fn lock_owner(data_dir: &Path) -> Result<File, Error> {
    let path = data_dir.join("owner.lock");
    let mut file = files::open_private(&path)?;
    if poll::until(OWNER_LIMIT, || file.try_lock().ok()).await.is_none() {
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder);
        let postgres = read_pointer(data_dir).unwrap_or_else(|| data_dir.to_owned());
        return Err(Error::InUse {
            data_dir: data_dir.to_owned(),
            holder: holder.trim().parse().ok(),
            postgres: postmaster_pid(&postgres),
        });
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(Error::file("write", &path))?;
    Ok(file)
}

/// Opens the log, and waits until no process of an earlier server has it.
async fn lock_log(data_dir: &Path, dir: &Path, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<File, Error> {
    let path = log_path(dir);
    let log = files::open_private(&path)?;
    if log.try_lock().is_err() {
        progress(Progress::WaitingForShutdown { data_dir: data_dir.to_owned() });
        poll::until(SHUTDOWN_LIMIT, || log.try_lock().ok()).await.ok_or_else(|| Error::InUse {
            data_dir: data_dir.to_owned(),
            holder: None,
            postgres: postmaster_pid(dir),
        })?;
    }
    let size = log.metadata().map_err(Error::file("look at", &path))?.len();
    if size > LOG_LIMIT_BYTES {
        log.set_len(0).map_err(Error::file("empty", &path))?;
    }
    Ok(log)
}

/// Where the cluster is or shall be, and whom Postgres runs as there.
fn locate(
    data_dir: &Path,
    mut choices: Vec<RunAs>,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(PathBuf, RunAs), Error> {
    let dir = match read_pointer(data_dir) {
        Some(actual) if !actual.is_dir() => {
            return Err(Error::Gone { data_dir: data_dir.to_owned(), actual, pointer: pointer_path(data_dir) });
        }
        Some(actual) => actual,
        None => data_dir.to_owned(),
    };
    let cluster = cluster(&dir);
    match fs::metadata(&cluster) {
        Ok(found) => {
            let expected_uid = choices[0].uid();
            let run_as = choices.into_iter().find(|choice| choice.uid() == found.uid());
            let run_as = run_as.ok_or(Error::ForeignCluster { cluster, expected_uid, found_uid: found.uid() })?;
            if !run_as.can_enter(&dir) {
                return Err(Error::Unreachable { user: run_as.name(), tried: dir.display().to_string() });
            }
            Ok((dir, run_as))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let run_as = choices.swap_remove(0);
            if run_as.can_enter(&dir) {
                return Ok((dir, run_as));
            }
            let actual = relocate(data_dir, &run_as)?;
            progress(Progress::Relocated { data_dir: data_dir.to_owned(), actual: actual.clone(), user: run_as.name() });
            Ok((actual, run_as))
        }
        Err(error) => Err(Error::file("look at", cluster)(error)),
    }
}

/// Makes a directory that `run_as` can reach, and a pointer to it, so that the next start finds it again.
fn relocate(data_dir: &Path, run_as: &RunAs) -> Result<PathBuf, Error> {
    // What is in /var/tmp or /tmp may be cleaned away after some weeks, so it is only the second choice.
    let lasting = PathBuf::from("/var/lib/stillframe");
    let _ = files::make_dir(&lasting, 0o711);
    let bases = [lasting, PathBuf::from("/var/tmp"), std::env::temp_dir(), PathBuf::from("/tmp")];
    let dir = files::new_dir_in(&bases, run_as)?;
    fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).map_err(Error::file("set the permissions of", dir.path()))?;

    let pointer = pointer_path(data_dir);
    let mut content = dir.path().as_os_str().as_bytes().to_vec();
    content.push(b'\n');
    let unfinished = data_dir.join("location.new");
    fs::write(&unfinished, content).map_err(Error::file("write", &unfinished))?;
    fs::rename(&unfinished, &pointer).map_err(Error::file("write", &pointer))?;
    Ok(dir.keep())
}

fn read_pointer(data_dir: &Path) -> Option<PathBuf> {
    let content = fs::read(pointer_path(data_dir)).ok()?;
    let path = content.strip_suffix(b"\n").unwrap_or(&content);
    Some(PathBuf::from(OsStr::from_bytes(path)))
}
