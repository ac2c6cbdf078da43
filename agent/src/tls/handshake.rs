//! Handshake messages of one side, reassembled across records (RFC 8446 §4, RFC 5246 §7.4).
//!
//! In: fragments of handshake records, opened or never sealed. Out: whole messages. The messages
//! that matter are parsed in `hello.rs` and `certificate.rs`; the rest is known by its type.

use super::{
    hello::{EXT_ALPN, EXT_EARLY_DATA, Extension, alpn},
    reader::{Malformed, Reader},
};

/// Largest message. Certificate chains with post-quantum signatures reach some 50 KiB.
pub const MAX_MESSAGE: usize = 128 * 1024;

/// Bytes of a message header: type and length.
const HEADER: usize = 4;

/// Types that something depends on (IANA TLS HandshakeType).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessageType {
    /// hello_request, of TLS 1.2 renegotiation
    HelloRequest,
    /// client_hello
    ClientHello,
    /// server_hello, HelloRetryRequest included
    ServerHello,
    /// new_session_ticket
    NewSessionTicket,
    /// end_of_early_data
    EndOfEarlyData,
    /// encrypted_extensions
    EncryptedExtensions,
    /// certificate
    Certificate,
    /// certificate_request
    CertificateRequest,
    /// certificate_verify
    CertificateVerify,
    /// client_key_exchange, of TLS 1.2
    ClientKeyExchange,
    /// finished
    Finished,
    /// key_update
    KeyUpdate,
    /// Any other type.
    Other(u8),
}

impl From<u8> for MessageType {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::HelloRequest,
            1 => Self::ClientHello,
            2 => Self::ServerHello,
            4 => Self::NewSessionTicket,
            5 => Self::EndOfEarlyData,
            8 => Self::EncryptedExtensions,
            11 => Self::Certificate,
            13 => Self::CertificateRequest,
            15 => Self::CertificateVerify,
            16 => Self::ClientKeyExchange,
            20 => Self::Finished,
            24 => Self::KeyUpdate,
            other => Self::Other(other),
        }
    }
}

/// One whole message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// What it is.
    pub kind: MessageType,
    /// Its bytes, header included, as a transcript wants them.
    pub bytes: Vec<u8>,
}

impl Message {
    /// What follows the header.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }
}

/// Puts messages together. Holds at most [`MAX_MESSAGE`] and one fragment.
#[derive(Debug, Default)]
pub struct Messages {
    pending: Vec<u8>,
}

impl Messages {
    /// Appends a fragment.
    pub fn feed(&mut self, fragment: &[u8]) {
        self.pending.extend_from_slice(fragment);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// [`Malformed::Bounds`] for a message longer than [`MAX_MESSAGE`].
    pub fn next_message(&mut self) -> Result<Option<Message>, Malformed> {
        let Some([kind, high, middle, low]) = self.pending.first_chunk::<HEADER>().copied() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes([0, high, middle, low]));
        let whole = length.ok().and_then(|length| length.checked_add(HEADER));
        let whole = whole
            .filter(|whole| *whole <= MAX_MESSAGE)
            .ok_or(Malformed::Bounds("handshake message"))?;
        if self.pending.len() < whole {
            return Ok(None);
        }
        let rest = self.pending.split_off(whole);
        let bytes = std::mem::replace(&mut self.pending, rest);
        Ok(Some(Message { kind: kind.into(), bytes }))
    }

    /// Forgets a message begun, as after a loss.
    pub fn clear(&mut self) {
        self.pending = Vec::new();
    }
}

/// EncryptedExtensions (RFC 8446 §4.3.1).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EncryptedExtensions {
    /// The chosen protocol.
    pub alpn: Option<Vec<u8>>,
    /// Whether the server takes early data.
    pub early_data: bool,
}

impl EncryptedExtensions {
    /// Parses the body of a message.
    ///
    /// # Errors
    /// [`Malformed`], naming what is short.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let list = reader.vector16("EncryptedExtensions")?;
        reader.finish("EncryptedExtensions")?;
        let mut parsed = Self::default();
        for extension in Extension::list(list) {
            let extension = extension?;
            match extension.kind {
                EXT_ALPN => parsed.alpn = alpn(extension.body)?.first().cloned(),
                EXT_EARLY_DATA => parsed.early_data = true,
                _ => {}
            }
        }
        Ok(parsed)
    }
}

/// NewSessionTicket of TLS 1.3 (RFC 8446 §4.6.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NewSessionTicket<'a> {
    /// For how long it may be used, in seconds.
    pub lifetime: u32,
    /// The ticket.
    pub ticket: &'a [u8],
}

impl<'a> NewSessionTicket<'a> {
    /// Parses the body of a message.
    ///
    /// # Errors
    /// [`Malformed`], naming what is short.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "NewSessionTicket";
        let mut reader = Reader::new(body);
        let lifetime = u32::from_be_bytes(reader.array(WHAT)?);
        let _age_add = reader.array::<4>(WHAT)?;
        let _nonce = reader.vector8(WHAT)?;
        Ok(Self { lifetime, ticket: reader.vector16(WHAT)? })
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_MESSAGE, MessageType, Messages};

    #[test]
    fn messages_come_whole_however_they_are_cut() {
        let stream = [&[20, 0, 0, 2, 1, 2][..], &[24, 0, 0, 1, 0], &[0, 0, 0, 0]].concat();
        for step in 1..stream.len() {
            let mut messages = Messages::default();
            let mut kinds = Vec::new();
            for piece in stream.chunks(step) {
                messages.feed(piece);
                while let Some(message) = messages.next_message().unwrap() {
                    kinds.push((message.kind, message.body().len()));
                }
            }
            let expected = [
                (MessageType::Finished, 2),
                (MessageType::KeyUpdate, 1),
                (MessageType::HelloRequest, 0),
            ];
            assert_eq!(kinds, expected);
        }
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused_by_its_header() {
        let mut messages = Messages::default();
        let [_, high, middle, low] = u32::try_from(MAX_MESSAGE).unwrap().to_be_bytes();
        messages.feed(&[11, high, middle, low]);
        assert!(messages.next_message().is_err());
    }
}
