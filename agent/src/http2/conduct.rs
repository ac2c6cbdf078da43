//! Whether a header block is one that RFC 9113 §8.2 and §8.3 allow. What endpoints must refuse may
//! pass one that does not, and becomes something else where it is passed on by HTTP/1.1 (§10.3).
//!
//! In: the fields of one header block, in order, as sent. Out: an [`AnomalySet`], and the length
//! that the message declares.

use memchr::memchr3;

use super::block::Side;
use crate::http::{
    anomaly::{Anomaly, AnomalySet},
    length::Length,
};

/// What is known of a header block's form.
#[derive(Default)]
pub struct Conduct {
    anomalies: AnomalySet,
    /// One bit for each pseudo-header field that was there.
    pseudo: u8,
    /// A field that is none of those was there.
    has_regular: bool,
    length: Length,
    is_connect: bool,
    is_host_other: bool,
}

const METHOD: u8 = 1;
const SCHEME: u8 = 1 << 1;
const AUTHORITY: u8 = 1 << 2;
const PATH: u8 = 1 << 3;
const PROTOCOL: u8 = 1 << 4;
const STATUS: u8 = 1 << 5;
const OF_REQUESTS: u8 = METHOD | SCHEME | AUTHORITY | PATH | PROTOCOL;

impl Conduct {
    /// Takes a pseudo-header field.
    pub fn add_pseudo(&mut self, name: &[u8], value: &[u8]) {
        let bit = match name {
            b":method" => METHOD,
            b":scheme" => SCHEME,
            b":authority" => AUTHORITY,
            b":path" => PATH,
            b":protocol" => PROTOCOL,
            b":status" => STATUS,
            _ => return self.anomalies.add(Anomaly::PseudoUnknown),
        };
        self.anomalies.add_if(self.has_regular, Anomaly::PseudoOrder);
        self.anomalies.add_if(self.pseudo & bit != 0, Anomaly::PseudoDuplicate);
        self.pseudo |= bit;
        self.is_connect |= bit == METHOD && value == b"CONNECT";
        let is_bad = value.iter().any(|byte| *byte <= b' ' || *byte == 0x7f)
            || (bit == PATH && !value.starts_with(b"/") && value != b"*");
        self.anomalies.add_if(is_bad, Anomaly::BadPseudoValue);
        self.check_value(value);
    }

    /// Takes another field.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.has_regular = true;
        self.check_name(name);
        self.check_value(value);
        let is_padded = matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']);
        self.anomalies.add_if(is_padded, Anomaly::PaddedValue);
        match (name.len(), name) {
            (2, b"te") => {
                self.anomalies.add_if(value != b"trailers", Anomaly::ConnectionField);
            }
            (7, b"upgrade") | (10, b"connection" | b"keep-alive") | (16, b"proxy-connection") => {
                self.anomalies.add(Anomaly::ConnectionField);
            }
            (14, b"content-length") => self.length.add(value),
            (17, b"transfer-encoding") => {
                self.anomalies.add(Anomaly::Http2Te);
            }
            _ => {}
        }
    }

    /// A `host` that is not the `:authority` before it.
    pub const fn add_other_host(&mut self) {
        self.is_host_other = true;
    }

    /// What is odd about the block. `is_whole` says that no field of it is missing.
    pub fn anomalies(&self, heads: Option<Side>, is_whole: bool) -> AnomalySet {
        let mut anomalies = self.anomalies;
        let demanded = match heads {
            Some(Side::Request) if self.is_connect && self.pseudo & PROTOCOL == 0 => {
                METHOD | AUTHORITY
            }
            Some(Side::Request) => METHOD | SCHEME | PATH,
            Some(Side::Response) => STATUS,
            None => 0,
        };
        let is_missing = is_whole && demanded & !self.pseudo != 0;
        anomalies.add_if(is_missing, Anomaly::PseudoMissing);
        anomalies.add_if(self.is_mixed(), Anomaly::PseudoUnknown);
        anomalies.add_if(self.is_host_other, Anomaly::AuthorityHostMismatch);
        self.length.judge(&mut anomalies);
        anomalies
    }

    /// Whether there are pseudo-header fields of requests and of responses.
    pub const fn is_mixed(&self) -> bool {
        self.pseudo & STATUS != 0 && self.pseudo & OF_REQUESTS != 0
    }

    /// Length of the body that the block declares.
    pub fn length(&self) -> Option<u64> {
        self.length.value().ok().flatten()
    }

    fn check_name(&mut self, name: &[u8]) {
        let is_upper = name.iter().any(u8::is_ascii_uppercase);
        self.anomalies.add_if(is_upper, Anomaly::UppercaseName);
        let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let is_bad = |byte: &u8| !byte.is_ascii_graphic() || *byte == b':';
        if name.is_empty() || name.iter().any(is_bad) {
            let breaks = name.iter().any(is_break);
            self.anomalies.add(if breaks {
                Anomaly::LineBreakInField
            } else {
                Anomaly::BadFieldName
            });
        }
    }

    fn check_value(&mut self, value: &[u8]) {
        if memchr3(b'\r', b'\n', 0, value).is_some() {
            let has_nul = value.contains(&0);
            self.anomalies.add_if(has_nul, Anomaly::NulInField);
            let has_break = value.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
            self.anomalies.add_if(has_break, Anomaly::LineBreakInField);
        }
    }
}
