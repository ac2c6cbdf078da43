//! Packets at the interfaces of the agent's network namespace, where there is no cgroup v2 at whose
//! root they could be seen.
//!
//! In: frames, as they come to an interface and as they leave it. Out: the same as from `cgroup`. What
//! is forwarded has no socket here, and is left. A frame is always handed on to whoever comes next.

use core::ptr;

use aya_ebpf::{
    EbpfContext, Global,
    bindings::{BPF_F_CURRENT_NETNS, bpf_sock, bpf_sock_tuple},
    helpers::generated::{
        bpf_get_socket_cookie, bpf_sk_release, bpf_skb_load_bytes, bpf_skc_lookup_tcp,
    },
    macros::classifier,
    programs::TcContext,
};
use scopewatch_common::{Capture, SegmentRecord, Way};

use crate::{
    emit::bounded,
    maps::{DECISIONS, LINK_HEADERS},
    packet::{AF_INET, IPV6_HEADER_LEN, LOOPBACK, Met, Packet, TCP_LISTEN, Tcp, tcp_of, tell_of},
    passage::forget,
    piece::map_into,
    socket::{
        NET_INUM, SOCK_COOKIE, SOCK_FAMILY, SOCK_LOCAL_PORT, SOCK_LOCAL_V4, SOCK_LOCAL_V6,
        SOCK_NET, SOCK_REMOTE_PORT, SOCK_REMOTE_V4, SOCK_REMOTE_V6, field, read,
    },
};

/// Verdict of a classifier that has none (`TCX_NEXT`).
const NEXT: i32 = -1;

// EtherTypes of IPv4 and IPv6.
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

/// Which VLAN a tag names; 0 for none, only a priority.
const VLAN_ID: u32 = 0x0fff;

/// More fragments to come, and an offset: whichever is there, it is no whole packet (RFC 791 §3.1).
const FRAGMENT: u16 = 0x3fff;

/// A connection whose socket is yet to be made (`enum` of linux/tcp_states.h).
const TCP_NEW_SYN_RECV: u8 = 12;

// Offsets in bytes, set by the agent from the kernel's BTF.
#[unsafe(no_mangle)]
static SOCK_STATE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static TCP_BYTES_RECEIVED: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static TCP_RCV_NXT: Global<u32> = Global::new(0);

/// Inode number of the agent's network namespace.
#[unsafe(no_mangle)]
static OWN_NETNS: Global<u32> = Global::new(0);

/// A frame to this host, or to be forwarded by it.
#[classifier]
pub fn frame_in(ctx: TcContext) -> i32 {
    receive(&ctx);
    NEXT
}

/// A frame that leaves by an interface. Those that stay on the host are seen where they come in.
#[classifier]
pub fn frame_out(ctx: TcContext) -> i32 {
    send(&ctx);
    NEXT
}

/// A frame with a packet of IP, and the address of its socket.
struct Frame<'a> {
    ctx: &'a TcContext,
    /// Where the IP header begins.
    link: u32,
    len: u32,
    socket: *const u8,
}

#[inline(always)]
fn receive(ctx: &TcContext) -> Option<()> {
    let mut frame = Frame::of(ctx)?;
    let (tcp_at, tcp) = tcp_of(&frame)?;
    let mut tuple = Tuple::of(&frame, &tcp)?;
    // All ways to here are one from here on: the verifier would follow each with a socket of its own.
    forget(&mut tuple);
    let size = bounded::<64>(tuple.size as u64) as u32;
    if size > Tuple::V6 {
        return None;
    }
    // SAFETY: the context is the program's own; the tuple is as long as said.
    let found: *mut bpf_sock = unsafe {
        let ends: *mut bpf_sock_tuple = (&raw mut tuple.ends).cast();
        bpf_skc_lookup_tcp(ctx.as_ptr(), ends, size, BPF_F_CURRENT_NETNS as i64 as u64, 0)
    };
    if found.is_null() {
        return None;
    }
    frame.socket = number(found);
    let told = frame.receive(tcp_at, &tcp);
    // SAFETY: found above, and released once.
    unsafe { bpf_sk_release(found.cast()) };
    told
}

