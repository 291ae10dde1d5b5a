//! The server's command line.

use std::ffi::OsString;
use std::path::Path;

use crate::Options;
use crate::socket::PORT;

/// The arguments of `postgres`. Settings are given here rather than written into the cluster, so that each start decides anew.
pub(crate) fn arguments(cluster: &Path, socket_dir: &Path, options: &Options) -> Vec<OsString> {
    let mut arguments = vec![OsString::from("-D"), cluster.into()];
    let mut set = |name: &str, value: &std::ffi::OsStr| {
        let mut setting = OsString::from(format!("{name}="));
        setting.push(value);
        arguments.extend([OsString::from("-c"), setting]);
    };
    set("unix_socket_directories", socket_dir.as_os_str());
    for (name, value) in fixed(options) {
        set(name, value.as_ref());
    }
    for (name, value) in &options.settings {
        set(name, value.as_ref());
    }
    arguments
}

fn fixed(options: &Options) -> Vec<(&'static str, String)> {
    let mut fixed: Vec<(&str, String)> = vec![
        ("listen_addresses", String::new()),
        ("unix_socket_permissions", "0700".into()),
        ("port", PORT.to_string()),
        ("max_connections", options.max_connections.to_string()),
        ("shared_buffers", "64MB".into()),
        // Short statements only: compiling them costs more than it saves.
        ("jit", "off".into()),
        ("timezone", "UTC".into()),
        ("log_timezone", "UTC".into()),
        ("logging_collector", "off".into()),
        ("log_destination", "stderr".into()),
        ("log_line_prefix", "%m [%p] %q%u@%d ".into()),
    ];
    if !options.fsync {
        fixed.extend(["fsync", "synchronous_commit", "full_page_writes"].map(|name| (name, "off".to_owned())));
    }
    fixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(options: &Options, setting: &str) -> bool {
        arguments(Path::new("/c"), Path::new("/s"), options).contains(&OsString::from(setting))
    }

    #[test]
    fn a_kept_server_waits_for_the_disk() {
        assert!(!has(&Options::kept("/x"), "fsync=off"));
        assert!(has(&Options::temporary(), "fsync=off"));
    }

    #[test]
    fn no_server_listens_on_the_network() {
        assert!(has(&Options::kept("/x"), "listen_addresses="));
    }

    #[test]
    fn the_settings_of_the_caller_come_last_and_so_win() {
        let mut options = Options::temporary();
        options.settings.push(("jit".into(), "on".into()));
        assert_eq!(arguments(Path::new("/c"), Path::new("/s"), &options).last(), Some(&OsString::from("jit=on")));
    }
}
