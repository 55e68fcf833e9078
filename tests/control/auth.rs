//! Who may call what.

use super::*;
use secrecy::SecretString;
use windlass::control::Access;

const TOKEN: &str = "a-token-of-some-length-4f9d";

/// Every guarded route with a path that names something of each sort.
fn guarded() -> impl Iterator<Item = (Method, String, Access)> {
    let doors = control::doors().into_iter();
    doors.map(|door| (door.method, door.path.replace("{id}", &JobId::mint().to_string()).replace(['{', '}'], ""), door.access))
}

fn with_token() -> Config {
    Config { token: Some(SecretString::from(TOKEN)), failures_per_address: 0, ..Config::default() }
}

#[tokio::test]
async fn with_a_token_every_route_but_livez_needs_it() {
    let port = Port::with(with_token()).await;
    for (method, path, _) in guarded() {
        let request = || port.request(method.clone(), &path).header("content-type", "application/json").body("{}");
        for shown in ["", "Bearer wrong", "Bearer", "Basic YTpi", &format!("Bearer {TOKEN}x"), TOKEN] {
            let answer = Answer::of(request().header("authorization", shown)).await;
            answer.problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"windlass\"", "{method} {path}");
        }
        Answer::of(request()).await.problem(401, "unauthorized");
        let admitted = Answer::of(request().bearer_auth(TOKEN)).await;
        assert_ne!(admitted.status, StatusCode::UNAUTHORIZED, "{method} {path}: {admitted:?}");
    }
    assert_eq!(port.get("/livez").await.status, StatusCode::OK);
    assert_eq!(port.get("/livez").await.text, "ok\n");
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_around_the_token() {
    let port = Port::with(with_token()).await;
    for path in [
        "/livez/../v1/jobs",
        "/livez/..%2fv1/jobs",
        "/livez%2f..%2fv1%2fjobs",
        "//v1/jobs",
        "/v1//jobs",
        "/V1/jobs",
        "/v1/jobs?/livez",
        "/v1/jobs?livez",
        "/v1/jobs#/livez",
        "/hooks/../v1/jobs",
        "/hooks/%2e%2e/v1/jobs",
        "/v1/jobs;/livez",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", port.address);
        let answer = port.raw(request.as_bytes()).await;
        let status: u16 = answer.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status");
        assert!([400, 401, 404, 405].contains(&status), "{path}: {answer}");
    }
}

