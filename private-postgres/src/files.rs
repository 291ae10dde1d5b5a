//! Files and directories.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Error;
use crate::run_as::RunAs;

/// Makes `dir` and what is missing above it, with this mode whatever the umask is. What exists keeps its mode.
pub(crate) fn make_dir(dir: &Path, mode: u32) -> Result<(), Error> {
    if let Some(parent) = dir.parent().filter(|parent| !parent.exists()) {
        make_dir(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => fs::set_permissions(dir, Permissions::from_mode(mode)).map_err(Error::file("set the permissions of", dir)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::file("make the directory", dir)(error)),
    }
}

/// Opens a private file for reading and appending. It never follows a symbolic link: the directory may belong to another user.
pub(crate) fn open_private(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(Error::file("open", path))
}

/// A new private directory with a short path, in a temporary place that `run_as` can reach, owned by that user.
pub(crate) fn temporary_dir(run_as: &RunAs) -> Result<TempDir, Error> {
    let bases = [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
    let dir = new_dir_in(&bases, run_as)?;
    run_as.give(dir.path())?;
    Ok(dir)
}

/// A new directory of mode 0700 in the first of `bases` that can be written by this process and entered by `run_as`.
pub(crate) fn new_dir_in(bases: &[PathBuf], run_as: &RunAs) -> Result<TempDir, Error> {
    bases
        .iter()
        .filter(|base| base.is_absolute() && run_as.can_enter(base))
        .find_map(|base| {
            tempfile::Builder::new().prefix("stillframe-pg-").permissions(Permissions::from_mode(0o700)).tempdir_in(base).ok()
        })
        .ok_or_else(|| Error::Unreachable {
            user: run_as.name(),
            tried: bases.iter().map(|base| base.display().to_string()).collect::<Vec<_>>().join(", "),
        })
}

/// The end of a file, from `start` on: at most 4 KiB.
pub(crate) fn tail(file: &File, start: u64) -> String {
    const LIMIT_BYTES: u64 = 4096;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = file;
        let end = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(start.max(end.saturating_sub(LIMIT_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(LIMIT_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_else(|error| format!("(it can't be read: {error})").into_bytes());
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_tail_is_what_came_after_the_start_and_is_bounded() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(b"before\nafter\n").expect("write");
        assert_eq!(tail(&file, 7), "after");
        file.write_all(&[b'x'; 10_000]).expect("write");
        assert_eq!(tail(&file, 0).len(), 4096);
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        std::os::unix::fs::symlink(&target, &link).expect("symlink");
        assert!(open_private(&link).is_err());
        assert!(!target.exists());
    }
}
