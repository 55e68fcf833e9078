//! Whom a client takes for a control port: who shows a certificate that the machine's authorities have signed, or one of those in a file.

use super::{Error, Result};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use std::{path::Path, sync::Arc};

/// `file` holds certificates in PEM: of authorities, or the port's own, which is then known whatever name it is called by. Without it the
/// machine's authorities are trusted, and Mozilla's.
pub(super) fn config(is_needed: bool, file: Option<&Path>) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.expect("ring speaks TLS 1.2 and 1.3");
    Ok(match file.filter(|_| is_needed) {
        Some(file) => {
            let known = Known::read(file, provider)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(known)).with_no_client_auth()
        }
        None => builder.with_root_certificates(if is_needed { public() } else { RootCertStore::empty() }).with_no_client_auth(),
    })
}

fn public() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Certificates that somebody put into a file.
#[derive(Debug)]
struct Known {
    certificates: Vec<CertificateDer<'static>>,
    authorities: Arc<WebPkiServerVerifier>,
}

impl Known {
    fn read(file: &Path, provider: Arc<CryptoProvider>) -> Result<Self> {
        let refused =
            |why: String| Error::BadAddress(format!("{} cannot be trusted ({why}); name a file with certificates in PEM", file.display()));
        let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
        let certificates = read.map_err(|error| refused(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self { certificates, authorities: authorities.map_err(|error| refused(error.to_string()))? })
    }
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        // Byte for byte the one in the file; that the port has its key, the signatures below prove.
        if self.certificates.iter().any(|known| known == shown) {
            return Ok(ServerCertVerified::assertion());
        }
        self.authorities.verify_server_cert(shown, between, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}
