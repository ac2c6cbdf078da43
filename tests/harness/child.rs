//! Child processes that end with their owner.
//!
//! In: a `Command`. Out: a [`Reaped`] child that is killed and waited for when dropped, and
//! [`output`] for programs that are only asked something.

use std::{
    io::Write as _,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use crate::wait_until;

/// A child that does not outlive its owner.
#[derive(Debug)]
pub struct Reaped {
    child: Child,
    name: String,
}

impl Reaped {
    /// Starts `command`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self { child, name })
    }

    /// The child's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child, for its pipes.
    pub const fn inner(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The status with which the child ended, if it did.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("wait for {}", self.name))
    }

    /// Sends `signal`, unless the child has been waited for: then its pid may be another's.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let pid = i32::try_from(self.child.id()).context("process id out of range")?;
        signal::kill(Pid::from_raw(pid), signal)
            .with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Waits until the child ends by itself.
    ///
    /// # Errors
    /// When it is still there after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait_until(&what, timeout, || self.ended())
    }

    /// Asks with SIGTERM, waits up to `patience`, then kills.
    ///
    /// # Errors
    /// When the child cannot be signalled or waited for.
    pub fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        if let Ok(status) = self.wait(patience) {
            return Ok(status);
        }
        self.signal(Signal::SIGKILL)?;
        self.child.wait().with_context(|| format!("wait for {}", self.name))
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Both can only fail if the child is gone already, which is what is wanted.
            let _gone = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}

/// Runs `command` to its end with `input` on its standard input, and collects what it says.
///
/// # Errors
/// When the program cannot be started or its input is refused.
pub fn output(command: &mut Command, input: &[u8]) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {name}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program that failed early has closed the pipe: its status tells more than EPIPE.
        let _refused = pipe.write_all(input);
    }
    child.wait_with_output().with_context(|| format!("wait for {name}"))
}

/// Runs `command` as [`output`] does and returns its standard output.
///
/// # Errors
/// When the program ends with another status than zero; its standard error is in the message.
pub fn checked(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = output(command, input)?;
    ensure!(
        output.status.success(),
        "{name} failed, {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}
