//! A queue of apalis-redis: which keys a task stands under while it is ours. Every step is one script, so that it is done or is not.

use super::{
    end::End,
    queue::{self, Error, Held, LEAD, SILENCE, Worker},
    task::{Open, Task},
};
use async_trait::async_trait;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, aio::MultiplexedConnection};
use std::{collections::HashMap, time::Duration};

const BEAT: &str = include_str!("beat.lua");
const ADOPT: &str = include_str!("adopt.lua");
const TAKE: &str = include_str!("take.lua");
const HELD: &str = include_str!("held.lua");
const START: &str = include_str!("start.lua");
const END: &str = include_str!("end.lua");

/// Due tasks that one call promotes. apalis' own script takes them all at once, and fails for ever from 8,000 on.
const PROMOTED: usize = 500;

pub(super) struct Queue {
    server: MultiplexedConnection,
    worker: Worker,
}

/// What a script tells of a task: its id, how long its payload is, the payload or its beginning, and its fields.
type Row = (Vec<u8>, usize, Option<Vec<u8>>, HashMap<Vec<u8>, Vec<u8>>);

impl Queue {
    pub(super) async fn connect(client: &Client, worker: Worker) -> Result<Self, Error> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(5)))
            .set_response_timeout(Some(Duration::from_secs(10)));
        let server = client.get_multiplexed_async_connection_with_config(&settings).await?;
        Ok(Self { server, worker })
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.worker.queue)
    }

    /// Where apalis looks for what a worker runs.
    fn inflight(&self) -> String {
        format!("{}:{}", self.key("inflight"), self.worker.name)
    }

    fn script(&self, text: &str, keys: &[String]) -> Cmd {
        let mut call = redis::cmd("EVAL");
        call.arg(text).arg(keys.len()).arg(keys);
        call
    }

    async fn tell(&mut self, good_for: Duration) -> Result<(), Error> {
        let metadata = format!("{}:metadata:{}", self.key("workers"), self.worker.name);
        let mut call = self.script(BEAT, &[self.key("workers"), metadata]);
        call.arg(&self.worker.name).arg(good_for.as_secs());
        self.ask(&call).await
    }

    async fn ask<T: FromRedisValue>(&mut self, call: &Cmd) -> Result<T, Error> {
        Ok(call.query_async(&mut self.server).await?)
    }
}

#[async_trait]
impl queue::Queue for Queue {
    async fn beat(&mut self) -> Result<(), Error> {
        self.tell(LEAD).await
    }

    async fn leave(&mut self) -> Result<(), Error> {
        self.tell(LEAD - SILENCE).await
    }

    async fn adopt(&mut self) -> Result<u64, Error> {
        let mut call = self.script(ADOPT, &[self.key("workers"), self.inflight(), self.key("inflight")]);
        call.arg(&self.worker.name).arg(&self.worker.family).arg((LEAD - SILENCE).as_secs());
        self.ask(&call).await
    }

    async fn take(&mut self, most: usize) -> Result<Vec<Task>, Error> {
        let keys = ["active", "scheduled", "signal", "data", "meta"].map(|name| self.key(name));
        let mut call = self.script(TAKE, &[&keys[..], &[self.inflight()]].concat());
        call.arg(PROMOTED).arg(most).arg(super::BATCH_BYTES).arg(super::PAYLOAD_BYTES).arg(super::KEPT_BYTES);
        Ok(self.ask::<Vec<Row>>(&call).await?.into_iter().map(task).collect())
    }

    async fn held(&mut self, after: &str) -> Result<Held, Error> {
        let mut scan = redis::cmd("SSCAN");
        scan.arg(self.inflight()).arg(if after.is_empty() { "0" } else { after }).arg("COUNT").arg(super::BATCH);
        let (next, ids): (String, Vec<Vec<u8>>) = self.ask(&scan).await?;
        let mut held = Held { next: (next != "0").then_some(next), ..Held::default() };
        let mut call = self.script(HELD, &[self.key("data"), self.key("meta")]);
        call.arg(ids);
        for row in self.ask::<Vec<Row>>(&call).await? {
            let runs = row.3.get(&b"status"[..]).is_some_and(|status| status == b"Running");
            let task = task(row);
            if runs { held.open.push(Open::of(&self.worker.bridge, &task)) } else { held.unsent.push(task) }
        }
        Ok(held)
    }

    async fn start(&mut self, ids: &[&[u8]]) -> Result<(), Error> {
        let mut call = self.script(START, &[self.inflight(), self.key("meta"), self.key("active")]);
        call.arg(&self.worker.name).arg(ids);
        self.ask(&call).await
    }

    async fn end(&mut self, ends: &[End]) -> Result<(), Error> {
        let mut call = self.script(END, &[self.inflight(), self.key("done"), self.key("dead"), self.key("meta")]);
        for end in ends {
            call.arg(&end.id).arg(end.status).arg(end.attempts).arg(&end.result);
        }
        self.ask(&call).await
    }
}

/// The fields that a stock worker does without none of.
fn task((id, bytes, payload, fields): Row) -> Task {
    let text = |name: &str| fields.get(name.as_bytes()).and_then(|value| std::str::from_utf8(value).ok());
    let number = |name: &str| text(name).and_then(|text| text.parse::<u32>().ok());
    let missing = ["attempts", "max_attempts"].into_iter().find(|name| number(name).is_none());
    let fault = match missing.or_else(|| text("status").is_none().then_some("status")) {
        Some(name) => Some(format!("its metadata has no `{name}` that can be read")),
        None => payload.is_none().then(|| "it has no payload".to_owned()),
    };
    Task {
        id,
        payload: payload.unwrap_or_default(),
        bytes,
        attempts: number("attempts").unwrap_or(0),
        max_attempts: number("max_attempts").unwrap_or(1),
        priority: 0,
        idempotency_key: text("idempotency_key").filter(|key| !key.is_empty()).map(str::to_owned),
        fault,
    }
}
