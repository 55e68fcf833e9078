//! The stand-in providers, spoken to over their sockets like the real ones.

mod dataforseo;
mod openai;
mod receiver;
mod smtp;
mod switches;
mod texts;
mod workers;

use reqwest::Client;
use std::{sync::LazyLock, time::Duration};
use tokio_util::sync::CancellationToken;
use windlass::sandbox::{Config, Sandbox};

/// Longer than anything here takes on a busy machine; only a broken thing waits it out.
const LONG: Duration = Duration::from_secs(20);

async fn sandbox() -> Sandbox {
    sandbox_with(Config::default()).await
}

async fn sandbox_with(config: Config) -> Sandbox {
    Sandbox::start(config, CancellationToken::new()).await.expect("free ports on loopback")
}

/// A client without connections of other tests: those belong to other runtimes.
fn client() -> Client {
    static PROVIDER: LazyLock<()> = LazyLock::new(|| {
        // Another test of this binary may have been first, with the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    LazyLock::force(&PROVIDER);
    Client::builder().timeout(LONG).build().expect("a client without TLS roots of its own")
}
