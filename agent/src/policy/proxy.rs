//! The true address of a client behind proxies. In: the addresses of the connection, what proxies
//! wrote, and the networks of proxies that the policy trusts. Out: the nearest address that is
//! none of theirs. Who is not trusted is not believed, whatever it wrote.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::http::message::Fields;

/// Most hops that are followed: chains are short, fields are not.
pub const MAX_HOPS: usize = 32;

/// A network: addresses that begin alike.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

impl Network {
    /// Reads `ADDRESS/LENGTH`, or an address alone.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
            None => most,
        };
        (length <= most).then_some(Self { address, length })
    }

    /// Whether `address` is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(one)) => {
                let differ = net.to_bits() ^ one.to_bits();
                differ.leading_zeros() >= u32::from(self.length)
            }
            (IpAddr::V6(net), IpAddr::V6(one)) => {
                let differ = net.to_bits() ^ one.to_bits();
                differ.leading_zeros() >= u32::from(self.length)
            }
            _ => false,
        }
    }
}

/// The client's address, if the connection came from `peer`. `proxied_for` is what a PROXY
/// protocol header named.
#[must_use]
pub fn client_address(
    peer: IpAddr,
    proxied_for: Option<IpAddr>,
    fields: &Fields,
    trusted: &[Network],
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(peer) {
        return peer;
    }
    let nearest = proxied_for.unwrap_or(peer);
    if !is_trusted(nearest) {
        return nearest;
    }
    let mut client = nearest;
    for hop in hops(fields) {
        // What cannot be read hides whoever is behind it.
        let Some(address) = hop else { return client };
        client = address;
        if !is_trusted(address) {
            break;
        }
    }
    client
}

/// Addresses that proxies wrote, the nearest first: of `Forwarded` (RFC 7239 §4), else of
/// `X-Forwarded-For`. `None` for a hop that does not say who it is.
fn hops(fields: &Fields) -> Vec<Option<IpAddr>> {
    let standard = fields.first("forwarded").is_some();
    let name = if standard { "forwarded" } else { "x-forwarded-for" };
    let mut hops = Vec::new();
    for field in fields.all(name) {
        let text = String::from_utf8_lossy(field);
        let items =
            text.split(',').map(|item| if standard { forwarded_for(item) } else { node(item) });
        hops.extend(items);
    }
    hops.reverse();
    hops.truncate(MAX_HOPS);
    hops
}

/// `for=` of an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut values =
        pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map(|(_, it)| it);
    node(values.next_back()?)
}

/// An address with or without a port, brackets and quotes (RFC 7239 §6).
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    if let Some(rest) = text.strip_prefix('[') {
        return rest
            .split_once(']')?
            .0
            .parse::<Ipv6Addr>()
            .ok()
            .map(|it| IpAddr::V6(it).to_canonical());
    }
    let whole: Option<IpAddr> = text.parse().ok();
    let without_port = || text.rsplit_once(':')?.0.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    whole.map(|it| it.to_canonical()).or_else(without_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUSTED: [&str; 2] = ["10.0.0.0/8", "2001:db8::/32"];

    #[track_caller]
    fn check(peer: &str, fields: &[(&str, &str)], expected: &str) {
        let mut all = Fields::default();
        fields.iter().for_each(|(name, value)| all.push(name.as_bytes(), value.as_bytes()));
        let trusted = TRUSTED.map(|text| Network::parse(text).unwrap());
        let found = client_address(peer.parse().unwrap(), None, &all, &trusted);
        assert_eq!(found.to_string(), expected, "{fields:?}");
    }

    #[test]
    fn strangers_are_not_believed() {
        check("192.0.2.1", &[("x-forwarded-for", "198.51.100.7")], "192.0.2.1");
        check("192.0.2.1", &[("forwarded", "for=198.51.100.7")], "192.0.2.1");
    }

    #[test]
    fn the_nearest_untrusted_hop_is_the_client() {
        let (xff, forwarded) = ("x-forwarded-for", "forwarded");
        check("10.1.1.1", &[], "10.1.1.1");
        check("10.1.1.1", &[(xff, "198.51.100.7")], "198.51.100.7");
        check("10.1.1.1", &[(xff, "203.0.113.9, 198.51.100.7, 10.2.2.2")], "198.51.100.7");
        check("10.1.1.1", &[(xff, "203.0.113.9"), (xff, "198.51.100.7")], "198.51.100.7");
        check("10.1.1.1", &[(xff, "198.51.100.7:4711")], "198.51.100.7");
        check(
            "10.1.1.1",
            &[(forwarded, "for=198.51.100.7;proto=https, For=10.3.3.3")],
            "198.51.100.7",
        );
        check("10.1.1.1", &[(forwarded, "for=\"[2001:DB9::1]:80\"")], "2001:db9::1");
        check("10.1.1.1", &[(forwarded, "for=192.0.2.5"), (xff, "192.0.2.6")], "192.0.2.5");
        check("2001:db8::5", &[(xff, "::ffff:198.51.100.7")], "198.51.100.7");
    }

    #[test]
    fn what_cannot_be_read_hides_who_is_behind_it() {
        check("10.1.1.1", &[("x-forwarded-for", "198.51.100.7, unknown, 10.2.2.2")], "10.2.2.2");
        check("10.1.1.1", &[("forwarded", "for=_hidden")], "10.1.1.1");
        check("10.1.1.1", &[("forwarded", "proto=https")], "10.1.1.1");
        let long = ["10.2.2.2"; 40].join(",");
        check("10.1.1.1", &[("x-forwarded-for", &format!("192.0.2.9,{long}"))], "10.2.2.2");
    }

    #[test]
    fn a_proxy_protocol_header_is_believed_of_trusted_proxies_only() {
        let trusted = TRUSTED.map(|text| Network::parse(text).unwrap());
        let told = Some("192.0.2.77".parse().unwrap());
        let of = |peer: &str| {
            client_address(peer.parse().unwrap(), told, &Fields::default(), &trusted).to_string()
        };
        assert_eq!(of("10.0.0.1"), "192.0.2.77");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn networks_are_read_strictly() {
        for (text, valid) in [
            ("10.0.0.0/8", true),
            ("10.0.0.1", true),
            ("::1/128", true),
            ("0.0.0.0/0", true),
            ("10.0.0.0/33", false),
            ("10.0.0.0/+8", false),
            ("10.0.0/8", false),
            ("", false),
        ] {
            assert_eq!(Network::parse(text).is_some(), valid, "{text}");
        }
        let any = Network::parse("0.0.0.0/0").unwrap();
        assert!(any.contains("192.0.2.1".parse().unwrap()));
        assert!(!any.contains("2001:db8::1".parse().unwrap()));
    }
}
