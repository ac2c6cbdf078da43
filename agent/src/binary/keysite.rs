//! Where a library shows session secrets: the function that derives them, and the place in it.
//!
//! In: a library, or an executable that holds one and exports its functions. Out: a [`KeyStep`],
//! or the reason why there is none. What the programs do there is the kernel half's matter.

use serde::Serialize;

use crate::{
    binary::{
        elf::Library,
        site::{Needs, NoSite, Site, best},
    },
    sandbox::protocol::{Point, Program},
};

/// Exported functions that tell which key site a library has.
pub const FUNCTIONS: [&str; 3] = [KDF_DERIVE, PKEY_CTX_CTRL, PARAMETERS];

/// OpenSSL 3.0 and newer.
const KDF_DERIVE: &str = "EVP_KDF_derive";

/// OpenSSL 1.1.1.
const PKEY_CTX_CTRL: &str = "EVP_PKEY_CTX_ctrl";

/// Proof that [`KDF_DERIVE`] takes an array of parameters: some distributions' 1.1.1 has a function
/// of that name with three arguments.
const PARAMETERS: &str = "OSSL_PARAM_locate";

/// What a program at a key site reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyProgram {
    /// `int EVP_KDF_derive(EVP_KDF_CTX *ctx, unsigned char *key, size_t keylen, const OSSL_PARAM
    /// params[])`: label, parent secret, and transcript hash or randoms, all in `params`.
    KdfDerive,
    /// `int EVP_PKEY_CTX_ctrl(EVP_PKEY_CTX *ctx, int keytype, int optype, int cmd, int p1, void
    /// *p2)`: the same in several calls, tied together by `ctx`.
    PkeyCtxCtrl,
}

impl KeyProgram {
    /// The function's name.
    #[must_use]
    pub const fn function(self) -> &'static str {
        match self {
            Self::KdfDerive => KDF_DERIVE,
            Self::PkeyCtxCtrl => PKEY_CTX_CTRL,
        }
    }

    /// The program as the broker takes it.
    const fn program(self) -> Program {
        match self {
            Self::KdfDerive => Program::EvpKdfDerive,
            Self::PkeyCtxCtrl => Program::EvpPkeyCtxCtrl,
        }
    }

    /// Entry only, so the stack pointer may have moved.
    const fn needs(self) -> Needs {
        let arguments = match self {
            Self::KdfDerive => 4,
            Self::PkeyCtxCtrl => 6,
        };
        Needs { arguments, return_address: false }
    }
}

/// The probe that a library's secrets need.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct KeyStep {
    /// Name of the function.
    pub function: &'static str,
    /// What is to be attached.
    pub program: KeyProgram,
    /// Where.
    pub site: Site,
}

impl KeyStep {
    /// The step as the broker takes it.
    #[must_use]
    pub const fn point(&self) -> Point {
        Point { offset: self.site.offset, program: self.program.program() }
    }
}

/// Why a library has no key site.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoKeySite {
    /// No function is exported by which OpenSSL derives secrets.
    #[error("it exports neither EVP_KDF_derive nor EVP_PKEY_CTX_ctrl")]
    NoFunction,
    /// Other libraries have the function too, but derive TLS secrets without it.
    #[error("it exports EVP_PKEY_CTX_ctrl but is not known to be OpenSSL 1.1.1")]
    UnknownLibrary,
    /// The function has no code that could be probed.
    #[error("the function has no code in the file: {0}")]
    NoCode(NoSite),
}

/// Finds the key site of an OpenSSL library.
///
/// # Errors
/// See [`NoKeySite`].
pub fn openssl(library: &Library<'_>) -> Result<KeyStep, NoKeySite> {
    let program = program(library)?;
    let function = library.function(program.function());
    let function = function.ok_or(NoKeySite::NoCode(NoSite::Undecodable(0)))?;
    let site = best(&function, program.needs()).map_err(NoKeySite::NoCode)?;
    Ok(KeyStep { function: program.function(), program, site })
}

