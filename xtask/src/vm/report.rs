//! What a guest reports, and what its kernel said beside.
//!
//! In: lines of the report and the kernel's console. Out: a [`Report`]. Pure; both may break off
//! anywhere, as a machine does that crashes.

use std::{fmt, time::Duration};

/// Begins a step of the guest.
pub const STEP: &str = "@step ";
/// Ends it well.
pub const GOOD: &str = "@good";
/// Ends it badly, with the reason.
pub const BAD: &str = "@bad ";
/// The guest's last word.
pub const END: &str = "@end";

/// What kernels print when something is wrong with them.
const ACCIDENTS: [&str; 8] = [
    "BUG:",
    "Oops:",
    "WARNING: ",
    "Kernel panic",
    "general protection fault",
    "rcu: INFO:",
    "soft lockup",
    "blocked for more than",
];

/// Instructions that the verifier may look at for one program before the program counts as too heavy:
/// kernels give up at a million, and differ in how fast they come there.
const MAX_VERIFIED: u32 = 700_000;

/// What a machine's guest reported.
#[derive(Debug, Default)]
pub struct Report {
    /// Steps with what went wrong in them, if anything.
    steps: Vec<(String, Option<String>)>,
    complete: bool,
    /// Programs that the verifier hardly managed, with what it looked at.
    heavy: Vec<(String, u32)>,
    /// Lines of the kernel's console that tell of accidents.
    pub accidents: Vec<String>,
    /// From the machine's start to its end.
    pub took: Duration,
}

impl Report {
    /// Takes a line; what of it is for people.
    pub fn take<'line>(&mut self, line: &'line str) -> Option<&'line str> {
        if let Some(name) = line.strip_prefix(STEP) {
            // Until it ends, it is bad: the machine may end before it does.
            self.steps.push((name.to_owned(), Some("it did not end".to_owned())));
            return Some(line);
        }
        if line == GOOD {
            self.end_step(None);
            return None;
        }
        if let Some(reason) = line.strip_prefix(BAD) {
            self.end_step(Some(reason.to_owned()));
            return Some(line);
        }
        if line == END {
            self.complete = true;
            return None;
        }
        self.heavy.extend(verified(line).filter(|(_, count)| *count > MAX_VERIFIED));
        Some(line)
    }

    fn end_step(&mut self, outcome: Option<String>) {
        if let Some((_, last)) = self.steps.last_mut() {
            *last = outcome;
        }
    }

    /// Whether the guest came to its end.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether all went well.
    pub fn is_good(&self) -> bool {
        let all = self.steps.iter().all(|(_, outcome)| outcome.is_none());
        let sound = self.accidents.is_empty() && self.heavy.is_empty();
        self.complete && !self.steps.is_empty() && all && sound
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let good = self.steps.iter().filter(|(_, outcome)| outcome.is_none()).count();
        let seconds = self.took.as_secs();
        write!(f, "{good} of {} steps went well, {seconds} s", self.steps.len())?;
        for (name, outcome) in &self.steps {
            if let Some(reason) = outcome {
                write!(f, "; FAILED {name}: {reason}")?;
            }
        }
        for (program, count) in &self.heavy {
            write!(f, "; HEAVY {program}: {count} instructions of at most {MAX_VERIFIED}")?;
        }
        for accident in &self.accidents {
            write!(f, "; KERNEL: {accident}")?;
        }
        Ok(())
    }
}

/// Name and instructions that the verifier looked at, from a line of `scopewatch doctor --programs`.
fn verified(line: &str) -> Option<(String, u32)> {
    let mut words = line.strip_prefix("accepted")?.split_whitespace();
    let name = words.next()?.to_owned();
    let count = words.collect::<Vec<_>>().join(" ");
    let (_, count) = count.strip_suffix(" verified")?.rsplit_once(' ')?;
    Some((name, count.parse().ok()?))
}

/// Takes the lines that are complete off the front of `unread`.
pub fn complete_lines(unread: &mut Vec<u8>) -> Vec<String> {
    let end = unread.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let rest = unread.split_off(end);
    let lines = std::mem::replace(unread, rest);
    // A serial line ends in a carriage return, too.
    String::from_utf8_lossy(&lines).lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Lines of a kernel's console that tell of accidents.
pub fn accidents(console: &str) -> Vec<String> {
    let tells = |line: &&str| ACCIDENTS.iter().any(|accident| line.contains(accident));
    console.lines().filter(tells).take(10).map(|line| line.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.take(line);
        }
        report
    }

    #[test]
    fn a_guest_that_comes_to_its_end_is_good_if_every_step_was() {
        assert!(report(&["@step a", "words", "@good", "@step b", "@good", "@end"]).is_good());
        assert!(!report(&["@step a", "@bad no", "@step b", "@good", "@end"]).is_good());
        assert!(!report(&["@end"]).is_good(), "nothing was tried");
    }

    #[test]
    fn a_guest_that_breaks_off_is_bad() {
        for lines in [&["@step a", "@good"][..], &["@step a", "@end"], &["@step a"]] {
            assert!(!report(lines).is_good(), "{lines:?}");
        }
        let broken = report(&["@step a", "@good", "@step b"]);
        assert!(broken.to_string().contains("FAILED b: it did not end"), "{broken}");
    }

    #[test]
    fn a_program_that_the_verifier_hardly_managed_spoils_a_good_report() {
        let check = |line: &str, good| {
            let report = report(&["@step a", line, "@good", "@end"]);
            assert_eq!(report.is_good(), good, "{report}");
        };
        check("accepted  packet_in               2500 instructions, 32766 verified", true);
        check("accepted  packet_in               2500 instructions, 700001 verified", false);
        // Before Linux 5.16 nobody tells.
        check("accepted  packet_in               2500 instructions", true);
    }

    #[test]
    fn an_accident_of_the_kernel_spoils_a_good_report() {
        let mut report = report(&["@step a", "@good", "@end"]);
        report.accidents = accidents("[1.0] all well\r\n[2.0] BUG: scheduling while atomic\r\n");
        assert!(!report.is_good());
        assert!(report.to_string().contains("KERNEL: [2.0] BUG: scheduling while atomic"));
    }

    #[test]
    fn lines_are_taken_when_they_are_complete() {
        let mut unread = b"one\r\ntwo\r\nthr".to_vec();
        assert_eq!(complete_lines(&mut unread), ["one", "two"]);
        assert_eq!(unread, b"thr");
        assert!(complete_lines(&mut unread).is_empty());
        unread.extend(b"ee\n");
        assert_eq!(complete_lines(&mut unread), ["three"]);
    }
}
