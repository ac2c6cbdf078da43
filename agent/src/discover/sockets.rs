//! Established TCP connections of a process, and the process of a connection.
//!
//! In: `/proc/PID/fd` and `/proc/PID/net/tcp{,6}` (proc(5)). Out: inode numbers of sockets, which
//! name a socket for as long as it is open, and who has which open.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::Read as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::{discover::maps, flow::chunk::Socket};

/// Longest table that is read: some 400,000 connections.
const MAX_TABLE: u64 = 64 * 1024 * 1024;

/// State of an established connection in the kernel's tables.
const ESTABLISHED: &str = "01";

/// Sockets of `pid` that are established TCP connections; empty if the process is gone.
#[must_use]
pub fn established(pid: u32) -> HashSet<u64> {
    let open = open_sockets(pid);
    if open.is_empty() {
        return open;
    }
    let tcp: HashSet<u64> = tables(pid).iter().flat_map(|table| inodes(table)).collect();
    open.intersection(&tcp).copied().collect()
}

/// Who holds each of the `wanted` sockets, as far as they are open still. Reads the descriptors of
/// every process: ask rarely, and for many at once.
#[must_use]
pub fn holders(wanted: &[Socket]) -> Vec<(u32, Socket)> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut of_namespace: HashMap<u32, HashMap<u64, Socket>> = HashMap::new();
    let mut found = Vec::new();
    for pid in maps::processes().unwrap_or_default() {
        let Some(netns) = namespace(pid) else { continue };
        if !wanted.iter().any(|socket| [netns, 0].contains(&socket.netns)) {
            continue;
        }
        let sockets = of_namespace.entry(netns).or_insert_with(|| {
            let ends: HashMap<_, _> = wanted
                .iter()
                .filter(|socket| [netns, 0].contains(&socket.netns))
                .map(|socket| ((socket.local, socket.remote), *socket))
                .collect();
            let tables = tables(pid);
            let rows = tables.iter().flat_map(|table| connections(table));
            rows.filter_map(|(inode, ends_of)| Some((inode, *ends.get(&ends_of)?))).collect()
        });
        if sockets.is_empty() {
            continue;
        }
        let held = open_sockets(pid).into_iter().filter_map(|inode| sockets.get(&inode));
        found.extend(held.map(|socket| (pid, *socket)));
    }
    found
}

/// Inode of a process's network namespace.
fn namespace(pid: u32) -> Option<u32> {
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// The kernel's tables of TCP sockets, as `pid` sees them.
fn tables(pid: u32) -> Vec<String> {
    let read = |table: &str| {
        let mut bytes = Vec::new();
        let file = File::open(format!("/proc/{pid}/net/{table}")).ok()?;
        file.take(MAX_TABLE).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    ["tcp", "tcp6"].into_iter().filter_map(read).collect()
}

/// Inode, local and remote end of the established connections of a table.
fn connections(table: &str) -> impl Iterator<Item = (u64, (SocketAddr, SocketAddr))> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let ends = (end(fields.next()?)?, end(fields.next()?)?);
        (fields.next()? == ESTABLISHED).then_some(())?;
        Some((fields.nth(5)?.parse().ok()?, ends))
    })
}

/// `address:port` in hexadecimal digits; the address in words of this machine's byte order.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for word in 0..address.len() / 8 {
        let digits = address.get(word * 8..word * 8 + 8)?;
        bytes.extend(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes());
    }
    let address: IpAddr = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => Ipv4Addr::from(v4).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

/// Sockets of any kind that `pid` has open.
fn open_sockets(pid: u32) -> HashSet<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return HashSet::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            inode.parse().ok()
        })
        .collect()
}

/// Inodes of the established connections of a table: field 4 is the state, field 10 the inode.
fn inodes(table: &str) -> impl Iterator<Item = u64> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(3);
        (fields.next()? == ESTABLISHED).then(|| fields.nth(5)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn takes_established_connections_only() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0\n   \
            1: 0100007F:0050 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 22 1 0 20 4 30 10 -1\n";
        assert_eq!(inodes(table).collect::<Vec<_>>(), [22]);
        assert_eq!(inodes("").count(), 0);
    }

    #[test]
    fn ends_are_read_in_words() {
        let is = |text, expected: &str| assert_eq!(end(text), expected.parse().ok(), "{text}");
        is("0100007F:1F90", "127.0.0.1:8080");
        is("0000000000000000FFFF00000100007F:0050", "127.0.0.1:80");
        is("00000000000000000000000001000000:01BB", "[::1]:443");
        is("0100007:0050", "");
    }

    #[test]
    fn finds_who_holds_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let netns = namespace(std::process::id()).unwrap();
        let socket = Socket { cookie: 1, local, remote, netns };
        assert_eq!(holders(&[socket]), [(std::process::id(), socket)]);
        assert!(holders(&[Socket { netns: 1, ..socket }]).is_empty(), "another namespace's");
        assert!(holders(&[]).is_empty());
    }

    #[test]
    fn knows_the_connections_of_a_running_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let before = established(std::process::id());
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let during = established(std::process::id());
        assert_eq!(during.difference(&before).count(), 1, "the accepted end is in the backlog");
        drop(client);
        assert!(established(u32::MAX).is_empty());
    }
}
