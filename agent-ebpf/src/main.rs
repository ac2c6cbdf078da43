//! The kernel half of scopewatch.
//!
//! In: calls of TLS libraries, socket traffic, processes that come and go. Out: the records of
//! `scopewatch_common`, in one ring buffer. Nothing here decides what bytes mean.
//!
//! - `maps`: all state, with the reason for each size
//! - `guard`: why uprobe programs hold a tail call that is never taken
//! - `openssl`: probes on libssl, one program per function signature
//! - `call`: what they share: a call's entry remembered, its bytes copied at its return
//! - `emit`: bytes and control records into the ring
//! - `socket`: which socket a thread uses while it is inside a TLS call
//! - `sight`: the ways in which that is seen
//! - `packet`: ciphertext at the socket, of every connection that speaks TLS; `piece`: its records,
//!   `passage`: those of bodies that nobody wants
//! - `cgroup` and `frame`: where packets are seen
//! - `secret`: the secrets that open it; `kdf` and `pkey`: where OpenSSL 3 and 1.1.1 show them
//! - `process`: exec and exit
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "helpers and kernel memory are reached by raw pointers")]
#![expect(clippy::indexing_slicing, reason = "the verifier checks what a bound check would")]
#![feature(asm_experimental_arch)]

mod call;
mod cgroup;
mod emit;
mod frame;
mod guard;
mod kdf;
mod maps;
mod openssl;
mod packet;
mod passage;
mod piece;
mod pkey;
mod process;
mod secret;
mod sight;
mod socket;

/// The kernel lets only GPL-compatible programs call some of the helpers used here.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Unreachable: the verifier refuses a program that could get here.
    loop {}
}
