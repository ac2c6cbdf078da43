//! `scopewatch probe`: which probes a file, or what a process has mapped, would get, and why.
//!
//! In: a path or a process id. Out: an [`Examination`] of each file, as text or as JSON. A file
//! takes no privilege, a process that of reading its memory map.

use std::{
    collections::HashSet,
    fmt::Write as _,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    binary::{
        elf::ElfError,
        examine::{Examination, Holds, examine},
        file::LibraryFile,
    },
    cli,
    commands::print,
    discover::maps,
    failure::{ExitCode, Failure},
    text::printable,
};

/// A file, and what it is.
#[derive(Serialize)]
struct Examined {
    /// Its path, for a process in its own mount namespace.
    file: String,
    #[serde(flatten)]
    examination: Examination,
}

/// Examines what was asked for and prints it.
///
/// # Errors
/// It cannot be read, is no ELF file for x86-64, or standard output fails.
pub fn probe(asked: &cli::Probe) -> Result<(), Failure> {
    let cli::Probe { file, pid, json } = asked;
    let mut examined = Vec::new();
    if let Some(path) = file {
        examined.push(of_file(path, File::open(path))?);
    }
    if let Some(pid) = *pid {
        examined.extend(of_process(pid)?);
    }
    if *json {
        return print(&serde_json::to_string_pretty(&examined).unwrap_or_default());
    }
    let mut text = String::new();
    for Examined { file, examination } in &examined {
        let _ = write!(text, "{}\n{examination}", printable(file));
    }
    print(&text)
}

/// Every TLS library that the process has mapped, and its executable if that holds one.
fn of_process(pid: u32) -> Result<Vec<Examined>, Failure> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let (maps, executable) = (proc.join("maps"), proc.join("exe"));
    let mappings =
        maps::of_process(pid, maps::is_wanted).map_err(|error| unreadable(&maps, &error))?;
    let mut examined = vec![of_file(&executable, File::open(&executable))?];
    examined.retain(|each| each.examination.holds != Holds::Nothing);
    let mut seen = HashSet::new();
    for mapping in mappings.into_iter().filter(|mapping| seen.insert(mapping.file.clone())) {
        examined.push(of_file(Path::new(&mapping.path), maps::open(pid, &mapping))?);
    }
    if examined.is_empty() {
        let message = format!("process {pid} has no TLS library that is known");
        return Err(Failure::new(ExitCode::Unavailable, message));
    }
    Ok(examined)
}

fn of_file(path: &Path, opened: io::Result<File>) -> Result<Examined, Failure> {
    let file = opened.and_then(LibraryFile::new);
    let bytes = file.and_then(|file| file.read());
    let bytes = bytes.map_err(|error| unreadable(path, &error))?;
    let file = path.display().to_string();
    let examination = examine(bytes.source()).map_err(|error: ElfError| {
        Failure::new(ExitCode::Data, format!("cannot probe {}: it is {error}", printable(&file)))
    })?;
    Ok(Examined { file, examination })
}

/// A path that a process may have chosen.
fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::PermissionDenied => ExitCode::NoPermission,
        _ => ExitCode::NoInput,
    };
    let path = path.display().to_string();
    Failure::new(code, format!("cannot read {}: {error}", printable(&path)))
}
