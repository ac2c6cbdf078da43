//! Checked decoding of ring records.
//!
//! In: the bytes of one record. Out: a [`Record`], whose integers were checked before they became
//! enums and whose lengths lie within the record. A record that does not fit is an error value:
//! it is counted and skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use scopewatch_common::{
    ABI_VERSION, CloseRecord, DataRecord, ExecRecord, Header, RecordKind, SecretKind, SecretRecord,
    SegmentRecord, Session, SocketRecord, Way,
};
use zerocopy::FromBytes;

use crate::{
    capture::SessionKey,
    flow::chunk::{Direction, Socket},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// A decoded record. Times are nanoseconds of the boot clock. It has no `Debug`: it may hold
/// session secrets.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Record<'a> {
    /// Plaintext of a TLS call.
    Data {
        /// When.
        boot_ns: u64,
        /// Whose.
        session: SessionKey,
        /// Which way.
        direction: Direction,
        /// Stream position of the first byte.
        offset: u64,
        /// Bytes after these that were not captured.
        lost: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Plaintext of a TLS call that was there and was not asked for.
    Skipped {
        /// When.
        boot_ns: u64,
        /// Whose.
        session: SessionKey,
        /// Which way.
        direction: Direction,
        /// Stream position of the first byte.
        offset: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// A session's socket.
    Socket {
        /// When.
        boot_ns: u64,
        /// Whose.
        session: SessionKey,
        /// The socket.
        socket: Socket,
        /// Short name of the thread that used it.
        comm: &'a [u8],
    },
    /// A session's end.
    Close {
        /// When.
        boot_ns: u64,
        /// Whose.
        session: SessionKey,
        /// The direction that ended; `None` for both.
        direction: Option<Direction>,
    },
    /// Whose a socket is.
    Owner {
        /// When it was used.
        boot_ns: u64,
        /// The process that has just derived a secret.
        pid: u32,
        /// The socket.
        socket: Socket,
        /// Short name of the process.
        comm: &'a [u8],
    },
    /// A piece of a TCP segment.
    Segment {
        /// When it passed.
        boot_ns: u64,
        /// Whether a socket of this host received it, or sent it.
        received: bool,
        /// That socket's cookie.
        cookie: u64,
        /// Who sent it.
        source: SocketAddr,
        /// Whom to.
        destination: SocketAddr,
        /// Inode of the socket's network namespace, 0 if unknown.
        netns: u32,
        /// Lower half of the id of the socket's cgroup, 0 if unknown.
        cgroup: u32,
        /// Sequence number of the first byte.
        seq: u32,
        /// Acknowledgement number.
        ack: u32,
        /// TCP flags.
        flags: u8,
        /// Whether the receiving socket had received nothing before it.
        first: bool,
        /// Bytes after these that were not captured.
        lost: u32,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// A session secret.
    Secret {
        /// When it was used.
        boot_ns: u64,
        /// The process that used it.
        pid: u32,
        /// Its thread.
        tid: u32,
        /// Lower half of the id of its cgroup, 0 if unknown.
        cgroup: u32,
        /// Inode of its network namespace, 0 if unknown.
        netns: u32,
        /// Which secret.
        kind: SecretKind,
        /// The secret.
        secret: &'a [u8],
        /// Transcript hash, or both randoms.
        context: &'a [u8],
    },
    /// A program was executed.
    Exec {
        /// Process id.
        pid: u32,
        /// Short name.
        comm: &'a [u8],
        /// Path given to `execve`.
        path: &'a [u8],
    },
    /// A process ended.
    Exit {
        /// When.
        boot_ns: u64,
        /// Process id.
        pid: u32,
    },
}

/// Why a record was not understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// It ends before its structure does.
    #[error("a {0} record is short")]
    Short(&'static str),
    /// Written for another layout.
    #[error("record of ABI version {0}")]
    Abi(u16),
    /// A kind, way or address family that this build does not know.
    #[error("unknown {what} {value}")]
    Unknown {
        /// What it should have been.
        what: &'static str,
        /// What it was.
        value: u16,
    },
}

/// Decodes one record.
///
/// # Errors
/// See [`RecordError`].
pub fn decode(raw: &[u8]) -> Result<Record<'_>, RecordError> {
    let (header, _) = prefix::<Header>(raw, "header")?;
    if header.abi != ABI_VERSION {
        return Err(RecordError::Abi(header.abi));
    }
    let kind = RecordKind::try_from(header.kind)
        .map_err(|unknown| RecordError::Unknown { what: "kind", value: unknown.0.into() })?;
    match kind {
        RecordKind::Data | RecordKind::Skipped => data(raw, kind),
        RecordKind::Socket => socket(raw),
        RecordKind::Close => close(raw),
        RecordKind::Segment => segment(raw),
        RecordKind::Secret => secret(raw),
        RecordKind::Exec => exec(raw),
        RecordKind::Exit => Ok(Record::Exit { boot_ns: header.time_ns, pid: header.tgid }),
    }
}

fn data(raw: &[u8], kind: RecordKind) -> Result<Record<'_>, RecordError> {
    let (record, rest) = prefix::<DataRecord>(raw, "data")?;
    let bytes = rest.get(..record.len as usize).ok_or(RecordError::Short("data"))?;
    let direction = direction(record.header.way)?
        .ok_or(RecordError::Unknown { what: "way", value: record.header.way.into() })?;
    let (boot_ns, session) = (record.header.time_ns, key(&record.header, record.session));
    let (offset, lost) = (record.offset, record.lost.into());
    Ok(if kind == RecordKind::Skipped {
        Record::Skipped { boot_ns, session, direction, offset, bytes: lost }
    } else {
        Record::Data { boot_ns, session, direction, offset, lost, bytes }
    })
}

fn socket(raw: &[u8]) -> Result<Record<'_>, RecordError> {
    let (record, _) =
        SocketRecord::ref_from_prefix(raw).map_err(|_| RecordError::Short("socket"))?;
    let local = address(record.family, record.local)?;
    let remote = address(record.family, record.remote)?;
    let socket = Socket {
        cookie: record.cookie,
        local: SocketAddr::new(local, record.local_port),
        remote: SocketAddr::new(remote, record.remote_port),
        netns: record.netns,
    };
    let boot_ns = record.header.time_ns;
    let comm = until_zero(&record.comm);
    if record.session.object == 0 {
        return Ok(Record::Owner { boot_ns, pid: record.header.tgid, socket, comm });
    }
    Ok(Record::Socket { boot_ns, session: key(&record.header, record.session), socket, comm })
}

