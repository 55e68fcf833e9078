//! TLS of the port, with real handshakes: which versions of HTTP it speaks, how its certificate is changed, and whom it lets in.

use super::*;
use axum::body::Body;
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use std::path::Path;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsConnector, client::TlsStream};
use windlass::job::Timestamp;

/// Who signs certificates, and the roots that trust it.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for `name` and its key, in PEM.
    fn signs(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.issuer).expect("signed").pem(), key.serialize_pem())
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM")
    }
}

/// Puts them where the configuration says that they are.
fn put(folder: &Path, (certificate, key): &(String, String)) -> Config {
    let (tls_cert_file, tls_key_file) = (folder.join("port.crt"), folder.join("port.key"));
    std::fs::write(&tls_cert_file, certificate).expect("written");
    std::fs::write(&tls_key_file, key).expect("written");
    Config { tls_cert_file: Some(tls_cert_file), tls_key_file: Some(tls_key_file), ..Config::default() }
}

/// What a client offers and trusts.
fn client(authority: &Authority, protocols: &[&str], own: Option<(String, String)>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate()).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let builder = builder.with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(vec![certificate], key).expect("they go together")
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

impl Port {
    async fn shake(&self, client: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await.expect("the port listens");
        let name = ServerName::try_from("port.test").expect("a name");
        tokio::time::timeout(PATIENCE, client.connect(name, stream)).await.expect("in time")
    }

    /// One call over a connection of its own.
    async fn livez(&self, client: &TlsConnector) -> std::io::Result<String> {
        let mut stream = self.shake(client).await?;
        livez_over(&mut stream).await
    }
}

async fn livez_over(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: port.test\r\n\r\n").await?;
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.expect("in time")?;
    if read == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().expect("it shows one")[0].clone().into_owned()
}

fn der(pem: &(String, String)) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.0.as_bytes()).expect("PEM")
}

#[tokio::test]
async fn port_speaks_both_versions_of_http_over_tls_and_nothing_in_the_open() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let port = Port::with(put(folder.path(), &authority.signs("port.test"))).await;
    assert!(port.livez(&client(&authority, &["http/1.1"], None)).await.expect("an answer").starts_with("HTTP/1.1 200"));
    assert!(
        port.livez(&client(&authority, &[], None)).await.expect("an answer").starts_with("HTTP/1.1 200"),
        "who names none gets HTTP/1.1"
    );
    let stream = port.shake(&client(&authority, &["h2", "http/1.1"], None)).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (requests, connection) =
        hyper::client::conn::http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    let driven = tokio::spawn(connection);
    let call = || {
        let mut requests = requests.clone();
        async move {
            let request = hyper::Request::get("https://port.test/livez").body(Body::empty()).expect("a request");
            requests.send_request(request).await.expect("an answer").status()
        }
    };
    // With the first answer it knows how many the port answers at once.
    assert_eq!(call().await, StatusCode::OK);
    let answers = tokio::time::timeout(PATIENCE, futures_util::future::join_all((0..40).map(|_| call()))).await.expect("in time");
    assert_eq!(answers, [StatusCode::OK; 40]);
    drop(requests);
    tokio::time::timeout(PATIENCE, driven).await.expect("it ends").expect("no panic").expect("in order");
    assert!(!port.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.contains("200"));
    assert_eq!(port.state.metrics.control_refused.with_label_values(&["handshake"]).get(), 1);
    port.stop().await;
}

/// A client of HTTP/2 that takes so many bytes of each answer, and whether its connection is still there.
async fn sparing(port: &Port, authority: &Authority, window: u32) -> (SendRequest<Body>, JoinHandle<hyper::Result<()>>) {
    let stream = port.shake(&client(authority, &["h2"], None)).await.expect("a handshake");
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (requests, connection) =
        builder.initial_stream_window_size(window).handshake::<_, Body>(TokioIo::new(stream)).await.expect("HTTP/2");
    (requests, tokio::spawn(connection))
}

/// An answer of which nothing but the head is taken.
async fn untaken(requests: &mut SendRequest<Body>, path: &str) -> hyper::Response<Incoming> {
    let request = hyper::Request::get(format!("https://port.test{path}")).body(Body::empty()).expect("a request");
    requests.send_request(request).await.expect("its head")
}

