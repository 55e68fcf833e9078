//! Whom an HTTPS call trusts, and with which cipher code.

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use std::sync::Arc;

/// TLS 1.2 or 1.3 by rustls on ring, trusting what the machine trusts; a machine without certificates (a bare container)
/// trusts Mozilla's list as compiled in.
pub(super) fn config() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let native = rustls_native_certs::load_native_certs().certs;
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows the default protocol versions")
        .with_root_certificates(roots(native))
        .with_no_client_auth()
}

fn roots(native: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(native);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_certificates_still_trusts_the_public_authorities() {
        assert!(roots(Vec::new()).len() > 50);
        let garbage = vec![CertificateDer::from(b"no certificate".to_vec())];
        assert!(roots(garbage).len() > 50);
    }
}
