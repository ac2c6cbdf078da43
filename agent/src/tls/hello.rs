//! ClientHello and ServerHello (RFC 8446 §4.1, RFC 5246 §7.4.1): what both sides say in clear.

use super::{
    reader::{Malformed, Reader},
    secret::Random,
};

pub(super) const EXT_SERVER_NAME: u16 = 0;
pub(super) const EXT_SIGNATURE_ALGORITHMS: u16 = 13;
pub(super) const EXT_ALPN: u16 = 16;
const EXT_ENCRYPT_THEN_MAC: u16 = 22;
const EXT_EXTENDED_MASTER_SECRET: u16 = 23;
const EXT_PRE_SHARED_KEY: u16 = 41;
pub(super) const EXT_EARLY_DATA: u16 = 42;
const EXT_SUPPORTED_VERSIONS: u16 = 43;
const EXT_KEY_SHARE: u16 = 51;

/// TLS 1.3's version number, which only supported_versions may hold.
pub const TLS13: u16 = 0x0304;
/// TLS 1.2's.
pub const TLS12: u16 = 0x0303;

/// Longest server name (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;

/// Sessions offered that are looked at. Clients offer the newest one, or two.
const MAX_SESSIONS: usize = 16;

/// The random that makes a ServerHello a HelloRetryRequest (RFC 8446 §4.1.3).
const RETRY: Random = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Whether a number is reserved to keep peers tolerant (RFC 8701): 0x0a0a, 0x1a1a, … 0xfafa.
#[must_use]
pub const fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// One extension, unparsed.
#[derive(Clone, Copy, Debug)]
pub struct Extension<'a> {
    /// IANA's number.
    pub kind: u16,
    /// Its content.
    pub body: &'a [u8],
}

impl<'a> Extension<'a> {
    /// The extensions in a list; it ends behind the first malformed one.
    pub fn list(list: &'a [u8]) -> impl Iterator<Item = Result<Self, Malformed>> {
        let mut reader = Reader::new(list);
        std::iter::from_fn(move || {
            if reader.is_empty() {
                return None;
            }
            let extension = Self::read(&mut reader);
            if extension.is_err() {
                reader = Reader::new(&[]);
            }
            Some(extension)
        })
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let kind = reader.u16("extension type")?;
        Ok(Self { kind, body: reader.vector16("extension")? })
    }
}

/// What a client offers. GREASE is kept where it was, so that a fingerprint can leave it out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientHello {
    /// legacy_version.
    pub version: u16,
    /// The client's random.
    pub random: Random,
    /// legacy_session_id, at most 32 bytes.
    pub session_id: Vec<u8>,
    /// Cipher suites in order.
    pub suites: Vec<u16>,
    /// Extension numbers in order.
    pub extensions: Vec<u16>,
    /// Host name asked for (RFC 6066 §3), if it is one: ASCII, of at most 255 bytes.
    pub server_name: Option<String>,
    /// Protocols offered (RFC 7301 §3.1).
    pub alpn: Vec<Vec<u8>>,
    /// supported_versions.
    pub versions: Vec<u16>,
    /// signature_algorithms.
    pub signature_algorithms: Vec<u16>,
    /// Whether a key share is offered.
    pub key_share: bool,
    /// Whether early data follows.
    pub early_data: bool,
    /// Whether a session is offered for resumption by pre-shared key.
    pub pre_shared_key: bool,
    /// The first few tickets of sessions that are offered so (RFC 8446 §4.2.11).
    pub tickets: Vec<Vec<u8>>,
}

