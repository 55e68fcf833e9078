//! Names into addresses, on threads of their own. The system's resolver blocks for as long as a slow name server lets it,
//! whether anybody still waits or not; so there are a fixed number of places, and a question keeps its place until the
//! system has answered it. Nothing else of the daemon runs on these threads.

use async_trait::async_trait;
use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::sync::{Semaphore, oneshot};

/// Turns a name into addresses. The system's resolver, or one that a test scripts.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    async fn lookup(&self, name: &str) -> io::Result<Vec<SocketAddr>>;
}

/// Questions to the system at once. An answer takes milliseconds, so this is thousands a second; and when a name server
/// hangs it is as many idle threads.
const PLACES: usize = 32;

type Ask = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// `getaddrinfo`. Cheap to clone; clones share their places.
#[derive(Clone)]
pub struct SystemLookup {
    ask: Arc<Ask>,
    places: Arc<Semaphore>,
    start_within: Duration,
}

impl SystemLookup {
    /// A question that has found no place within `start_within` is given up.
    #[must_use]
    pub fn new(start_within: Duration) -> Self {
        // Port 0 is replaced by the URL's when the connection is made.
        Self::asking(|name| Ok((name, 0).to_socket_addrs()?.collect()), start_within)
    }

    /// As [`SystemLookup::new`], asking `ask` in place of the system.
    #[must_use]
    pub fn asking(ask: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static, start_within: Duration) -> Self {
        Self { ask: Arc::new(ask), places: Arc::new(Semaphore::new(PLACES)), start_within }
    }
}

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let place = tokio::time::timeout(self.start_within, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| busy(self.start_within))?.map_err(io::Error::other)?;
        let (tell, told) = oneshot::channel();
        let (ask, name) = (Arc::clone(&self.ask), name.to_owned());
        thread::Builder::new().name("lookup".into()).spawn(move || {
            let _ = tell.send(ask(&name));
            drop(place);
        })?;
        told.await.unwrap_or_else(|_| Err(io::Error::other("the name lookup ended without an answer")))
    }
}

fn busy(waited: Duration) -> io::Error {
    let said = format!("the name lookup could not begin within {} ms: {PLACES} others wait for slow name servers", waited.as_millis());
    io::Error::new(io::ErrorKind::TimedOut, said)
}

impl std::fmt::Debug for SystemLookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SystemLookup").field("free", &self.places.available_permits()).finish_non_exhaustive()
    }
}