#[inline(always)]
fn send(ctx: &TcContext) -> Option<()> {
    // Asking gives a socket its cookie, by which it is known when its answers come in.
    // SAFETY: the context is the program's own.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: as above.
    if cookie == 0 || unsafe { (*ctx.skb.skb).ifindex } == LOOPBACK {
        return None;
    }
    let mut frame = Frame::of(ctx)?;
    // SAFETY: as above.
    frame.socket = number(unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk });
    let met = Met::at(&frame, cookie)?;
    let (tcp_at, tcp) = tcp_of(&frame)?;
    if frame.netns() != Some(OWN_NETNS.load()) {
        // A container's, bridged to here: its answers find no socket in this namespace.
        let _ = DECISIONS.insert(cookie, Capture::Ignored as u32, 0);
        return None;
    }
    tell_of(&frame, Way::Out, met, tcp_at, &tcp)
}

/// The address of a socket as a number, which helpers may try: the verifier knows what it is, and
/// loses that on the way through one.
#[inline(always)]
fn number(socket: *mut bpf_sock) -> *const u8 {
    let mut address = socket as u64;
    forget(&mut address);
    address as *const u8
}

impl<'a> Frame<'a> {
    /// A frame that has a whole packet of IP; `None` for one that is seen again at the interface of
    /// its VLAN.
    #[inline(always)]
    fn of(ctx: &'a TcContext) -> Option<Self> {
        // SAFETY: the context is the program's own.
        let (index, protocol, tagged) = unsafe {
            let skb = ctx.skb.skb;
            let tagged = (*skb).vlan_present != 0 && (*skb).vlan_tci & VLAN_ID != 0;
            ((*skb).ifindex, u16::from_be((*skb).protocol as u16), tagged)
        };
        if tagged || (protocol != ETH_P_IP && protocol != ETH_P_IPV6) {
            return None;
        }
        // SAFETY: a plain integer, read once.
        let link = unsafe { LINK_HEADERS.get(index) }.copied()?;
        let mut frame = Self { ctx, link, len: 0, socket: ptr::null() };
        // What comes behind the packet only fills the frame up. Super-packets are longer than
        // their header can say, and say 0.
        let said = if protocol == ETH_P_IP {
            let [_, len, _, fragment]: [u16; 4] = frame.load(0)?;
            if u16::from_be(fragment) & FRAGMENT != 0 {
                return None;
            }
            u16::from_be(len) as u32
        } else {
            match u16::from_be(frame.load(4)?) {
                0 => 0,
                len => len as u32 + IPV6_HEADER_LEN,
            }
        };
        frame.len = if said == 0 { ctx.len().checked_sub(link)? } else { said };
        forget(&mut frame.len);
        Some(frame)
    }

    #[inline(always)]
    fn receive(&self, tcp_at: u32, tcp: &Tcp) -> Option<()> {
        // One that has sent nothing since the agent came may have none yet.
        let cookie = field(self.socket, SOCK_COOKIE.load()).filter(|&cookie| cookie != 0)?;
        tell_of(self, Way::In, Met::at(self, cookie)?, tcp_at, tcp)
    }

    #[inline(always)]
    fn state(&self) -> u8 {
        field(self.socket, SOCK_STATE.load()).unwrap_or(0)
    }

    #[inline(always)]
    fn netns(&self) -> Option<u32> {
        let net: *const u8 = field(self.socket, SOCK_NET.load())?;
        field(net, NET_INUM.load())
    }

