//! Opening one record with one side's keys (RFC 8446 §5.2, RFC 5246 §6.2.3, RFC 5288, RFC 6655,
//! RFC 7366, RFC 7905).
//!
//! In: a record, its number, keys. Out: its plaintext, if and only if its tag or MAC proves it.

use aes::{
    Aes128, Aes128Dec, Aes256, Aes256Dec, Block,
    cipher::{BlockCipherDecrypt, BlockModeDecrypt, InnerIvInit, KeyInit},
};
use aws_lc_rs::{aead, constant_time::verify_slices_are_equal, hmac};
use ccm::{
    Ccm,
    aead::AeadInOut,
    consts::{U8, U12, U16},
};

use zeroize::Zeroizing;

use super::{
    record::{ContentType, Record},
    schedule::WriteKeys,
    suite::{Mac, Protection, Suite, Version},
};

/// Bytes of an AES block, and of the vector that opens a CBC record.
const BLOCK: usize = 16;
/// Bytes of the nonce that a GCM or CCM record of TLS 1.2 carries.
const EXPLICIT_NONCE: usize = 8;
/// Largest plaintext of a record (RFC 8446 §5.1).
const MAX_PLAINTEXT: usize = 1 << 14;

/// What was in a record.
pub struct Opened {
    /// The true content type.
    pub content: ContentType,
    /// The plaintext, without padding.
    pub plaintext: Vec<u8>,
}

/// One side's keys, ready to open its records.
pub struct RecordOpener {
    cipher: Cipher,
    iv: Zeroizing<Vec<u8>>,
    version: Version,
    tag_length: usize,
}

enum Cipher {
    Boxed(Box<aead::LessSafeKey>),
    Ccm(Box<CcmKey>),
    Cbc(Box<CbcKey>),
}

enum CcmKey {
    Aes128(Ccm<Aes128, U16, U12>),
    Aes256(Ccm<Aes256, U16, U12>),
    Aes128Short(Ccm<Aes128, U8, U12>),
    Aes256Short(Ccm<Aes256, U8, U12>),
}

struct CbcKey {
    block: AesKey,
    mac: hmac::Key,
    mac_length: usize,
    encrypt_then_mac: bool,
}

enum AesKey {
    Aes128(Aes128Dec),
    Aes256(Aes256Dec),
}

impl RecordOpener {
    /// Makes keys ready. None if their lengths are not the suite's. `encrypt_then_mac` matters to
    /// CBC only.
    #[must_use]
    pub fn new(suite: &Suite, keys: &WriteKeys, encrypt_then_mac: bool) -> Option<Self> {
        let cipher = match suite.protection {
            Protection::Aes128Gcm => boxed(&aead::AES_128_GCM, keys)?,
            Protection::Aes256Gcm => boxed(&aead::AES_256_GCM, keys)?,
            Protection::ChaCha20Poly1305 => boxed(&aead::CHACHA20_POLY1305, keys)?,
            Protection::Aes128Ccm => ccm_key(CcmKey::Aes128, keys)?,
            Protection::Aes256Ccm => ccm_key(CcmKey::Aes256, keys)?,
            Protection::Aes128Ccm8 => ccm_key(CcmKey::Aes128Short, keys)?,
            Protection::Aes256Ccm8 => ccm_key(CcmKey::Aes256Short, keys)?,
            Protection::Aes128Cbc(mac) => {
                let block = AesKey::Aes128(Aes128Dec::new_from_slice(&keys.key).ok()?);
                cbc_key(block, mac, keys, encrypt_then_mac)
            }
            Protection::Aes256Cbc(mac) => {
                let block = AesKey::Aes256(Aes256Dec::new_from_slice(&keys.key).ok()?);
                cbc_key(block, mac, keys, encrypt_then_mac)
            }
        };
        let tag_length = suite.protection.tag_length();
        Some(Self { cipher, iv: keys.iv.clone(), version: suite.version, tag_length })
    }

