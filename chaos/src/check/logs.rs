//! No process has panicked: a panic is a bug, also where the process survived it.

use std::path::Path;

use stillframe_e2e::process::log::Log;

/// What the processes whose logs are in this directory have said when they panicked.
///
/// # Errors
/// When the directory can't be read.
pub fn panics(logs: &Path) -> Result<Vec<String>, String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", logs.display());
    let mut panics = Vec::new();
    for entry in std::fs::read_dir(logs).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "err")
            && let Some(said) = Log::new(path.clone()).panic()
        {
            panics.push(format!("{} has panicked: {said}", path.display()));
        }
    }
    Ok(panics)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_panic_in_a_log_is_found() {
        let logs = tempfile::tempdir().expect("a directory");
        std::fs::write(logs.path().join("m1-1.err"), "INFO fine\n").expect("written");
        assert_eq!(super::panics(logs.path()), Ok(Vec::new()));
        std::fs::write(logs.path().join("m1-2.err"), "thread 'main' panicked at src/x.rs:1:1:\nwhy\n").expect("written");
        assert_eq!(super::panics(logs.path()).map(|panics| panics.len()), Ok(1));
    }
}
