//! Which probes a library gets, each with its reason.
//!
//! In: what the file exports, whether return probes are safe. Out: an [`AttachPlan`]. Pure, so
//! that every choice can be tested and printed without attaching anything.

use serde::Serialize;

use crate::{
    binary::elf::Exports,
    sandbox::protocol::{Point, Program},
};

/// Functions of libssl that a plan may use, with the program for their entry.
pub const OPENSSL: [(&str, Program); 8] = [
    ("SSL_read", Program::SslRead),
    ("SSL_read_ex", Program::SslReadEx),
    ("SSL_write", Program::SslWrite),
    ("SSL_write_ex", Program::SslWriteEx),
    ("SSL_write_ex2", Program::SslWriteEx2),
    ("SSL_shutdown", Program::SslShutdown),
    ("SSL_free", Program::SslFree),
    ("SSL_clear", Program::SslFree),
];

/// The function of libcrypto 3.x through which every secret of TLS is derived.
pub const KEY_DERIVATION: &str = "EVP_KDF_derive";

/// What a hit costs the probed process. Figures are in `docs/`, measured per class.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CostClass {
    /// The kernel copies the instruction elsewhere and steps over it: two traps.
    SingleStepped,
}

/// One place of a plan.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Step {
    /// The function, as the library exports it.
    pub function: &'static str,
    /// Where, and what.
    pub point: Point,
    /// What a hit costs.
    pub cost: CostClass,
    /// Why this place.
    pub reason: &'static str,
}

/// What is to be attached to one file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct AttachPlan {
    /// Build id of the file, where it has one.
    pub build_id: Option<String>,
    /// Places; never empty.
    pub steps: Vec<Step>,
}

impl AttachPlan {
    /// The plan as the broker takes it.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        self.steps.iter().map(|step| step.point).collect()
    }
}

/// Why there is no plan for a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NoPlan {
    /// The file does not export the functions that read and write.
    #[error("it exports no function that is known")]
    NoFunctions,
    /// Results can be read only at returns, and return probes are not safe here.
    #[error("return probes are not safe on this kernel")]
    ReturnProbesUnsafe,
}

/// Plans the wire path for a libcrypto of OpenSSL 3.x: the place where secrets pass.
///
/// # Errors
/// See [`NoPlan`].
pub fn secrets(exports: &Exports) -> Result<AttachPlan, NoPlan> {
    let offset = *exports.functions.get(KEY_DERIVATION).ok_or(NoPlan::NoFunctions)?;
    let step = Step {
        function: KEY_DERIVATION,
        point: Point { offset, program: Program::EvpKdfDerive },
        cost: CostClass::SingleStepped,
        reason: "its parameters show what is derived from what",
    };
    Ok(AttachPlan { build_id: exports.build_id.clone(), steps: vec![step] })
}

/// Plans the call path for an OpenSSL library: each read and write function at its entry, where
/// its arguments are, and at its return, where it is known what it moved.
///
/// # Errors
/// See [`NoPlan`].
pub fn openssl(exports: &Exports, return_probes_safe: bool) -> Result<AttachPlan, NoPlan> {
    let found = |name: &str| exports.functions.contains_key(name);
    if !found("SSL_read") || !found("SSL_write") {
        return Err(NoPlan::NoFunctions);
    }
    if !return_probes_safe {
        return Err(NoPlan::ReturnProbesUnsafe);
    }
    let mut steps = Vec::new();
    for (function, program) in OPENSSL {
        let Some(&offset) = exports.functions.get(function) else { continue };
        if has_result(program) {
            // First: a call that enters between the two attachments must find its entry missing,
            // which is counted, rather than its return, which would leave an entry behind.
            steps.push(Step {
                function,
                point: Point { offset, program: Program::SslReturn },
                cost: CostClass::SingleStepped,
                reason: "the result tells how many bytes were moved",
            });
        }
        steps.push(Step {
            function,
            point: Point { offset, program },
            cost: CostClass::SingleStepped,
            reason: "the first instruction: all arguments are in place",
        });
    }
    Ok(AttachPlan { build_id: exports.build_id.clone(), steps })
}

/// Whether the function tells at its return how many bytes it moved.
const fn has_result(program: Program) -> bool {
    match program {
        Program::SslRead
        | Program::SslReadEx
        | Program::SslWrite
        | Program::SslWriteEx
        | Program::SslWriteEx2 => true,
        Program::SslReturn | Program::SslFree | Program::SslShutdown | Program::EvpKdfDerive => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exporting(names: &[&'static str]) -> Exports {
        let functions = names.iter().zip(1u64..).map(|(&name, n)| (name, n * 0x100)).collect();
        Exports { build_id: None, functions }
    }

    fn check(names: &[&'static str], expected: &[(&str, Program)]) {
        let plan = openssl(&exporting(names), true).unwrap();
        let steps: Vec<_> =
            plan.steps.iter().map(|step| (step.function, step.point.program)).collect();
        assert_eq!(steps, expected);
    }

    #[test]
    fn reads_and_writes_are_probed_at_return_and_entry() {
        check(
            &["SSL_read", "SSL_write"],
            &[
                ("SSL_read", Program::SslReturn),
                ("SSL_read", Program::SslRead),
                ("SSL_write", Program::SslReturn),
                ("SSL_write", Program::SslWrite),
            ],
        );
    }

    #[test]
    fn ends_of_sessions_are_probed_at_entry_only() {
        let plan = openssl(&exporting(&OPENSSL.map(|(name, _)| name)), true).unwrap();
        let of = |name| plan.steps.iter().filter(move |step| step.function == name).count();
        assert_eq!((of("SSL_free"), of("SSL_shutdown"), of("SSL_clear")), (1, 1, 1));
        assert_eq!(plan.steps.len(), 13);
    }

    #[test]
    fn no_functions_no_plan() {
        assert_eq!(openssl(&exporting(&["SSL_read"]), true), Err(NoPlan::NoFunctions));
    }

    #[test]
    fn no_plan_where_return_probes_are_unsafe() {
        assert_eq!(
            openssl(&exporting(&["SSL_read", "SSL_write"]), false),
            Err(NoPlan::ReturnProbesUnsafe)
        );
    }
}
