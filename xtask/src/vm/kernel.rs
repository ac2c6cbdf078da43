//! Kernels: which Debian release has which, and the newest package of a series.
//!
//! In: a series. Out: its bootable image below `target/vm`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use scopewatch_harness::target_dir;

use crate::{process, setup::archive::Archive};

/// A series of kernels.
#[derive(Debug, Eq, PartialEq)]
pub struct Kernel {
    /// The first two numbers of its versions.
    pub series: &'static str,
    /// Debian's release that has it.
    suite: &'static str,
}

/// Kernels that are tried, the oldest first.
pub const KERNELS: [Kernel; 5] = [
    Kernel { series: "5.10", suite: "bullseye" },
    Kernel { series: "6.1", suite: "bookworm" },
    Kernel { series: "6.12", suite: "trixie" },
    Kernel { series: "6.18", suite: "trixie-backports" },
    Kernel { series: "7.3", suite: "trixie-backports" },
];

/// Debian's smallest kernel for x86-64: the same code, fewer drivers.
const FLAVOUR: &str = "-cloud-amd64";

/// Packages that may hold the image: since 7.3 it has one of its own.
const PREFIXES: [&str; 2] = ["linux-binary-", "linux-image-"];

/// The kernels of these names, or all.
///
/// # Errors
/// When there is none of that name.
pub fn named(names: &[String]) -> Result<Vec<&'static Kernel>> {
    if names.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    let find = |name: &String| {
        let kernel = KERNELS.iter().find(|kernel| kernel.series == name);
        kernel.with_context(|| format!("no kernel {name}; there are {}", super::known()))
    };
    names.iter().map(find).collect()
}

impl Kernel {
    /// Whether its package was fetched.
    pub fn is_there(&self) -> bool {
        image_below(&self.dir()).is_some()
    }

    fn dir(&self) -> PathBuf {
        target_dir().join("vm").join(format!("linux-{}", self.series))
    }

    /// The image, fetched if it is not there.
    ///
    /// # Errors
    /// When the release has no such kernel, or it cannot be had.
    pub fn image(&self) -> Result<PathBuf> {
        let dir = self.dir();
        if !self.is_there() {
            fs::create_dir_all(target_dir().join("vm")).context("make a place for kernels")?;
            let archive = Archive::open(&dir, self.suite)?;
            let escaped = self.series.replace('.', "\\.");
            let names = archive.names(&format!("^linux-(image|binary)-{escaped}\\."))?;
            let package = newest(&names, self.series)
                .with_context(|| format!("{} has no Linux {}", self.suite, self.series))?;
            println!("fetching {package} from {}", self.suite);
            archive.put(&[package], &dir)?;
        }
        image_below(&dir)
            .with_context(|| format!("the package of Linux {} has no image", self.series))
    }

    /// Its modules of these names, and the kernel's release: those that are not built in, and came with
    /// the image.
    ///
    /// # Errors
    /// When it cannot be had, or a module cannot be unpacked.
    pub fn modules(&self, names: &[&str]) -> Result<(String, Vec<PathBuf>)> {
        self.image()?;
        let below = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten();
        let places = ["lib/modules", "usr/lib/modules"].map(|place| self.dir().join(place));
        let mut releases = places.into_iter().flat_map(below);
        // Since 7.3 modules are in a package of their own.
        let release = releases.find(|entry| entry.path().join("kernel").is_dir());
        let Some(release) = release else { return Ok((String::new(), Vec::new())) };
        let mut found = modules_below(&release.path().join("kernel"), names);
        for path in found.iter_mut().filter(|path| path.extension().is_some_and(|it| it == "xz")) {
            let arguments = [Path::new("--decompress"), Path::new("--force"), path.as_path()];
            process::run(&mut process::command("xz", &arguments))?;
            *path = path.with_extension("");
        }
        Ok((release.file_name().to_string_lossy().into_owned(), found))
    }
}

