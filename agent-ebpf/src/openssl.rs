//! Probes on libssl (OpenSSL 1.1.0 and newer): one program per signature, so that kernels without
//! attach cookies (before 5.15) need nothing else to tell functions apart.
//!
//! `SSL_peek` is not probed: the same bytes come again in a read. The early-data functions are not
//! either: they end in the functions below.

use aya_ebpf::{
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use aya_log_ebpf::debug;
use scopewatch_common::Way;

use crate::{
    call::{closed, enter, leave, shake},
    guard::stay_on_kernel_stack,
    maps::Length,
};

/// `int SSL_read(SSL *ssl, void *buf, int num)`
#[uprobe]
pub fn ssl_read(ctx: ProbeContext) -> u32 {
    stay_on_kernel_stack(&ctx);
    enter(&ctx, Way::In, Length::Returned, 0)
}

/// `int SSL_read_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes)`
#[uprobe]
pub fn ssl_read_ex(ctx: ProbeContext) -> u32 {
    stay_on_kernel_stack(&ctx);
    enter(&ctx, Way::In, Length::Pointed, ctx.arg(3).unwrap_or(0))
}

/// `int SSL_write(SSL *ssl, const void *buf, int num)`
#[uprobe]
pub fn ssl_write(ctx: ProbeContext) -> u32 {
    stay_on_kernel_stack(&ctx);
    enter(&ctx, Way::Out, Length::Returned, 0)
}

/// `int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written)`
#[uprobe]
pub fn ssl_write_ex(ctx: ProbeContext) -> u32 {
    stay_on_kernel_stack(&ctx);
    enter(&ctx, Way::Out, Length::Pointed, ctx.arg(3).unwrap_or(0))
}

/// `int SSL_write_ex2(SSL *ssl, const void *buf, size_t num, uint64_t flags, size_t *written)`,
/// OpenSSL 3.3 and newer.
#[uprobe]
pub fn ssl_write_ex2(ctx: ProbeContext) -> u32 {
    stay_on_kernel_stack(&ctx);
    enter(&ctx, Way::Out, Length::Pointed, ctx.arg(4).unwrap_or(0))
}

/// The return of any of the functions above.
#[uretprobe]
pub fn ssl_return(ctx: RetProbeContext) -> u32 {
    stay_on_kernel_stack(&ctx);
    leave(&ctx)
}

/// `void SSL_free(SSL *ssl)` and `int SSL_clear(SSL *ssl)`: the object will serve another
/// connection, or none.
#[uprobe]
pub fn ssl_free(ctx: ProbeContext) -> u32 {
    stay_on_kernel_stack(&ctx);
    debug!(&ctx, "session ended");
    closed(&ctx, Way::Both)
}

/// `int SSL_do_handshake(SSL *ssl)`, which `SSL_accept` and `SSL_connect` end in: a session on a memory
/// BIO is bound to the socket that the thread uses once it has derived a secret.
#[uprobe]
pub fn ssl_do_handshake(ctx: ProbeContext) -> u32 {
    stay_on_kernel_stack(&ctx);
    shake(&ctx)
}

/// `int SSL_shutdown(SSL *ssl)`: the process will send no more.
#[uprobe]
pub fn ssl_shutdown(ctx: ProbeContext) -> u32 {
    stay_on_kernel_stack(&ctx);
    closed(&ctx, Way::Out)
}
