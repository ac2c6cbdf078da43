//! What the machines' memory holds: the agent, its tests, and the programs that tests run, each
//! with the libraries that it loads.
//!
//! In: this machine's files, and modules of the kernels. Out: one archive, which every kernel unpacks
//! when it starts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::BufWriter,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{agent, openssl::RELEASES, target_dir};
use serde_json::Value;

use super::{cpio::Archive, kernel::Kernel, ktls};
use crate::process;

/// Where the repository's own programs stand in the machine: a target directory like any other.
const BUILT: &str = "/scopewatch/debug";

/// Where they are called from.
pub const XTASK: &str = "/scopewatch/debug/xtask";

/// The live tests.
pub const TESTS: &str = "/scopewatch/debug/deps/live";

/// Releases of OpenSSL stand where the harness seeks them.
const PEERS: &str = "/scopewatch/peers";

/// Programs that tests run.
const PROGRAMS: [&str; 10] =
    ["nginx", "curl", "openssl", "python3", "wrk", "setpriv", "ip", "sh", "grep", "sleep"];

/// Files that these read beside their libraries; those that this system lacks are left out.
const FILES: [&str; 7] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/openssl.cnf",
    "/usr/lib/ssl/openssl.cnf",
];

/// Directories that are made empty.
const DIRECTORIES: [&str; 12] = [
    "/dev",
    "/etc/ssl/certs",
    "/proc",
    "/root",
    "/run",
    "/scopewatch/tmp",
    "/sys",
    "/tmp",
    "/var/lib",
    "/var/lib/nginx",
    "/var/log/nginx",
    "/var/tmp",
];

/// Links of a system whose `/usr` is merged.
const LINKS: [(&str, &str); 5] = [
    ("/bin", "usr/bin"),
    ("/lib", "usr/lib"),
    ("/lib64", "usr/lib64"),
    ("/sbin", "usr/sbin"),
    ("/etc/mtab", "../proc/self/mounts"),
];

/// Parts of Python that no test takes: half of its size.
const UNUSED: [&str; 8] =
    ["test", "idlelib", "tkinter", "lib2to3", "pydoc_data", "ensurepip", "turtledemo", "config-"];

/// Builds the live tests; where they are.
///
/// # Errors
/// When they do not build.
pub fn build_tests() -> Result<PathBuf> {
    let arguments = ["test", "--package", "scopewatch-harness", "--test", "live", "--no-run"];
    let mut command = process::command("cargo", &arguments);
    let output = command.arg("--message-format=json").stderr(std::process::Stdio::inherit());
    let output = output.output().context("start cargo")?;
    ensure!(output.status.success(), "the live tests do not build");
    let text = String::from_utf8_lossy(&output.stdout);
    executable(&text).context("cargo did not say where the live tests are")
}

/// The executable that cargo's messages name.
fn executable(messages: &str) -> Option<PathBuf> {
    let values = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut paths = values
        .filter_map(|value| value.get("executable").and_then(Value::as_str).map(PathBuf::from));
    paths.next_back()
}

/// Writes the archive for these kernels; where it is.
///
/// # Errors
/// When a program is missing, or a file cannot be read or written.
pub fn write(tests: &Path, kernels: &[&Kernel]) -> Result<PathBuf> {
    let mut files = Files::default();
    files.program(&agent::binary()?, &format!("{BUILT}/scopewatch"));
    // By what runs: a build may have put another in its place since.
    files.program(Path::new(&format!("/proc/{}/exe", std::process::id())), XTASK);
    files.program(tests, TESTS);
    for name in PROGRAMS {
        let path = installed(name).with_context(|| format!("{name} is not installed"))?;
        files.program(&path, &place(&path));
    }
    files.python()?;
    for path in FILES.iter().filter(|path| Path::new(path).exists()) {
        files.add(path, Path::new(path));
    }
    for release in RELEASES.iter().filter(|release| release.suite.is_some()) {
        let name = release.dir().file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.tree(&release.dir(), &format!("{PEERS}/{name}"))?;
        files.libraries_below(&release.dir());
    }
    for kernel in kernels {
        let (release, modules) = kernel.modules(&ktls::NAMES)?;
        for path in modules {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.add(&format!("{}/{release}/{name}", ktls::MODULES), &path);
        }
    }
    let dir = target_dir().join("vm");
    fs::create_dir_all(&dir).context("make a place for the archive")?;
    let (path, unfinished) = (dir.join("memory.cpio"), dir.join("memory.cpio.new"));
    files.write(&unfinished)?;
    fs::rename(&unfinished, &path).context("put the archive in its place")?;
    Ok(path)
}

