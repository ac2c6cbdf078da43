//! Calls of libssl in every way in which programs make them, on each release of OpenSSL: every
//! exchange is told once, by whom it was, and nothing that is not one.
//!
//! A group of behaviours shares one run of the agent; what fails names its behaviour.

mod calls;
mod lab;
mod sessions;
mod small_ring;

use anyhow::{Context as _, Result};
use scopewatch_harness::{openssl::Release, require_root};

use self::lab::{Behaviour, Lab};

/// One test for each group of behaviours, for one release.
macro_rules! on_release {
    ($module:ident, $name:literal) => {
        mod $module {
            use anyhow::{Result, ensure};

            use super::{calls, check, sessions};

            #[test]
            fn reads_are_told_once_however_they_are_made() -> Result<()> {
                check($name, &calls::READS).map(drop)
            }

            #[test]
            fn writes_are_told_once_however_they_are_made() -> Result<()> {
                check($name, &calls::WRITES).map(drop)
            }

            #[test]
            fn calls_that_fail_tell_nothing() -> Result<()> {
                check($name, &calls::FAILURES).map(drop)
            }

            #[test]
            fn sessions_are_told_apart() -> Result<()> {
                let outcome = check($name, &sessions::SESSIONS)?;
                let abandoned = outcome.counters.get("abandoned_calls").copied();
                // What is left behind in the kernel's tables is taken out.
                ensure!(abandoned >= Some(sessions::ABANDONED), "{:?}", outcome.counters);
                Ok(())
            }

            #[test]
            fn answers_that_nobody_reads_are_not_copied() -> Result<()> {
                calls::check_long_answers($name)
            }

            #[test]
            fn a_write_of_three_mebibytes_is_told_without_its_rest() -> Result<()> {
                calls::check_long_write($name)
            }
        }
    };
}

on_release!(openssl_1_1_1, "1.1.1");
on_release!(openssl_of_this_system, "system");
on_release!(openssl_3_5, "3.5");
on_release!(openssl_of_sid, "sid");

/// Makes the calls of `behaviours` with the agent watching, and holds its events against them.
fn check(release: &str, behaviours: &[(&'static str, Behaviour)]) -> Result<lab::Outcome> {
    require_root()?;
    let release = Release::named(release).context("no such release")?;
    let mut lab = Lab::start(release)?;
    for (name, behaviour) in behaviours {
        lab.behave(name, *behaviour)?;
    }
    lab.finish()
}
