//! Making a new cluster.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::time::Duration;

use crate::home::Home;
use crate::socket::SUPERUSER;
use crate::supervise::{Job, Supervised};
use crate::{Binaries, Error, files};

/// Far more than the second that it takes.
const LIMIT: Duration = Duration::from_secs(300);

/// Makes the cluster under another name and renames it when it is complete, so that a cluster is there wholly or not at all.
pub(crate) async fn make_cluster(home: &Home, binaries: &Binaries, fsync: bool) -> Result<(), Error> {
    let unfinished = home.dir().join("cluster.new");
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::file("remove", &unfinished)(error)),
        Ok(()) | Err(_) => {}
    }
    files::make_dir(&unfinished, 0o700)?;
    home.run_as().give(&unfinished)?;

    let mut argv = vec![binaries.initdb().into(), OsString::from("--pgdata"), unfinished.clone().into()];
    argv.push(format!("--username={SUPERUSER}").into());
    // Only its owner and root can get to the socket.
    argv.extend(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"].map(OsString::from));
    if !fsync {
        argv.push("--no-sync".into());
    }
    let shell = home.run_as().command(Job::SHELL);
    let job = Job { shell, argv, output: home.log(), stop_signal: "TERM", remove: [home.to_remove(), None] };
    let mut initdb = Supervised::spawn(job).map_err(Error::file("run", binaries.initdb()))?;
    let status = initdb.wait(LIMIT).await.map_err(Error::file("wait for", binaries.initdb()))?;
    let status = status.ok_or_else(|| Error::file("wait for", binaries.initdb())(ErrorKind::TimedOut.into()))?;
    if !status.success() {
        return Err(Error::InitDb { cluster: home.cluster(), status, log: home.log_tail() });
    }
    fs::rename(&unfinished, home.cluster()).map_err(Error::file("rename", &unfinished))?;
    if fsync {
        File::open(home.dir()).and_then(|dir| dir.sync_all()).map_err(Error::file("sync", home.dir()))?;
    }
    Ok(())
}
