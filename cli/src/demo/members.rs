//! The member processes: started, killed and started again, and what they say of themselves.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use stillframe_bank::MemberStatus;
use stillframe_protocol::MemberName;

use super::{ACCOUNTS, INITIAL, stage::Stage};
use crate::error::CliError;

type Statuses = Arc<Mutex<BTreeMap<MemberName, MemberStatus>>>;

/// The member processes. They end when this is dropped, and also when the demo is killed: their standard input ends then.
pub(super) struct Members {
    names: Vec<MemberName>,
    children: BTreeMap<MemberName, Child>,
    statuses: Statuses,
    arguments: Vec<String>,
}

impl Members {
    /// So many members, `p1` to `pN`, none started.
    pub(super) fn new(stage: &Stage, members: u32) -> Result<Self, CliError> {
        let names = (1..=members).map(|n| MemberName::new(format!("p{n}"))).collect::<Result<_, _>>().map_err(CliError::usage)?;
        let arguments = [
            ("--coordinator", stage.client.url().to_string()),
            ("--cluster", stage.cluster.to_string()),
            ("--accounts", ACCOUNTS.to_string()),
            ("--initial", INITIAL.to_string()),
        ];
        let arguments = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        Ok(Self { names, children: BTreeMap::new(), statuses: Statuses::default(), arguments })
    }

    /// The members, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &MemberName> {
        self.names.iter()
    }

    /// Starts all of them.
    pub(super) fn start_all(&mut self) -> Result<(), CliError> {
        for name in self.names.clone() {
            self.start(&name)?;
        }
        Ok(())
    }

    /// Starts one as a process of its own.
    pub(super) fn start(&mut self, name: &MemberName) -> Result<(), CliError> {
        let program = std::env::current_exe().map_err(CliError::system("find the path of this program"))?;
        let mut command = Command::new(program);
        command.arg("demo-member").args(&self.arguments).args(["--member", name.as_str(), "--status", "--end-with-stdin"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(CliError::system(format!("start member {name}")))?;
        if let Some(stdout) = child.stdout.take() {
            let (statuses, name) = (Arc::clone(&self.statuses), name.clone());
            // Ends with the process whose output it reads.
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if let Ok(status) = serde_json::from_str(&line) {
                        statuses.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), status);
                    }
                }
            });
        }
        self.children.insert(name.clone(), child);
        Ok(())
    }

    /// Kills one with SIGKILL and says which process it was.
    pub(super) fn kill(&mut self, name: &MemberName) -> Result<u32, CliError> {
        let Some(mut child) = self.children.remove(name) else {
            return Err(CliError::Failed(format!("member {name} was not started")));
        };
        child.kill().map_err(CliError::system(format!("kill member {name}")))?;
        child.wait().map_err(CliError::system(format!("wait for the end of member {name}")))?;
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(child.id())
    }

    /// Fails when a member has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), CliError> {
        for (name, child) in &mut self.children {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(CliError::Failed(format!("member {name} ended by itself ({status}); its last words are above")));
            }
        }
        Ok(())
    }

    /// What a member last said of itself.
    pub(super) fn status(&self, name: &MemberName) -> Option<MemberStatus> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Ends all of them.
    pub(super) fn end(&mut self) {
        for child in self.children.values_mut() {
            // It may have ended by itself; either way it is gone after the wait.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.children.clear();
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.end();
    }
}
