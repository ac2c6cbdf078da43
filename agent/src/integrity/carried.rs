//! What a line of another format carries. In: a line, such as a receiver of syslog writes. Out: the
//! JSON in it, or the four values that place an event in its chain.
//!
//! Every format is read by its own grammar, from the start: callers of APIs choose paths and user
//! agents, and what one of them contains must not be taken for a name and its value.

use std::collections::BTreeMap;

/// Names of the values.
const NAMES: [&str; 4] = ["chain", "seq", "prev", "hash"];
/// Name of the structured data, up to the enterprise number.
const ELEMENT: &str = "scopewatch@";
/// Parts of CEF's header, and of that of LEEF 2.0 with its delimiter.
const PARTS: (usize, usize) = (7, 6);

/// What a line carries.
#[derive(Debug, Eq, PartialEq)]
pub enum Carried<'a> {
    /// An event, perhaps in a mapped form.
    Json(&'a str),
    /// Values by their names.
    Pairs(Pairs),
}

/// Values by their names.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Pairs {
    values: BTreeMap<&'static str, String>,
    is_twofold: bool,
}

impl Pairs {
    fn add(&mut self, name: &str, value: String) {
        if let Some(name) = NAMES.into_iter().find(|known| *known == name) {
            self.is_twofold |= self.values.insert(name, value).is_some();
        }
    }

    /// A value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// These, if each name is there once.
    fn complete(self) -> Option<Carried<'static>> {
        let is_complete = self.values.len() == NAMES.len() && !self.is_twofold;
        is_complete.then_some(Carried::Pairs(self))
    }
}

/// Reads a line; nothing if it carries no event.
pub fn read(line: &str) -> Option<Carried<'_>> {
    let line = line.trim_end_matches(['\n', '\r']);
    if line.starts_with('<') {
        return message(line);
    }
    // A receiver may have put a head of its own before it, which has none of these.
    let at = ["LEEF:", "CEF:"].iter().filter_map(|start| line.find(start)).min()?;
    let (head, payload) = line.split_at_checked(at)?;
    if head.contains(['{', '"', '=', '|']) { None } else { payload_of(payload) }
}

/// A message of RFC 5424: six words, structured data, and the payload.
fn message(line: &str) -> Option<Carried<'_>> {
    let mut rest = line;
    for _word in 0..6 {
        rest = rest.split_once(' ')?.1;
    }
    while let Some(inner) = rest.strip_prefix('[') {
        let at = inner.find([' ', ']'])?;
        let (name, mut inner) = inner.split_at_checked(at)?;
        let mut pairs = Pairs::default();
        while let Some(parameter) = inner.strip_prefix(' ') {
            let (name, quoted) = parameter.split_once("=\"")?;
            let (value, behind) = unescaped(quoted, '"')?;
            pairs.add(name, value);
            inner = behind;
        }
        rest = inner.strip_prefix(']')?;
        if name.starts_with(ELEMENT) {
            return pairs.complete();
        }
    }
    payload_of(rest.strip_prefix("- ").or_else(|| rest.strip_prefix(' '))?)
}

fn payload_of(payload: &str) -> Option<Carried<'_>> {
    if payload.starts_with('{') {
        Some(Carried::Json(payload))
    } else if payload.starts_with("CEF:") {
        cef(payload)
    } else {
        leef(payload)
    }
}

/// Extensions of CEF: a name is what stands between a blank and a `=` that is not escaped.
fn cef(line: &str) -> Option<Carried<'static>> {
    let mut rest = line;
    for _part in 0..PARTS.0 {
        (_, rest) = unescaped(rest, '|')?;
    }
    let mut pairs = Pairs::default();
    let (mut name, mut behind) = unescaped(rest, '=')?;
    while let Some((value, after)) = unescaped(behind, '=') {
        // Up to the next `=` there are the value, a blank and the next name, which has none.
        let (value, next) = value.rsplit_once(' ')?;
        pairs.add(name.trim_start(), value.to_owned());
        (name, behind) = (next.to_owned(), after);
    }
    pairs.add(name.trim_start(), behind.to_owned());
    pairs.complete()
}

