//! Fields that a receiver wants with every request, such as a key. In: a file of lines
//! `name: value`. Out: fields whose values are in no log, and wiped.
//!
//! The file is read for each connection, so that a key that is renewed counts from the next one on.

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use nix::unistd::geteuid;
use zeroize::Zeroizing;

/// Bits of a mode that let others than the owner at the values.
const OTHERS: u32 = 0o077;
/// Largest file, in bytes: a few keys.
const MAX_BYTES: u64 = 64 * 1024;
/// What the protocol itself decides.
const OURS: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Why there are no fields. Nothing of the file's content is in it.
#[derive(Debug, thiserror::Error)]
pub enum HeadersError {
    /// A system call failed.
    #[error("headers file {} cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why it failed; `ELOOP` for a symbolic link.
        source: io::Error,
    },
    /// Others could read, or replace, the values.
    #[error("headers file {} must be a file of this user or root, of mode 0600", .0.display())]
    Exposed(PathBuf),
    /// It is larger than any such file.
    #[error("headers file {} is longer than {MAX_BYTES} bytes", .0.display())]
    TooLong(PathBuf),
    /// A line is no field, or one that is not to be set.
    #[error("line {line} of headers file {} is no field that may be set", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// Fields of a file. There is no `Debug`: the values are secrets.
#[derive(Default)]
pub struct Headers(Vec<(HeaderName, Zeroizing<Vec<u8>>)>);

impl Headers {
    /// Those in the file at `path`; empty lines, and those that begin with `#`, are passed over.
    ///
    /// # Errors
    /// It cannot be read, others than its owner have access to it, or a line is no field.
    pub fn read(path: &Path) -> Result<Self, HeadersError> {
        let text = guarded(path)?;
        let mut fields = Vec::new();
        for (text, line) in text.split(|byte| *byte == b'\n').zip(1..) {
            let text = text.trim_ascii();
            if text.is_empty() || text.starts_with(b"#") {
                continue;
            }
            let wrong = || HeadersError::Line { path: path.to_owned(), line };
            let colon = text.iter().position(|byte| *byte == b':').ok_or_else(wrong)?;
            let (name, value) = text.split_at_checked(colon).ok_or_else(wrong)?;
            let name = HeaderName::from_bytes(name.trim_ascii()).map_err(|_| wrong())?;
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            let is_ours = OURS.contains(&name) || name.as_str().starts_with("grpc-");
            if is_ours || HeaderValue::from_bytes(value).is_err() {
                return Err(wrong());
            }
            fields.push((name, Zeroizing::new(value.to_owned())));
        }
        Ok(Self(fields))
    }

    /// Adds them to those of a request.
    pub fn add_to(&self, fields: &mut HeaderMap) {
        for (name, value) in &self.0 {
            if let Ok(mut value) = HeaderValue::from_bytes(value) {
                value.set_sensitive(true);
                fields.append(name, value);
            }
        }
    }
}

/// The bytes of a file that nobody else can read or replace.
fn guarded(path: &Path) -> Result<Zeroizing<Vec<u8>>, HeadersError> {
    let failed = |source| HeadersError::Io { path: path.to_owned(), source };
    // Without O_NONBLOCK, a FIFO in the file's place would stop the sink.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    let is_own = [0, geteuid().as_raw()].contains(&found.uid());
    if !found.is_file() || found.mode() & OTHERS != 0 || !is_own {
        return Err(HeadersError::Exposed(path.to_owned()));
    }
    if found.len() > MAX_BYTES {
        return Err(HeadersError::TooLong(path.to_owned()));
    }
    // With room for all of it: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0)));
    file.take(found.len()).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn read(text: &str, mode: u32) -> Result<HeaderMap, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("headers");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let headers = Headers::read(&path).map_err(|error| error.to_string())?;
        let mut fields = HeaderMap::new();
        headers.add_to(&mut fields);
        Ok(fields)
    }

    #[test]
    fn lines_are_fields_whose_values_are_not_printed() {
        let fields =
            read("# of the SIEM\n\nAuthorization: Bearer canary-a\r\nx-scope: b:c\n", 0o600);
        let fields = fields.unwrap();
        assert_eq!(fields["authorization"], "Bearer canary-a");
        assert_eq!(fields["x-scope"], "b:c");
        assert!(!format!("{fields:?}").contains("canary-a"));
    }

    #[test]
    fn what_is_no_field_is_refused_without_being_shown() {
        for wrong in
            ["canary", "a b: canary", "host: canary", "grpc-timeout: canary", "a: \u{1}canary"]
        {
            let error = read(&format!("ok: 1\n{wrong}\n"), 0o600).unwrap_err();
            assert!(error.starts_with("line 2 of headers file "), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o620] {
            let error = read("a: b\n", mode).unwrap_err();
            assert!(error.ends_with("of mode 0600"), "{error}");
        }
        assert!(read("a: b\n", 0o400).is_ok());
        let long = "a: b\n".repeat(20_000);
        assert!(read(&long, 0o600).unwrap_err().contains("longer than"));
    }
}