fn program(library: &Library<'_>) -> Result<KeyProgram, NoKeySite> {
    if library.exports(KDF_DERIVE) && library.exports(PARAMETERS) {
        return Ok(KeyProgram::KdfDerive);
    }
    if !library.exports(PKEY_CTX_CTRL) {
        return Err(NoKeySite::NoFunction);
    }
    let version = library.version.as_deref().unwrap_or_default();
    let known = version.starts_with("OpenSSL 1.1.1");
    if known { Ok(KeyProgram::PkeyCtxCtrl) } else { Err(NoKeySite::UnknownLibrary) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::{
        fixture,
        site::{CostClass, Reason},
    };

    fn check(
        exports: &[&'static str],
        version: Option<&str>,
        expected: Result<KeyProgram, NoKeySite>,
    ) {
        let mut library = Library { version: version.map(str::to_owned), ..Library::default() };
        library.exports = exports.iter().map(|&name| (name, (0, 0))).collect();
        assert_eq!(program(&library), expected, "{exports:?}");
    }

    #[test]
    fn the_function_is_chosen_by_what_the_library_is() {
        let all = FUNCTIONS;
        check(&all, Some("OpenSSL 3.5.7 9 Jun 2026"), Ok(KeyProgram::KdfDerive));
        check(&[PKEY_CTX_CTRL], Some("OpenSSL 1.1.1w  11 Sep 2023"), Ok(KeyProgram::PkeyCtxCtrl));
        check(&[], None, Err(NoKeySite::NoFunction));
    }

    #[test]
    fn a_function_of_the_same_name_with_other_arguments_is_not_probed() {
        let backport = [KDF_DERIVE, PKEY_CTX_CTRL];
        check(&backport, Some("OpenSSL 1.1.1k  FIPS 25 Mar 2021"), Ok(KeyProgram::PkeyCtxCtrl));
        check(&[PKEY_CTX_CTRL], None, Err(NoKeySite::UnknownLibrary));
        check(&[PKEY_CTX_CTRL], Some("OpenSSL 1.0.2u"), Err(NoKeySite::UnknownLibrary));
    }

    /// The step as `function+distance instruction`; every one is proved.
    fn check_site(name: &str, expected: &str, cost: CostClass) {
        let KeyStep { function, site, .. } = openssl(&fixture::library(name)).unwrap();
        let Site { distance, instruction, .. } = &site;
        assert_eq!(format!("{function}+{distance} {instruction}"), expected, "{name}");
        assert_eq!((site.cost, site.reason), (cost, Reason::Proved), "{name}");
    }

    #[test]
    fn every_release_shows_secrets_at_an_emulated_place() {
        let behind_mark = CostClass::EmulatedAfterEndbr;
        check_site("debian11-libcrypto", "EVP_PKEY_CTX_ctrl+7 je 0x18ed50", CostClass::Emulated);
        check_site("debian12-libcrypto", "EVP_KDF_derive+3 je 0x213f18", CostClass::Emulated);
        check_site("debian13-libcrypto", "EVP_KDF_derive+7 je 0x24aa10", behind_mark);
        check_site("debian-sid-libcrypto", "EVP_KDF_derive+7 je 0x247560", behind_mark);
        check_site("node20", "EVP_KDF_derive+3 je 0x1baea78", CostClass::Emulated);
    }

    #[test]
    fn libssl_has_no_key_site() {
        let libssl = fixture::library("debian12-libssl");
        assert_eq!(openssl(&libssl), Err(NoKeySite::NoFunction));
    }

    #[test]
    fn the_systems_library_shows_secrets_at_an_emulated_place() {
        let bytes = std::fs::read("/usr/lib/x86_64-linux-gnu/libcrypto.so.3").unwrap();
        let step = openssl(&Library::parse(&bytes, &FUNCTIONS).unwrap()).unwrap();
        assert_eq!((step.function, step.site.cost), (KDF_DERIVE, CostClass::Emulated));
        assert!(step.site.instruction.starts_with("je "), "{}", step.site.instruction);
    }
}
