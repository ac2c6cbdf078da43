//! Files beside files. In: the path of one. Out: the path of another, and of the directory of both.

use std::path::{Path, PathBuf};

/// The path with `suffix` behind its name, whatever that ends with.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Where the file is: the working directory, if its path is a name alone.
pub fn directory(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or_else(|| Path::new("."))
}
