//! What is odd about a message, by name: what a parser on its way may read differently from the
//! next one, which is how requests are smuggled (RFC 9112 §11.2), and what is only untidy.
//!
//! In: what the codecs find. Out: a set for each side of an exchange, and how much each counts.

use std::fmt;

use crate::names::named_enum;

named_enum! {
    /// One oddity of a message's form. The clause that it breaks stands with each.
    pub enum Anomaly {
        /// `Transfer-Encoding` and `Content-Length` in one message (RFC 9112 §6.3).
        TeWithCl = "te_with_cl",
        /// As `te_with_cl`, and the length reaches beyond the last chunk: who goes by it takes the
        /// start of the next message for body (RFC 9112 §11.2).
        ClTe = "cl_te",
        /// As `te_with_cl`, and the length ends before the last chunk does: who goes by it takes
        /// the rest of the body for the next message (RFC 9112 §11.2).
        TeCl = "te_cl",
        /// `Transfer-Encoding` that some will not recognise: `chunked` more than once, misspelt,
        /// beside a lone comma, or in a malformed line (RFC 9112 §6.1, §7).
        TeTe = "te_te",
        /// The last transfer coding is not `chunked` (RFC 9112 §6.3).
        TeNotFinal = "te_not_final",
        /// `Transfer-Encoding: identity`, which is obsolete (RFC 9112 §7).
        TeIdentity = "te_identity",
        /// `Transfer-Encoding` in HTTP/1.0 (RFC 9112 §6.1).
        TeInHttp10 = "te_in_http10",
        /// `Content-Length` more than once, with the same value (RFC 9112 §6.3).
        DuplicateContentLength = "duplicate_content_length",
        /// `Content-Length` with values that differ (RFC 9112 §6.3).
        ConflictingContentLength = "conflicting_content_length",
        /// `Content-Length` that is no number, or in a malformed line (RFC 9110 §8.6).
        BadContentLength = "bad_content_length",
        /// Whitespace between a field's name and its colon (RFC 9112 §5.1).
        SpaceBeforeColon = "space_before_colon",
        /// Whitespace before the first field (RFC 9112 §2.2).
        SpaceBeforeField = "space_before_field",
        /// A line of a head that ends in LF alone (RFC 9112 §2.2).
        BareLf = "bare_lf",
        /// CR that no LF follows (RFC 9112 §2.2).
        BareCr = "bare_cr",
        /// A field over several lines (RFC 9112 §5.2).
        ObsFold = "obs_fold",
        /// A line of a head that is no field (RFC 9112 §5).
        BadFieldLine = "bad_field_line",
        /// NUL in a field (RFC 9110 §5.5).
        NulInField = "nul_in_field",
        /// Another control character in a field (RFC 9110 §5.5).
        CtlInField = "ctl_in_field",
        /// A start line with more, or other, whitespace than single spaces (RFC 9112 §3, §4).
        BadStartLine = "bad_start_line",
        /// More than one `Host` (RFC 9112 §3.2).
        MultipleHost = "multiple_host",
        /// No `Host` in HTTP/1.1 (RFC 9112 §3.2).
        MissingHost = "missing_host",
        /// `Host` that is no host (RFC 9110 §7.2).
        BadHost = "bad_host",
        /// The target is a whole URL, and its host is not the one in `Host` (RFC 9112 §3.2.2).
        AbsoluteFormHostMismatch = "absolute_form_host_mismatch",
        /// `Connection` names a field that is not of the connection, so that a proxy drops it
        /// (RFC 9110 §7.6.1).
        ConnectionDropsField = "connection_drops_field",
        /// A chunk size that is none (RFC 9112 §7.1).
        BadChunkSize = "bad_chunk_size",
        /// A chunk that is not followed by CRLF: longer or shorter than its size (RFC 9112 §7.1).
        BadChunkData = "bad_chunk_data",
        /// A line of the chunked coding that ends in LF alone (RFC 9112 §7.1).
        ChunkBareLf = "chunk_bare_lf",
        /// A chunk extension (RFC 9112 §7.1.1).
        ChunkExtension = "chunk_extension",
        /// What follows a chunk size is no extension, or has a CR within, or is too long (RFC 9112
        /// §7.1.1).
        BadChunkExtension = "bad_chunk_extension",
        /// A field of HTTP/1.1's connections in HTTP/2 (RFC 9113 §8.2.2).
        ConnectionField = "connection_field",
        /// `Transfer-Encoding` in HTTP/2, which counts where it is passed on by HTTP/1.1 (RFC 9113
        /// §8.2.2).
        Http2Te = "h2_te",
        /// A field's name in HTTP/2 with upper-case letters (RFC 9113 §8.2.1).
        UppercaseName = "uppercase_name",
        /// A field's name in HTTP/2 that is empty, or has a character that none may have (RFC 9113
        /// §8.2.1).
        BadFieldName = "bad_field_name",
        /// CR or LF in a field of HTTP/2, which makes two of it in HTTP/1.1 (RFC 9113 §8.2.1).
        LineBreakInField = "line_break_in_field",
        /// A field's value in HTTP/2 with whitespace around it (RFC 9113 §8.2.1).
        PaddedValue = "padded_value",
        /// A pseudo-header field after others (RFC 9113 §8.3).
        PseudoOrder = "pseudo_order",
        /// A pseudo-header field more than once (RFC 9113 §8.3).
        PseudoDuplicate = "pseudo_duplicate",
        /// A pseudo-header field that does not exist, or not in such a message (RFC 9113 §8.3).
        PseudoUnknown = "pseudo_unknown",
        /// A pseudo-header field is missing (RFC 9113 §8.3.1).
        PseudoMissing = "pseudo_missing",
        /// A pseudo-header field with whitespace or a control character, or a path that is none:
        /// it makes another start line in HTTP/1.1 (RFC 9113 §8.3.1, §10.3).
        BadPseudoValue = "bad_pseudo_value",
        /// `:authority` and `host` differ (RFC 9113 §8.3.1).
        AuthorityHostMismatch = "authority_host_mismatch",
        /// `Content-Length` in HTTP/2 that is not the length of the body (RFC 9113 §8.1.1).
        ContentLengthMismatch = "content_length_mismatch",
    }
}

