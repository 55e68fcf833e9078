//! TLS of the control port from the outside: a daemon that speaks it, commands that call it, and the configurations that are refused.

use super::program::Place;

/// A certificate for a name that nobody calls it by, with its key.
fn put_certificate(place: &Place) {
    let made = rcgen::generate_simple_self_signed(vec!["jobs.test".to_owned()]).expect("a certificate");
    place.write("port.crt", &made.cert.pem());
    place.write("port.key", &made.signing_key.serialize_pem());
}

#[test]
fn commands_call_a_daemon_by_tls_as_its_configuration_says_or_as_they_are_told() {
    let place = Place::new();
    put_certificate(&place);
    place.write("windlass.toml", "[control]\ntls_cert_file = \"port.crt\"\ntls_key_file = \"port.key\"\n");
    let daemon = place.daemon(&["--config", "windlass.toml"]);
    let address = daemon.address.to_string();
    let listed = place.run(&["queues", "pause", "q", "--config", "windlass.toml"]);
    assert_eq!(listed.code, 0, "{}", listed.err);
    let acts = place.run(&["audit", "list", "--listen", &address, "--ca-file", "port.crt", "--json"]);
    assert!(acts.code == 0 && acts.out.contains("\"actor\":\"http:127.0.0.1\""), "through the port: {acts:?}");
    let made = rcgen::generate_simple_self_signed(vec!["jobs.test".to_owned()]).expect("a certificate");
    place.write("other.crt", &made.cert.pem());
    assert_ne!(place.run(&["queues", "list", "--listen", &address, "--ca-file", "other.crt"]).code, 0, "somebody else's");
    assert_ne!(place.run(&["queues", "list", "--listen", &address]).code, 0, "in the open");
    place.run(&["queues", "list", "--listen", &address, "--ca-file", "none.crt"]).assert_refused(78, &["none.crt", "PEM"]);
}

#[test]
fn port_that_others_can_reach_in_the_open_is_refused_at_start() {
    let place = Place::new();
    place.write("windlass.toml", "[control]\ntoken = \"0123456789abcdef0123456789abcdef\"\n");
    let open = ["run", "--config", "windlass.toml", "--listen", "0.0.0.0:0"];
    place.run(&open).assert_refused(78, &["tls_cert_file", "behind_proxy"]);
    put_certificate(&place);
    for (lines, says) in [
        ("tls_cert_file = \"port.crt\"", "go together"),
        ("tls_cert_file = \"port.crt\"\ntls_key_file = \"none.key\"", "none.key"),
        ("tls_cert_file = \"port.key\"\ntls_key_file = \"port.key\"", "port.key"),
        ("behind_proxy = [\"10.0.0.0/99\"]", "behind_proxy"),
    ] {
        place.write("windlass.toml", &format!("[control]\n{lines}\n"));
        for command in ["run", "check"] {
            place.run(&[command, "--config", "windlass.toml"]).assert_refused(78, &[says]);
        }
    }
    place.write("windlass.toml", "[control]\ntls_cert_file = \"port.crt\"\ntls_key_file = \"port.key\"\nbehind_proxy = [\"10.0.0.0/8\"]\n");
    let shown = place.run(&["check", "--config", "windlass.toml"]);
    assert!(shown.code == 0 && shown.out.contains("port.key") && !shown.out.contains("PRIVATE"), "{shown:?}");
}
