//! A virtual machine, from its start to its end.
//!
//! In: a kernel's image and the archive for its memory. Out: what its guest reports, line by line
//! as it comes, and a verdict on it. The kernel's own messages go to a console of their own, so that
//! nothing can mix with the report; they are searched for accidents at the end.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use scopewatch_harness::{child::Reaped, target_dir};

use super::{
    Asked, contents,
    report::{self, Report},
};

/// Memory in MiB: the archive is there twice while it is unpacked.
const MEMORY: &str = "3072";

/// How often the report is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// Time from the guest's last word to the machine's end.
const POWER_OFF: Duration = Duration::from_secs(20);

/// A machine that does not outlive its owner.
pub struct Machine {
    process: Reaped,
    console: PathBuf,
    report: PathBuf,
}

impl Machine {
    /// Starts a machine.
    ///
    /// # Errors
    /// When qemu cannot be started.
    pub fn start(name: &str, image: &Path, memory: &Path, asked: Asked<'_>) -> Result<Self> {
        let file = |what: &str| -> Result<PathBuf> {
            let path = target_dir().join("vm").join(format!("{name}.{what}"));
            File::create(&path).with_context(|| format!("create {}", path.display()))?;
            Ok(path)
        };
        let (console, report) = (file("console")?, file("report")?);
        let mut command = Command::new("qemu-system-x86_64");
        // One thread for both processors: with two, one may run code that the other has patched just
        // before, which kernels do all the time and take for an accident.
        // `max` would have the fifth level of page tables, which costs time and shows nothing.
        command.args(["-accel", "tcg,thread=single", "-cpu", "max,la57=off", "-smp", "2"]);
        command.args(["-m", MEMORY, "-nodefaults", "-display", "none", "-no-reboot"]);
        command.arg("-serial").arg(format!("file:{}", console.display()));
        command.arg("-serial").arg(format!("file:{}", report.display()));
        command.arg("-kernel").arg(image).arg("-initrd").arg(memory);
        command.arg("-append").arg(command_line(asked));
        command.stdin(Stdio::null());
        let process = Reaped::start(&mut command)?;
        Ok(Self { process, console, report })
    }

    /// Hands every line of the report to `tell` until the machine ends, and judges.
    ///
    /// # Errors
    /// When the machine takes longer than `patience`, or its report cannot be read.
    pub fn follow(&mut self, patience: Duration, mut tell: impl FnMut(&str)) -> Result<Report> {
        let started = Instant::now();
        let mut deadline = started + patience;
        let mut file = File::open(&self.report).context("open the machine's report")?;
        let mut unread = Vec::new();
        let mut report = Report::default();
        loop {
            let ended = self.process.ended()?;
            file.read_to_end(&mut unread).context("read the machine's report")?;
            for line in report::complete_lines(&mut unread) {
                if let Some(text) = report.take(&line) {
                    tell(text);
                }
            }
            if ended.is_some() {
                break;
            }
            if report.is_complete() {
                deadline = deadline.min(Instant::now() + POWER_OFF);
            }
            if Instant::now() > deadline {
                if report.is_complete() {
                    break;
                }
                bail!("no end after {patience:?}; its last words: {}", self.last_words());
            }
            thread::sleep(INTERVAL);
        }
        report.took = started.elapsed();
        let console = fs::read(&self.console).context("read the machine's console")?;
        report.accidents = report::accidents(&String::from_utf8_lossy(&console));
        if !report.is_complete() {
            bail!(
                "it ended early: {}; its last words: {}",
                report.accidents.join("; "),
                self.last_words()
            );
        }
        Ok(report)
    }

    fn last_words(&self) -> String {
        let console = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&console).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n  ")
    }
}

/// The kernel's command line. What follows `--` are the first program's arguments.
fn command_line(asked: Asked<'_>) -> String {
    let mut words = vec![
        "console=ttyS0".to_owned(),
        // Accidents end the machine instead of leaving it in doubt.
        "panic=-1 oops=panic".to_owned(),
        // An emulated processor looks stuck to a watchdog.
        "nowatchdog tsc=reliable".to_owned(),
        format!("rdinit={}", contents::XTASK),
        // What the kernel does not know is the first program's environment.
        "PATH=/usr/sbin:/usr/bin".to_owned(),
    ];
    match asked {
        Asked::Programs => words.push("-- vm-guest --programs".to_owned()),
        Asked::Tests(names) => {
            words.push("-- vm-guest".to_owned());
            words.extend(names.iter().map(|name| format!("--test {name}")));
        }
        Asked::Soak(seconds) => words.push(format!("preempt=full -- vm-guest --soak {seconds}")),
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soak_is_on_a_kernel_that_preempts_itself() {
        let plain = command_line(Asked::new(false, None, &["one".to_owned()]));
        assert!(plain.ends_with("-- vm-guest --test one") && !plain.contains("preempt"), "{plain}");
        let soak = command_line(Asked::new(false, Some(60), &[]));
        assert!(soak.ends_with("preempt=full -- vm-guest --soak 60"), "{soak}");
        assert!(command_line(Asked::new(true, None, &[])).ends_with("-- vm-guest --programs"));
    }
}
