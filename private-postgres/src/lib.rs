//! A private Postgres server, started from whatever binaries the machine has, that ends with its parent.
//!
//! `stillframe demo`, `stillframe dev` and the tests need a real Postgres, on a machine that may have none. [`start`] finds
//! binaries (or fetches them), makes a cluster in a directory, runs it on a Unix socket that nobody else can reach, and hands
//! back its URL. It works for an ordinary user and for root, and the server is gone soon after its parent is, however that died.
//!
//! | module | concept |
//! | --- | --- |
//! | `options` | what the caller chooses |
//! | `server` | the running server |
//! | `standby` | a server that follows another one |
//! | `search`, `wheel`, `binaries`, `version` | where the binaries come from, and whether they will do |
//! | `run_as` | whom Postgres runs as: the caller, or an unprivileged user when the caller is root |
//! | `home` | the directory on disk: who holds it, and where it really is |
//! | `initdb`, `settings`, `socket` | making a cluster, its settings, its socket and URL |
//! | `supervise` | the small shell process that ends a command when its parent ends |
//! | [`testing`] | databases for the tests of other crates |

mod binaries;
mod error;
mod files;
mod home;
mod initdb;
mod options;
mod poll;
mod progress;
mod run_as;
mod search;
mod server;
mod settings;
mod socket;
mod standby;
mod supervise;
pub mod testing;
mod version;
mod wheel;

pub use binaries::Binaries;
pub use error::{Error, Rejected};
pub use options::{DataDir, Options};
pub use progress::Progress;
pub use search::{BinarySearch, find_binaries};
pub use server::{PrivatePostgres, start};
pub use version::PostgresVersion;
