//! Libraries that a process has mapped.
//!
//! In: `/proc/PID/maps` (proc(5)), whose paths the process chose. Out: the executable mappings
//! whose file is named like a TLS library, and the files themselves, opened so that a replaced or
//! deleted one, or one in a container, is the right one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::fs::OpenOptionsExt as _,
};

/// Longest map that is read: a process with more mappings is not worth the agent's time.
const MAX_MAPS: u64 = 16 * 1024 * 1024;

/// An executable mapping of a file.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Mapping {
    /// `START-END`, as the kernel prints it: the name below `map_files`.
    pub range: String,
    /// Device as `major:minor` and inode number, as the kernel prints them. Names a file well
    /// enough to know that it was seen before, though on some file systems not as `stat` does.
    pub file: (String, u64),
    /// Path in the process's mount namespace, without the kernel's ` (deleted)`.
    pub path: String,
}

/// Reads the executable mappings of `pid` whose file name [`is_tls_library`].
///
/// # Errors
/// The process is gone, or not to be read.
pub fn of_process(pid: u32) -> io::Result<Vec<Mapping>> {
    let file = File::open(format!("/proc/{pid}/maps"))?;
    let mut found = Vec::new();
    for line in BufReader::new(file.take(MAX_MAPS)).split(b'\n') {
        let line = line?;
        if let Some(mapping) = parse(&String::from_utf8_lossy(&line)) {
            found.push(mapping);
        }
    }
    Ok(found)
}

/// Opens the file behind a mapping of `pid`.
///
/// # Errors
/// The process is gone, or the file cannot be opened.
pub fn open(pid: u32, mapping: &Mapping) -> io::Result<File> {
    // The link leads to the mapped file itself, also when its path has come to name another.
    File::open(format!("/proc/{pid}/map_files/{}", mapping.range)).or_else(|_| {
        // Not to a device or a pipe that a container put there: those could block.
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(format!("/proc/{pid}/root{}", mapping.path))
            .and_then(|file| {
                let number = nix::sys::stat::fstat(&file)?.st_ino;
                let same = number == mapping.file.1;
                same.then_some(file).ok_or_else(|| io::ErrorKind::NotFound.into())
            })
    })
}

/// Ids of all processes.
///
/// # Errors
/// `/proc` cannot be read.
pub fn processes() -> io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// Whether a file is named like one of OpenSSL's libraries: `libssl.so.3`, `libcrypto.so.3`, or as
/// Python wheels bundle them, `libssl-0123abcd.so.1.1`. NSS's `libssl3.so` is another library.
#[must_use]
pub fn is_tls_library(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    ["libssl", "libcrypto"].iter().filter_map(|library| name.strip_prefix(library)).any(|rest| {
        rest == ".so" || rest.starts_with(".so.") || (rest.starts_with('-') && rest.contains(".so"))
    })
}

/// One line: `START-END PERMS OFFSET DEV INODE PATH`.
fn parse(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let range = fields.next()?;
    let permissions = fields.next()?;
    let _offset = fields.next()?;
    let device = fields.next()?;
    let inode = fields.next()?.parse().ok()?;
    let path = fields.next()?.trim_start();
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let wanted = permissions.contains('x') && is_tls_library(path);
    wanted.then(|| Mapping {
        range: range.to_owned(),
        file: (device.to_owned(), inode),
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_executable_mappings_of_libssl_only() {
        let line = "7f0-7f1 r-xp 0001e000 fe:00 5505     /usr/lib/x86_64-linux-gnu/libssl.so.3";
        let mapping = parse(line).unwrap();
        assert_eq!(mapping.range, "7f0-7f1");
        assert_eq!(mapping.file, ("fe:00".to_owned(), 5505));
        assert_eq!(parse(&line.replace("r-xp", "r--p")), None);
        assert_eq!(parse(&line.replace("libssl.so.3", "libc.so.6")), None);
        assert_eq!(parse("7f0-7f1 r-xp 00000000 00:00 0 "), None);
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn a_replaced_library_keeps_its_path() {
        let line = "7f0-7f1 r-xp 00000000 fe:00 5505 /usr/lib/libssl.so.1.1 (deleted)";
        assert_eq!(parse(line).unwrap().path, "/usr/lib/libssl.so.1.1");
    }

    #[test]
    fn knows_libssl_by_its_names() {
        let check = |path, expected| assert_eq!(is_tls_library(path), expected, "{path}");
        check("/usr/lib/libssl.so.3", true);
        check("/usr/lib/libssl.so", true);
        check("/opt/venv/lib/libssl-3e69114b.so.1.1", true);
        check("/usr/lib/libssl3.so", false);
        check("/usr/lib/libsslcommon.so", false);
        check("/home/libssl.so.3/other", false);
    }
}
