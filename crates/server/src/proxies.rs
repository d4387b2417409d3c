//! Which address a request comes from, where a proxy stands between: the networks whose
//! `X-Forwarded-For` counts. From all others the header is what its sender likes, and is ignored.
//!
//! RFC 7239 has a header of its own for this, `Forwarded`, which few proxies write. It is not read:
//! with two headers, one of them would be the client's own.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

/// The networks of the operator's own proxies.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads networks, such as `10.0.0.0/8`, or single addresses.
    ///
    /// # Errors
    /// A sentence that names the text which is neither.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let network = |text: &String| {
            let text = text.trim();
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse().or_else(|_| address()).map_err(|_neither| {
                format!("trust_proxy: {text:?} is no network; write 10.0.0.0/8 or 2001:db8::/32")
            })
        };
        texts
            .iter()
            .map(network)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Returns true if an address is that of a proxy.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns the address of the client whose request came through the proxy at `peer`: the
    /// right-most address that is no proxy's. Each proxy adds the address that it saw at the end,
    /// so what the client itself wrote stands to the left of that.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut last = peer;
        for line in headers.get_all("x-forwarded-for").iter().rev() {
            for text in line.to_str().unwrap_or_default().rsplit(',') {
                // What is no address was written by no proxy of ours, nor was what is before it.
                let Some(address) = address(text.trim()) else {
                    return last;
                };
                last = address;
                if !self.contain(address) {
                    return address;
                }
            }
        }
        last
    }
}

/// Reads an address, with or without a port, as proxies write it.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().map(|it: std::net::SocketAddr| it.ip());
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().or_else(|_| with_port()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&str]) -> String {
        let networks = ["10.0.0.0/8".to_owned(), "2001:db8::1".to_owned()];
        let proxies = TrustedProxies::parse(&networks).unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let peer = peer.parse().unwrap();
        assert!(proxies.contain(peer));
        proxies.client(peer, &headers).to_string()
    }

    #[test]
    fn the_right_most_address_that_is_no_proxys_counts() {
        for (lines, address) in [
            (&[][..], "10.0.0.1"),
            (&["192.0.2.7"], "192.0.2.7"),
            (&["1.2.3.4, 192.0.2.7"], "192.0.2.7"),
            (&["1.2.3.4, 192.0.2.7, 10.9.9.9"], "192.0.2.7"),
            (&["1.2.3.4", "192.0.2.7,10.9.9.9", "10.0.0.2"], "192.0.2.7"),
            (&["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
            (&["1.2.3.4, unknown, 10.0.0.3"], "10.0.0.3"),
            (&["evil"], "10.0.0.1"),
            (&["[2001:db8:1::2]:443, 2001:db8::1"], "2001:db8:1::2"),
            (&["192.0.2.7:1234"], "192.0.2.7"),
        ] {
            assert_eq!(client("10.0.0.1", lines), address, "{lines:?}");
        }
        assert_eq!(client("::ffff:10.0.0.1", &["192.0.2.7"]), "192.0.2.7");
    }

    #[test]
    fn what_is_no_network_is_named() {
        for wrong in ["10.0.0.0/33", "proxy.example", ""] {
            let said = TrustedProxies::parse(&[wrong.to_owned()]).unwrap_err();
            assert!(said.contains(&format!("{wrong:?}")), "{said}");
        }
    }
}
