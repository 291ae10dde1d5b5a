//! What can break.

use std::fmt;

/// A thing that can break in one way at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A member's process, by its number.
    Member(usize),
    /// A coordinator's process, by its number.
    Replica(usize),
    /// The database.
    Postgres,
    /// The store.
    Store,
    /// The way from one member to another.
    Peers {
        /// The member that calls.
        from: usize,
        /// The member that is called.
        to: usize,
    },
    /// The way from a member to a replica.
    Control {
        /// The member.
        member: usize,
        /// The replica.
        replica: usize,
    },
    /// The way from a replica to the database.
    Database {
        /// The replica.
        replica: usize,
    },
}

/// The name of a member by its number.
#[must_use]
pub fn member_name(number: usize) -> String {
    format!("m{}", number + 1)
}

/// The name of a replica by its number.
#[must_use]
pub fn replica_name(number: usize) -> String {
    format!("replica {}", number + 1)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Member(member) => f.write_str(&member_name(member)),
            Self::Replica(replica) => f.write_str(&replica_name(replica)),
            Self::Postgres => f.write_str("postgres"),
            Self::Store => f.write_str("store"),
            Self::Peers { from, to } => write!(f, "{} -> {}", member_name(from), member_name(to)),
            Self::Control { member, replica } => write!(f, "{} -> {}", member_name(member), replica_name(replica)),
            Self::Database { replica } => write!(f, "{} -> postgres", replica_name(replica)),
        }
    }
}

/// How a way between two processes breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Break {
    /// Connections break, and no new one comes about.
    Cut,
    /// Nothing moves, and nothing breaks.
    Silent,
    /// What the caller says doesn't arrive.
    OneWayForth,
    /// What the server answers doesn't arrive.
    OneWayBack,
}

/// How the store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreFault {
    /// It answers 503.
    Refuses,
    /// It can't be reached.
    Away,
    /// It is slow.
    Slow,
    /// Requests are cut in their middle.
    Tears,
    /// It does the work, and the answer is lost.
    Forgets,
    /// Writes wait, and are done when the fault is over, also those of processes that have died.
    Late,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// SIGKILL; started again when the fault is over.
    Kill(Target),
    /// SIGSTOP; SIGCONT when the fault is over.
    Freeze(Target),
    /// `pg_ctl restart -m immediate`.
    RestartPostgres,
    /// The store fails.
    Store(StoreFault),
    /// A way between two processes breaks.
    Way(Target, Break),
}

/// A fault without its target, to be counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL of a member.
    KillMember,
    /// SIGKILL of a replica.
    KillReplica,
    /// SIGSTOP of a member.
    FreezeMember,
    /// SIGSTOP of a replica.
    FreezeReplica,
    /// A crash of Postgres.
    RestartPostgres,
    /// The database is dropped, and rebuilt from the bucket.
    LoseDatabase,
    /// The store fails.
    Store(StoreFault),
    /// Member to member.
    Peers(Break),
    /// Member to replica.
    Control(Break),
    /// Replica to database.
    Database(Break),
}

impl Fault {
    /// What breaks.
    #[must_use]
    pub fn target(self) -> Target {
        match self {
            Self::Kill(target) | Self::Freeze(target) | Self::Way(target, _) => target,
            Self::RestartPostgres => Target::Postgres,
            Self::Store(_) => Target::Store,
        }
    }

    /// What kind of fault it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Kill(Target::Replica(_)) => Kind::KillReplica,
            Self::Kill(_) => Kind::KillMember,
            Self::Freeze(Target::Replica(_)) => Kind::FreezeReplica,
            Self::Freeze(_) => Kind::FreezeMember,
            Self::RestartPostgres => Kind::RestartPostgres,
            Self::Store(fault) => Kind::Store(fault),
            Self::Way(Target::Control { .. }, how) => Kind::Control(how),
            Self::Way(Target::Database { .. }, how) => Kind::Database(how),
            Self::Way(_, how) => Kind::Peers(how),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(target) => write!(f, "SIGKILL of {target}"),
            Self::Freeze(target) => write!(f, "SIGSTOP of {target}"),
            Self::RestartPostgres => f.write_str("postgres crashes and starts again"),
            Self::Store(fault) => write!(f, "store {fault}"),
            Self::Way(target, how) => write!(f, "{target} {how}"),
        }
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "cut",
            Self::Silent => "silent both ways",
            Self::OneWayForth => "silent forth",
            Self::OneWayBack => "silent back",
        })
    }
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuses => "answers 503",
            Self::Away => "cannot be reached",
            Self::Slow => "is slow",
            Self::Tears => "loses requests in their middle",
            Self::Forgets => "does its work and loses the answers",
            Self::Late => "does its writes late",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillMember => f.write_str("SIGKILL of a member"),
            Self::KillReplica => f.write_str("SIGKILL of a replica"),
            Self::FreezeMember => f.write_str("SIGSTOP of a member"),
            Self::FreezeReplica => f.write_str("SIGSTOP of a replica"),
            Self::RestartPostgres => f.write_str("postgres crashes"),
            Self::LoseDatabase => f.write_str("database dropped and rebuilt from the bucket"),
            Self::Store(fault) => write!(f, "store {fault}"),
            Self::Peers(how) => write!(f, "member -> member {how}"),
            Self::Control(how) => write!(f, "member -> replica {how}"),
            Self::Database(how) => write!(f, "replica -> postgres {how}"),
        }
    }
}