/// Where a program is, in the directories of a system: those of the user's own come first in PATH
/// and may hold wrappers.
fn installed(name: &str) -> Option<PathBuf> {
    let dirs = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

/// Files by their places in the machine.
#[derive(Default)]
struct Files {
    by_place: BTreeMap<String, PathBuf>,
}

impl Files {
    fn add(&mut self, place: &str, path: &Path) {
        self.by_place.insert(place.to_owned(), path.to_owned());
    }

    /// Adds a program and all that it loads.
    fn program(&mut self, path: &Path, place: &str) {
        self.add(place, path);
        self.loaded_by(path);
    }

    /// Adds the libraries that a program or a library loads from this system.
    fn loaded_by(&mut self, path: &Path) {
        // It fails for what is linked statically, which loads nothing.
        let listed = process::answer("ldd", &[&path.to_string_lossy()]).unwrap_or_default();
        for library in libraries(&listed).map(Path::new).filter(|path| path.is_file()) {
            self.add(&place(library), library);
        }
    }

    /// Adds Python's library.
    fn python(&mut self) -> Result<()> {
        let ask = ["-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"];
        let dir =
            process::answer("/usr/bin/python3", &ask).context("ask Python for its library")?;
        self.tree(Path::new(&dir), &dir)?;
        self.libraries_below(Path::new(&dir));
        Ok(())
    }

    /// Adds what the libraries load that were added from below `dir`.
    fn libraries_below(&mut self, dir: &Path) {
        let is_there = |path: &&PathBuf| is_library(path) && path.starts_with(dir);
        let paths: Vec<PathBuf> = self.by_place.values().filter(is_there).cloned().collect();
        paths.iter().for_each(|path| self.loaded_by(path));
    }

    /// Adds a directory with all below it.
    fn tree(&mut self, dir: &Path, place: &str) -> Result<()> {
        let entries = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
        for entry in entries {
            let path = entry.context("list a directory")?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let place = format!("{place}/{name}");
            if path.is_file() {
                self.add(&place, &path);
            } else if path.is_dir() && !UNUSED.iter().any(|unused| name.starts_with(unused)) {
                self.tree(&path, &place)?;
            }
        }
        Ok(())
    }

    fn write(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        let mut archive = Archive::new(BufWriter::new(file));
        for dir in directories(&mut self.by_place.keys()) {
            let mode = if dir.ends_with("tmp") { 0o1777 } else { 0o755 };
            archive.directory(&dir, mode)?;
        }
        for (place, to) in LINKS {
            archive.link(place, to)?;
        }
        for (place, path) in &self.by_place {
            let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
            let mode = fs::metadata(path).context("look at a file")?.permissions().mode() & 0o777;
            archive.file(place, mode, &content)?;
        }
        archive.end().context("write the archive")
    }
}

/// Where a file of this system stands in the machine: the same, with its directory's links
/// resolved.
fn place(path: &Path) -> String {
    let dir = path.parent().and_then(|dir| dir.canonicalize().ok());
    let name = path.file_name().unwrap_or_default();
    dir.unwrap_or_default().join(name).to_string_lossy().into_owned()
}

/// By its name, such as `libssl.so.3`.
fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.ends_with(".so") || name.contains(".so.")
}

/// Paths of the libraries that `ldd` lists.
fn libraries(listed: &str) -> impl Iterator<Item = &str> {
    listed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

/// Every directory that the places need, each after its parent.
fn directories(places: &mut dyn Iterator<Item = &String>) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    let mut add = |path: &Path| {
        for dir in path.ancestors().filter(|dir| dir.parent().is_some()) {
            needed.insert(dir.to_string_lossy().into_owned());
        }
    };
    places.filter_map(|place| Path::new(place).parent()).for_each(&mut add);
    DIRECTORIES.iter().map(Path::new).for_each(add);
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_path() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffc)\n\
                      \tlibssl.so.3 => /lib/x86_64-linux-gnu/libssl.so.3 (0x00007f1)\n\
                      \tlibnone.so => not found\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f2)\n";
        let expected = ["/lib/x86_64-linux-gnu/libssl.so.3", "/lib64/ld-linux-x86-64.so.2"];
        assert!(libraries(listed).eq(expected));
    }

    #[test]
    fn directories_come_after_their_parents() {
        let places = ["/usr/lib/a.so".to_owned(), "/usr/bin/b".to_owned()];
        let needed: Vec<String> = directories(&mut places.iter()).into_iter().collect();
        let at = |dir: &str| needed.iter().position(|needed| needed == dir).unwrap();
        assert!(at("/usr") < at("/usr/bin") && at("/usr") < at("/usr/lib"));
        assert!(needed.iter().all(|dir| dir.starts_with('/') && dir != "/"));
    }

    #[test]
    fn the_last_executable_of_cargos_messages_is_the_test() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        not json\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/live-1\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/live-1")));
        assert_eq!(executable(""), None);
    }
}
