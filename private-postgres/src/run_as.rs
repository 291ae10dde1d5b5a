//! Whom Postgres runs as.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;

/// The user that Postgres and `initdb` run as. Postgres refuses to run as root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunAs {
    /// The user of this process, who isn't root.
    Caller,
    /// This process is root: an unprivileged user.
    User(User),
}

/// A user of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Users to take instead of root, the best first.
const INSTEAD_OF_ROOT: [&str; 2] = ["postgres", "nobody"];

impl RunAs {
    /// Every user that this process may run Postgres as, the one for a new cluster first.
    pub(crate) fn choices() -> Result<Vec<Self>, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(vec![Self::Caller]);
        }
        let passwd = fs::read("/etc/passwd").unwrap_or_default();
        let passwd = String::from_utf8_lossy(&passwd);
        let users: Vec<User> = INSTEAD_OF_ROOT.iter().filter_map(|name| User::find(&passwd, name)).collect();
        let best = users.first().ok_or(Error::NoServerUser)?;
        best.check_permitted()?;
        Ok(users.into_iter().map(Self::User).collect())
    }

    /// The numeric id of this user.
    pub(crate) fn uid(&self) -> u32 {
        match self {
            Self::Caller => rustix::process::geteuid().as_raw(),
            Self::User(user) => user.uid,
        }
    }

    /// The name for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Caller => format!("{}", self.uid()),
            Self::User(user) => user.name.clone(),
        }
    }

    /// A command to be run as this user, with an environment that holds none of the caller's secrets.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("LC_ALL", "C").current_dir("/");
        // Binaries that somebody built by hand may need these to find their libraries.
        for name in ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Self::User(user) = self {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Whether this user can get into `dir`.
    pub(crate) fn can_enter(&self, dir: &Path) -> bool {
        // Asked of the system as that user, so that access control lists and the like are respected.
        let mut ask = self.command("/bin/sh");
        ask.args(["-c", r#"test -d "$1" && test -x "$1""#, "can-enter"]).arg(dir);
        ask.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        ask.status().is_ok_and(|status| status.success())
    }

    /// Makes this user the owner of `path`.
    pub(crate) fn give(&self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Caller => Ok(()),
            Self::User(user) => chown(path, Some(user.uid), Some(user.gid)).map_err(Error::file("change the owner of", path)),
        }
    }
}

impl User {
    fn find(passwd: &str, name: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            if fields.next()? != name {
                return None;
            }
            let (uid, gid) = (fields.nth(1)?, fields.next()?);
            let user = Self { name: name.to_owned(), uid: id(uid)?, gid: id(gid)? };
            (user.uid != 0).then_some(user)
        })
    }

    /// Whether this process may become that user at all: root in a container often may not.
    fn check_permitted(&self) -> Result<(), Error> {
        let mut nothing = RunAs::User(self.clone()).command("/bin/sh");
        nothing.args(["-c", ":"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let refused = |source| Error::CannotLeaveRoot { user: self.name.clone(), source };
        nothing.status().map_err(refused).map(drop)
    }
}

/// A user or group id. Some systems write that of `nobody` as -2.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().or_else(|| text.parse::<i32>().ok().map(i32::cast_unsigned))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        nobody:*:-2:-2:Unprivileged User:/var/empty:/usr/bin/false\n\
        broken\n\
        postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash\n\
        toor:x:0:0::/root:/bin/sh\n";

    #[test]
    fn a_user_is_found_in_the_password_file() {
        let postgres = User::find(PASSWD, "postgres").expect("postgres");
        assert_eq!((postgres.uid, postgres.gid), (101, 104));
    }

    #[test]
    fn a_negative_id_is_the_number_that_the_system_means() {
        let nobody = User::find(PASSWD, "nobody").expect("nobody");
        assert_eq!((nobody.uid, nobody.gid), (u32::MAX - 1, u32::MAX - 1));
    }

    #[test]
    fn another_name_of_root_is_never_taken() {
        assert_eq!(User::find(PASSWD, "toor"), None);
        assert_eq!(User::find(PASSWD, "broken"), None);
        assert_eq!(User::find(PASSWD, "absent"), None);
    }
}
