//! Packets at the root cgroup: those of the sockets of every process and container of the host.
//!
//! In: packets, from their IP header on, with their socket. A packet is always let through.

use core::{arch::asm, mem::offset_of, ptr};

use aya_ebpf::{
    EbpfContext,
    bindings::__sk_buff,
    helpers::generated::{
        bpf_get_socket_cookie, bpf_sk_fullsock, bpf_skb_cgroup_id, bpf_skb_load_bytes, bpf_tcp_sock,
    },
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use scopewatch_common::{SegmentRecord, Way};

use crate::{
    packet::{AF_INET, LOOPBACK, Met, Packet, TCP_LISTEN, Tcp, tcp_of, tell_of},
    piece::map_into,
};

/// Verdict of a `cgroup_skb` program that lets the packet through.
const PASS: i32 = 1;

/// A packet to a socket of this host.
#[cgroup_skb(ingress)]
pub fn packet_in(ctx: SkBuffContext) -> i32 {
    look_at(&ctx, Way::In);
    PASS
}

/// A packet from a socket of this host. Those that stay on the host are seen at their receiver.
#[cgroup_skb(egress)]
pub fn packet_out(ctx: SkBuffContext) -> i32 {
    // SAFETY: the context is the program's own.
    if unsafe { (*ctx.skb.skb).ifindex } != LOOPBACK {
        look_at(&ctx, Way::Out);
    }
    PASS
}

#[inline(always)]
fn look_at(ctx: &SkBuffContext, way: Way) -> Option<()> {
    // SAFETY: the context is the program's own.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    if cookie == 0 {
        return None;
    }
    let met = Met::at(ctx, cookie)?;
    let (tcp_at, tcp) = tcp_of(ctx)?;
    tell_of(ctx, way, met, tcp_at, &tcp)
}

impl Packet for SkBuffContext {
    #[inline(always)]
    fn len(&self) -> u32 {
        self.skb.len()
    }

    #[inline(always)]
    unsafe fn copy(&self, at: u32, to: *mut u8, len: u32) -> bool {
        // SAFETY: the caller's; the helper checks the source.
        unsafe { bpf_skb_load_bytes(self.as_ptr(), at, to.cast(), len) == 0 }
    }

    #[inline(always)]
    fn is_listener(&self) -> bool {
        // SAFETY: the context is the program's own; the kernel checks that the socket is there.
        unsafe {
            let socket = (*self.skb.skb).__bindgen_anon_2.sk;
            !socket.is_null() && (*socket).state == TCP_LISTEN
        }
    }

    #[inline(always)]
    fn is_first(&self, tcp: &Tcp) -> bool {
        // SAFETY: the context is the program's own, and the kernel checks what its helpers return.
        unsafe {
            let socket = (*self.skb.skb).__bindgen_anon_2.sk;
            if socket.is_null() {
                return false;
            }
            let socket = bpf_sk_fullsock(socket);
            if socket.is_null() {
                return false;
            }
            let stream = bpf_tcp_sock(socket);
            !stream.is_null()
                && (*stream).bytes_received == 0
                && (*stream).rcv_nxt == u32::from_be(tcp.seq)
        }
    }

    #[inline(always)]
    unsafe fn socket(&self, to: *mut u64) {
        // SAFETY: the context is the program's own; the caller's memory.
        unsafe { ptr::write_volatile(to, (*self.skb.skb).__bindgen_anon_2.sk as u64) }
    }

    #[inline(always)]
    fn cgroup(&self) -> u32 {
        // SAFETY: the context is the program's own.
        unsafe { bpf_skb_cgroup_id(self.skb.skb) as u32 }
    }

    #[inline(always)]
    unsafe fn ends(&self, way: Way, record: *mut SegmentRecord) {
        const WORD: usize = size_of::<u32>();
        const LOCAL: usize = offset_of!(__sk_buff, local_ip6);
        const REMOTE: usize = offset_of!(__sk_buff, remote_ip6);
        let local_port = word::<{ offset_of!(__sk_buff, local_port) }>(self) as u16;
        let remote_port = u32::from_be(word::<{ offset_of!(__sk_buff, remote_port) }>(self)) as u16;
        // SAFETY: the caller's ring memory, whose addresses lie at multiples of four.
        unsafe {
            let source = (&raw mut (*record).source).cast::<u32>();
            let destination = (&raw mut (*record).destination).cast::<u32>();
            let (local, remote) = if matches!(way, Way::In) {
                (*record).source_port = remote_port;
                (*record).destination_port = local_port;
                (destination, source)
            } else {
                (*record).source_port = local_port;
                (*record).destination_port = remote_port;
                (source, destination)
            };
            if word::<{ offset_of!(__sk_buff, family) }>(self) == AF_INET {
                map_into(local, word::<{ offset_of!(__sk_buff, local_ip4) }>(self));
                map_into(remote, word::<{ offset_of!(__sk_buff, remote_ip4) }>(self));
            } else {
                *local = word::<LOCAL>(self);
                *local.add(1) = word::<{ LOCAL + WORD }>(self);
                *local.add(2) = word::<{ LOCAL + 2 * WORD }>(self);
                *local.add(3) = word::<{ LOCAL + 3 * WORD }>(self);
                *remote = word::<REMOTE>(self);
                *remote.add(1) = word::<{ REMOTE + WORD }>(self);
                *remote.add(2) = word::<{ REMOTE + 2 * WORD }>(self);
                *remote.add(3) = word::<{ REMOTE + 3 * WORD }>(self);
            }
        }
    }
}

/// The word at the offset `AT` of the context. The kernel wants each word read by itself, at a
/// constant offset from the unchanged context, which the compiler must not rearrange.
#[inline(always)]
fn word<const AT: usize>(ctx: &SkBuffContext) -> u32 {
    let value: u64;
    // SAFETY: the context is the program's own, and the kernel checks the offset.
    unsafe {
        asm!("{0} = *(u32 *)({1} + {2})", out(reg) value, in(reg) ctx.as_ptr(), const AT);
    }
    value as u32
}
