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
    emit::{bounded, header},
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

/// Where the parameters that matter are in the process's memory, with their lengths.
///
/// It lies in the record while the parameters are walked: for the verifier a value loaded from
/// there is unknown, so that each turn of the loop looks like the one before.
#[repr(C)]
#[derive(Clone, Copy)]
struct Found {
    key: u64,
    key_len: u64,
    label: u64,
    label_len: u64,
    data: u64,
    data_len: u64,
    /// Non-empty seeds, the last one first.
    seeds: [[u64; 2]; 3],
}

/// Walks the parameters and fills in what TLS derives from; whether that is what they are.
#[inline(always)]
unsafe fn fill(record: *mut SecretRecord, params: u64) -> bool {
    // SAFETY: the two fields lie next to each other and are longer than `Found`.
    let found = unsafe { (&raw mut (*record).secret).cast::<Found>() };
    for index in 0..MAX_PARAMS {
        let at = params + (index * size_of::<Param>()) as u64;
        // SAFETY: the helper checks the address and faults softly.
        let Ok(param) = (unsafe { bpf_probe_read_user(at as *const Param) }) else { break };
        if param.name == 0 {
            break;
        }
        let name = text(param.name);
        // SAFETY: ring memory, 8-byte aligned.
        unsafe {
            if name == KEY || name == SECRET {
                (*found).key = param.data;
                (*found).key_len = param.data_len;
            } else if name == LABEL {
                (*found).label = param.data;
                (*found).label_len = param.data_len;
            } else if name == DATA {
                (*found).data = param.data;
                (*found).data_len = param.data_len;
            } else if name == SEED && param.data_len != 0 {
                (*found).seeds[2] = (*found).seeds[1];
                (*found).seeds[1] = (*found).seeds[0];
                (*found).seeds[0] = [param.data, param.data_len];
            }
        }
    }
    // SAFETY: as above; copied, because the secret takes its place.
    let found = unsafe { found.read() };
    // SAFETY: the caller's ring memory.
    unsafe { take(record, &found) }
}

/// Reads what was found into the record.
#[inline(always)]
unsafe fn take(record: *mut SecretRecord, found: &Found) -> bool {
    let [client, server, label] = found.seeds;
    let kind = match (text_of(found.label), found.label_len) {
        (SERVER_HANDSHAKE, SERVER_LABEL_LEN) => SecretKind::Handshake as u8,
        (SERVER_APPLICATION, SERVER_LABEL_LEN) => SecretKind::Master as u8,
        (CLIENT_EARLY, EARLY_LABEL_LEN) => SecretKind::Early as u8,
        _ if label[1] == KEY_EXPANSION_LEN && text_of(label[0]) == KEY_EXPANSION => {
            SecretKind::Tls12 as u8
        }
        _ => return false,
    };
    // SAFETY: the fields lie within the record; lengths are checked against them.
    unsafe {
        (*record).header =
            header(RecordKind::Secret, 0, bpf_get_current_pid_tgid(), bpf_ktime_get_boot_ns());
        (*record).kind = kind;
        (*record).secret_len = read((&raw mut (*record).secret).cast(), found.key, found.key_len);
        let context: *mut u8 = (&raw mut (*record).context).cast();
        (*record).context_len = if kind == SecretKind::Tls12 as u8 {
            if server[1] != RANDOM_LEN || client[1] != RANDOM_LEN {
                return false;
            }
            read(context, server[0], RANDOM_LEN)
                + read(context.add(RANDOM_LEN as usize), client[0], RANDOM_LEN)
        } else {
            read(context, found.data, found.data_len)
        };
        (*record).secret_len != 0 && (*record).context_len != 0
    }
}

/// Reads `len` bytes, at most a secret's length, of the process's memory; how many, 0 if they are
/// too many or cannot be read.
///
/// # Safety
/// `to` has room for `MAX_SECRET` bytes, or for `len` if that is constant.
#[inline(always)]
unsafe fn read(to: *mut u8, from: u64, len: u64) -> u8 {
    if len == 0 || len > MAX_SECRET as u64 {
        return 0;
    }
    let len = bounded::<{ MAX_SECRET as u32 }>(len);
    // SAFETY: as the caller says; the helper checks the source.
    match unsafe { read_user(to.cast(), len as u32, from as *const _) } {
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

/// Eight bytes at `address`, which need not end with a zero.
#[inline(always)]
fn text_of(address: u64) -> u64 {
    // SAFETY: the helper checks the address and faults softly.
    unsafe { bpf_probe_read_user(address as *const u64) }.unwrap_or(0)
}
