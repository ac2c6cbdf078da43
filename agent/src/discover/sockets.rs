//! Established TCP connections of a process.
//!
//! In: `/proc/PID/fd` and `/proc/PID/net/tcp{,6}` (proc(5)). Out: inode numbers of sockets, which
//! name a socket for as long as it is open.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Read as _,
};

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
    let mut tcp = HashSet::new();
    for table in ["tcp", "tcp6"] {
        let mut bytes = Vec::new();
        let read = File::open(format!("/proc/{pid}/net/{table}"))
            .and_then(|file| file.take(MAX_TABLE).read_to_end(&mut bytes));
        if read.is_ok() {
            tcp.extend(inodes(&String::from_utf8_lossy(&bytes)));
        }
    }
    open.intersection(&tcp).copied().collect()
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
