//! Heads that a strict parser refuses: what is odd about them, and what they say if that is
//! overlooked.
//!
//! In: the bytes of a head. Out: a repaired copy, and the names of what was repaired or cannot be.
//! Runs for heads only that are odd.

use zeroize::Zeroizing;

use super::head::{Kind, is_line_end, is_token};
use crate::http::{
    anomaly::{Anomaly, AnomalySet},
    length::trim_blanks,
    message::Fields,
};

const TRANSFER_ENCODING: &str = "transfer-encoding";
const CONTENT_LENGTH: &str = "content-length";

/// What is odd about the form of a head, line by line.
pub(super) fn oddities(kind: Kind, head: &[u8]) -> AnomalySet {
    let mut found = AnomalySet::NONE;
    let mut after_coding = false;
    for (number, line) in head.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let (content, _) = split_line_end(line);
        found.add_if(content.contains(&b'\r'), Anomaly::BareCr);
        if number == 0 {
            found.add_if(is_bad_start(kind, content), Anomaly::BadStartLine);
            continue;
        }
        found.add_if(content.contains(&0), Anomaly::NulInField);
        found.add_if(content.iter().any(is_control), Anomaly::CtlInField);
        let is_fold = matches!(content.first(), Some(b' ' | b'\t'));
        if is_fold && number > 1 {
            found.add(Anomaly::ObsFold);
            found.add_if(after_coding, Anomaly::TeTe);
            continue;
        }
        found.add_if(is_fold, Anomaly::SpaceBeforeField);
        let before = found;
        check_name(content, &mut found);
        after_coding = declares(line, TRANSFER_ENCODING);
        found.add_if(after_coding && (found != before || is_fold), Anomaly::TeTe);
    }
    found
}

fn check_name(line: &[u8], found: &mut AnomalySet) {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        found.add_if(!line.is_empty(), Anomaly::BadFieldLine);
        return;
    };
    let name = line.get(..colon).unwrap_or_default();
    let trimmed = trim_blanks(name);
    found.add_if(matches!(name.last(), Some(b' ' | b'\t')), Anomaly::SpaceBeforeColon);
    let is_name = !trimmed.is_empty() && trimmed.iter().all(|byte| is_token(*byte));
    found.add_if(!is_name, Anomaly::BadFieldLine);
}

/// Whether a start line has other whitespace than single spaces between its parts.
fn is_bad_start(kind: Kind, line: &[u8]) -> bool {
    let mut parts = line.split(|byte| *byte == b' ');
    let is_odd = line.iter().any(u8::is_ascii_control);
    match kind {
        Kind::Request => is_odd || parts.clone().count() != 3 || parts.any(<[u8]>::is_empty),
        Kind::Response => is_odd || parts.nth(1).is_none_or(<[u8]>::is_empty),
    }
}

/// Control characters other than those that have a name of their own, and TAB.
const fn is_control(byte: &u8) -> bool {
    byte.is_ascii_control() && !matches!(byte, 0 | b'\t' | b'\r')
}

/// Declarations of the body's framing that were left out of `fields`: a recipient that did read
/// them would end the message elsewhere.
pub(super) fn missed_framing(head: &[u8], fields: &Fields) -> AnomalySet {
    let mut missed = AnomalySet::NONE;
    for (name, anomaly) in
        [(TRANSFER_ENCODING, Anomaly::TeTe), (CONTENT_LENGTH, Anomaly::BadContentLength)]
    {
        let lines = head.split(|byte| *byte == b'\n').filter(|line| declares(line, name)).count();
        missed.add_if(lines > fields.all(name).count(), anomaly);
    }
    missed
}

fn declares(line: &[u8], name: &str) -> bool {
    let start = line.trim_ascii_start().get(..name.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
}

/// A copy in which whitespace before a colon is dropped, and bare CRs and line folds are spaces
/// (RFC 9112 §2.2, §5.1, §5.2). A fold right after the start line stays: it is no field's.
pub(super) fn repaired(head: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut copy = Zeroizing::new(Vec::with_capacity(head.len().saturating_add(1)));
    for (number, line) in head.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let (content, line_end) = split_line_end(line);
        let is_fold = number > 1 && matches!(content.first(), Some(b' ' | b'\t'));
        if is_fold {
            let previous_end = copy.iter_mut().rev().take_while(|byte| is_line_end(**byte));
            previous_end.for_each(|byte| *byte = b' ');
        }
        let mut parts = content.splitn(2, |byte| *byte == b':');
        let name = parts.next().unwrap_or_default();
        let value = parts.next();
        let is_field = number > 0 && !is_fold && value.is_some();
        let name = if is_field { without_blanks_behind(name) } else { name };
        extend_without_cr(&mut copy, name);
        if let Some(value) = value {
            copy.push(b':');
            extend_without_cr(&mut copy, value);
        }
        copy.extend_from_slice(line_end);
    }
    copy
}

/// Blanks only: what has another character before its colon is no field for strict recipients.
fn without_blanks_behind(name: &[u8]) -> &[u8] {
    let blanks = name.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    name.get(..name.len().saturating_sub(blanks)).unwrap_or(name)
}

fn split_line_end(line: &[u8]) -> (&[u8], &[u8]) {
    if let Some(content) = line.strip_suffix(b"\r\n") {
        (content, b"\r\n")
    } else if let Some(content) = line.strip_suffix(b"\n") {
        (content, b"\n")
    } else {
        (line, b"")
    }
}

fn extend_without_cr(copy: &mut Vec<u8>, bytes: &[u8]) {
    copy.extend(bytes.iter().map(|byte| if *byte == b'\r' { b' ' } else { *byte }));
}