    /// Copies an address of the socket.
    ///
    /// # Safety
    /// `to` has room for four words.
    #[inline(always)]
    unsafe fn address(&self, to: *mut u8, v4: u32, v6: u32) {
        let family: u16 = field(self.socket, SOCK_FAMILY.load()).unwrap_or(0);
        // SAFETY: the caller's; addresses in records lie at multiples of four.
        unsafe {
            if family as u32 == AF_INET {
                map_into(to.cast(), field(self.socket, v4).unwrap_or(0));
            } else if read::<16>(to, self.socket, v6).is_none() {
                to.write_bytes(0, 16);
            }
        }
    }
}

impl Packet for Frame<'_> {
    #[inline(always)]
    fn len(&self) -> u32 {
        self.len
    }

    #[inline(always)]
    unsafe fn copy(&self, at: u32, to: *mut u8, len: u32) -> bool {
        // SAFETY: the caller's; the helper checks the source.
        unsafe { bpf_skb_load_bytes(self.ctx.as_ptr(), self.link + at, to.cast(), len) == 0 }
    }

    #[inline(always)]
    fn is_listener(&self) -> bool {
        self.state() as u32 == TCP_LISTEN
    }

    #[inline(always)]
    fn is_first(&self, tcp: &Tcp) -> bool {
        if self.state() == TCP_NEW_SYN_RECV {
            return true;
        }
        let received: Option<u64> = field(self.socket, TCP_BYTES_RECEIVED.load());
        let next: Option<u32> = field(self.socket, TCP_RCV_NXT.load());
        received == Some(0) && next == Some(u32::from_be(tcp.seq))
    }

    #[inline(always)]
    unsafe fn socket(&self, to: *mut u64) {
        // SAFETY: the caller's memory.
        unsafe { ptr::write_volatile(to, self.socket as u64) }
    }

    /// Packets are seen here where there is no cgroup v2.
    #[inline(always)]
    fn cgroup(&self) -> u32 {
        0
    }

    #[inline(always)]
    unsafe fn ends(&self, way: Way, record: *mut SegmentRecord) {
        let local_port: u16 = field(self.socket, SOCK_LOCAL_PORT.load()).unwrap_or(0);
        let remote_port: u16 = field(self.socket, SOCK_REMOTE_PORT.load()).unwrap_or(0);
        // SAFETY: the caller's record.
        unsafe {
            let source = (&raw mut (*record).source).cast::<u8>();
            let destination = (&raw mut (*record).destination).cast::<u8>();
            let (local, remote) = if matches!(way, Way::In) {
                (*record).source_port = u16::from_be(remote_port);
                (*record).destination_port = local_port;
                (destination, source)
            } else {
                (*record).source_port = local_port;
                (*record).destination_port = u16::from_be(remote_port);
                (source, destination)
            };
            self.address(local, SOCK_LOCAL_V4.load(), SOCK_LOCAL_V6.load());
            self.address(remote, SOCK_REMOTE_V4.load(), SOCK_REMOTE_V6.load());
        }
    }
}

/// The ends of a packet as the kernel wants them to find its socket, and how long they are.
#[repr(C)]
#[derive(Clone, Copy)]
struct Tuple {
    ends: [u32; 9],
    size: u32,
}

impl Tuple {
    // Two addresses and two ports (`struct bpf_sock_tuple`).
    const V4: u32 = 12;
    const V6: u32 = 36;

    #[inline(always)]
    fn of(frame: &Frame<'_>, tcp: &Tcp) -> Option<Self> {
        let ports = tcp.source as u32 | (tcp.destination as u32) << 16;
        let first: u8 = frame.load(0)?;
        if first >> 4 == 4 {
            let [source, destination]: [u32; 2] = frame.load(12)?;
            let ends = [source, destination, ports, 0, 0, 0, 0, 0, 0];
            return Some(Self { ends, size: Self::V4 });
        }
        let mut ends = [0; 9];
        // SAFETY: there is room for nine words.
        let copied = unsafe { frame.copy(8, ends.as_mut_ptr().cast(), 32) };
        ends[8] = ports;
        copied.then_some(Self { ends, size: Self::V6 })
    }
}
