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
    /// Those that must have what is promised.
    pub(super) replicas: u32,
    deadline: Duration,
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
        Ok(Self { client, manager, replicas: config.replicas, deadline, closed })
    }

    fn open(&self) -> Result<ConnectionManager> {
        if self.closed.is_cancelled() {
            return Err(Error::Unavailable("the store is closed".into()));
        }
        Ok(self.manager.clone())
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, effect: Effect, call: &Cmd) -> Result<T> {
        let mut manager = self.open()?;
        if self.waits(effect) {
            let mut answers = self.ask_each(effect, std::slice::from_ref(call)).await?;
            return T::from_redis_value(answers.remove(0)).or_else(|_| error::odd("what was asked for"));
        }
        match call.query_async(&mut manager).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.explain(&error, effect).await),
        }
    }

    fn waits(&self, effect: Effect) -> bool {
        effect == Effect::Promises && self.replicas > 0
    }

    /// The answers to several calls, in their order; none of them waits for another.
    pub(super) async fn ask_each(&self, effect: Effect, calls: &[Cmd]) -> Result<Vec<Value>> {
        let waits = self.waits(effect);
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(calls.len() + 1);
        for call in calls {
            pipeline.add_command(call.clone());
        }
        if waits {
            pipeline.cmd("WAIT").arg(self.replicas).arg((self.deadline / 2).as_millis().to_string());
        }
        let mut manager = self.open()?;
        let answers: std::result::Result<Vec<Value>, _> = pipeline.query_async(&mut manager).await;
        match answers {
            Ok(answers) if waits => self.acknowledged(answers),
            Ok(answers) => Ok(answers),
            Err(error) => Err(self.explain(&error, effect).await),
        }
    }

    /// The answers without the last, which says how many replicas have it all.
    fn acknowledged(&self, mut answers: Vec<Value>) -> Result<Vec<Value>> {
        match answers.pop() {
            Some(Value::Int(replicas)) if replicas >= i64::from(self.replicas) => Ok(answers),
            Some(Value::Int(replicas)) => Err(Error::Unknown(format!(
                "written, and acknowledged by {replicas} of {} replicas; looking again until they have it",
                self.replicas
            ))),
            _ => error::odd("the number of replicas"),
        }
    }

    /// What an error means. A function that is not there is no damage: the server was replaced, or its functions were deleted.
    async fn explain(&self, error: &redis::RedisError, effect: Effect) -> Error {
        if error.code() == Some("ERR") {
            let mut manager = self.manager.clone();
            let listed: std::result::Result<Vec<Value>, _> = super::library::list_ours().query_async(&mut manager).await;
            if listed.is_ok_and(|libraries| libraries.is_empty()) {
                return Error::Unavailable(format!(
                    "the server has no functions of this release ({}); run this version's `windlass migrate` on it",
                    super::library::RELEASE
                ));
            }
        }
        error::map(error, effect)
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
