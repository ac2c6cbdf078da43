//! The format of an initial file system: `cpio` with "new ASCII" headers (the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! In: directories, files and links. Out: an archive, uncompressed, because an emulated processor
//! unpacks slowly.

use std::io::{self, Write};

const MAGIC: &str = "070701";
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Every header, name and content begins at a multiple of this many bytes.
const ALIGNMENT: usize = 4;

/// An archive that is being written.
pub struct Archive<W> {
    to: W,
    next_inode: u32,
}

impl<W: Write> Archive<W> {
    /// Begins an archive.
    pub const fn new(to: W) -> Self {
        Self { to, next_inode: 1 }
    }

    /// Adds a directory. Its parents must have been added.
    pub fn directory(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.entry(path, DIRECTORY | mode, &[])
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, FILE | mode, content)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) -> io::Result<()> {
        self.entry(path, LINK | 0o777, to.as_bytes())
    }

    /// Ends the archive.
    pub fn end(mut self) -> io::Result<()> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.to.flush()
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let name = path.trim_start_matches('/');
        let too_long = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let size = u32::try_from(content.len()).map_err(too_long)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_long)?;
        let inode = self.next_inode;
        self.next_inode += 1;
        // Inode, mode, user, group, links, time, size, device and target device (two numbers
        // each), length of the name, checksum (unused).
        let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut head = MAGIC.to_owned();
        for field in fields {
            head.push_str(&format!("{field:08x}"));
        }
        head.push_str(name);
        head.push('\0');
        self.padded(head.as_bytes())?;
        self.padded(content)
    }

    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        let rest = bytes.len().next_multiple_of(ALIGNMENT) - bytes.len();
        self.to.write_all([0; ALIGNMENT].get(..rest).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn an_archive_has_aligned_entries_and_an_end() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.directory("/dir", 0o755).unwrap();
        archive.file("/dir/odd", 0o644, b"12345").unwrap();
        archive.link("/link", "dir/odd").unwrap();
        archive.end().unwrap();
        assert_eq!(bytes.len() % ALIGNMENT, 0);
        let heads: Vec<usize> = bytes
            .windows(MAGIC.len())
            .enumerate()
            .filter(|(_, window)| *window == MAGIC.as_bytes())
            .map(|(at, _)| at)
            .collect();
        assert_eq!(heads.len(), 4);
        assert!(heads.iter().all(|at| at % ALIGNMENT == 0));
        // Mode and size of the file, in their places of eight digits each.
        let file = &bytes[heads[1]..];
        assert_eq!(&file[14..22], b"000081a4");
        assert_eq!(&file[54..62], b"00000005");
        assert!(bytes.windows(11).any(|window| window == b"TRAILER!!!\0"));
    }

    /// Where the program is there, it unpacks what was written.
    #[test]
    fn cpio_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive");
        let mut archive = Archive::new(fs::File::create(&path).unwrap());
        archive.directory("/dir", 0o755).unwrap();
        archive.file("/dir/odd", 0o600, b"12345").unwrap();
        archive.end().unwrap();
        let mut command = Command::new("cpio");
        command.arg("--extract").arg("--quiet").current_dir(dir.path());
        command.stdin(Stdio::from(fs::File::open(&path).unwrap()));
        if command.status().is_ok_and(|status| status.success()) {
            assert_eq!(fs::read(dir.path().join("dir/odd")).unwrap(), b"12345");
        }
    }
}
