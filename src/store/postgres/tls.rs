//! The one TLS stack, for connections to Postgres: the system's certificates, or Mozilla's where there are none.

use crate::store::Result;
use rustls::{ClientConfig, RootCertStore};
use std::sync::{Arc, OnceLock};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Whether TLS is used is the URL's `sslmode`; where it is, the server's certificate is always checked.
pub fn connector() -> Result<MakeRustlsConnect> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = match CONFIG.get() {
        Some(config) => config.clone(),
        None => CONFIG.get_or_init(|| Arc::new(build())).clone(),
    };
    Ok(MakeRustlsConnect::new(Arc::unwrap_or_clone(config)))
}

fn build() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("ring has the default protocol versions").with_root_certificates(roots).with_no_client_auth()
}
