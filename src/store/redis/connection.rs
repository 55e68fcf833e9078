//! One connection that all calls share, and the shape of a call: a function of the library, on one or more shards.

use super::{
    Config,
    error::{self, Effect},
};
use crate::store::{Error, Result};
use redis::{
    Cmd, FromRedisValue, Pipeline, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
pub(super) struct Server {
    pub(super) client: redis::Client,
    manager: ConnectionManager,
    /// Once it is closed, nothing is asked any more.
    closed: CancellationToken,
}

impl Server {
    pub(super) fn new(url: &str, config: &Config, closed: CancellationToken) -> Result<Self> {
        let refused =
            |e: redis::RedisError| Error::Refused(format!("the store URL cannot be read ({e}); use redis://user:password@host:6379/0"));
        let client = redis::Client::open(url).map_err(refused)?;
        let deadline = Duration::from_millis(config.timeout_ms);
        // A call that failed is not made again by the connection: whether it may be is the caller's to know.
        let settings = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(500))
            .set_connection_timeout(Some(deadline.min(Duration::from_secs(5))))
            .set_response_timeout(Some(deadline));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), settings).map_err(refused)?;
        Ok(Self { client, manager, closed })
    }

    fn open(&self) -> Result<ConnectionManager> {
        if self.closed.is_cancelled() {
            return Err(Error::Unavailable("the store is closed".into()));
        }
        Ok(self.manager.clone())
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, effect: Effect, call: &Cmd) -> Result<T> {
        let mut manager = self.open()?;
        call.query_async(&mut manager).await.map_err(|e| error::map(&e, effect))
    }

    /// The answers to several calls, in their order; none of them waits for another.
    pub(super) async fn ask_each(&self, effect: Effect, calls: &[Cmd]) -> Result<Vec<Value>> {
        match calls {
            [] => return Ok(Vec::new()),
            [one] => return Ok(vec![self.ask(effect, one).await?]),
            _ => {}
        }
        let mut pipeline = Pipeline::with_capacity(calls.len());
        for call in calls {
            pipeline.add_command(call.clone());
        }
        let mut manager = self.open()?;
        pipeline.query_async(&mut manager).await.map_err(|e| error::map(&e, effect))
    }
}

/// A call of the library's function `name` on the shards `keys`; arguments follow.
pub(super) fn function(name: &str, keys: &[String]) -> Cmd {
    fcall("FCALL", name, keys)
}

/// The same of one that only reads, which those may call who may only read.
pub(super) fn reading(name: &str, keys: &[String]) -> Cmd {
    fcall("FCALL_RO", name, keys)
}

fn fcall(command: &str, name: &str, keys: &[String]) -> Cmd {
    let mut call = redis::cmd(command);
    call.arg(format!("{}_{name}", super::library::RELEASE)).arg(keys.len()).arg(keys);
    call
}
