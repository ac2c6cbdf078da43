//! Libraries of the base system, probed before anything uses them so that even a process which
//! lives for milliseconds finds its probes in place: at the start, and when a package was upgraded.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
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

/// The directories, each as it was when it was read.
pub struct Directories(HashMap<PathBuf, Option<SystemTime>>);

impl Default for Directories {
    fn default() -> Self {
        Self::of(DIRECTORIES.map(PathBuf::from))
    }
}

impl Directories {
    fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(paths.into_iter().map(|path| (path, None)).collect())
    }

    /// Paths of TLS libraries, links resolved, each once, in those directories that have changed
    /// since the last call. A file that takes the name of another changes its directory.
    pub fn changed(&mut self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        for (dir, known) in &mut self.0 {
            let changed = fs::metadata(dir).and_then(|stat| stat.modified()).ok();
            if changed.is_some() && changed != *known {
                *known = changed;
                found.extend(in_directory(dir));
            }
        }
        found
    }
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
        let mut directories = Directories::of([dir.path().to_owned()]);
        assert_eq!(directories.changed(), BTreeSet::from([fs::canonicalize(file).unwrap()]));
    }

    #[test]
    fn finds_a_library_again_that_took_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let (file, new) = (dir.path().join("libssl.so.3"), dir.path().join("new"));
        fs::write(&file, b"").unwrap();
        fs::write(&new, b"").unwrap();
        let earlier = SystemTime::UNIX_EPOCH;
        let set_back = || fs::File::open(dir.path()).unwrap().set_modified(earlier).unwrap();
        set_back();
        let mut directories = Directories::of([dir.path().to_owned(), dir.path().join("none")]);
        let found = BTreeSet::from([fs::canonicalize(&file).unwrap()]);
        assert_eq!(directories.changed(), found);
        assert!(directories.changed().is_empty(), "nothing has changed");
        fs::rename(new, file).unwrap();
        assert_eq!(directories.changed(), found);
    }
}
