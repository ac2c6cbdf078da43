//! The kernel: features probed, the object loaded, probes attached, the ring read. The only module
//! that names aya.
//!
//! In: requests of `sandbox/broker.rs`. Out: raw records, as bytes, for `capture/record.rs`.

pub mod attach;
pub mod btf;
pub mod canary;
pub mod capability;
#[cfg(test)]
mod guard_tests;
pub mod inspect;
mod interfaces;
pub mod load;
mod program;
pub mod ring;
pub mod sight;
pub mod socket;
pub mod tap;

/// Why the kernel half could not do its work. Each names the call that failed.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The embedded object or its maps did not load.
    #[error("cannot load the kernel half")]
    Load(#[source] Box<aya::EbpfError>),
    /// A program was refused by the verifier, or could not be attached.
    #[error("cannot use program {program}")]
    Program {
        /// Its name in the object.
        program: &'static str,
        /// aya's error, with the verifier's last words.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// A map could not be opened or read.
    #[error("cannot use map {map}")]
    Map {
        /// Its name in the object.
        map: &'static str,
        /// aya's error.
        #[source]
        source: Box<aya::maps::MapError>,
    },
    /// The object lacks a part that this build of the agent expects.
    #[error("the embedded object lacks {0}: agent and kernel half are of different builds")]
    Missing(&'static str),
    /// The kernel's type information is absent or of no use.
    #[error(transparent)]
    Btf(#[from] btf::BtfError),
    /// Waiting for the ring failed.
    #[error("cannot wait for records")]
    Wait(#[source] std::io::Error),
}
