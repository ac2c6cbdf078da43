//! Secrets, once per handshake: libcrypto 3.x derives everything through
//! `int EVP_KDF_derive(EVP_KDF_CTX *ctx, unsigned char *key, size_t keylen, const OSSL_PARAM params[])`,
//! and its parameters show at the entry what is derived from what.
//!
//! The same function serves password hashing, disk encryption and much else. What they derive must
//! not leave the kernel: a record is begun in the ring, but submitted only when the parameters
//! carry a TLS label of the list below, and is wiped before it is discarded.

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{
        bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns, bpf_probe_read_user,
        generated::{bpf_probe_read_user as read_user, bpf_probe_read_user_str},
    },
    macros::uprobe,
    programs::ProbeContext,
};
use scopewatch_common::{Counter, MAX_SECRET, RecordKind, SecretKind, SecretRecord};

use crate::{
    emit::header,
    guard::stay_on_kernel_stack,
    maps::{EVENTS, KEYED, count},
};

/// Parameters that are looked at; TLS passes at most eight.
const MAX_PARAMS: usize = 12;

/// `OSSL_PARAM` (openssl/core.h): the same since 3.0, part of the public interface.
#[repr(C)]
#[derive(Clone, Copy)]
struct Param {
    name: u64,
    data_type: u64,
    data: u64,
    data_len: u64,
    returned_len: u64,
}

/// The first eight bytes of a zero-terminated name.
const fn name(text: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let mut at = 0;
    while at < text.len() {
        bytes[at] = text[at];
        at += 1;
    }
    u64::from_ne_bytes(bytes)
}

const KEY: u64 = name(b"key");
const LABEL: u64 = name(b"label");
const DATA: u64 = name(b"data");
const SECRET: u64 = name(b"secret");
const SEED: u64 = name(b"seed");

// Labels of RFC 8446 §7.1, by their first eight bytes; the lengths tell the rest.
const SERVER_HANDSHAKE: u64 = name(b"s hs tra");
const SERVER_APPLICATION: u64 = name(b"s ap tra");
const CLIENT_EARLY: u64 = name(b"c e traf");
/// Label of RFC 5246 §6.3.
const KEY_EXPANSION: u64 = name(b"key expa");

const SERVER_LABEL_LEN: u64 = 12;
const EARLY_LABEL_LEN: u64 = 11;
const KEY_EXPANSION_LEN: u64 = 13;
const RANDOM_LEN: u64 = 32;