/// Files of the modules of these names, some of them compressed.
fn modules_below(dir: &Path, names: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(modules_below(&path, names));
        } else if let Some((name, "ko" | "ko.xz")) = name.split_once('.')
            && names.contains(&name)
        {
            found.push(path);
        }
    }
    found
}

/// The image among a package's files: in `boot`, or since 7.3 beside the modules.
fn image_below(dir: &Path) -> Option<PathBuf> {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
    let modules = entries(&dir.join("usr/lib/modules")).map(|entry| entry.path());
    let mut files =
        modules.chain([dir.join("boot")]).flat_map(|dir| entries(&dir).collect::<Vec<_>>());
    let image = files.find(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz"));
    image.map(|entry| entry.path())
}

/// The package with the newest image of `series` among `names`.
fn newest<'names>(names: &'names [String], series: &str) -> Option<&'names str> {
    let versions = names.iter().filter_map(|name| {
        let (rank, rest) = PREFIXES
            .iter()
            .zip([1_u8, 0])
            .find_map(|(prefix, rank)| Some((rank, name.strip_prefix(prefix)?)))?;
        let version = rest.strip_suffix(FLAVOUR)?;
        let rest = version.strip_prefix(series)?;
        rest.starts_with('.').then(|| ((numbers(version), rank), name.as_str()))
    });
    versions.max().map(|(_, name)| name)
}

/// The numbers in a version, in order.
fn numbers(version: &str) -> Vec<u64> {
    let parts = version.split(|character: char| !character.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_of_the_series_is_taken() {
        let check = |names: &str, series, expected| {
            let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
            assert_eq!(newest(&names, series), expected);
        };
        check(
            "linux-image-5.10.0-9-cloud-amd64 linux-image-5.10.0-32-cloud-amd64 \
             linux-image-5.10.0-40-amd64 linux-image-5.10.0-40-cloud-amd64-unsigned",
            "5.10",
            Some("linux-image-5.10.0-32-cloud-amd64"),
        );
        check(
            "linux-image-6.12.9+deb13-cloud-amd64 linux-image-6.12.107+deb13-cloud-amd64",
            "6.12",
            Some("linux-image-6.12.107+deb13-cloud-amd64"),
        );
        // The image has moved to a package of its own; the old name brings nothing.
        check(
            "linux-image-7.3.4+deb13-cloud-amd64 linux-binary-7.3.4+deb13-cloud-amd64",
            "7.3",
            Some("linux-binary-7.3.4+deb13-cloud-amd64"),
        );
        check("linux-image-6.12.9+deb13-cloud-amd64", "6.1", None);
    }

    #[test]
    fn an_image_is_found_wherever_packages_put_it() {
        for place in ["boot/vmlinuz-5.10.0-32", "usr/lib/modules/7.3.4/vmlinuz"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            assert_eq!(image_below(dir.path()), None);
            fs::write(&path, "").unwrap();
            assert_eq!(image_below(dir.path()), Some(path));
        }
    }

    #[test]
    fn modules_are_found_by_their_names_compressed_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let net = dir.path().join("net/tls");
        fs::create_dir_all(&net).unwrap();
        for name in ["tls.ko", "tls_other.ko", "tls.txt"] {
            fs::write(net.join(name), "").unwrap();
        }
        fs::write(dir.path().join("gcm.ko.xz"), "").unwrap();
        let mut found = modules_below(dir.path(), &["gcm", "tls"]);
        found.sort();
        assert_eq!(found, [dir.path().join("gcm.ko.xz"), net.join("tls.ko")]);
    }

    #[test]
    fn kernels_are_named_by_their_series() {
        assert_eq!(named(&[]).unwrap().len(), KERNELS.len());
        assert_eq!(named(&["6.1".to_owned()]).unwrap(), [&KERNELS[1]]);
        assert!(named(&["4.19".to_owned()]).unwrap_err().to_string().contains("5.10"));
    }
}