/// Attributes of LEEF 2.0: between tabs, which no value has.
fn leef(line: &str) -> Option<Carried<'static>> {
    let mut parts = line.splitn(PARTS.1 + 1, '|');
    let is_it = parts.next()? == "LEEF:2.0" && parts.nth(PARTS.1 - 2)? == "x09";
    let mut pairs = Pairs::default();
    for (name, value) in parts.next()?.split('\t').filter_map(|pair| pair.split_once('=')) {
        pairs.add(name, value.to_owned());
    }
    if is_it { pairs.complete() } else { None }
}

/// What is before the first `end` that has no backslash before it, without backslashes, and what is
/// behind.
fn unescaped(text: &str, end: char) -> Option<(String, &str)> {
    let mut before = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            c if c == end => return Some((before, chars.as_str())),
            '\\' => before.push(chars.next()?),
            c => before.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, chain: Option<&str>) {
        let found = match read(line) {
            Some(Carried::Pairs(pairs)) => pairs.get("chain").map(str::to_owned),
            _ => None,
        };
        assert_eq!(found.as_deref(), chain, "{line}");
    }

    #[test]
    fn only_a_name_is_taken_for_a_name() {
        let rest = "seq=1 prev=p hash=h";
        check(&format!("CEF:0|a|b|1|c|GET / chain=x {rest}|1|ua=y chain=c {rest}"), Some("c"));
        check(&format!("CEF:0|a|b|1|c|d|1|chain=c {rest} ua=chain\\=x seq\\=2"), Some("c"));
        check(&format!("CEF:0|a|b|1|c|d \\| chain=x|1|chain=c {rest}"), Some("c"));
        check(&format!("CEF:0|a|b|1|c|d|1|chain=c chain=x {rest}"), None);
        check(&format!("CEF:0|a|b|1|c|d|1|{rest}"), None);
        check(
            &format!("Nov 25 10:00:00 h scopewatch[1]: CEF:0|a|b|1|c|d|1|chain=c {rest}"),
            Some("c"),
        );
        check(&format!("{{\"ua\":\"CEF:0|a|b|1|c|d|1|chain=x {rest}\"}}"), None);
        let rest = "seq=1\tprev=p\thash=h";
        check(&format!("LEEF:2.0|a|b|1|c|x09|ua= chain=x \tchain=c\t{rest}"), Some("c"));
        let rest = "seq=\"1\" prev=\"p\" hash=\"h\"";
        let head = "<86>1 - h - - -";
        check(
            &format!("{head} [scopewatch@1 ua=\"\\\" chain=\\\"x\\\" \" chain=\"c\" {rest}] m"),
            Some("c"),
        );
        check(
            &format!("{head} [scopewatch@1 ua=\"[scopewatch@1 chain=x\" chain=\"c\" {rest}] m"),
            Some("c"),
        );
        check(&format!("{head} [origin a=\"b\"] text [scopewatch@1 chain=\"x\" {rest}]"), None);
        check(&format!("{head} [scopewatch@1 chain=\"c\" chain=\"x\" {rest}] m"), None);
    }

    #[test]
    fn json_is_what_stands_behind_structured_data() {
        let json = r#"{"ua":"CEF:0|a|b|1|c|d|1|chain=x"}"#;
        for data in ["-", r#"[origin a="\\"][meta b="]"]"#] {
            let line = format!("<86>1 - h - - - {data} {json}\n");
            assert_eq!(read(&line), Some(Carried::Json(json)));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_too_much(line in r#"(<1>1 - - - - - )?(CEF:|LEEF:2.0|\|x09|\||\[|\]|"|=|\\| |a){0,60}"#) {
            let _any = read(&line);
        }
    }
}