impl ClientHello {
    /// Parses the body of a message.
    ///
    /// # Errors
    /// [`Malformed`], naming what is short.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let mut hello = Self {
            version: reader.u16("ClientHello version")?,
            random: reader.array("ClientHello random")?,
            session_id: session_id(&mut reader)?,
            suites: numbers(reader.vector16("cipher suites")?, "cipher suites")?,
            ..Self::default()
        };
        reader.vector8("compression methods")?;
        if reader.is_empty() {
            return Ok(hello);
        }
        let list = reader.vector16("ClientHello extensions")?;
        reader.finish("ClientHello")?;
        for extension in Extension::list(list) {
            hello.take(extension?)?;
        }
        Ok(hello)
    }

    fn take(&mut self, extension: Extension<'_>) -> Result<(), Malformed> {
        self.extensions.push(extension.kind);
        let mut reader = Reader::new(extension.body);
        match extension.kind {
            EXT_SERVER_NAME => self.server_name = server_name(extension.body)?,
            EXT_ALPN => self.alpn = alpn(extension.body)?,
            EXT_SIGNATURE_ALGORITHMS => {
                let list = reader.vector16("signature_algorithms")?;
                self.signature_algorithms = numbers(list, "signature_algorithms")?;
            }
            EXT_SUPPORTED_VERSIONS => {
                let list = reader.vector8("supported_versions")?;
                self.versions = numbers(list, "supported_versions")?;
            }
            EXT_KEY_SHARE => self.key_share = true,
            EXT_EARLY_DATA => self.early_data = true,
            EXT_PRE_SHARED_KEY => {
                self.pre_shared_key = true;
                self.tickets = tickets(extension.body)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// What a server chose.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServerHello {
    /// The version, from supported_versions if it is there.
    pub version: u16,
    /// The server's random.
    pub random: Random,
    /// legacy_session_id_echo.
    pub session_id: Vec<u8>,
    /// The cipher suite.
    pub suite: u16,
    /// Whether this is a HelloRetryRequest.
    pub retry: bool,
    /// Index of the pre-shared key taken.
    pub pre_shared_key: Option<u16>,
    /// encrypt_then_mac (RFC 7366).
    pub encrypt_then_mac: bool,
    /// extended_master_secret (RFC 7627).
    pub extended_master_secret: bool,
    /// The chosen protocol, which TLS 1.3 sends encrypted instead.
    pub alpn: Option<Vec<u8>>,
}

impl ServerHello {
    /// Parses the body of a message.
    ///
    /// # Errors
    /// [`Malformed`], naming what is short.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let mut hello = Self {
            version: reader.u16("ServerHello version")?,
            random: reader.array("ServerHello random")?,
            session_id: session_id(&mut reader)?,
            suite: reader.u16("cipher suite")?,
            ..Self::default()
        };
        hello.retry = hello.random == RETRY;
        reader.u8("compression method")?;
        if reader.is_empty() {
            return Ok(hello);
        }
        let list = reader.vector16("ServerHello extensions")?;
        reader.finish("ServerHello")?;
        for extension in Extension::list(list) {
            hello.take(extension?)?;
        }
        Ok(hello)
    }

    fn take(&mut self, extension: Extension<'_>) -> Result<(), Malformed> {
        let mut reader = Reader::new(extension.body);
        match extension.kind {
            EXT_SUPPORTED_VERSIONS => self.version = reader.u16("selected version")?,
            EXT_PRE_SHARED_KEY => self.pre_shared_key = Some(reader.u16("selected identity")?),
            EXT_ENCRYPT_THEN_MAC => self.encrypt_then_mac = true,
            EXT_EXTENDED_MASTER_SECRET => self.extended_master_secret = true,
            EXT_ALPN => self.alpn = alpn(extension.body)?.first().cloned(),
            _ => {}
        }
        Ok(())
    }
}

/// Protocol names of an ALPN extension (RFC 7301 §3.1).
pub(super) fn alpn(body: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut list = Reader::new(Reader::new(body).vector16("ALPN")?);
    let mut names = Vec::new();
    while !list.is_empty() {
        names.push(list.vector8("ALPN protocol")?.to_vec());
    }
    Ok(names)
}

/// The first host name of a server_name extension. A name that cannot be one is none: it would
/// end up in logs.
fn server_name(body: &[u8]) -> Result<Option<String>, Malformed> {
    if body.is_empty() {
        return Ok(None);
    }
    let mut list = Reader::new(Reader::new(body).vector16("server_name")?);
    while !list.is_empty() {
        let kind = list.u8("server name type")?;
        let name = list.vector16("server name")?;
        let printable = name.iter().all(u8::is_ascii_graphic);
        if kind == 0 && !name.is_empty() && name.len() <= MAX_NAME && printable {
            return Ok(str::from_utf8(name).ok().map(str::to_ascii_lowercase));
        }
    }
    Ok(None)
}

/// Identities of a pre_shared_key extension of a ClientHello.
fn tickets(body: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut list = Reader::new(Reader::new(body).vector16("identities")?);
    let mut tickets = Vec::new();
    while !list.is_empty() && tickets.len() < MAX_SESSIONS {
        tickets.push(list.vector16("identity")?.to_vec());
        list.array::<4>("ticket age")?;
    }
    Ok(tickets)
}

fn session_id(reader: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    let id = reader.vector8("session id")?;
    if id.len() > 32 { Err(Malformed::Bounds("session id")) } else { Ok(id.to_vec()) }
}

fn numbers(list: &[u8], what: &'static str) -> Result<Vec<u16>, Malformed> {
    let mut reader = Reader::new(list);
    let mut numbers = Vec::with_capacity(list.len() / 2);
    while !reader.is_empty() {
        numbers.push(reader.u16(what)?);
    }
    Ok(numbers)
}