/// How much an anomaly counts, least first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Grade {
    /// Allowed, but seldom seen: for the record.
    Rare,
    /// Broken software does it, and recipients agree on what it means.
    Untidy,
    /// Recipients may disagree about where the message ends or what it says.
    Ambiguous,
}

impl Anomaly {
    /// How much it counts.
    #[must_use]
    pub const fn grade(self) -> Grade {
        match self {
            Self::ChunkExtension => Grade::Rare,
            Self::DuplicateContentLength
            | Self::BareLf
            | Self::ObsFold
            | Self::MissingHost
            | Self::ConnectionField
            | Self::UppercaseName
            | Self::PaddedValue
            | Self::PseudoUnknown
            | Self::PseudoMissing => Grade::Untidy,
            Self::TeWithCl
            | Self::ClTe
            | Self::TeCl
            | Self::TeTe
            | Self::TeNotFinal
            | Self::TeIdentity
            | Self::TeInHttp10
            | Self::ConflictingContentLength
            | Self::BadContentLength
            | Self::SpaceBeforeColon
            | Self::SpaceBeforeField
            | Self::BareCr
            | Self::BadFieldLine
            | Self::NulInField
            | Self::CtlInField
            | Self::BadStartLine
            | Self::MultipleHost
            | Self::BadHost
            | Self::AbsoluteFormHostMismatch
            | Self::ConnectionDropsField
            | Self::BadChunkSize
            | Self::BadChunkData
            | Self::ChunkBareLf
            | Self::BadChunkExtension
            | Self::Http2Te
            | Self::BadFieldName
            | Self::LineBreakInField
            | Self::PseudoOrder
            | Self::PseudoDuplicate
            | Self::BadPseudoValue
            | Self::AuthorityHostMismatch
            | Self::ContentLengthMismatch => Grade::Ambiguous,
        }
    }
}

/// Anomalies of one message.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct AnomalySet(u64);

// One bit each.
const _: () = assert!(Anomaly::ALL.len() <= 64);

impl AnomalySet {
    /// None.
    pub const NONE: Self = Self(0);

    /// Adds one.
    pub const fn add(&mut self, anomaly: Anomaly) {
        self.0 |= 1 << anomaly as u64;
    }

    /// Adds one if `is_so`.
    pub const fn add_if(&mut self, is_so: bool, anomaly: Anomaly) {
        if is_so {
            self.add(anomaly);
        }
    }

    /// Adds those of another set.
    pub const fn add_all(&mut self, others: Self) {
        self.0 |= others.0;
    }

    /// Whether it is in the set.
    #[must_use]
    pub const fn has(self, anomaly: Anomaly) -> bool {
        self.0 & (1 << anomaly as u64) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All of them, in the order of definition.
    pub fn iter(self) -> impl Iterator<Item = Anomaly> {
        Anomaly::ALL.iter().copied().filter(move |anomaly| self.has(*anomaly))
    }

    /// The highest grade among them.
    #[must_use]
    pub fn grade(self) -> Option<Grade> {
        if self.is_empty() { None } else { self.iter().map(Anomaly::grade).max() }
    }
}

impl fmt::Debug for AnomalySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Anomaly::as_str)).finish()
    }
}

/// Anomalies of an exchange.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Anomalies {
    /// The client's doing.
    pub request: AnomalySet,
    /// The server's doing.
    pub response: AnomalySet,
}

impl Anomalies {
    /// The highest grade among them.
    #[must_use]
    pub fn grade(&self) -> Option<Grade> {
        self.request.grade().max(self.response.grade())
    }

    /// Whether recipients may disagree about the request or the response.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        self.grade() == Some(Grade::Ambiguous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_added_and_the_highest_grade_of_it() {
        let mut set = AnomalySet::NONE;
        assert!(set.is_empty() && set.grade().is_none());
        for anomaly in Anomaly::ALL {
            let mut one = AnomalySet::NONE;
            one.add(*anomaly);
            assert_eq!(one.iter().collect::<Vec<_>>(), [*anomaly]);
            assert_eq!(one.grade(), Some(anomaly.grade()));
            set.add_all(one);
        }
        assert_eq!(set.iter().count(), Anomaly::ALL.len());
        assert_eq!(set.grade(), Some(Grade::Ambiguous));
        let anomalies = Anomalies { request: AnomalySet::NONE, response: set };
        assert!(anomalies.is_ambiguous() && !Anomalies::default().is_ambiguous());
    }
}