fn segment(raw: &[u8]) -> Result<Record<'_>, RecordError> {
    let (record, rest) = prefix::<SegmentRecord>(raw, "segment")?;
    let bytes = rest.get(..record.len as usize).ok_or(RecordError::Short("segment"))?;
    let direction = direction(record.header.way)?
        .ok_or(RecordError::Unknown { what: "way", value: record.header.way.into() })?;
    let end = |address, port| SocketAddr::new(Ipv6Addr::from(address).to_canonical(), port);
    Ok(Record::Segment {
        boot_ns: record.header.time_ns,
        received: direction == Direction::Inbound,
        cookie: record.cookie,
        source: end(record.source, record.source_port),
        destination: end(record.destination, record.destination_port),
        netns: record.netns,
        cgroup: record.cgroup,
        seq: record.seq,
        ack: record.ack,
        flags: u8::try_from(record.flags & 0xff).unwrap_or(0),
        first: record.flags & SegmentRecord::FIRST != 0,
        lost: record.lost,
        bytes,
    })
}

fn secret(raw: &[u8]) -> Result<Record<'_>, RecordError> {
    let (record, _) =
        SecretRecord::ref_from_prefix(raw).map_err(|_| RecordError::Short("secret"))?;
    let kind = SecretKind::try_from(record.kind)
        .map_err(|unknown| RecordError::Unknown { what: "secret kind", value: unknown.0.into() })?;
    let short = RecordError::Short("secret");
    Ok(Record::Secret {
        boot_ns: record.header.time_ns,
        pid: record.header.tgid,
        tid: record.header.tid,
        cgroup: record.cgroup,
        netns: record.netns,
        kind,
        secret: record.secret.get(..record.secret_len.into()).ok_or(short)?,
        context: record.context.get(..record.context_len.into()).ok_or(short)?,
    })
}

fn close(raw: &[u8]) -> Result<Record<'_>, RecordError> {
    let (record, _) = prefix::<CloseRecord>(raw, "close")?;
    Ok(Record::Close {
        boot_ns: record.header.time_ns,
        session: key(&record.header, record.session),
        direction: direction(record.header.way)?,
    })
}

fn exec(raw: &[u8]) -> Result<Record<'_>, RecordError> {
    let (record, _) = ExecRecord::ref_from_prefix(raw).map_err(|_| RecordError::Short("exec"))?;
    let pid = record.header.tgid;
    Ok(Record::Exec { pid, comm: until_zero(&record.comm), path: until_zero(&record.path) })
}

fn prefix<'a, T: FromBytes>(
    raw: &'a [u8],
    name: &'static str,
) -> Result<(T, &'a [u8]), RecordError> {
    T::read_from_prefix(raw).map_err(|_| RecordError::Short(name))
}

fn key(header: &Header, session: Session) -> SessionKey {
    SessionKey { pid: header.tgid, object: session.object, generation: session.generation }
}