#[tokio::test]
async fn without_token_a_page_that_points_its_name_at_this_machine_is_refused() {
    let port = Port::with(Config { allowed_hosts: vec!["jobs.internal".into()], ..Config::default() }).await;
    let ask = |host: &'static str| port.request(Method::GET, "/v1/queues").header("host", host);
    for host in ["127.0.0.1", "localhost:7717", "[::1]:7717", "jobs.internal"] {
        assert_eq!(Answer::of(ask(host)).await.status, StatusCode::OK, "{host}");
    }
    for host in ["evil.example", "evil.example:7717", "127.0.0.1.evil.example", "169.254.169.254"] {
        Answer::of(ask(host)).await.problem(403, "host_not_allowed");
    }
    let form = port.request(Method::POST, "/v1/queues/q/pause").header("origin", "http://evil.example");
    Answer::of(form).await.problem(403, "cross_site");
    let preflight = Answer::of(port.request(Method::OPTIONS, "/v1/jobs").header("origin", "http://evil.example")).await;
    preflight.problem(405, "wrong_method");
    assert!(preflight.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{preflight:?}");
}

#[tokio::test]
async fn without_token_nothing_that_came_through_a_proxy_is_answered() {
    let port = Port::start().await;
    for (method, path, _) in guarded() {
        // What nginx sends by default: its own upstream as the host.
        let request = port.request(method, &path).header("host", "127.0.0.1:7717").header("x-real-ip", "1.1.1.1");
        Answer::of(request.header("content-type", "application/json").body("{}")).await.problem(403, "proxied");
    }
    for (name, value) in [("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https"), ("via", "1.1 p")] {
        let problem = Answer::of(port.request(Method::GET, "/v1/queues").header(name, value)).await.problem(403, "proxied");
        assert!(problem["detail"].as_str().expect("text").contains("set control.token"), "{problem}");
    }
    let port = Port::with(with_token()).await;
    let known = port.request(Method::GET, "/v1/queues").bearer_auth(TOKEN).header("x-forwarded-for", "1.1.1.1");
    assert_eq!(Answer::of(known).await.status, StatusCode::OK, "a token is a token, wherever it came through");
}

#[tokio::test]
async fn a_changed_token_is_in_force_after_a_reload() {
    let port = Port::with(with_token()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "another-token\n").expect("written");
    let config = Config { token_file: Some(file), ..Config::default() };
    port.state.reload(&config, &signatures::Config::default()).expect("a good configuration");
    Answer::of(port.request(Method::GET, "/v1/queues").bearer_auth(TOKEN)).await.problem(401, "unauthorized");
    assert_eq!(Answer::of(port.request(Method::GET, "/v1/queues").bearer_auth("another-token")).await.status, StatusCode::OK);
    let broken = Config { token_file: Some("/does/not/exist".into()), ..Config::default() };
    let error = port.state.reload(&broken, &signatures::Config::default()).expect_err("no such file");
    assert!(error.contains("/does/not/exist"), "{error}");
    assert_eq!(Answer::of(port.request(Method::GET, "/v1/queues").bearer_auth("another-token")).await.status, StatusCode::OK);
}

#[test]
fn a_port_that_others_can_reach_needs_a_token() {
    let open: SocketAddr = "0.0.0.0:7717".parse().expect("an address");
    let error = Config { listen: open, ..Config::default() }.check().expect_err("open to all");
    assert!(error.contains("needs a token") && !error.contains('\n'), "{error}");
    let error = Config { listen: open, ..with_token() }.may_serve(&signatures::Config::default()).expect_err("a token in the open");
    assert!(error.contains("tls_cert_file") && error.contains("behind_proxy") && !error.contains('\n'), "{error}");
    Config { listen: open, behind_proxy: vec!["10.0.0.0/8".parse().expect("a range")], ..with_token() }
        .may_serve(&signatures::Config::default())
        .expect("proxies do TLS");
    let tls = Config { tls_cert_file: Some("c".into()), tls_key_file: Some("k".into()), ..Config::default() };
    Config { listen: open, ..with_token() }.check().expect("others may call it, where it is not ours to serve");
    Config { listen: open, ..tls }.check().expect_err("TLS lets in whoever comes");
    Config { listen: "[::1]:0".parse().expect("an address"), ..Config::default() }.check().expect("loopback");
    let empty = Config { listen: open, token: Some(SecretString::from("")), ..Config::default() };
    empty.check().expect_err("an empty token is none");
}

#[tokio::test]
async fn token_of_a_port_that_others_can_reach_is_not_short() {
    let port = Port::start().await;
    let short = Config { token: Some(SecretString::from("fifteen-letters")), ..Config::default() };
    let proxied = Config { behind_proxy: vec!["10.0.0.0/8".parse().expect("a range")], ..short.clone() };
    let error = port.state.reload(&proxied, &signatures::Config::default()).expect_err("others come through the proxy");
    assert!(error.contains("at least 16") && error.contains("openssl rand") && !error.contains("fifteen"), "{error}");
    port.state.reload(&short, &signatures::Config::default()).expect("a program of this machine");
}

#[test]
fn settings_that_cannot_work_are_named() {
    let broken = [
        ("token", Config { token: Some(SecretString::from("has space")), ..Config::default() }),
        ("token_file", Config { token_file: Some("/tmp/x".into()), ..with_token() }),
        ("tls_key_file", Config { tls_cert_file: Some("c".into()), ..Config::default() }),
        ("tls_cert_file", Config { tls_key_file: Some("k".into()), ..Config::default() }),
        ("tls_client_ca_file", Config { tls_client_ca_file: Some("ca".into()), ..Config::default() }),
        ("allowed_hosts", Config { allowed_hosts: vec!["*".into()], ..Config::default() }),
        ("max_connections_per_peer", Config { max_connections_per_peer: 0, ..Config::default() }),
        ("max_hook_buffered_bytes", Config { max_hook_buffered_bytes: 0, ..Config::default() }),
        ("hook_deadline_ms", Config { hook_deadline_ms: 0, ..Config::default() }),
        ("first_header_deadline_ms", Config { first_header_deadline_ms: 0, ..Config::default() }),
        ("max_connections", Config { max_connections: 0, ..Config::default() }),
        ("max_payload_bytes", Config { max_payload_bytes: 17 << 20, ..Config::default() }),
        ("max_hook_bytes", Config { max_hook_bytes: 1 << 40, ..Config::default() }),
        ("max_buffered_bytes", Config { max_buffered_bytes: 1024, ..Config::default() }),
        ("idle_deadline_ms", Config { idle_deadline_ms: 0, ..Config::default() }),
    ];
    for (setting, config) in broken {
        let error = config.check().expect_err(setting);
        assert!(error.contains(setting), "{setting}: {error}");
        assert!(!format!("{config:?}").contains("has space"), "a secret was printed");
    }
}

#[test]
fn a_configuration_is_read_with_its_defaults_and_unknown_keys_are_refused() {
    let config: Config = toml::from_str("listen = \"127.0.0.1:9000\"\ntoken = \"t0ken\"").expect("a configuration");
    assert_eq!((config.listen.port(), config.max_payload_bytes), (9000, 1 << 20));
    assert!(!format!("{config:?}").contains("t0ken"), "a secret was printed");
    assert_eq!(Config::default().listen, "127.0.0.1:7717".parse().expect("an address"));
    let error = toml::from_str::<Config>("lisen = \"127.0.0.1:9000\"").expect_err("unknown");
    assert!(error.to_string().contains("lisen"), "{error}");
}
