//! Which probes a library's call path gets, each with its reason.
//!
//! In: the library, and whether return probes are safe. Out: an [`AttachPlan`]. Pure, so that
//! every choice can be tested and printed without attaching anything.

use serde::Serialize;

use crate::{
    binary::{
        code::Function,
        elf::Library,
        internal::{Inner, NoInternal, READ, WRITE, WRITE_WITH_FLAGS, behind},
        site::{Needs, NoSite, Site, as_text, best},
    },
    sandbox::protocol::{Point, Program},
};

/// Functions of libssl that a plan may use, with the program for their entry.
pub const OPENSSL: [(&str, Program); 9] = [
    ("SSL_read", Program::SslRead),
    ("SSL_read_ex", Program::SslReadEx),
    ("SSL_write", Program::SslWrite),
    ("SSL_write_ex", Program::SslWriteEx),
    ("SSL_write_ex2", Program::SslWriteEx2),
    ("SSL_do_handshake", Program::SslDoHandshake),
    ("SSL_shutdown", Program::SslShutdown),
    ("SSL_free", Program::SslFree),
    ("SSL_clear", Program::SslFree),
];

/// One place of a plan.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Step {
    /// The function, as the library exports it or as OpenSSL's sources call it.
    pub function: &'static str,
    /// What is attached.
    pub program: Program,
    /// Where.
    pub site: Site,
    /// Why this function.
    #[serde(serialize_with = "as_text")]
    pub choice: Choice,
}

impl Step {
    /// The step as the broker takes it.
    #[must_use]
    pub const fn point(&self) -> Point {
        Point { offset: self.site.offset, program: self.program }
    }
}

/// Why a function is probed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Choice {
    /// It is the one that does the work.
    #[error("every exported function of its kind calls it, and filter BIOs do")]
    Internal,
    /// It is exported, and the function behind it is not certain.
    #[error("exported; what is behind it is not certain: {0}")]
    Exported(NoInternal),
    /// Its call makes a handshake, and tells whose keys are derived.
    #[error("it makes handshakes")]
    Shakes,
    /// Its call ends a session, or a direction of one.
    #[error("it ends sessions")]
    Ends,
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
        self.steps.iter().map(Step::point).collect()
    }
}

/// Why there is no plan for a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoPlan {
    /// The file does not export the functions that read and write.
    #[error("it does not export both SSL_read and SSL_write")]
    NoFunctions,
    /// An exported function has no code that could be probed.
    #[error("{0} has no code in the file: {1}")]
    NoCode(&'static str, NoSite),
    /// Results can be read only at returns, and return probes are not safe here.
    #[error("return probes are not safe on this kernel")]
    ReturnProbesUnsafe,
}

/// Plans the call path for an OpenSSL library: where its functions read and write, at entry, where
/// the arguments are, and at return, where it is known what was moved.
///
/// # Errors
/// See [`NoPlan`].
pub fn openssl(library: &Library<'_>, return_probes_safe: bool) -> Result<AttachPlan, NoPlan> {
    if !library.exports("SSL_read") || !library.exports("SSL_write") {
        return Err(NoPlan::NoFunctions);
    }
    if !return_probes_safe {
        return Err(NoPlan::ReturnProbesUnsafe);
    }
    let (write, write_program) = if library.exports("SSL_write_ex2") {
        (&WRITE_WITH_FLAGS, Program::SslWriteEx2)
    } else {
        (&WRITE, Program::SslWriteEx)
    };
    let mut steps = transfers(library, &READ, Program::SslReadEx)?;
    steps.extend(transfers(library, write, write_program)?);
    for (name, program) in OPENSSL.into_iter().filter(|&(_, program)| !has_result(program)) {
        if library.exports(name) {
            let choice = match program {
                Program::SslDoHandshake => Choice::Shakes,
                _ => Choice::Ends,
            };
            steps.push(step(name, exported(library, name)?, program, choice)?);
        }
    }
    Ok(AttachPlan { build_id: library.build_id.clone(), steps })
}

/// Steps for one direction: on the function behind the wrappers, or else on each wrapper.
fn transfers(library: &Library<'_>, inner: &Inner, program: Program) -> Result<Vec<Step>, NoPlan> {
    let why = match behind(library, inner) {
        Ok(call) => {
            return entry_and_return(inner.name, &call.function, program, Choice::Internal);
        }
        Err(why) => why,
    };
    let mut steps = Vec::new();
    for (name, program) in OPENSSL {
        let is_wrapper = inner.wrappers.iter().any(|wrapper| wrapper.name == name);
        if is_wrapper && library.exports(name) {
            let function = exported(library, name)?;
            steps.extend(entry_and_return(name, &function, program, Choice::Exported(why))?);
        }
    }
    Ok(steps)
}

fn exported<'data>(
    library: &Library<'data>,
    name: &'static str,
) -> Result<Function<'data>, NoPlan> {
    library.function(name).ok_or(NoPlan::NoCode(name, NoSite::Undecodable(0)))
}

/// The return first: a call that enters between the two attachments must find its entry missing,
/// which is counted, rather than its return, which would leave an entry behind.
fn entry_and_return(
    name: &'static str,
    function: &Function<'_>,
    program: Program,
    choice: Choice,
) -> Result<Vec<Step>, NoPlan> {
    Ok(vec![
        step(name, *function, Program::SslReturn, choice)?,
        step(name, *function, program, choice)?,
    ])
}

fn step(
    name: &'static str,
    function: Function<'_>,
    program: Program,
    choice: Choice,
) -> Result<Step, NoPlan> {
    let site = best(&function, needs(program)).map_err(|why| NoPlan::NoCode(name, why))?;
    Ok(Step { function: name, program, site, choice })
}

/// Whether the function tells at its return how many bytes it moved.
const fn has_result(program: Program) -> bool {
    match program {
        Program::SslRead
        | Program::SslReadEx
        | Program::SslWrite
        | Program::SslWriteEx
        | Program::SslWriteEx2 => true,
        Program::SslReturn
        | Program::SslFree
        | Program::SslShutdown
        | Program::SslDoHandshake
        | Program::EvpKdfDerive
        | Program::EvpPkeyCtxCtrl => false,
    }
}

/// What a program reads: the session; of calls that move bytes also the buffer, its size and the
/// pointer to the count, and the stack pointer, by which entry and return are matched.
const fn needs(program: Program) -> Needs {
    let (arguments, return_address) = match program {
        Program::SslRead | Program::SslWrite => (3, true),
        Program::SslReadEx | Program::SslWriteEx => (4, true),
        Program::SslWriteEx2 => (5, true),
        Program::SslReturn => return Needs::RETURN,
        Program::SslFree | Program::SslShutdown | Program::SslDoHandshake => (1, false),
        Program::EvpKdfDerive => (4, false),
        Program::EvpPkeyCtxCtrl => (6, false),
    };
    Needs { arguments, return_address }
}

#[cfg(test)]
mod tests;