/// The direction of a way; `None` for both.
fn direction(way: u8) -> Result<Option<Direction>, RecordError> {
    match Way::try_from(way) {
        Ok(Way::In) => Ok(Some(Direction::Inbound)),
        Ok(Way::Out) => Ok(Some(Direction::Outbound)),
        Ok(Way::Both) => Ok(None),
        Err(unknown) => Err(RecordError::Unknown { what: "way", value: unknown.0.into() }),
    }
}

/// IPv4-mapped addresses become IPv4, so that both ends of a connection name it alike.
fn address(family: u16, bytes: [u8; 16]) -> Result<IpAddr, RecordError> {
    match family {
        AF_INET => {
            let [a, b, c, d, ..] = bytes;
            Ok(Ipv4Addr::new(a, b, c, d).into())
        }
        AF_INET6 => Ok(Ipv6Addr::from(bytes).to_canonical()),
        other => Err(RecordError::Unknown { what: "address family", value: other }),
    }
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{any, proptest},
    };
    use zerocopy::IntoBytes as _;

    use super::*;

    fn header(kind: RecordKind, way: u8) -> Header {
        let kind = kind as u8;
        Header { abi: ABI_VERSION, kind, way, tgid: 7, tid: 8, reserved: 0, time_ns: 99 }
    }

    fn data_record(len: u32) -> DataRecord {
        let session = Session { object: 1, generation: 2 };
        DataRecord { header: header(RecordKind::Data, 1), session, offset: 5, len, lost: 3 }
    }

    const KEY: SessionKey = SessionKey { pid: 7, object: 1, generation: 2 };

    #[test]
    fn a_data_record_yields_its_payload_and_not_the_slack_of_its_size_class() {
        let mut raw = data_record(3).as_bytes().to_vec();
        raw.extend(b"GETslack");
        let expected = Record::Data {
            boot_ns: 99,
            session: KEY,
            direction: Direction::Inbound,
            offset: 5,
            lost: 3,
            bytes: b"GET",
        };
        assert!(decode(&raw) == Ok(expected));
    }

    #[test]
    fn what_was_passed_over_is_told_by_its_length() {
        let mut record = data_record(0);
        record.header.kind = RecordKind::Skipped as u8;
        let (session, direction) = (KEY, Direction::Inbound);
        let expected = Record::Skipped { boot_ns: 99, session, direction, offset: 5, bytes: 3 };
        assert!(decode(record.as_bytes()) == Ok(expected));
    }

    #[test]
    fn a_length_beyond_the_record_is_refused() {
        let raw = data_record(1).as_bytes().to_vec();
        assert!(decode(&raw) == Err(RecordError::Short("data")));
    }

    #[test]
    fn mapped_ipv4_addresses_are_told_as_ipv4() {
        let mapped = "::ffff:192.0.2.1".parse::<Ipv6Addr>().unwrap().octets();
        let record = SocketRecord {
            header: header(RecordKind::Socket, 0),
            session: Session { object: 1, generation: 2 },
            cookie: 4,
            local: mapped,
            remote: Ipv6Addr::LOCALHOST.octets(),
            local_port: 443,
            remote_port: 50_000,
            family: AF_INET6,
            reserved: 0,
            netns: 6,
            reserved2: 0,
            comm: *b"thread\0\0\0\0\0\0\0\0\0\0",
        };
        let Ok(Record::Socket { socket, comm, .. }) = decode(record.as_bytes()) else { panic!() };
        assert_eq!(socket.local, "192.0.2.1:443".parse().unwrap());
        assert_eq!(socket.remote, "[::1]:50000".parse().unwrap());
        assert_eq!(comm, b"thread");
    }

    #[test]
    fn unknown_values_are_errors_not_enums() {
        let mut unknown_kind = header(RecordKind::Exit, 0);
        unknown_kind.kind = 77;
        let refused = RecordError::Unknown { what: "kind", value: 77 };
        assert!(decode(unknown_kind.as_bytes()) == Err(refused));
        let mut other_abi = header(RecordKind::Exit, 0);
        other_abi.abi = 9;
        assert!(decode(other_abi.as_bytes()) == Err(RecordError::Abi(9)));
        let mut both = data_record(0);
        both.header.way = Way::Both as u8;
        let refused = RecordError::Unknown { what: "way", value: 3 };
        assert!(decode(both.as_bytes()) == Err(refused));
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(raw in vec(any::<u8>(), 0..400), kind in 0u8..10) {
            let mut raw = raw;
            if raw.len() > 3 {
                raw[..2].copy_from_slice(&ABI_VERSION.to_ne_bytes());
                raw[2] = kind;
            }
            let _ = decode(&raw);
        }
    }
}
