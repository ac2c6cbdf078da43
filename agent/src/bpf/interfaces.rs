//! Packets at the interfaces of the agent's network namespace, by links of TCX (Linux 6.6).
//!
//! In: the interfaces as they are now, asked for once a second, as others come. Out: programs at each,
//! before those of others, which are run as if ours were not there. A link ends with the agent, however
//! that ends; filters of the older `tc` would stay, so they are not used where there is no TCX.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use aya::{
    Ebpf,
    maps::{HashMap as Table, MapData},
    programs::{
        LinkOrder, SchedClassifier, TcAttachType,
        tc::{SchedClassifierLink, TcAttachOptions},
    },
};
use nix::{ifaddrs::getifaddrs, net::if_::if_nameindex};

use crate::bpf::{
    BpfError,
    load::{map_error, program_error, reason},
};

/// The programs, with the way that each looks.
const PROGRAMS: [(&str, TcAttachType); 2] =
    [("frame_in", TcAttachType::Ingress), ("frame_out", TcAttachType::Egress)];

const LINK_HEADERS: &str = "LINK_HEADERS";

/// Bytes of an Ethernet header.
const ETHERNET_HEADER: u32 = 14;

// Types of hardware (linux/if_arp.h): with that header, and with none before that of IP.
const ETHERNET: u16 = 1;
const LOOPBACK: u16 = 772;
const PPP: u16 = 512;
const TUNNEL: u16 = 768;
const TUNNEL6: u16 = 769;
const SIT: u16 = 776;
const NONE: u16 = 0xfffe;

/// An interface.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Interface {
    index: u32,
    name: String,
    /// Its hardware's type; `None` where it has no addresses of its own.
    hardware: Option<u16>,
}

/// Interfaces at which packets are seen.
pub(in crate::bpf) struct Interfaces {
    headers: Table<MapData, u32, u32>,
    links: HashMap<u32, Vec<SchedClassifierLink>>,
    /// Those that are left, which are tried but once.
    left: HashSet<u32>,
}

impl Interfaces {
    /// Has packets be seen at each interface that there is.
    ///
    /// # Errors
    /// It is possible at none, with the reason as one line.
    pub fn attach(ebpf: &mut Ebpf) -> Result<Self, String> {
        let headers = ebpf.take_map(LINK_HEADERS).ok_or("the object lacks a map")?;
        let headers =
            Table::try_from(headers).map_err(|error| reason(&map_error(LINK_HEADERS, error)))?;
        for (name, _) in PROGRAMS {
            classifier(ebpf, name)
                .and_then(|it| it.load().map_err(|error| program_error(name, error)))
                .map_err(|error| reason(&error))?;
        }
        let mut interfaces = Self { headers, links: HashMap::new(), left: HashSet::new() };
        let refused = interfaces.follow(ebpf);
        if interfaces.links.is_empty() {
            return Err(refused.unwrap_or_else(|| "there is no interface".to_owned()));
        }
        Ok(interfaces)
    }

    /// Looks at interfaces that have come, and lets go of those that are gone. Why one that has come
    /// is left, if one is.
    pub fn follow(&mut self, ebpf: &mut Ebpf) -> Option<String> {
        let now = present();
        let is_there = |index: &u32| now.iter().any(|interface| interface.index == *index);
        let headers = &mut self.headers;
        self.links.retain(|index, _| {
            let stays = is_there(index);
            if !stays {
                let _ = headers.remove(index);
            }
            stays
        });
        self.left.retain(is_there);
        let mut refused = None;
        for interface in now {
            let Interface { index, name, .. } = &interface;
            if self.links.contains_key(index) || self.left.contains(index) {
                continue;
            }
            if let Err(reason) = self.look_at(ebpf, &interface) {
                tracing::debug!(interface = name, reason, "packets are not seen here");
                self.left.insert(*index);
                refused = refused.or(Some(reason));
            }
        }
        refused
    }

    fn look_at(&mut self, ebpf: &mut Ebpf, interface: &Interface) -> Result<(), String> {
        if let Some(master) = master_of(&interface.name) {
            return Err(format!("its packets are seen at {master}"));
        }
        let header = header_of(interface.hardware).ok_or("its link layer is not known")?;
        self.headers
            .insert(interface.index, header, 0)
            .map_err(|error| reason(&map_error(LINK_HEADERS, error)))?;
        let mut links = Vec::new();
        for (name, way) in PROGRAMS {
            let link = attach_one(ebpf, name, way, &interface.name);
            links.push(link.map_err(|error| format!("no TCX: {}", reason(&error)))?);
        }
        self.links.insert(interface.index, links);
        Ok(())
    }
}

fn classifier<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, BpfError> {
    let program = ebpf.program_mut(name).ok_or(BpfError::Missing(name))?;
    program.try_into().map_err(|error| program_error(name, error))
}

fn attach_one(
    ebpf: &mut Ebpf,
    name: &'static str,
    way: TcAttachType,
    interface: &str,
) -> Result<SchedClassifierLink, BpfError> {
    let program = classifier(ebpf, name)?;
    // Others may let a packet through at once, or send it elsewhere: who comes later misses it.
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    program
        .attach_with_options(interface, way, order)
        .and_then(|id| program.take_link(id))
        .map_err(|error| program_error(name, error))
}

/// The interfaces of the agent's network namespace.
fn present() -> Vec<Interface> {
    let mut hardware: HashMap<usize, u16> = HashMap::new();
    for address in getifaddrs().into_iter().flatten() {
        if let Some(link) = address.address.as_ref().and_then(|it| it.as_link_addr()) {
            hardware.insert(link.ifindex(), link.hatype());
        }
    }
    let Ok(indexes) = if_nameindex() else { return Vec::new() };
    let named = |interface: &nix::net::if_::Interface| {
        let index = interface.index();
        let name = interface.name().to_str().ok()?.to_owned();
        let hardware = usize::try_from(index).ok().and_then(|at| hardware.get(&at)).copied();
        Some(Interface { index, name, hardware })
    };
    indexes.iter().filter_map(named).collect()
}

/// The bridge or bond that an interface is a port of: what comes in at the port comes in there next. A
/// master of VRF is no such thing.
fn master_of(name: &str) -> Option<String> {
    let master = fs::read_link(format!("/sys/class/net/{name}/master")).ok()?;
    let master = master.file_name()?.to_str()?.to_owned();
    let told = fs::read_to_string(format!("/sys/class/net/{master}/uevent")).unwrap_or_default();
    (!told.lines().any(|line| line == "DEVTYPE=vrf")).then_some(master)
}

/// Bytes before the IP header in frames of such hardware.
const fn header_of(hardware: Option<u16>) -> Option<u32> {
    match hardware {
        Some(ETHERNET | LOOPBACK) => Some(ETHERNET_HEADER),
        None | Some(PPP | TUNNEL | TUNNEL6 | SIT | NONE) => Some(0),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_with_the_header_of_ethernet() {
        let loopback = present().into_iter().find(|interface| interface.index == 1).unwrap();
        assert_eq!(loopback.name, "lo");
        assert_eq!(header_of(loopback.hardware), Some(ETHERNET_HEADER));
        assert_eq!(master_of("lo"), None);
    }

    #[test]
    fn what_has_no_link_layer_is_read_from_its_start_and_what_is_not_known_is_not_read() {
        const INFINIBAND: u16 = 32;
        assert_eq!((header_of(Some(NONE)), header_of(None)), (Some(0), Some(0)));
        assert_eq!(header_of(Some(INFINIBAND)), None);
    }
}
