//! Secrets of OpenSSL 1.1.1, whose libssl hands them to libcrypto piece by piece through
//! `int EVP_PKEY_CTX_ctrl(EVP_PKEY_CTX *ctx, int keytype, int optype, int cmd, int p1, void *p2)`.
//!
//! A derivation is several calls on one context: for TLS 1.3 the parent secret and then the
//! label with the transcript's hash (`HkdfLabel`, RFC 8446 §7.1), for TLS 1.2 the master secret
//! and then the seeds: label, server's random, client's random. It is known by its last call, so
//! that only addresses are kept of the ones before. All else that libcrypto controls by this
//! function, some hundred calls in a handshake, ends at the first comparison.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user},
    macros::uprobe,
    programs::ProbeContext,
};
use scopewatch_common::{Counter, SecretKind, SecretRecord};

use crate::{
    guard::stay_on_kernel_stack,
    maps::{ContextKey, DERIVATIONS, Derivation, count},
    secret::{
        CLIENT_EARLY, EARLY_LABEL_LEN, KEY_EXPANSION, KEY_EXPANSION_LEN, RANDOM_LEN,
        SERVER_APPLICATION, SERVER_HANDSHAKE, SERVER_LABEL_LEN, begin, end, name, read, text_of,
    },
};

/// `EVP_PKEY_OP_DERIVE` (openssl/evp.h of 1.1.1).
const OP_DERIVE: i32 = 1 << 10;

// `EVP_PKEY_CTRL_…` (openssl/kdf.h of 1.1.1).
const TLS_SECRET: i32 = 0x1001;
const TLS_SEED: i32 = 0x1002;
const HKDF_KEY: i32 = 0x1005;
const HKDF_INFO: i32 = 0x1006;

// `HkdfLabel`: two bytes of length, then the label and the context, each behind a byte of length.
const LABEL_LEN_AT: u64 = 2;
const LABEL_AT: u64 = 3;
/// "tls13 ", before every label.
const PREFIX_LEN: u64 = 6;
const PREFIX_AND_SERVER: u64 = name(b"tls13 s ");
const PREFIX_AND_CLIENT: u64 = name(b"tls13 c ");

