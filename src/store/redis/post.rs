//! In a cluster: what shards tell each other, carried from one to the other. A message stays with its sender until it is delivered; one that is
//! delivered twice does nothing the second time, so any daemon may carry any message, and one that dies on the way loses none.

use super::{
    RedisStore,
    connection::{function, reading},
    enqueue::instant,
    error::{Effect, odd},
    reply,
};
use crate::{
    job::{Json, Name, Settings, Timestamp},
    store::Result,
};
use std::collections::BTreeSet;

/// Messages of one shard that are fetched at once.
const BATCH: usize = 100;
/// What is delivered may cause messages, as a chain of follow-ups does; what is left after so many rounds, upkeep delivers.
const ROUNDS: usize = 32;

struct Message {
    whole: Vec<u8>,
    /// The tag of the shard that it is for, or nothing when nobody knows.
    to: String,
}

impl RedisStore {
    /// Carries what there is to carry. What cannot be delivered now stays where it is, and upkeep comes by.
    pub(super) async fn deliver(&self, now: Option<Timestamp>) {
        let now = self.now_or(now);
        for _ in 0..ROUNDS {
            let shards = self.server.take_outgoing();
            if shards.is_empty() {
                return;
            }
            for base in shards {
                if let Err(error) = self.deliver_from(&base, now).await {
                    tracing::warn!(%error, base, "messages of this queue to others wait; they are delivered later");
                }
            }
            self.wakes.work();
        }
    }

    async fn deliver_from(&self, base: &str, now: Option<Timestamp>) -> Result<()> {
        let key = [base.to_owned()];
        loop {
            let call = reading("outgoing", &key).arg(instant(now)).arg(BATCH).clone();
            let told: Vec<redis::Value> = self.server.ask(Effect::Reads, &call).await?;
            if told.is_empty() {
                return Ok(());
            }
            let mut done = function("delivered", &key);
            done.arg(instant(now));
            for message in messages(told)? {
                match message.to.as_str() {
                    "" => self.ask_around(base, &message, now).await?,
                    tag => _ = self.hand_over(tag, &message, now).await?,
                }
                done.arg(message.whole);
            }
            self.server.ask::<()>(Effect::Promises, &done).await?;
        }
    }

    async fn hand_over(&self, tag: &str, message: &Message, now: Option<Timestamp>) -> Result<String> {
        if let Ok(queue) = Name::new(tag) {
            self.enrol([&queue]).await?;
        }
        let call = function("deliver", &[format!("{}:{{{tag}}}", self.prefix)]).arg(instant(now)).arg(&message.whole).clone();
        self.server.ask(Effect::Promises, &call).await
    }

    /// A question to whoever has the job it is about.
    async fn ask_around(&self, base: &str, message: &Message, now: Option<Timestamp>) -> Result<()> {
        let mut found = String::new();
        for queue in self.all_queues().await?.into_keys() {
            if self.base(&queue) != base && found.is_empty() {
                found = self.hand_over(&queue, message, now).await?;
            }
        }
        let call = function("answered", &[base.to_owned()]).arg(instant(now)).arg(&message.whole).arg(found).clone();
        self.server.ask(Effect::Promises, &call).await
    }

    /// In a cluster each shard has a copy of what is configured.
    pub(super) async fn tell_shards(&self, settings: &Settings) -> Result<()> {
        if !self.server.is_cluster() {
            return Ok(());
        }
        let text = Json::of(settings);
        let configured = settings.queues.keys().cloned().chain(settings.kinds.values().map(|kind| kind.queue.clone()));
        let queues: BTreeSet<Name> = configured.chain(self.all_queues().await?.into_keys()).collect();
        self.enrol(&queues).await?;
        let puts: Vec<redis::Cmd> =
            queues.iter().map(|queue| redis::cmd("SET").arg(format!("{}:settings", self.base(queue))).arg(text.as_str()).clone()).collect();
        self.server.ask_each(Effect::Promises, &puts).await.map(drop)
    }

    /// In a cluster a shard cannot tell that it is there, nor look up what is configured: both are done for it before it gets its first job.
    pub(super) async fn enrol<'q>(&self, queues: impl IntoIterator<Item = &'q Name>) -> Result<()> {
        if !self.server.is_cluster() {
            return Ok(());
        }
        let known: BTreeSet<Name> = self.known().queues.values().cloned().collect();
        let new: Vec<&Name> = queues.into_iter().filter(|queue| !known.contains(*queue)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let settings = self.known_settings().await?;
        for queue in new {
            let put = redis::cmd("SET").arg(format!("{}:settings", self.base(queue))).arg(Json::of(&settings).as_str()).clone();
            self.server.ask::<()>(Effect::Writes, &put).await?;
            let call = function("enrol", &[self.common()]).arg("").arg(queue.as_str()).clone();
            self.server.ask::<redis::Value>(Effect::Promises, &call).await?;
        }
        self.all_queues().await.map(drop)
    }
}

fn messages(told: Vec<redis::Value>) -> Result<Vec<Message>> {
    let mut told = told.into_iter();
    let mut messages = Vec::new();
    while let Some(whole) = told.next() {
        let Some(to) = told.next() else { return odd("whole messages") };
        messages.push(Message { whole: reply::bytes(whole)?, to: reply::text(to)? });
    }
    Ok(messages)
}
