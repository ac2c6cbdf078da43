//! Libraries of the base system, probed at the start so that even a process which lives for
//! milliseconds finds its probes in place.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::discover::maps::is_wanted;

/// Where distributions keep shared libraries on x86-64: Debian, Fedora and SUSE, Arch and Alpine,
/// local builds.
const DIRECTORIES: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/lib64",
    "/usr/lib",
    "/lib",
    "/usr/local/lib",
    "/usr/local/lib64",
];

/// Paths of TLS libraries of the base system, links resolved, each once.
#[must_use]
pub fn libraries() -> BTreeSet<PathBuf> {
    DIRECTORIES.iter().flat_map(|dir| in_directory(Path::new(dir))).collect()
}

fn in_directory(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_str().is_some_and(is_wanted))
        .filter_map(|path| fs::canonicalize(path).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_library_once_whatever_links_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("libssl.so.3");
        fs::write(&file, b"").unwrap();
        std::os::unix::fs::symlink(&file, dir.path().join("libssl.so")).unwrap();
        fs::write(dir.path().join("libc.so.6"), b"").unwrap();
        let found: BTreeSet<_> = in_directory(dir.path()).into_iter().collect();
        assert_eq!(found, BTreeSet::from([fs::canonicalize(file).unwrap()]));
    }
}
