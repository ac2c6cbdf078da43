//! The function behind exported wrappers: what `SSL_read` and `SSL_read_ex` both call.
//!
//! In: a library's code. Out: [`InternalCall`], or the reason why it is not certain. One probe
//! there stands for one on each wrapper, and sees what goes past them: filter BIOs call it too.
//! It must be *the* way: a wrapper that also leads elsewhere in the library would go unseen.

use iced_x86::FlowControl;

use crate::binary::{
    code::{Function, Linked},
    elf::Library,
    values::{Transfer, Value, transfers},
};

use Value::{Argument, Extended, Frame, Zero};

/// Instructions of a wrapper. OpenSSL's have fifty.
const MAX_INSTRUCTIONS: usize = 1024;

/// An exported function, and what it must hand to the internal one.
#[derive(Clone, Copy, Debug)]
pub struct Wrapper {
    /// Its name.
    pub name: &'static str,
    /// Arguments of its call.
    pub hands_over: &'static [Value],
}

/// A function that has wrappers.
#[derive(Clone, Copy, Debug)]
pub struct Inner {
    /// Its name in OpenSSL's sources.
    pub name: &'static str,
    /// The wrappers; the first two lead to it directly.
    pub wrappers: &'static [Wrapper],
}

/// `int ssl_read_internal(SSL *s, void *buf, size_t num, size_t *readbytes)`, OpenSSL 1.1.1 and
/// newer; 1 on success.
pub const READ: Inner = Inner {
    name: "ssl_read_internal",
    wrappers: &[
        Wrapper { name: "SSL_read", hands_over: &[Argument(0), Argument(1), Extended(2), Frame] },
        Wrapper {
            name: "SSL_read_ex",
            hands_over: &[Argument(0), Argument(1), Argument(2), Argument(3)],
        },
    ],
};

/// `int ssl_write_internal(SSL *s, const void *buf, size_t num, size_t *written)`, OpenSSL 1.1.1
/// to 3.2.
pub const WRITE: Inner = Inner {
    name: "ssl_write_internal",
    wrappers: &[
        Wrapper { name: "SSL_write", hands_over: &[Argument(0), Argument(1), Extended(2), Frame] },
        Wrapper {
            name: "SSL_write_ex",
            hands_over: &[Argument(0), Argument(1), Argument(2), Argument(3)],
        },
    ],
};

/// `int ssl_write_internal(SSL *s, const void *buf, size_t num, uint64_t flags, size_t *written)`,
/// OpenSSL 3.3 and newer.
pub const WRITE_WITH_FLAGS: Inner = Inner {
    name: "ssl_write_internal",
    wrappers: &[
        Wrapper {
            name: "SSL_write",
            hands_over: &[Argument(0), Argument(1), Extended(2), Zero, Frame],
        },
        Wrapper {
            name: "SSL_write_ex2",
            hands_over: &[Argument(0), Argument(1), Argument(2), Argument(3), Argument(4)],
        },
        Wrapper {
            name: "SSL_write_ex",
            hands_over: &[Argument(0), Argument(1), Argument(2), Zero, Argument(3)],
        },
    ],
};

/// The function behind wrappers, proved.
#[derive(Clone, Copy, Debug)]
pub struct InternalCall<'data> {
    /// Its code, up to the next exported function.
    pub function: Function<'data>,
}

/// Why the function behind wrappers is not used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoInternal {
    /// A wrapper is not exported.
    #[error("{0} is not exported")]
    NotExported(&'static str),
    /// The wrappers call nothing in common.
    #[error("{0} and {1} have no direct call in common")]
    NothingInCommon(&'static str, &'static str),
    /// A wrapper does not call it, or with other arguments than it is known to.
    #[error("{0} does not hand its arguments over as expected")]
    OtherArguments(&'static str),
    /// A wrapper calls other functions of the library too.
    #[error("{0} leads elsewhere in the library too")]
    LeadsElsewhere(&'static str),
    /// The call goes to no code of the file.
    #[error("the call leads outside of the file's code")]
    NotInFile,
}

/// Finds the function behind the wrappers and checks that there is no way around it.
///
/// # Errors
/// It is not certain; see [`NoInternal`].
pub fn behind<'data>(
    library: &Library<'data>,
    inner: &Inner,
) -> Result<InternalCall<'data>, NoInternal> {
    let target = in_common(library, inner)?;
    let mut ways = vec![target];
    for wrapper in inner.wrappers {
        let function = exported(library, wrapper)?;
        let hands_over = |transfer: &Transfer| {
            let leads = here(library, transfer.target).is_some_and(|to| ways.contains(&to));
            leads && transfer.registers.arguments().starts_with(wrapper.hands_over)
        };
        if !transfers(&function).iter().any(hands_over) {
            return Err(NoInternal::OtherArguments(wrapper.name));
        }
        if leads_elsewhere(library, &function, &ways) {
            return Err(NoInternal::LeadsElsewhere(wrapper.name));
        }
        // A later wrapper may go by way of this one.
        ways.push(function.address);
    }
    let function = library.code.function(target, 0).ok_or(NoInternal::NotInFile)?;
    Ok(InternalCall { function })
}

fn exported<'data>(
    library: &Library<'data>,
    wrapper: &Wrapper,
) -> Result<Function<'data>, NoInternal> {
    library.function(wrapper.name).ok_or(NoInternal::NotExported(wrapper.name))
}

/// The first function that the first two wrappers both call.
fn in_common(library: &Library<'_>, inner: &Inner) -> Result<u64, NoInternal> {
    let [one, other, ..] = inner.wrappers else { return Err(NoInternal::NotInFile) };
    let called = |wrapper| -> Result<Vec<u64>, NoInternal> {
        let transfers = transfers(&exported(library, wrapper)?);
        Ok(transfers.iter().filter_map(|each| here(library, each.target)).collect())
    };
    let by_other = called(other)?;
    let mut by_one = called(one)?.into_iter();
    by_one
        .find(|target| by_other.contains(target))
        .ok_or(NoInternal::NothingInCommon(one.name, other.name))
}

/// The function of this file at which a call of `target` arrives; none if it is another file's.
fn here(library: &Library<'_>, target: u64) -> Option<u64> {
    match library.code.stub(target) {
        Some(Linked::Here(address)) => Some(address),
        Some(Linked::Elsewhere) => None,
        None => Some(target),
    }
}

/// Whether a wrapper's code may lead to functions of this file other than `ways`.
fn leads_elsewhere(library: &Library<'_>, function: &Function<'_>, ways: &[u64]) -> bool {
    let mut instructions = function.instructions();
    let found = instructions.by_ref().take(MAX_INSTRUCTIONS).any(|decoded| {
        let Ok(decoded) = decoded else { return true };
        match decoded.instruction.flow_control() {
            FlowControl::IndirectBranch | FlowControl::IndirectCall => {
                library.code.slot(&decoded) != Some(Linked::Elsewhere)
            }
            _ => decoded.target().is_some_and(|target| {
                let leaves = !function.holds(target);
                leaves && here(library, target).is_some_and(|to| !ways.contains(&to))
            }),
        }
    });
    found || instructions.next().is_some()
}

#[cfg(test)]
mod tests;