/// Entry of `EVP_PKEY_CTX_ctrl`, or any place where its arguments are still in their registers.
#[uprobe]
pub fn evp_pkey_ctx_ctrl(ctx: ProbeContext) -> u32 {
    stay_on_kernel_stack(&ctx);
    if ctx.arg::<i32>(2) != Some(OP_DERIVE) {
        return 0;
    }
    let (Some(command), Some(object)) = (ctx.arg::<i32>(3), ctx.arg::<u64>(0)) else { return 0 };
    let (Some(len), Some(at)) = (ctx.arg::<i32>(4), ctx.arg::<u64>(5)) else { return 0 };
    if len <= 0 || at == 0 {
        return 0;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let key = ContextKey { tgid, _pad: 0, object };
    let piece = Piece { at, len: len as u64 };
    match command {
        TLS_SECRET | HKDF_KEY => {
            let begun = Derivation { secret: at, secret_len: piece.len, labelled: 0, server: 0 };
            let _ = DERIVATIONS.insert(key, begun, 0);
        }
        HKDF_INFO => info(&key, piece),
        TLS_SEED => seed(&key, piece),
        _ => {}
    }
    0
}

/// What one call hands over: bytes of the process's memory.
#[derive(Clone, Copy)]
struct Piece {
    at: u64,
    len: u64,
}

/// TLS 1.3: the label and the transcript's hash, after which the derivation is made.
#[inline(always)]
fn info(key: &ContextKey, info: Piece) {
    // SAFETY: copied at once.
    let Some(derivation) = (unsafe { DERIVATIONS.get(key) }).copied() else { return };
    let _ = DERIVATIONS.remove(key);
    let Some((kind, context)) = traffic(info) else {
        count(Counter::OtherDerivations, 1);
        return;
    };
    let Some(mut slot) = begin() else { return };
    let record = slot.as_mut_ptr();
    // SAFETY: ring memory, 8-byte aligned, as long as the record.
    let wanted = unsafe {
        (*record).kind = kind as u8;
        (*record).context_len = read((&raw mut (*record).context).cast(), context.at, context.len);
        secret(record, &derivation) && (*record).context_len != 0
    };
    end(slot, wanted);
}

/// Which traffic secret of TLS 1.3 an `HkdfLabel` is for, and where the transcript's hash lies.
#[inline(always)]
fn traffic(info: Piece) -> Option<(SecretKind, Piece)> {
    let prefixed = text_of(info.at + LABEL_AT);
    if prefixed != PREFIX_AND_SERVER && prefixed != PREFIX_AND_CLIENT {
        return None;
    }
    let label_len = (byte(info.at + LABEL_LEN_AT) as u64).checked_sub(PREFIX_LEN)?;
    let kind = match (text_of(info.at + LABEL_AT + PREFIX_LEN), label_len) {
        (SERVER_HANDSHAKE, SERVER_LABEL_LEN) => SecretKind::Handshake,
        (SERVER_APPLICATION, SERVER_LABEL_LEN) => SecretKind::Master,
        (CLIENT_EARLY, EARLY_LABEL_LEN) => SecretKind::Early,
        _ => return None,
    };
    let context_at = LABEL_AT + PREFIX_LEN + label_len;
    let len = byte(info.at + context_at) as u64;
    let whole = context_at + 1 + len == info.len;
    whole.then_some((kind, Piece { at: info.at + context_at + 1, len }))
}

/// TLS 1.2: one seed after another; with the second random all is there. Seeds of other labels
/// end it.
#[inline(always)]
fn seed(key: &ContextKey, seed: Piece) {
    let Some(state) = DERIVATIONS.get_ptr_mut(key) else { return };
    // SAFETY: the verifier checked the pointer; a context is one thread's at a time.
    let derivation = unsafe { &mut *state };
    if derivation.labelled == 0 {
        if seed.len == KEY_EXPANSION_LEN && text_of(seed.at) == KEY_EXPANSION {
            derivation.labelled = 1;
            return;
        }
    } else if seed.len == RANDOM_LEN {
        if derivation.server == 0 {
            derivation.server = seed.at;
            return;
        }
        let all = *derivation;
        let _ = DERIVATIONS.remove(key);
        return key_block(&all, seed.at);
    }
    let _ = DERIVATIONS.remove(key);
    count(Counter::OtherDerivations, 1);
}

/// Emits the master secret of TLS 1.2 and both randoms.
#[inline(always)]
fn key_block(derivation: &Derivation, client: u64) {
    let Some(mut slot) = begin() else { return };
    let record = slot.as_mut_ptr();
    // SAFETY: ring memory, 8-byte aligned, as long as the record; the context holds two randoms.
    let wanted = unsafe {
        (*record).kind = SecretKind::Tls12 as u8;
        let context: *mut u8 = (&raw mut (*record).context).cast();
        (*record).context_len = read(context, derivation.server, RANDOM_LEN)
            + read(context.add(RANDOM_LEN as usize), client, RANDOM_LEN);
        secret(record, derivation) && (*record).context_len as u64 == 2 * RANDOM_LEN
    };
    end(slot, wanted);
}

/// Reads the secret that the context was handed; whether it could be.
///
/// # Safety
/// `record` is ring memory, as long as the record.
#[inline(always)]
unsafe fn secret(record: *mut SecretRecord, derivation: &Derivation) -> bool {
    let &Derivation { secret, secret_len, .. } = derivation;
    // SAFETY: as the caller says.
    unsafe {
        (*record).secret_len = read((&raw mut (*record).secret).cast(), secret, secret_len);
        (*record).secret_len != 0
    }
}

/// One byte of the process's memory.
#[inline(always)]
fn byte(address: u64) -> u8 {
    // SAFETY: the helper checks the address and faults softly.
    unsafe { bpf_probe_read_user(address as *const u8) }.unwrap_or(0)
}