#[tokio::test]
async fn client_of_http_2_that_takes_no_answers_loses_its_connection() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let port = Port::with(Config { idle_deadline_ms: 200, max_connections: 1, ..put(folder.path(), &authority.signs("port.test")) }).await;
    let is_cut = async |driven: JoinHandle<hyper::Result<()>>| {
        tokio::time::timeout(PATIENCE, driven).await.expect("in time").expect("no panic").is_err()
    };
    // Nobody else comes; of the long answer one piece is handed over, and of the short one nothing.
    for (window, path) in [(1, "/openapi.json"), (0, "/livez")] {
        let (mut requests, driven) = sparing(&port, &authority, window).await;
        let _answer = untaken(&mut requests, path).await;
        assert!(is_cut(driven).await, "{path}");
    }
    // Handed over whole, so that only the one who needs the place finds that it does not leave.
    let (mut requests, driven) = sparing(&port, &authority, 1).await;
    let _answers = [untaken(&mut requests, "/livez").await, untaken(&mut requests, "/livez").await];
    let answer = port.livez(&client(&authority, &["http/1.1"], None)).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && is_cut(driven).await, "{answer}");
    port.stop().await;
}

#[tokio::test]
async fn new_certificate_is_served_without_a_restart_while_old_connections_go_on() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let (first, second, third) = (authority.signs("port.test"), authority.signs("port.test"), authority.signs("port.test"));
    let config = put(folder.path(), &first);
    let port = Port::hooked(config.clone(), &signatures::Config::default(), Clock::manual(Timestamp::from_secs(1_900_000_000))).await;
    let client = client(&authority, &["http/1.1"], None);
    let mut old = port.shake(&client).await.expect("a handshake");
    assert_eq!(shown(&old), der(&first));
    put(folder.path(), &second);
    assert_eq!(shown(&port.shake(&client).await.expect("a handshake")), der(&first), "looked at once a minute");
    port.state.reload(&config, &signatures::Config::default()).expect("good files");
    assert_eq!(shown(&port.shake(&client).await.expect("a handshake")), der(&second), "or at once where it is told to");
    put(folder.path(), &third);
    port.state.clock.advance(Duration::from_secs(61));
    assert_eq!(shown(&port.shake(&client).await.expect("a handshake")), der(&third), "nobody told it");
    assert!(livez_over(&mut old).await.expect("it goes on").starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn certificate_that_cannot_be_used_leaves_the_old_one_in_force() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let (good, other) = (authority.signs("port.test"), authority.signs("port.test"));
    let config = put(folder.path(), &good);
    let port = Port::hooked(config.clone(), &signatures::Config::default(), Clock::manual(Timestamp::from_secs(1_900_000_000))).await;
    let client = client(&authority, &[], None);
    for broken in [("no certificate".to_owned(), good.1.clone()), (good.0.clone(), other.1.clone()), (String::new(), String::new())] {
        put(folder.path(), &broken);
        let error = port.state.reload(&config, &signatures::Config::default()).expect_err("it cannot be used");
        assert!(error.contains("control.tls_") && error.contains("name a") && !error.contains('\n'), "{error}");
        port.state.clock.advance(Duration::from_secs(61));
        assert_eq!(shown(&port.shake(&client).await.expect("a handshake")), der(&good));
    }
    put(folder.path(), &other);
    port.state.clock.advance(Duration::from_secs(61));
    assert_eq!(shown(&port.shake(&client).await.expect("a handshake")), der(&other), "a pair that came half by half");
}

#[tokio::test]
async fn caller_without_a_certificate_is_refused_where_one_is_asked_for() {
    let (folder, authority, stranger) = (tempfile::tempdir().expect("a folder"), Authority::new(), Authority::new());
    let callers = folder.path().join("callers.crt");
    std::fs::write(&callers, &authority.pem).expect("written");
    let config = Config { tls_client_ca_file: Some(callers), ..put(folder.path(), &authority.signs("port.test")) };
    let port = Port::with(config).await;
    let known = client(&authority, &["http/1.1"], Some(authority.signs("caller.test")));
    assert!(port.livez(&known).await.expect("an answer").starts_with("HTTP/1.1 200"));
    for own in [None, Some(stranger.signs("caller.test"))] {
        let refused = port.livez(&client(&authority, &["http/1.1"], own)).await;
        assert!(refused.is_err(), "{refused:?}");
    }
}

#[tokio::test]
async fn handshake_that_does_not_come_gives_its_place_back() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let tls = put(folder.path(), &authority.signs("port.test"));
    let port = Port::with(Config { first_header_deadline_ms: 100, ..tls.clone() }).await;
    let mut silent = TcpStream::connect(port.address).await.expect("the port listens");
    assert_eq!(read_to_end(&mut silent).await, "", "it is closed when its time is over");
    let port = Port::with(Config { max_connections: 1, first_header_deadline_ms: 60_000, ..tls }).await;
    let mut silent = TcpStream::connect(port.address).await.expect("the port listens");
    assert!(port.livez(&client(&authority, &[], None)).await.expect("an answer").starts_with("HTTP/1.1 200"));
    assert_eq!(read_to_end(&mut silent).await, "", "its place was needed");
}