    /// Opens record `number` of this side. None if it is not that record, or not with these keys.
    #[must_use]
    pub fn open(&self, number: u64, record: &Record<'_>) -> Option<Opened> {
        let opened = match &self.cipher {
            Cipher::Cbc(key) => {
                Opened { content: record.content, plaintext: key.open(number, record)? }
            }
            Cipher::Boxed(_) | Cipher::Ccm(_) => match self.version {
                Version::Tls12 => self.open_tls12(number, record)?,
                Version::Tls13 => self.open_tls13(number, record)?,
            },
        };
        (opened.plaintext.len() <= MAX_PLAINTEXT).then_some(opened)
    }

    /// Plaintext bytes of an application data record whose fragment has `fragment` bytes, if that
    /// can be told without opening it: not under CBC. TLS 1.3 padding, which nobody sends, would
    /// make it less.
    #[must_use]
    pub fn plaintext_length(&self, fragment: usize) -> Option<usize> {
        let overhead = match (&self.cipher, self.version) {
            (Cipher::Cbc(_), _) => return None,
            (_, Version::Tls13) => self.tag_length.saturating_add(1),
            (_, Version::Tls12) => self.explicit_nonce().saturating_add(self.tag_length),
        };
        fragment.checked_sub(overhead)
    }

    fn open_tls13(&self, number: u64, record: &Record<'_>) -> Option<Opened> {
        if record.content != ContentType::ApplicationData {
            return None;
        }
        let nonce = self.xored_nonce(number)?;
        let mut plaintext = self.open_aead(&nonce, &record.header, record.fragment)?;
        let last = plaintext.iter().rposition(|byte| *byte != 0)?;
        let content = ContentType::from_u8(*plaintext.get(last)?)?;
        plaintext.truncate(last);
        Some(Opened { content, plaintext })
    }

    fn open_tls12(&self, number: u64, record: &Record<'_>) -> Option<Opened> {
        let (explicit, body) = record.fragment.split_at_checked(self.explicit_nonce())?;
        let nonce = if explicit.is_empty() {
            self.xored_nonce(number)?
        } else {
            <[u8; 12]>::try_from([&self.iv, explicit].concat()).ok()?
        };
        let length = body.len().checked_sub(self.tag_length)?;
        let additional = tls12_header(number, record, length)?;
        let plaintext = self.open_aead(&nonce, &additional, body)?;
        Some(Opened { content: record.content, plaintext })
    }

    fn open_aead(&self, nonce: &[u8; 12], additional: &[u8], body: &[u8]) -> Option<Vec<u8>> {
        let (sealed, tag) = body.split_at_checked(body.len().checked_sub(self.tag_length)?)?;
        match &self.cipher {
            Cipher::Boxed(key) => {
                let mut out = vec![0; sealed.len()];
                let nonce = aead::Nonce::assume_unique_for_key(*nonce);
                let additional = aead::Aad::from(additional);
                key.open_separate_gather(nonce, additional, sealed, tag, &mut out).ok()?;
                Some(out)
            }
            Cipher::Ccm(key) => match &**key {
                CcmKey::Aes128(key) => open_ccm(key, nonce, additional, sealed, tag),
                CcmKey::Aes256(key) => open_ccm(key, nonce, additional, sealed, tag),
                CcmKey::Aes128Short(key) => open_ccm(key, nonce, additional, sealed, tag),
                CcmKey::Aes256Short(key) => open_ccm(key, nonce, additional, sealed, tag),
            },
            Cipher::Cbc(_) => None,
        }
    }

    /// Bytes of nonce in front of a record: what the salt leaves of twelve (RFC 5288 §3), none
    /// where the vector is whole (RFC 7905 §2).
    fn explicit_nonce(&self) -> usize {
        if self.iv.len() == 12 { 0 } else { EXPLICIT_NONCE }
    }

    /// The vector, its last eight bytes XORed with the record's number (RFC 8446 §5.3).
    fn xored_nonce(&self, number: u64) -> Option<[u8; 12]> {
        let mut nonce = <[u8; 12]>::try_from(self.iv.as_slice()).ok()?;
        let last = nonce.last_chunk_mut::<8>()?;
        last.iter_mut().zip(number.to_be_bytes()).for_each(|(byte, part)| *byte ^= part);
        Some(nonce)
    }
}

