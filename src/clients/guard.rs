//! Which addresses an outbound call may reach: public ones, and those an operator allows. Pure; the dialling is `http.rs`'.
//!
//! A URL that somebody else wrote is a request to connect from inside our network. So every address a name resolves to is
//! judged, the connection goes to the judged address and no other, and redirects are not followed (reference: providers 4.3).

use ipnet::IpNet;
use std::{
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
};
use url::{Host, Url};

/// Special-purpose ranges (IANA registries): none of them is a public host. The first column is what Svix blocks.
const BLOCKED: [&str; 29] = [
    "0.0.0.0/8",       // this network
    "10.0.0.0/8",      // private
    "100.64.0.0/10",   // carrier NAT; 100.100.100.200 is a metadata service
    "127.0.0.0/8",     // loopback
    "169.254.0.0/16",  // link-local: 169.254.169.254 and 169.254.170.2 are metadata services
    "172.16.0.0/12",   // private
    "192.0.0.0/24",    // protocol assignments
    "192.0.2.0/24",    // documentation
    "192.88.99.0/24",  // 6to4 relays
    "192.168.0.0/16",  // private
    "198.18.0.0/15",   // benchmarks
    "198.51.100.0/24", // documentation
    "203.0.113.0/24",  // documentation
    "224.0.0.0/4",     // multicast
    "240.0.0.0/4",     // reserved, and broadcast
    "::/96",           // unspecified, loopback, IPv4-compatible
    "::ffff:0:0:0/96", // IPv4-translated (SIIT)
    "64:ff9b::/96",    // NAT64: an IPv4 address in disguise
    "64:ff9b:1::/48",  // NAT64, local
    "100::/64",        // discard
    "2001::/23",       // protocol assignments, with Teredo
    "2001:db8::/32",   // documentation
    "2002::/16",       // 6to4: an IPv4 address in disguise
    "3fff::/20",       // documentation
    "fc00::/7",        // unique local: fd00:ec2::254 is a metadata service
    "fe80::/10",       // link-local
    "fec0::/10",       // site-local
    "ff00::/8",        // multicast
    "5f00::/16",       // segment routing
];

static BLOCKED_NETS: LazyLock<Vec<IpNet>> = LazyLock::new(|| BLOCKED.iter().map(|net| net.parse().expect("a literal network")).collect());

/// Names that mean a machine inside, whatever they resolve to.
const INSIDE_NAMES: [&str; 2] = ["localhost", "instance-data"];
const INSIDE_DOMAINS: [&str; 4] = [".localhost", ".internal", ".local", ".home.arpa"];

/// From here on ports belong to applications; below, only web ports are called, because SMTP, Redis or SSH answered to an
/// HTTP request once too often.
const FIRST_FREE_PORT: u16 = 1024;

/// Why a call was not made. Not a fault of the far side: the same call will be refused again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("`{0}` is not a scheme that is called; use https or http")]
    Scheme(String),
    #[error("http is switched off (outbound.https_only); use https")]
    Unencrypted,
    #[error("user and password in a URL are refused; send an Authorization header")]
    Credentials,
    #[error("the URL names no host")]
    NoHost,
    #[error("port {0} is not a web port; add it to outbound.low_ports if it is meant")]
    Port(u16),
    #[error("`{0}` names a machine inside; add its address range to outbound.allow if it is meant")]
    Name(String),
    #[error("the address {0} is private or special; add its range to outbound.allow if it is meant")]
    Address(IpAddr),
}

#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Ranges that may be reached besides public ones.
    pub allow: Vec<IpNet>,
    /// Ports below 1024 that may be called.
    pub low_ports: Vec<u16>,
    pub https_only: bool,
}

impl Guard {
    /// Judges everything that can be judged without resolving a name. `Url` has brought odd forms of addresses (`0x7f.1`,
    /// `2130706433`, `127.1`) into one by now.
    ///
    /// # Errors
    /// Why the URL is not called.
    pub fn url(&self, url: &Url) -> Result<(), Refusal> {
        match url.scheme() {
            "https" => {}
            "http" if self.https_only => return Err(Refusal::Unencrypted),
            "http" => {}
            other => return Err(Refusal::Scheme(other.to_owned())),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Credentials);
        }
        let port = url.port_or_known_default().ok_or(Refusal::NoHost)?;
        if port < FIRST_FREE_PORT && !self.low_ports.contains(&port) {
            return Err(Refusal::Port(port));
        }
        match url.host().ok_or(Refusal::NoHost)? {
            Host::Ipv4(ip) => self.address(ip.into()),
            Host::Ipv6(ip) => self.address(ip.into()),
            Host::Domain(_) => Ok(()),
        }
    }

    /// The addresses of `name` that may be dialled. One bad address among good ones refuses the name: a resolver that
    /// answers both is confused or hostile.
    ///
    /// # Errors
    /// The first address, or the name, that is refused.
    pub fn resolved(&self, name: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refusal> {
        if is_inside(name) {
            // `localhost` is 127.0.0.1 and ::1; whoever allows one of them means the one.
            let allowed: Vec<_> = addresses.into_iter().filter(|a| self.allows(canonical(a.ip()))).collect();
            return if allowed.is_empty() { Err(Refusal::Name(name.to_owned())) } else { Ok(allowed) };
        }
        addresses.iter().try_for_each(|address| self.address(address.ip()))?;
        Ok(addresses)
    }

    /// # Errors
    /// When the address is neither public nor allowed.
    pub fn address(&self, ip: IpAddr) -> Result<(), Refusal> {
        let ip = canonical(ip);
        if self.allows(ip) || !BLOCKED_NETS.iter().any(|net| net.contains(&ip)) { Ok(()) } else { Err(Refusal::Address(ip)) }
    }

    fn allows(&self, ip: IpAddr) -> bool {
        self.allow.iter().any(|net| net.contains(&ip))
    }
}

/// `::ffff:10.0.0.1` is 10.0.0.1 to every network stack, so it is to us.
fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

fn is_inside(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    INSIDE_NAMES.contains(&name.as_str()) || INSIDE_DOMAINS.iter().any(|domain| name.ends_with(domain))
}
