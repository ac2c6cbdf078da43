//! All that is known about one file, for `scopewatch probe`.
//!
//! In: any file's bytes. Out: an [`Examination`]: which library it holds, which probes it
//! would get, and why; printable, and as JSON. Needs no privilege and attaches nothing.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::binary::{
    elf::{ElfError, Library},
    keysite::{self, KeyStep, NoKeySite},
    plan::{self, AttachPlan, NoPlan, Step},
    site::Site,
    source::Source,
};

/// Which part of OpenSSL a file holds, by what it exports.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// The protocol: `SSL_read` and its kin.
    Libssl,
    /// Keys and ciphers.
    Libcrypto,
    /// Both, as an executable that is linked statically does.
    Both,
    /// Neither.
    Nothing,
}

/// What one file is, and what would be probed in it.
#[derive(Debug, Serialize)]
pub struct Examination {
    /// Build id as hex, where the file has one.
    pub build_id: Option<String>,
    /// Which library.
    pub holds: Holds,
    /// The library's text about its version, where the file has it: libssl 3 has not.
    pub version: Option<String>,
    /// Probes of the functions that read and write, or why there are none.
    #[serde(serialize_with = "outcome")]
    pub call_path: Result<AttachPlan, NoPlan>,
    /// The probe of the function that derives secrets, or why there is none.
    #[serde(serialize_with = "outcome")]
    pub key_site: Result<KeyStep, NoKeySite>,
}

/// Examines a file. Whether return probes are safe depends on the kernel; it is taken for granted.
///
/// # Errors
/// It is no x86-64 ELF file.
pub fn examine(bytes: Source<'_>) -> Result<Examination, ElfError> {
    let call_path = plan::OPENSSL.map(|(name, _)| name);
    let library = Library::parse(bytes, &[call_path.as_slice(), &keysite::FUNCTIONS].concat())?;
    let has = |names: &[&str]| names.iter().any(|name| library.exports(name));
    let holds = match (has(&["SSL_read"]), has(&keysite::FUNCTIONS)) {
        (true, true) => Holds::Both,
        (true, false) => Holds::Libssl,
        (false, true) => Holds::Libcrypto,
        (false, false) => Holds::Nothing,
    };
    let (call_path, key_site) = (plan::openssl(&library, true), keysite::openssl(&library));
    let Library { build_id, version, .. } = library;
    Ok(Examination { build_id, holds, version, call_path, key_site })
}

/// `{"plan": …}` or `{"none": "why"}`.
fn outcome<T: Serialize, E: fmt::Display, S: Serializer>(
    value: &Result<T, E>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Outcome<T> {
        Plan(T),
        None(String),
    }
    match value {
        Ok(plan) => Outcome::Plan(plan).serialize(serializer),
        Err(why) => Outcome::<&T>::None(why.to_string()).serialize(serializer),
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Libssl => "OpenSSL's libssl, by what it exports",
            Self::Libcrypto => "OpenSSL's libcrypto, by what it exports",
            Self::Both => "OpenSSL, both libssl and libcrypto, by what it exports",
            Self::Nothing => "no TLS library that is known",
        })
    }
}

impl fmt::Display for Examination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { build_id, holds, version, call_path, key_site } = self;
        writeln!(f, "  build id   {}", build_id.as_deref().unwrap_or("none"))?;
        writeln!(f, "  library    {holds}")?;
        writeln!(f, "  version    {}", version.as_deref().unwrap_or("not told by this file"))?;
        match call_path {
            Err(why) => writeln!(f, "  call path  none: {why}")?,
            Ok(plan) => {
                writeln!(f, "  call path  {} probes", plan.steps.len())?;
                let together = |one: &Step, next: &Step| one.site == next.site;
                for steps in plan.steps.chunk_by(together) {
                    place(f, steps)?;
                }
            }
        }
        match key_site {
            Err(why) => writeln!(f, "  key site   none: {why}"),
            Ok(KeyStep { function, program: _, site: at }) => {
                writeln!(f, "  key site   1 probe")?;
                site(f, function, at, "entry")
            }
        }
    }
}

/// Probes that share a place.
fn place(f: &mut fmt::Formatter<'_>, steps: &[Step]) -> fmt::Result {
    let Some(Step { function, site: at, choice, .. }) = steps.first() else { return Ok(()) };
    let programs: Vec<_> = steps.iter().map(|step| step.program.name()).collect();
    site(f, function, at, &programs.join(" and "))?;
    writeln!(f, "      function   {choice}")
}

fn site(f: &mut fmt::Formatter<'_>, function: &str, site: &Site, programs: &str) -> fmt::Result {
    let Site { offset, distance, instruction, cost, reason } = site;
    writeln!(f, "    {function}+{distance:#x}, file offset {offset:#x}: {programs}")?;
    writeln!(f, "      cost       {cost} ({instruction})")?;
    writeln!(f, "      place      {reason}")
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{ProptestConfig, any},
        proptest,
        sample::Index,
    };

    use super::*;

    fn examined(name: &str) -> Examination {
        let bytes = std::fs::read(format!("/usr/lib/x86_64-linux-gnu/{name}")).unwrap();
        examine(Source::Whole(&bytes)).unwrap()
    }

    #[test]
    fn every_probe_is_told_with_its_place_and_reasons() {
        let libssl = examined("libssl.so.3");
        let text = libssl.to_string();
        for expected in ["libssl, by", "ssl_read_internal+0x0", "emulated", "filter BIOs"] {
            assert!(text.contains(expected), "{expected} is not in:\n{text}");
        }
        let json = serde_json::to_value(&libssl).unwrap();
        let step = json.pointer("/call_path/plan/steps/0").unwrap();
        for field in ["/function", "/program", "/choice", "/site/instruction", "/site/cost"] {
            assert!(step.pointer(field).is_some_and(serde_json::Value::is_string), "{field}");
        }
        assert!(json.pointer("/key_site/none").is_some());
    }

    #[test]
    fn a_file_without_tls_is_told_as_such() {
        let libc = examined("libc.so.6");
        assert_eq!(libc.holds, Holds::Nothing);
        assert!(libc.call_path.is_err() && libc.key_site.is_err());
        assert!(libc.to_string().contains("no TLS library"));
    }
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn damaged_libraries_never_panic(damage in vec((any::<Index>(), any::<u8>()), 1..400)) {
            for name in ["libssl.so.3", "libcrypto.so.3"] {
                let mut bytes = std::fs::read(format!("/usr/lib/x86_64-linux-gnu/{name}")).unwrap();
                for (at, byte) in &damage {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                let _ = examine(Source::Whole(&bytes)).map(|examination| examination.to_string());
            }
        }
    }
}
