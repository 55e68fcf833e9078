//! One connection that all calls share, to one server or to each master of a cluster; and the shape of a call: a function of the
//! library, on one or more shards.

use super::{
    Config, cluster,
    error::{self, Effect},
    witness::Witnesses,
};
use crate::store::{Error, Result};
use futures_util::future::try_join_all;
use redis::{
    Arg, Cmd, FromRedisValue, RedisResult, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cluster_async::ClusterConnection,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
enum Link {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

#[derive(Clone)]
pub(super) struct Server {
    /// One to each server that the URL names.
    pub(super) clients: Vec<redis::Client>,
    link: Link,
    pub(super) witnesses: Witnesses,
    /// In a cluster, the shards that have messages for others.
    outgoing: Arc<Mutex<BTreeSet<String>>>,
    /// Once it is closed, nothing is asked any more.
    closed: CancellationToken,
}

impl Server {
    pub(super) async fn connect(url: &str, config: &Config, closed: CancellationToken) -> Result<Self> {
        let refused =
            |e: redis::RedisError| Error::Refused(format!("the store URL cannot be read ({e}); use redis://user:password@host:6379/0"));
        let deadline = Duration::from_millis(config.timeout_ms);
        let seeds = cluster::seeds(url);
        let urls = seeds.clone().unwrap_or_else(|| vec![url.to_owned()]);
        let clients = urls.iter().map(|url| redis::Client::open(url.as_str())).collect::<RedisResult<Vec<_>>>().map_err(refused)?;
        let link = match (seeds, clients.first()) {
            (Some(seeds), _) => Link::Cluster(cluster::connect(seeds, config).await?),
            (None, Some(client)) => {
                // A call that failed is not made again by the connection: whether it may be is the caller's to know.
                let settings = ConnectionManagerConfig::new()
                    .set_number_of_retries(1)
                    .set_max_delay(Duration::from_millis(500))
                    .set_connection_timeout(Some(deadline.min(Duration::from_secs(5))))
                    .set_response_timeout(Some(deadline));
                Link::One(ConnectionManager::new_lazy_with_config(client.clone(), settings).map_err(refused)?)
            }
            (None, None) => return Err(Error::Refused("the store URL names no server".into())),
        };
        Ok(Self { clients, link, witnesses: Witnesses::of(config), outgoing: Arc::default(), closed })
    }

    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.link, Link::Cluster(_))
    }

    fn open(&self) -> Result<Link> {
        if self.closed.is_cancelled() {
            return Err(Error::Unavailable("the store is closed".into()));
        }
        Ok(self.link.clone())
    }

    /// The answer to one call.
    pub(super) async fn ask<T: FromRedisValue>(&self, effect: Effect, call: &Cmd) -> Result<T> {
        let mut answers = self.ask_each(effect, std::slice::from_ref(call)).await?;
        T::from_redis_value(answers.remove(0)).or_else(|_| error::odd("what was asked for"))
    }

    /// The answers to several calls, in their order; none of them waits for another.
    pub(super) async fn ask_each(&self, effect: Effect, calls: &[Cmd]) -> Result<Vec<Value>> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        match self.open()? {
            Link::One(mut connection) => {
                let waits = self.witnesses.are_asked(effect);
                let answers = match waits {
                    true => self.witnesses.ask_after(calls).query_async(&mut connection).await,
                    // They go one behind the other on the same connection.
                    false => try_join_all(calls.iter().map(|call| query(connection.clone(), call))).await,
                };
                self.understood(answers, waits, effect).await
            }
            Link::Cluster(connection) => {
                let each = calls.iter().map(|call| self.ask_shard(connection.clone(), effect, call));
                try_join_all(each).await
            }
        }
    }

    async fn ask_shard(&self, mut connection: ClusterConnection, effect: Effect, call: &Cmd) -> Result<Value> {
        let Some((key, is_ours)) = key_of(call) else {
            let answer = call.query_async(&mut connection).await.map(|answer| vec![answer]);
            return Ok(self.understood(answer, false, effect).await?.remove(0));
        };
        let waits = self.witnesses.are_asked(effect);
        let answers = match waits {
            true => cluster::ask_all(&mut connection, key, self.witnesses.ask_after(std::slice::from_ref(call)), 2).await,
            false => cluster::ask(&mut connection, key, call).await.map(|answer| vec![answer]),
        };
        let answer = self.understood(answers, waits, effect).await?.remove(0);
        if is_ours { self.unwrapped(key, answer) } else { Ok(answer) }
    }

    /// In a cluster, functions say beside their answer whether their shard has something to tell another.
    fn unwrapped(&self, key: &[u8], answer: Value) -> Result<Value> {
        let [answer, has_messages] = super::reply::fixed(answer)?;
        if super::reply::number(has_messages)? == 1 {
            self.outgoing().insert(String::from_utf8_lossy(key).into_owned());
        }
        Ok(answer)
    }

    fn outgoing(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shards that have something to tell others, by their keys; they are forgotten.
    pub(super) fn take_outgoing(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.outgoing())
    }

    /// The answers of all masters, or of the one server.
    pub(super) async fn ask_masters(&self, call: &Cmd) -> Result<Vec<Value>> {
        match self.open()? {
            Link::One(_) => self.ask_each(Effect::Reads, std::slice::from_ref(call)).await,
            Link::Cluster(mut connection) => {
                let answers = cluster::ask_masters(&mut connection, call).await;
                self.understood(answers, false, Effect::Reads).await
            }
        }
    }

    async fn understood(&self, answers: RedisResult<Vec<Value>>, waits: bool, effect: Effect) -> Result<Vec<Value>> {
        let answers = match answers {
            Ok(answers) => answers.into_iter().map(Value::extract_error).collect::<RedisResult<Vec<_>>>(),
            Err(error) => Err(error),
        };
        match answers {
            Ok(answers) if waits => self.witnesses.acknowledged(answers),
            Ok(answers) => Ok(answers),
            Err(error) => Err(self.explain(&error, effect).await),
        }
    }

    /// What an error means. A function that is not there is no damage: the server was replaced, or its functions were deleted.
    async fn explain(&self, error: &redis::RedisError, effect: Effect) -> Error {
        if error.code() == Some("ERR") {
            let list = super::library::list_ours();
            let listed = match self.link.clone() {
                Link::One(mut connection) => list.query_async(&mut connection).await.map(|list| vec![list]),
                Link::Cluster(mut connection) => cluster::ask_masters(&mut connection, &list).await,
            };
            let is_missing = |list: &Value| matches!(list, Value::Array(libraries) if libraries.is_empty());
            if listed.is_ok_and(|lists| lists.iter().any(is_missing)) {
                return super::library::missing_later();
            }
        }
        error::map(error, effect)
    }
}

async fn query(mut connection: ConnectionManager, call: &Cmd) -> RedisResult<Value> {
    call.query_async(&mut connection).await
}

/// The first key of a call, and whether it is one of our functions.
fn key_of(call: &Cmd) -> Option<(&[u8], bool)> {
    let words: Vec<&[u8]> = call
        .args_iter()
        .take(4)
        .filter_map(|argument| match argument {
            Arg::Simple(word) => Some(word),
            _ => None,
        })
        .collect();
    match words.as_slice() {
        [b"FCALL" | b"FCALL_RO", _, _, key] => Some((key, true)),
        [b"TIME" | b"INFO" | b"CONFIG" | b"FUNCTION", ..] => None,
        [_, key, ..] => Some((key, false)),
        _ => None,
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
