//! `cargo sqlx-prepare`: writes the compile-time data of the coordinator's queries (`.sqlx/`) against a fresh, migrated database.
//!
//! It lives here, not in the coordinator, because it has to run when the coordinator's queries don't fit their data. With `--check` it writes
//! nothing, and fails when something would change.

use std::{
    collections::BTreeMap,
    error::Error,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use sqlx::{Connection, PgConnection, migrate::Migrator};
use stillframe_private_postgres::{Options, start};

/// The crates that ask checked queries.
const CRATES: [&str; 1] = ["coordinator"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let check = std::env::args().skip(1).any(|argument| argument == "--check");
    match run(check).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(check: bool) -> Result<bool, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let postgres = start(Options::temporary(), |_| {}).await?;
    let url = postgres.create_database("sqlx_prepare").await?;
    let mut connection = PgConnection::connect(&url).await?;
    Migrator::new(root.join("migrations")).await?.run(&mut connection).await?;
    connection.close().await?;
    let fresh = tempfile::tempdir()?;
    for name in CRATES {
        // The macros run only when the crate is compiled anew.
        let source = fs::File::open(root.join(name).join("src/lib.rs"))?;
        #[expect(clippy::disallowed_methods, reason = "a file's time is the system's")]
        source.set_modified(std::time::SystemTime::now())?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .current_dir(&root)
            .args(["check", "--package", &format!("stillframe-{name}"), "--lib"])
            .env("SQLX_OFFLINE", "false")
            .env("SQLX_OFFLINE_DIR", fresh.path())
            .env("DATABASE_URL", &url)
            .status()?;
        if !status.success() {
            return Err(format!("{name} does not compile against the migrated database").into());
        }
    }
    let (kept, fresh) = (root.join(".sqlx"), contents(fresh.path())?);
    fs::create_dir_all(&kept)?;
    let old = contents(&kept)?;
    if check {
        let same = old == fresh;
        println!(
            "{} queries; .sqlx {}",
            fresh.len(),
            if same { "is up to date" } else { "is out of date: run `cargo sqlx-prepare`" }
        );
        return Ok(same);
    }
    for stale in old.keys().filter(|name| !fresh.contains_key(*name)) {
        fs::remove_file(kept.join(stale))?;
    }
    for (name, data) in &fresh {
        fs::write(kept.join(name), data)?;
    }
    println!("{} queries in {}", fresh.len(), kept.display());
    postgres.stop().await?;
    Ok(true)
}

fn contents(directory: &Path) -> std::io::Result<BTreeMap<OsString, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path: PathBuf = entry?.path();
        if let (Some(name), Some("json")) = (path.file_name(), path.extension().and_then(|e| e.to_str())) {
            files.insert(name.to_owned(), fs::read(&path)?);
        }
    }
    Ok(files)
}
