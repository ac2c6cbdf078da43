//! Fetches a release of OpenSSL that tests load beside this system's own.
//!
//! In: a release, and apt's configuration, which names the mirror. Out: the release's packages
//! unpacked in its directory below `target/peers`. Nothing is installed, and apt's own state is
//! left alone: lists and packages are kept in a directory of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::openssl::{RELEASES, Release};

use crate::process;

/// Asks apt which archives it is configured with, one a line: origin, label, component, address.
const ARCHIVES: [&str; 4] = [
    "indextargets",
    "--format",
    "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)",
    "Created-By: Packages",
];

/// Indices that are fetched beside that of packages unless they are switched off.
const OTHER_INDICES: [&str; 7] = [
    "DEP-11",
    "DEP-11-icons",
    "DEP-11-icons-small",
    "DEP-11-icons-hidpi",
    "Contents-deb",
    "Contents-udeb",
    "CNF",
];

/// The command that fetches `release`.
pub fn command(release: &Release) -> [&str; 4] {
    ["cargo", "xtask", "openssl", release.name]
}

/// Fetches the release called `name`, unless it is there.
///
/// # Errors
/// When apt knows no mirror of Debian, or a package cannot be had from it.
pub fn run(name: &str) -> Result<()> {
    let release = Release::named(name).with_context(|| {
        let names = RELEASES.map(|release| release.name);
        format!("no release is called {name}; there are {}", names.join(", "))
    })?;
    let Some(suite) = release.suite.filter(|_| !release.is_there()) else { return Ok(()) };
    let archives = process::answer("apt-get", &ARCHIVES).context("ask apt-get for its mirror")?;
    let mirror = mirror(&archives).context("apt has no mirror of Debian: run `apt-get update`")?;
    let dir = release.dir();
    let work = Work::begin(&dir, mirror, suite)?;
    process::run(work.apt().arg("update"))?;
    let packages = release.packages.iter().map(|package| format!("{package}/{suite}"));
    process::run(work.apt().arg("download").args(packages))?;
    let root = work.unpack()?;
    if dir.exists() {
        fs::remove_dir_all(&dir).context("remove what was there")?;
    }
    fs::rename(root, &dir).context("put the release in its place")?;
    work.end()?;
    ensure!(release.is_there(), "its packages do not hold the libraries");
    Ok(())
}

/// The address of Debian's main archive among `archives`, as [`ARCHIVES`] gives them.
pub fn mirror(archives: &str) -> Option<&str> {
    archives.lines().find_map(|line| line.strip_prefix("Debian|Debian|main|"))
}

/// A directory in which apt works for one release.
struct Work {
    dir: PathBuf,
}

impl Work {
    fn begin(release: &Path, mirror: &str, suite: &str) -> Result<Self> {
        let mut dir = release.as_os_str().to_owned();
        dir.push(".work");
        let dir = PathBuf::from(dir);
        if dir.exists() {
            fs::remove_dir_all(&dir).context("remove what an earlier attempt left")?;
        }
        for part in ["lists/partial", "cache/archives/partial", "root"] {
            fs::create_dir_all(dir.join(part)).with_context(|| format!("create {part}"))?;
        }
        let source = format!("deb {mirror} {suite} main\n");
        fs::write(dir.join("sources.list"), source).context("write sources.list")?;
        Ok(Self { dir })
    }

    /// `apt-get` with its sources and state here.
    fn apt(&self) -> Command {
        let mut command = process::command("apt-get", &["--quiet=2"]);
        let places = [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::State::lists", "lists"),
            ("Dir::Cache", "cache"),
        ];
        for (option, path) in places {
            command.arg("-o").arg(format!("{option}={}", self.dir.join(path).display()));
        }
        command.args(["-o", "Dir::Etc::sourceparts=-", "-o", "Acquire::Languages=none"]);
        // Its sandboxed user need not be able to enter this directory.
        command.args(["-o", "APT::Sandbox::User="]);
        for index in OTHER_INDICES {
            let option = format!("Acquire::IndexTargets::deb::{index}::DefaultEnabled=false");
            command.args(["-o", &option]);
        }
        command.current_dir(&self.dir);
        command
    }

    /// Unpacks what was downloaded.
    fn unpack(&self) -> Result<PathBuf> {
        let root = self.dir.join("root");
        for entry in fs::read_dir(&self.dir).context("list the downloads")? {
            let path = entry.context("list the downloads")?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                let mut command = process::command("dpkg-deb", &["--extract"]);
                process::run(command.arg(&path).arg(&root))?;
            }
        }
        Ok(root)
    }

    fn end(self) -> Result<()> {
        fs::remove_dir_all(self.dir).context("remove the lists and packages")
    }
}
