//! In a cluster: what shards tell each other, carried from one to the other. A message stays with its sender until it is delivered; one that is
//! delivered twice does nothing the second time, so any daemon may carry any message, and one that dies on the way loses none.

use super::{
    RedisStore,
    connection::{function, reading},
    enqueue::instant,
    error::{Effect, odd},
    reply,
    shards::Tag,
};
use crate::{job::Timestamp, store::Result};
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
            let (mut delivered, mut failed, mut error) = (0, BTreeSet::new(), None);
            for message in messages(told)? {
                // Those behind one that cannot be delivered wait for it only where they go the same way.
                if failed.contains(&message.to) {
                    continue;
                }
                let sent = match message.to.as_str() {
                    "" => self.ask_around(base, &message, now).await,
                    tag => self.hand_over(tag, &message, now).await.map(drop),
                };
                match sent {
                    Ok(()) => {
                        done.arg(message.whole);
                        delivered += 1;
                    }
                    Err(why) => {
                        failed.insert(message.to);
                        error = error.or(Some(why));
                    }
                }
            }
            if delivered > 0 {
                self.server.ask::<()>(Effect::Promises, &done).await?;
            }
            if let Some(error) = error {
                return Err(error);
            }
        }
    }

    async fn hand_over(&self, tag: &str, message: &Message, now: Option<Timestamp>) -> Result<String> {
        // What belongs to no queue has a tag that no queue can have.
        if let Some(shard) = Tag::new(tag) {
            self.enrol([&shard]).await?;
        }
        let call = function("deliver", &[format!("{}:{{{tag}}}", self.prefix)]).arg(instant(now)).arg(&message.whole).clone();
        self.server.ask(Effect::Promises, &call).await
    }

    /// A question to whoever has the job it is about.
    async fn ask_around(&self, base: &str, message: &Message, now: Option<Timestamp>) -> Result<()> {
        let mut found = String::new();
        for shard in self.all_shards().await?.into_keys() {
            if self.base(&shard) != base && found.is_empty() {
                found = self.hand_over(shard.as_str(), message, now).await?;
            }
        }
        let call = function("answered", &[base.to_owned()]).arg(instant(now)).arg(&message.whole).arg(found).clone();
        self.server.ask(Effect::Promises, &call).await
    }

    /// In a cluster a shard cannot tell that it is there, nor look up what is configured: both are done for it before it gets its first job.
    pub(super) async fn enrol<'t>(&self, shards: impl IntoIterator<Item = &'t Tag>) -> Result<()> {
        if !self.server.is_cluster() {
            return Ok(());
        }
        let known: BTreeSet<Tag> = self.known().shards.values().cloned().collect();
        let new: BTreeSet<Tag> = shards.into_iter().filter(|shard| !known.contains(*shard)).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        self.copy_settings(&new).await?;
        for shard in &new {
            let call = function("enrol", &[self.common()]).arg("").arg(shard.as_str()).clone();
            self.server.ask::<redis::Value>(Effect::Promises, &call).await?;
        }
        self.all_shards().await.map(drop)
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