/// Entry of `EVP_KDF_derive`, or any place where its arguments are still in their registers.
#[uprobe]
pub fn evp_kdf_derive(ctx: ProbeContext) -> u32 {
    stay_on_kernel_stack(&ctx);
    let Some(params) = ctx.arg::<u64>(3).filter(|&params| params != 0) else { return 0 };
    let Some(mut slot) = EVENTS.reserve::<SecretRecord>(0) else {
        count(Counter::ControlLost, 1);
        return 0;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: ring memory, 8-byte aligned, as long as the record.
    let wanted = unsafe {
        record.write_bytes(0, 1);
        fill(record, params)
    };
    if wanted {
        count(Counter::SecretRecords, 1);
        slot.submit(BPF_RB_NO_WAKEUP as u64);
        let _ = KEYED.insert(bpf_get_current_pid_tgid(), params, 0);
    } else {
        // SAFETY: as above. What is not TLS is not even left behind in the ring.
        unsafe { record.write_bytes(0, 1) };
        count(Counter::OtherDerivations, 1);
        slot.discard(BPF_RB_NO_WAKEUP as u64);
    }
    0
}

/// Walks the parameters and fills in what TLS derives from; whether that is what they are.
#[inline(always)]
unsafe fn fill(record: *mut SecretRecord, params: u64) -> bool {
    let mut kind = 0;
    let mut seeds = 0;
    for index in 0..MAX_PARAMS {
        let at = params + (index * size_of::<Param>()) as u64;
        // SAFETY: the helper checks the address and faults softly.
        let Ok(param) = (unsafe { bpf_probe_read_user(at as *const Param) }) else { break };
        if param.name == 0 {
            break;
        }
        match text(param.name) {
            KEY | SECRET => {
                // SAFETY: the fields lie within the record.
                unsafe { (*record).secret_len = read(&raw mut (*record).secret, &param) };
            }
            LABEL => kind = tls13_kind(&param),
            DATA => {
                // SAFETY: as above.
                unsafe { (*record).context_len = read(&raw mut (*record).context, &param) };
            }
            SEED => {
                // SAFETY: as above.
                kind = unsafe { seed(record, &param, seeds, kind) };
                seeds += 1;
            }
            _ => {}
        }
    }
    // SAFETY: as above.
    unsafe {
        (*record).kind = kind;
        (*record).header = header(
            RecordKind::Secret,
            0,
            bpf_get_current_pid_tgid(),
            bpf_ktime_get_boot_ns(),
        );
        kind != 0 && (*record).secret_len != 0 && (*record).context_len != 0
    }
}

/// The kind of secret that a TLS 1.3 label is derived from; 0 for labels that are not needed.
#[inline(always)]
fn tls13_kind(param: &Param) -> u8 {
    match (text_of_data(param), param.data_len) {
        (SERVER_HANDSHAKE, SERVER_LABEL_LEN) => SecretKind::Handshake as u8,
        (SERVER_APPLICATION, SERVER_LABEL_LEN) => SecretKind::Master as u8,
        (CLIENT_EARLY, EARLY_LABEL_LEN) => SecretKind::Early as u8,
        _ => 0,
    }
}

/// Takes a seed of TLS 1.2's PRF: the label, then the server's and the client's random.
#[inline(always)]
unsafe fn seed(record: *mut SecretRecord, param: &Param, index: u32, kind: u8) -> u8 {
    let of_tls12 = kind == SecretKind::Tls12 as u8;
    match index {
        0 if param.data_len == KEY_EXPANSION_LEN && text_of_data(param) == KEY_EXPANSION => {
            SecretKind::Tls12 as u8
        }
        1 | 2 if of_tls12 && param.data_len == RANDOM_LEN => {
            let at = if index == 1 { 0 } else { RANDOM_LEN as usize };
            // SAFETY: two randoms fill the context exactly.
            unsafe {
                let to = (&raw mut (*record).context).cast::<u8>().add(at);
                if read_user(to.cast(), RANDOM_LEN as u32, param.data as *const _) == 0 {
                    (*record).context_len = (at as u64 + RANDOM_LEN) as u8;
                }
            }
            kind
        }
        _ => kind,
    }
}

/// Reads a parameter's data into a field of the record; how many bytes, 0 if it does not fit.
#[inline(always)]
fn read(to: *mut [u8; MAX_SECRET], param: &Param) -> u8 {
    let len = param.data_len;
    if len == 0 || len > MAX_SECRET as u64 {
        return 0;
    }
    // SAFETY: `len` was checked against the field; the helper checks the address.
    match unsafe { read_user(to.cast(), len as u32, param.data as *const _) } {
        0 => len as u8,
        _ => 0,
    }
}

/// First eight bytes of the zero-terminated text at `address`, zero-padded.
#[inline(always)]
fn text(address: u64) -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: the destination is as long as said; the helper checks the address. It always ends
    // the text with a zero, so one byte less counts.
    unsafe { bpf_probe_read_user_str(bytes.as_mut_ptr().cast(), 8, address as *const _) };
    u64::from_ne_bytes(bytes)
}

/// First eight bytes of a parameter's data, which has no zero at its end.
#[inline(always)]
fn text_of_data(param: &Param) -> u64 {
    // SAFETY: the helper checks the address and faults softly.
    unsafe { bpf_probe_read_user(param.data as *const u64) }.unwrap_or(0)
}
