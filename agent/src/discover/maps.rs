//! Libraries that a process has mapped.
//!
//! In: `/proc/PID/maps` (proc(5)), whose paths the process chose. Out: the executable mappings of
//! files that are named like a TLS library, and the files themselves, opened so that a replaced or
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

/// Reads the executable mappings of `pid` whose path is `wanted`.
///
/// # Errors
/// The process is gone, or not to be read.
pub fn of_process(pid: u32, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Mapping>> {
    let file = File::open(format!("/proc/{pid}/maps"))?;
    let mut found = Vec::new();
    for line in BufReader::new(file.take(MAX_MAPS)).split(b'\n') {
        let line = line?;
        let mapping = parse(&String::from_utf8_lossy(&line));
        found.extend(mapping.filter(|mapping| wanted(&mapping.path)));
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

/// Whether a file is named like OpenSSL's libssl: `libssl.so.3`, or as Python wheels bundle it,
/// `libssl-0123abcd.so.1.1`. NSS's `libssl3.so` is another library.
#[must_use]
pub fn is_tls_library(path: &str) -> bool {
    is_called("libssl", path)
}

/// Whether a file is named like OpenSSL's libcrypto, in the same ways.
#[must_use]
pub fn is_crypto_library(path: &str) -> bool {
    is_called("libcrypto", path)
}

/// Whether a file may hold anything to probe.
#[must_use]
pub fn is_wanted(path: &str) -> bool {
    is_tls_library(path) || is_crypto_library(path)
}

fn is_called(library: &str, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.strip_prefix(library).is_some_and(|rest| {
        rest == ".so" || rest.starts_with(".so.") || (rest.starts_with('-') && rest.contains(".so"))
    })
}

/// One line, `START-END PERMS OFFSET DEV INODE PATH`, if it is an executable mapping of a file.
#[must_use]
pub fn parse(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let range = fields.next()?;
    let permissions = fields.next()?;
    let _offset = fields.next()?;
    let device = fields.next()?;
    let inode = fields.next()?.parse().ok()?;
    let path = fields.next()?.trim_start();
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let is_file = permissions.contains('x') && path.starts_with('/');
    is_file.then(|| Mapping {
        range: range.to_owned(),
        file: (device.to_owned(), inode),
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        process::{Child, Command},
    };

    use super::*;

    #[test]
    fn takes_executable_mappings_of_files_only() {
        let line = "7f0-7f1 r-xp 0001e000 fe:00 5505     /usr/lib/x86_64-linux-gnu/libssl.so.3";
        let mapping = parse(line).unwrap();
        assert_eq!(mapping.range, "7f0-7f1");
        assert_eq!(mapping.file, ("fe:00".to_owned(), 5505));
        assert_eq!(parse(&line.replace("r-xp", "r--p")), None);
        assert_eq!(parse("7f0-7f1 r-xp 00000000 00:00 0     [vdso]"), None);
        assert_eq!(parse("7f0-7f1 r-xp 00000000 00:00 0 "), None);
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn a_replaced_library_keeps_its_path() {
        let line = "7f0-7f1 r-xp 00000000 fe:00 5505 /usr/lib/libssl.so.1.1 (deleted)";
        assert_eq!(parse(line).unwrap().path, "/usr/lib/libssl.so.1.1");
        // Once: the rest is what its owner called it.
        let twice = parse(&format!("{line} (deleted)")).unwrap();
        assert_eq!(twice.path, "/usr/lib/libssl.so.1.1 (deleted)");
    }

    /// A program that waits, by a copy of its own.
    fn program(path: &Path) -> Child {
        fs::copy("/bin/sleep", path).unwrap();
        Command::new(path).arg("60").spawn().unwrap()
    }

    #[test]
    fn what_was_replaced_is_opened_as_it_is_mapped_and_never_as_what_has_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let (path, new) = (dir.path().join("sleep"), dir.path().join("sleep.new"));
        let mut child = program(&path);
        let mapped = || of_process(child.id(), |mapped| Path::new(mapped) == path).unwrap();
        // Its parent may go on before it has mapped anything.
        while mapped().is_empty() {
            std::thread::yield_now();
        }
        fs::write(&new, b"another build").unwrap();
        fs::rename(&new, &path).unwrap();
        let found = mapped();
        let [mapping] = &found[..] else { panic!("{found:?}") };
        let opened = open(child.id(), mapping);
        child.kill().unwrap();
        child.wait().unwrap();
        match opened {
            Ok(mut file) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes, fs::read("/bin/sleep").unwrap());
            }
            // Who may not follow the link finds another file under the path, and leaves it.
            Err(error) => {
                assert!(!nix::unistd::geteuid().is_root(), "{error}");
                assert_eq!(error.kind(), io::ErrorKind::NotFound);
            }
        }
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
        check("/usr/lib/libcrypto.so.3", false);
        assert!(is_crypto_library("/usr/lib/libcrypto.so.3"));
    }

    #[test]
    fn finds_what_this_process_has_mapped() {
        let of = |wanted: fn(&str) -> bool| of_process(std::process::id(), wanted).unwrap().len();
        assert!(of(|path| path.contains("libc.so")) > 0);
        assert_eq!(of(|_| false), 0);
    }
}
