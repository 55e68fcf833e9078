//! Every edge of every range, every disguise of an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use url::Url;
use windlass::clients::guard::{Guard, Refusal};

/// First and last address of each range that is never called, from the table of the reference (providers 4.3).
const RANGES: [(&str, &str); 28] = [
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "255.255.255.255"),
    ("::", "::ffff:ffff"),
    ("::ffff:0:0:0", "::ffff:0:ffff:ffff"),
    ("64:ff9b::", "64:ff9b::ffff:ffff"),
    ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
    ("100::", "100::ffff:ffff:ffff:ffff"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
];

fn guard(allow: &[&str]) -> Guard {
    let allow = allow.iter().map(|net| net.parse().expect("a network")).collect();
    Guard { allow, low_ports: vec![80, 443], https_only: false }
}

fn judge(url: &str) -> Result<(), Refusal> {
    guard(&[]).url(&Url::parse(url).expect("a URL"))
}

/// The address `by` steps further; None beyond the ends of the address space.
fn step(ip: IpAddr, by: i8) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).checked_add_signed(by.into()).map(|n| Ipv4Addr::from(n).into()),
        IpAddr::V6(ip) => u128::from(ip).checked_add_signed(by.into()).map(|n| Ipv6Addr::from(n).into()),
    }
}

fn in_a_range(ip: IpAddr) -> bool {
    RANGES.iter().any(|(first, last)| {
        let (first, last): (IpAddr, IpAddr) = (first.parse().expect("first"), last.parse().expect("last"));
        first.is_ipv4() == ip.is_ipv4() && (first..=last).contains(&ip)
    })
}

#[test]
fn the_first_and_last_address_of_every_range_are_refused_and_their_neighbours_are_not() {
    let mut neighbours = 0;
    for (first, last) in RANGES {
        let (first, last): (IpAddr, IpAddr) = (first.parse().expect("first"), last.parse().expect("last"));
        for inside in [first, last, step(first, 1).expect("a range of more than one")] {
            assert_eq!(guard(&[]).address(inside), Err(Refusal::Address(inside)), "{inside}");
        }
        for outside in [step(first, -1), step(last, 1)].into_iter().flatten().filter(|ip| !in_a_range(*ip)) {
            // ::ffff:0:0/96 is IPv4 by another name and judged as such.
            if matches!(outside, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
                continue;
            }
            assert_eq!(guard(&[]).address(outside), Ok(()), "{outside}");
            neighbours += 1;
        }
    }
    assert!(neighbours > 40, "{neighbours}");
}

#[test]
fn an_ipv4_address_mapped_into_ipv6_is_judged_as_itself() {
    for (first, last) in RANGES.iter().filter(|(first, _)| first.contains('.')) {
        for ip in [first, last] {
            let v4: Ipv4Addr = ip.parse().expect("IPv4");
            assert_eq!(guard(&[]).address(v4.to_ipv6_mapped().into()), Err(Refusal::Address(v4.into())));
        }
    }
    assert_eq!(guard(&[]).address("::ffff:93.184.216.34".parse().expect("IPv6")), Ok(()));
}

#[test]
fn odd_spellings_of_an_address_are_the_address() {
    for url in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://017700000001/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://127.0.0.1./",
        "http://①②⑦.0.0.1/",
        "http://[::1]/",
        "http://[::]/",
        "http://0/",
        "http://[::ffff:169.254.169.254]/latest/meta-data",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[::169.254.169.254]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://[2002:a9fe:a9fe::1]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://169.254.170.2/",
        "http://3232235521/",
        "http://0300.0250.0.1/",
    ] {
        assert!(matches!(judge(url), Err(Refusal::Address(_))), "{url}: {:?}", judge(url));
    }
}

#[test]
fn only_web_urls_without_credentials_on_web_ports_are_called() {
    assert_eq!(judge("https://hooks.example.com/in"), Ok(()));
    assert_eq!(judge("http://hooks.example.com:8443/in"), Ok(()));
    assert_eq!(judge("ftp://hooks.example.com/"), Err(Refusal::Scheme("ftp".into())));
    assert_eq!(judge("file:///etc/passwd"), Err(Refusal::Scheme("file".into())));
    assert_eq!(judge("https://user:pw@hooks.example.com/"), Err(Refusal::Credentials));
    assert_eq!(judge("https://user@hooks.example.com/"), Err(Refusal::Credentials));
    assert_eq!(judge("http://hooks.example.com:25/"), Err(Refusal::Port(25)));
    assert_eq!(judge("http://hooks.example.com:1023/"), Err(Refusal::Port(1023)));
    assert_eq!(judge("http://hooks.example.com:1024/"), Ok(()));
    let https_only = Guard { https_only: true, ..guard(&[]) };
    assert_eq!(https_only.url(&Url::parse("http://hooks.example.com/").expect("a URL")), Err(Refusal::Unencrypted));
}

fn socket(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), 0)
}

#[test]
fn one_private_address_among_public_ones_refuses_the_name() {
    let mixed = vec![socket("93.184.216.34"), socket("fd00::1")];
    assert_eq!(guard(&[]).resolved("a.example", mixed), Err(Refusal::Address("fd00::1".parse().expect("an address"))));
    let public = vec![socket("93.184.216.34"), socket("2606:2800:220:1::1")];
    assert_eq!(guard(&[]).resolved("a.example", public.clone()), Ok(public));
}

#[test]
fn names_of_machines_inside_are_refused_wherever_they_point() {
    for name in ["localhost", "LOCALHOST.", "x.localhost", "metadata.google.internal", "db.internal.", "printer.local", "instance-data"] {
        assert_eq!(guard(&[]).resolved(name, vec![socket("93.184.216.34")]), Err(Refusal::Name(name.into())));
    }
    assert!(guard(&[]).resolved("localhost.example.com", vec![socket("93.184.216.34")]).is_ok());
}

#[test]
fn the_allow_list_opens_its_ranges_and_nothing_else() {
    let open = guard(&["10.1.0.0/16", "127.0.0.0/8"]);
    assert_eq!(open.address("10.1.255.255".parse().expect("an address")), Ok(()));
    assert_eq!(open.address("::ffff:10.1.0.1".parse().expect("an address")), Ok(()));
    assert!(open.address("10.2.0.0".parse().expect("an address")).is_err());
    let both = vec![socket("::1"), socket("127.0.0.1")];
    assert_eq!(open.resolved("localhost", both), Ok(vec![socket("127.0.0.1")]), "of localhost only what is allowed is dialled");
}
