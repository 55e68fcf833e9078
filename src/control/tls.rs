//! TLS of the control port: the certificate, its key, and whose certificates callers must show, from files that are read anew when they
//! change. What cannot be used then leaves the old ones in force.

use super::Config;
use crate::job::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// New files are in force after so long, without anybody being told: certificates are replaced weeks before they end.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

pub(super) struct Tls {
    files: Files,
    in_force: Mutex<InForce>,
}

struct InForce {
    server: Arc<ServerConfig>,
    /// How the files looked when they were last read.
    stamps: Vec<Stamp>,
    looked_at: Timestamp,
}

/// Tells a file from the one that was there before.
type Stamp = Option<(SystemTime, u64)>;

impl Tls {
    /// None: the port is plain.
    ///
    /// # Errors
    /// One sentence about the file that cannot be used.
    pub fn of(config: &Config, now: Timestamp) -> Result<Option<Self>, String> {
        let (Some(certificate), Some(key)) = (config.tls_cert_file.clone(), config.tls_key_file.clone()) else { return Ok(None) };
        let files = Files { certificate, key, client_ca: config.tls_client_ca_file.clone() };
        // Looked at before they are read: a change in between is seen the next time.
        let stamps = files.stamps();
        let server = Arc::new(files.read()?);
        Ok(Some(Self { files, in_force: Mutex::new(InForce { server, stamps, looked_at: now }) }))
    }

    /// What a new connection is served with.
    pub fn server(&self, now: Timestamp) -> Arc<ServerConfig> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(in_force.looked_at) >= BETWEEN_LOOKS {
            in_force.looked_at = now;
            let stamps = self.files.stamps();
            if stamps != in_force.stamps {
                in_force.stamps = stamps;
                match self.files.read() {
                    Ok(server) => {
                        in_force.server = Arc::new(server);
                        tracing::info!("the control port's certificate was read anew");
                    }
                    Err(error) => tracing::warn!("the control port goes on with the certificate that it has: {error}"),
                }
            }
        }
        Arc::clone(&in_force.server)
    }
}

impl Files {
    fn stamps(&self) -> Vec<Stamp> {
        let stamp = |path: &PathBuf| fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len()))).ok();
        [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten().map(stamp).collect()
    }

    fn read(&self) -> Result<ServerConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificates = certificates("control.tls_cert_file", &self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| unusable("control.tls_key_file", &self.key, "a private key in PEM", &error.to_string()))?;
        let versions = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = versions.map_err(|error| error.to_string())?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let setting = "control.tls_client_ca_file";
                let mut roots = RootCertStore::empty();
                for certificate in self::certificates(setting, path)? {
                    roots.add(certificate).map_err(|error| unusable(setting, path, "certificates in PEM", &error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|error| unusable(setting, path, "certificates in PEM", &error.to_string()))?,
                )
            }
        };
        let mut server = builder.with_single_cert(certificates, key).map_err(|error| {
            let (certificate, key) = (self.certificate.display(), self.key.display());
            format!("control.tls_cert_file {certificate} and control.tls_key_file {key} do not go together ({error}); name a key and its own certificate")
        })?;
        server.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
        Ok(server)
    }
}

/// As a TLS handshake names HTTP/2.
pub(super) const H2: &[u8] = b"h2";

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let refused = |why: &str| unusable(setting, path, "certificates in PEM", why);
    let certificates = read.map_err(|error| refused(&error.to_string()))?;
    if certificates.is_empty() { Err(refused("there is none in it")) } else { Ok(certificates) }
}

fn unusable(setting: &str, path: &Path, wanted: &str, why: &str) -> String {
    format!("{setting} {} cannot be used ({why}); name a file with {wanted}", path.display())
}
