//! Who calls through a proxy: its address as the proxy tells it, believed of those that `control.behind_proxy` names and of nobody else.

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether `address` is one of the proxies'.
pub(super) fn is_one(proxies: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    proxies.iter().any(|range| range.contains(&address))
}

/// Whether a connection of `peer` is taken: a plain port behind proxies is for them and for this machine.
pub(super) fn may_connect(proxies: &[IpNet], speaks_tls: bool, peer: IpAddr) -> bool {
    proxies.is_empty() || speaks_tls || is_one(proxies, peer) || peer.to_canonical().is_loopback()
}

/// Whose call it is that `peer` brings: the rightmost address in `X-Forwarded-For` that is no proxy's. What stands left of it the caller
/// may have written itself.
pub(super) fn caller(proxies: &[IpNet], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut caller = peer.to_canonical();
    if !is_one(proxies, caller) {
        return caller;
    }
    let lines: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or_default()).collect();
    for told in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        // A proxy that writes something else is believed no further.
        let Some(address) = address(told.trim()) else { break };
        caller = address;
        if !is_one(proxies, caller) {
            break;
        }
    }
    caller
}

/// With or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(peer: &str, lines: &[&'static str]) -> String {
        let proxies = ["10.0.0.0/8".parse().expect("a range"), "fd00::/8".parse().expect("a range")];
        let headers = lines.iter().map(|line| (FORWARDED_FOR, line.parse().expect("a value"))).collect();
        caller(&proxies, peer.parse().expect("an address"), &headers).to_string()
    }

    #[test]
    fn only_a_proxy_is_believed() {
        assert_eq!(told("192.0.2.9", &["198.51.100.1"]), "192.0.2.9");
        assert_eq!(told("127.0.0.1", &["198.51.100.1"]), "127.0.0.1");
        assert_eq!(told("10.1.1.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(told("::ffff:10.1.1.1", &["198.51.100.1"]), "198.51.100.1", "IPv4 by another name");
        assert_eq!(told("10.1.1.1", &[]), "10.1.1.1");
    }

    #[test]
    fn plain_port_behind_proxies_is_for_them_and_this_machine() {
        let proxies = ["10.0.0.0/8".parse().expect("a range")];
        let may = |speaks_tls, peer: &str| may_connect(&proxies, speaks_tls, peer.parse().expect("an address"));
        for peer in ["10.9.9.9", "::ffff:10.9.9.9", "127.0.0.1", "::1"] {
            assert!(may(false, peer), "{peer}");
        }
        assert!(!may(false, "11.0.0.1") && !may(false, "fd00::1") && may(true, "11.0.0.1"));
        assert!(may_connect(&[], false, "11.0.0.1".parse().expect("an address")), "nobody said that there are any");
    }

    #[test]
    fn rightmost_that_is_no_proxy_calls_whatever_it_wrote_itself() {
        assert_eq!(told("10.1.1.1", &["1.1.1.1, 198.51.100.1, 10.2.2.2"]), "198.51.100.1");
        assert_eq!(told("10.1.1.1", &["1.1.1.1", "198.51.100.1"]), "198.51.100.1");
        assert_eq!(told("10.1.1.1", &["10.3.3.3, 10.2.2.2"]), "10.3.3.3", "all are proxies: the first of them");
        assert_eq!(told("10.1.1.1", &["198.51.100.1, unknown, 10.2.2.2"]), "10.2.2.2", "believed as far as it can be read");
        assert_eq!(told("10.1.1.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(told("fd00::1", &["198.51.100.1:99"]), "198.51.100.1");
        assert_eq!(told("10.1.1.1", &["", "garbage"]), "10.1.1.1");
    }
}
