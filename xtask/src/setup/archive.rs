//! Packages of other releases of Debian, fetched and unpacked but never installed.
//!
//! In: a release's name, and apt's configuration, which names the mirror. Out: a directory with the
//! packages' files. apt's own state is left alone: lists and packages are kept in a directory of
//! their own, which goes when the work is done.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

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

/// The address of Debian's main archive among `archives`, as [`ARCHIVES`] gives them.
pub fn mirror(archives: &str) -> Option<&str> {
    archives.lines().find_map(|line| line.strip_prefix("Debian|Debian|main|"))
}

/// A release of Debian, in a directory in which apt works for it alone.
pub struct Archive<'suite> {
    suite: &'suite str,
    dir: PathBuf,
}

impl<'suite> Archive<'suite> {
    /// Fetches the package lists of `suite`. `place` is where the files shall end up; the work is
    /// done beside it.
    ///
    /// # Errors
    /// When apt knows no mirror of Debian, or the mirror has no such release.
    pub fn open(place: &Path, suite: &'suite str) -> Result<Self> {
        let archives =
            process::answer("apt-get", &ARCHIVES).context("ask apt-get for its mirror")?;
        let mirror =
            mirror(&archives).context("apt has no mirror of Debian: run `apt-get update`")?;
        let mut dir = place.as_os_str().to_owned();
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
        let archive = Self { suite, dir };
        process::run(archive.apt("apt-get").arg("update"))?;
        Ok(archive)
    }

    /// Names of packages that match `pattern`, a regular expression.
    ///
    /// # Errors
    /// When apt cannot be asked.
    pub fn names(&self, pattern: &str) -> Result<Vec<String>> {
        let mut command = self.apt("apt-cache");
        let output = command.args(["search", "--names-only", pattern]).output();
        let text = String::from_utf8(output.context("start apt-cache")?.stdout)?;
        let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
        Ok(text.lines().filter_map(name).collect())
    }

    /// Fetches and unpacks `packages`, and puts their files at `place`.
    ///
    /// # Errors
    /// When one cannot be had.
    pub fn put<S: AsRef<str>>(self, packages: &[S], place: &Path) -> Result<()> {
        let named = packages.iter().map(|name| format!("{}/{}", name.as_ref(), self.suite));
        process::run(self.apt("apt-get").arg("download").args(named))?;
        let root = self.unpack()?;
        if place.exists() {
            fs::remove_dir_all(place).context("remove what was there")?;
        }
        fs::rename(root, place).context("put the files in their place")?;
        fs::remove_dir_all(self.dir).context("remove the lists and packages")
    }

    /// A program of apt with its sources and state here.
    fn apt(&self, program: &str) -> Command {
        let mut command = process::command(program, &["--quiet=2"]);
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
}
