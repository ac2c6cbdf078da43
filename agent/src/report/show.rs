//! Kept events, shown to people. In: lines of JSON, as `event/json.rs` writes them. Out: a line
//! for each call, then a summary. A line that is no event is counted, and stops nothing.

use std::io::{self, BufRead, Read, Write};

use serde_json::Value;

use crate::{
    event::{
        human::{Colour, Summary, is_shown, line, notice_line},
        json,
        mapping::Format,
        model::Event,
        notice::Notice,
    },
    report::pair::{Call, Pairer},
};

/// Longest line that is read, in bytes: over ten times the longest event.
pub const MAX_LINE: u64 = 1024 * 1024;
/// Most bad lines that are named.
const MAX_NAMED: usize = 10;

/// Lines that were no events.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BadLines {
    /// How many there were.
    pub count: u64,
    /// Numbers of the first of them, from 1.
    pub first: Vec<u64>,
}

/// Reads events from `input` and writes them, paired, to `output`; then the summary.
///
/// # Errors
///
/// If `input` cannot be read or `output` not be written.
pub fn show(
    input: &mut dyn BufRead,
    output: &mut impl Write,
    colour: Colour,
) -> io::Result<BadLines> {
    let mut bad = BadLines::default();
    let mut pairer = Pairer::default();
    let mut summary = Summary::default();
    let mut buffer = Vec::new();
    let mut number = 0_u64;
    while read_line(input, &mut buffer)? {
        number = number.saturating_add(1);
        match parse(&buffer) {
            _ if buffer.trim_ascii().is_empty() => {}
            None if is_of_agent(&buffer) => {}
            // What it tells stands in the line of its call.
            Some(Line::Exchange(event)) if !is_shown(&event) => {}
            Some(Line::Exchange(event)) => {
                write_calls(pairer.push(*event), &mut summary, output, colour)?;
            }
            Some(Line::Notice(notice)) => writeln!(output, "{}", notice_line(&notice, colour))?,
            None => bad.record(number),
        }
    }
    write_calls(pairer.finish(), &mut summary, output, colour)?;
    write!(output, "\n{summary}{bad}")?;
    Ok(bad)
}

/// Reads events from `input` and writes each in another format, a line each. Lines that have no form
/// in it are left out.
///
/// # Errors
///
/// If `input` cannot be read or `output` not be written.
pub fn convert(
    input: &mut dyn BufRead,
    output: &mut impl Write,
    format: Format,
) -> io::Result<BadLines> {
    let (mut bad, mut number) = (BadLines::default(), 0_u64);
    let (mut buffer, mut line) = (Vec::new(), Vec::new());
    while read_line(input, &mut buffer)? {
        number = number.saturating_add(1);
        line.clear();
        if format.append(buffer.trim_ascii(), &mut line) {
            line.push(b'\n');
            output.write_all(&line)?;
        } else if !buffer.trim_ascii().is_empty() {
            bad.record(number);
        }
    }
    Ok(bad)
}

/// Reads a line into `buffer`; of a line that is too long, as much as tells that it is. `false`
/// at the end.
pub(crate) fn read_line(mut input: &mut dyn BufRead, buffer: &mut Vec<u8>) -> io::Result<bool> {
    buffer.clear();
    let read = (&mut input).take(MAX_LINE).read_until(b'\n', buffer)?;
    if u64::try_from(read) == Ok(MAX_LINE) && buffer.last() != Some(&b'\n') {
        input.skip_until(b'\n')?;
    }
    Ok(read > 0)
}

/// What a line may be.
enum Line {
    Exchange(Box<Event>),
    Notice(Box<Notice>),
}

fn parse(line: &[u8]) -> Option<Line> {
    let line = std::str::from_utf8(line).ok()?;
    let exchange = json::parse(line).ok().map(|event| Line::Exchange(Box::new(event)));
    exchange.or_else(|| serde_json::from_str(line).ok().map(|it| Line::Notice(Box::new(it))))
}

