//! `FCALL windlass_enqueue`, as any program calls it.

mod access;
mod agreement;
mod calls;
mod cluster;

use crate::support::TestStore;
use redis::{RedisError, Value, aio::MultiplexedConnection};
use windlass::job::JobId;

/// A store on Redis and a producer's connection to its server, unless the run leaves Redis out.
async fn door() -> Option<(TestStore, Producer)> {
    let store = TestStore::open_beside_others("redis").await?;
    let producer = Producer { connection: store.redis_connection().await, prefix: store.prefix().to_owned() };
    Some((store, producer))
}

struct Producer {
    connection: MultiplexedConnection,
    prefix: String,
}

impl Producer {
    fn call(&self, queue: &str, arguments: &[impl AsRef<str>]) -> redis::Cmd {
        let mut call = redis::cmd("FCALL");
        call.arg("windlass_enqueue").arg(1).arg(format!("{}:{{{queue}}}", self.prefix));
        for argument in arguments {
            call.arg(argument.as_ref());
        }
        call
    }

    async fn try_enqueue(&self, queue: &str, envelopes: &[impl AsRef<str>]) -> Result<Vec<JobId>, RedisError> {
        let ids: Vec<String> = self.call(queue, envelopes).query_async(&mut self.connection.clone()).await?;
        Ok(ids.iter().map(|id| id.parse().expect("an id")).collect())
    }

    async fn enqueue(&self, queue: &str, envelopes: &[impl AsRef<str>]) -> Vec<JobId> {
        self.try_enqueue(queue, envelopes).await.unwrap_or_else(|error| panic!("{}: {error}", envelopes[0].as_ref()))
    }

    /// Code and sentence of a refusal.
    async fn refused(&self, queue: &str, arguments: &[impl AsRef<str>]) -> (String, String) {
        let answer: Result<Value, RedisError> = self.call(queue, arguments).query_async(&mut self.connection.clone()).await;
        refusal(&answer.expect_err("it is refused"))
    }
}

fn refusal(error: &RedisError) -> (String, String) {
    let code = error.code().and_then(|code| code.strip_prefix("WINDLASS_")).unwrap_or_else(|| panic!("{error}"));
    (code.to_lowercase(), error.detail().unwrap_or_default().to_owned())
}
