//! Secrets, once per handshake: libcrypto 3.x derives everything through
//! `int EVP_KDF_derive(EVP_KDF_CTX *ctx, unsigned char *key, size_t keylen, const OSSL_PARAM params[])`,
//! and its parameters show at the entry what is derived from what.

use aya_ebpf::{
    helpers::{bpf_probe_read_user, generated::bpf_probe_read_user_str},
    macros::uprobe,
    programs::ProbeContext,
};
use scopewatch_common::{SecretKind, SecretRecord};

use crate::{
    guard::stay_on_kernel_stack,
    secret::{
        CLIENT_EARLY, EARLY_LABEL_LEN, KEY_EXPANSION, KEY_EXPANSION_LEN, RANDOM_LEN,
        SERVER_APPLICATION, SERVER_HANDSHAKE, SERVER_LABEL_LEN, begin, end, name, read, text_of,
    },
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

const KEY: u64 = name(b"key");
const LABEL: u64 = name(b"label");
const DATA: u64 = name(b"data");
const SECRET: u64 = name(b"secret");
const SEED: u64 = name(b"seed");

/// Entry of `EVP_KDF_derive`, or any place where its arguments are still in their registers.
#[uprobe]
pub fn evp_kdf_derive(ctx: ProbeContext) -> u32 {
    stay_on_kernel_stack(&ctx);
    let Some(params) = ctx.arg::<u64>(3).filter(|&params| params != 0) else { return 0 };
    let Some(mut slot) = begin() else { return 0 };
    // SAFETY: ring memory, 8-byte aligned, as long as the record.
    let wanted = unsafe { fill(slot.as_mut_ptr(), params) };
    end(slot, wanted);
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

/// First eight bytes of the zero-terminated text at `address`, zero-padded.
#[inline(always)]
fn text(address: u64) -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: the destination is as long as said; the helper checks the address. It always ends
    // the text with a zero, so one byte less counts.
    unsafe { bpf_probe_read_user_str(bytes.as_mut_ptr().cast(), 8, address as *const _) };
    u64::from_ne_bytes(bytes)
}