impl CbcKey {
    fn open(&self, number: u64, record: &Record<'_>) -> Option<Vec<u8>> {
        let mac_at = record.fragment.len().checked_sub(self.mac_length)?;
        let (sealed, outer_mac) = if self.encrypt_then_mac {
            record.fragment.split_at_checked(mac_at)?
        } else {
            (record.fragment, &[][..])
        };
        if self.encrypt_then_mac {
            self.verify(number, record, sealed, outer_mac)?;
        }
        let mut plaintext = self.decrypt(sealed)?;
        let padding = usize::from(*plaintext.last()?);
        let kept = plaintext.len().checked_sub(padding.checked_add(1)?)?;
        if plaintext.get(kept..)?.iter().any(|byte| usize::from(*byte) != padding) {
            return None;
        }
        plaintext.truncate(kept);
        if !self.encrypt_then_mac {
            let at = kept.checked_sub(self.mac_length)?;
            let (content, mac) = plaintext.split_at_checked(at)?;
            self.verify(number, record, content, mac)?;
            plaintext.truncate(at);
        }
        Some(plaintext)
    }

    fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (vector, body) = sealed.split_at_checked(BLOCK)?;
        if body.is_empty() || body.len() % BLOCK != 0 {
            return None;
        }
        match &self.block {
            AesKey::Aes128(key) => decrypt_cbc(key.clone(), vector, body),
            AesKey::Aes256(key) => decrypt_cbc(key.clone(), vector, body),
        }
    }

    fn verify(&self, number: u64, record: &Record<'_>, bytes: &[u8], mac: &[u8]) -> Option<()> {
        let mut context = hmac::Context::with_key(&self.mac);
        context.update(&tls12_header(number, record, bytes.len())?);
        context.update(bytes);
        verify_slices_are_equal(context.sign().as_ref(), mac).ok()
    }
}

/// Sequence number, type, version, length: what TLS 1.2 authenticates besides the content.
fn tls12_header(number: u64, record: &Record<'_>, length: usize) -> Option<[u8; 13]> {
    let [content, major, minor, ..] = record.header;
    let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    Some([a, b, c, d, e, f, g, h, content, major, minor, high, low])
}

fn boxed(algorithm: &'static aead::Algorithm, keys: &WriteKeys) -> Option<Cipher> {
    let key = aead::UnboundKey::new(algorithm, &keys.key).ok()?;
    Some(Cipher::Boxed(Box::new(aead::LessSafeKey::new(key))))
}

fn ccm_key<C: KeyInit>(wrap: impl Fn(C) -> CcmKey, keys: &WriteKeys) -> Option<Cipher> {
    Some(Cipher::Ccm(Box::new(wrap(C::new_from_slice(&keys.key).ok()?))))
}

fn cbc_key(block: AesKey, mac: Mac, keys: &WriteKeys, encrypt_then_mac: bool) -> Cipher {
    let algorithm = match mac {
        Mac::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Mac::Sha256 => hmac::HMAC_SHA256,
        Mac::Sha384 => hmac::HMAC_SHA384,
    };
    let mac = hmac::Key::new(algorithm, &keys.mac);
    Cipher::Cbc(Box::new(CbcKey { block, mac, mac_length: keys.mac.len(), encrypt_then_mac }))
}

fn open_ccm<C: AeadInOut>(
    key: &C,
    nonce: &[u8; 12],
    additional: &[u8],
    sealed: &[u8],
    tag: &[u8],
) -> Option<Vec<u8>> {
    let nonce = nonce.as_slice().try_into().ok()?;
    let tag = tag.try_into().ok()?;
    let mut out = sealed.to_vec();
    key.decrypt_inout_detached(&nonce, additional, out.as_mut_slice().into(), &tag).ok()?;
    Some(out)
}

fn decrypt_cbc<C>(key: C, vector: &[u8], body: &[u8]) -> Option<Vec<u8>>
where
    C: BlockCipherDecrypt<BlockSize = U16>,
{
    let mut out = body.to_vec();
    let mut mode = cbc::Decryptor::<C>::inner_iv_slice_init(key, vector).ok()?;
    let (blocks, _) = Block::slice_as_chunks_mut(&mut out);
    mode.decrypt_blocks(blocks);
    Some(out)
}
