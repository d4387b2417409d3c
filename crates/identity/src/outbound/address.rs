//! Which IP addresses a request of the hub's own may go to.
//!
//! What must hold: whoever controls a DNS name can't make the hub talk to the network that it
//! stands in. An address that carries an IPv4 address inside is judged by that one too. This file
//! is pure: it must not know names, URLs or sockets.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Why an address is refused. The setting `allow_private` opens the first kind alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// An address that means something inside of one network only, or nothing at all.
    Private(&'static str),
    /// An address at which no backend can be: it is refused with `allow_private` too.
    Never(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private(kind) => write!(f, "{kind}; allow_private = true would allow it"),
            Self::Never(kind) => f.write_str(kind),
        }
    }
}

use Refusal::{Never, Private};

/// The addresses at which clouds give a machine its credentials: AWS (machines, tasks, pods), which
/// most others copy, Alibaba, Oracle, Azure, Google.
const METADATA: [IpAddr; 9] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Address blocks of IPv4 that are not the public Internet (IANA's special-purpose registry, RFC
/// 6890), each by its first address and the length of its prefix.
const BLOCKS: [(Ipv4Addr, u32, Refusal); 16] = [
    (
        Ipv4Addr::new(0, 0, 0, 0),
        8,
        Never("an unspecified address"),
    ),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Private("a private address")),
    (
        Ipv4Addr::new(100, 64, 0, 0),
        10,
        Private("an address of carrier-grade NAT"),
    ),
    (
        Ipv4Addr::new(127, 0, 0, 0),
        8,
        Private("a loopback address"),
    ),
    (
        Ipv4Addr::new(169, 254, 0, 0),
        16,
        Private("a link-local address"),
    ),
    (
        Ipv4Addr::new(172, 16, 0, 0),
        12,
        Private("a private address"),
    ),
    (
        Ipv4Addr::new(192, 0, 0, 0),
        24,
        Private("a reserved address"),
    ),
    (
        Ipv4Addr::new(192, 0, 2, 0),
        24,
        Private("an address for examples"),
    ),
    (
        Ipv4Addr::new(192, 88, 99, 0),
        24,
        Private("a reserved address"),
    ),
    (
        Ipv4Addr::new(192, 168, 0, 0),
        16,
        Private("a private address"),
    ),
    (
        Ipv4Addr::new(198, 18, 0, 0),
        15,
        Private("an address for benchmarks"),
    ),
    (
        Ipv4Addr::new(198, 51, 100, 0),
        24,
        Private("an address for examples"),
    ),
    (
        Ipv4Addr::new(203, 0, 113, 0),
        24,
        Private("an address for examples"),
    ),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Never("a multicast address")),
    (Ipv4Addr::BROADCAST, 32, Never("the broadcast address")),
    (
        Ipv4Addr::new(240, 0, 0, 0),
        4,
        Private("a reserved address"),
    ),
];

/// Returns why a request may not go to this address, or `None` if it is a public one.
pub(super) fn refusal(ip: IpAddr) -> Option<Refusal> {
    if METADATA.contains(&ip) {
        return Some(Never("the address of a cloud's metadata service"));
    }
    match ip {
        IpAddr::V4(ip) => {
            let bits = ip.to_bits();
            let block = BLOCKS
                .iter()
                .find(|(first, length, _)| (first.to_bits() ^ bits) >> (32 - length) == 0);
            block.map(|(.., why)| *why)
        }
        IpAddr::V6(ip) => refusal_v6(ip),
    }
}

fn refusal_v6(ip: Ipv6Addr) -> Option<Refusal> {
    let parts = ip.segments();
    let own = match parts {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(Never("an unspecified address")),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Private("a loopback address")),
        [0, 0, 0, 0, 0, 0, ..] => Some(Private("an IPv4-compatible address")),
        [0, 0, 0, 0, 0, 0xffff, ..] => Some(Private("an IPv4-mapped address")),
        [0x64, 0xff9b, 1, ..] => Some(Private("an address of a local NAT64")),
        [0x100, 0, 0, 0, ..] => Some(Private("an address that is thrown away")),
        [0x2001, 0, ..] => Some(Private("an address of Teredo")),
        [0x2001, 0xdb8, ..] => Some(Private("an address for examples")),
        [first, ..] if first & 0xfe00 == 0xfc00 => Some(Private("a private address")),
        [first, ..] if first & 0xffc0 == 0xfe80 => Some(Private("a link-local address")),
        [first, ..] if first & 0xffc0 == 0xfec0 => Some(Private("a site-local address")),
        [first, ..] if first & 0xff00 == 0xff00 => Some(Never("a multicast address")),
        _ => None,
    };
    // What is never allowed stays so in each of the forms in which IPv6 carries an IPv4 address.
    let inside = embedded(ip).and_then(|ip| refusal(ip.into()));
    match (own, inside) {
        (_, Some(Never(why))) => Some(Never(why)),
        (own, inside) => own.or(inside),
    }
}

/// Returns the IPv4 address that this one stands for: mapped and compatible ones (RFC 4291), NAT64
/// (RFC 6052, 8215) and 6to4 (RFC 3056).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let at =
        |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match ip.segments() {
        // `::` and `::1` are addresses of IPv6 itself.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => at(high, low),
        [0x64, 0xff9b, 0 | 1, .., high, low] => at(high, low),
        [0x2002, high, low, ..] => at(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Refusal> {
        refusal(text.parse().unwrap())
    }

    #[test]
    fn public_addresses_are_allowed() {
        for ip in [
            "1.1.1.1",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
        ] {
            assert_eq!(of(ip), None, "{ip}");
        }
    }

    #[test]
    fn addresses_of_one_network_need_the_setting() {
        for ip in [
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.1",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.255.255",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "240.0.0.1",
            "255.255.255.254",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:c0a8:1::",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
        ] {
            assert!(matches!(of(ip), Some(Private(_))), "{ip}: {:?}", of(ip));
        }
    }

    #[test]
    fn no_setting_opens_metadata_and_what_is_no_host() {
        for ip in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:0.0.0.0",
            "224.0.0.1",
            "239.255.255.255",
            "ff02::1",
            "255.255.255.255",
            "::ffff:255.255.255.255",
        ] {
            assert!(matches!(of(ip), Some(Never(_))), "{ip}: {:?}", of(ip));
        }
    }
}