/// Whether a line is what the agent said of itself.
fn is_of_agent(line: &[u8]) -> bool {
    let json = serde_json::from_slice::<Value>(line).ok();
    let kind = json.as_ref().and_then(|json| json.pointer("/event/type")?.as_str());
    kind.is_some_and(|kind| kind.starts_with("agent."))
}

fn write_calls(
    calls: Vec<Call>,
    summary: &mut Summary,
    output: &mut impl Write,
    colour: Colour,
) -> io::Result<()> {
    for call in calls {
        let mut events = call.events();
        let Some(event) = events.next() else { continue };
        summary.add(event);
        writeln!(output, "{}", line(event, events.next(), colour))?;
    }
    Ok(())
}

impl BadLines {
    fn record(&mut self, number: u64) {
        self.count = self.count.saturating_add(1);
        if self.first.len() < MAX_NAMED {
            self.first.push(number);
        }
    }
}

impl std::fmt::Display for BadLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.count == 0 {
            return Ok(());
        }
        let first: Vec<_> = self.first.iter().map(u64::to_string).collect();
        let all = usize::try_from(self.count) == Ok(self.first.len());
        let more = if all { "" } else { ", …" };
        writeln!(f, "skipped  {} lines that are no events: {}{more}", self.count, first.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::sample::{event, exchange},
        http::message::Role,
    };

    fn shown(input: &[u8]) -> (String, BadLines) {
        let mut output = Vec::new();
        let bad = show(&mut &*input, &mut output, Colour::Off).unwrap();
        (String::from_utf8(output).unwrap(), bad)
    }

    #[test]
    fn a_call_seen_from_both_ends_is_one_line() {
        let lines = [Role::Client, Role::Server].map(|role| {
            let fields = [("host", "api.example.com"), ("authorization", "Bearer abc")];
            json::line(&event(&exchange(role, "GET", "/v1/orders", &fields, 200))).unwrap()
        });
        let (output, bad) = shown(lines.join("\n").as_bytes());
        insta::assert_snapshot!("both_ends", output);
        assert_eq!(bad, BadLines::default());
    }

    #[test]
    fn what_the_agent_says_of_itself_is_no_bad_line() {
        let (_, bad) = shown(br#"{"event":{"type":"agent.start"}}"#);
        assert_eq!(bad, BadLines::default());
    }

    #[test]
    fn events_are_converted_line_by_line() {
        let good = json::line(&event(&exchange(Role::Server, "GET", "/", &[], 200))).unwrap();
        let mut output = Vec::new();
        let input = format!("{good}\n{{}}\n");
        let bad = convert(&mut input.as_bytes(), &mut output, Format::Cef).unwrap();
        assert_eq!((bad.count, bad.first), (1, vec![2]));
        assert!(output.starts_with(b"CEF:0|") && output.ends_with(b"\n"));
    }

    #[test]
    fn bad_lines_are_counted_and_stop_nothing() {
        let good = json::line(&event(&exchange(Role::Server, "GET", "/", &[], 200))).unwrap();
        let long = "x".repeat(2 * 1024 * 1024);
        let mut input = format!("{{}}\n\n{long}\n{good}\n\u{1b}[2J\n").into_bytes();
        input.extend_from_slice(b"\xff\n{\"event\"");
        let (output, bad) = shown(&input);
        assert_eq!(bad, BadLines { count: 5, first: vec![1, 3, 5, 6, 7] });
        assert!(output.contains("\nskipped  5 lines that are no events: 1, 3, 5, 6, 7\n"));
        assert!(output.contains(" anonymous ") && !output.contains('\u{1b}'));
    }

    #[test]
    fn of_many_bad_lines_the_first_are_named() {
        let (output, bad) = shown("x\n".repeat(12).as_bytes());
        assert_eq!((bad.count, bad.first.len()), (12, MAX_NAMED));
        assert!(output.contains("12 lines that are no events: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …"));
    }
}
