//! What is configured: stored once, and in a cluster copied to each shard, since a call on one cannot read what is elsewhere. Who changes it
//! says what it was before; what another program wrote meanwhile is never undone.

use super::{
    RedisStore,
    audit::Act,
    connection::function,
    enqueue::instant,
    error::Effect,
    shards::{Partitions, Tag},
};
use crate::{
    job::{Json, LimitsInForce, LiveLimits, Name, Settings, Timestamp, Turn},
    store::{
        Actor, Error, Result,
        words::{limits_action, over_stored},
    },
};
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

/// What came of putting settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Done,
    /// This act was done before, and what stood still stands.
    DoneBefore,
    /// They are no longer as they were, and nothing is changed.
    Stale,
}

/// As they stand on the server; nothing when it has none.
pub(super) type Stored = Option<String>;

pub(super) fn parse(stored: &Stored) -> Result<Option<Settings>> {
    let parsed = stored.as_deref().map(serde_json::from_str).transpose();
    parsed.map_err(|e| Error::Corrupt(format!("the stored settings cannot be read: {e}")))
}

impl RedisStore {
    pub(super) async fn stored_settings(&self) -> Result<Stored> {
        self.server.ask(Effect::Reads, redis::cmd("GET").arg(self.settings_key(&self.common()))).await
    }

    fn settings_key(&self, base: &str) -> String {
        format!("{base}:settings")
    }

    pub(super) async fn known_settings(&self) -> Result<Arc<Settings>> {
        let known = self.known().settings.clone();
        match known {
            Some(settings) if !self.settings_are_old.load(Ordering::Relaxed) => Ok(settings),
            known => {
                // What changes during the call is asked for again.
                self.settings_are_old.store(false, Ordering::Relaxed);
                let read = self.stored_settings().await.and_then(|stored| parse(&stored));
                let stored = read.inspect_err(|_| self.settings_are_old.store(true, Ordering::Relaxed))?;
                // A server that forgot them is told them again.
                Ok(match (stored, known) {
                    (None, Some(known)) => known,
                    (Some(stored), _) => self.know_settings(stored),
                    (None, None) => {
                        let assumed = self.know_settings(Settings::default());
                        self.known().settings_are_assumed = true;
                        assumed
                    }
                })
            }
        }
    }

    pub(super) fn know_settings(&self, settings: Settings) -> Arc<Settings> {
        let settings = Arc::new(settings);
        let mut known = self.known();
        known.partitions = Arc::new(if self.server.is_cluster() { Partitions::of(&settings) } else { Partitions::default() });
        known.settings = Some(Arc::clone(&settings));
        known.settings_are_assumed = false;
        settings
    }

    /// Those that we were told of, or told a server.
    fn told_settings(&self) -> Option<Arc<Settings>> {
        let known = self.known();
        known.settings.clone().filter(|_| !known.settings_are_assumed)
    }

    /// What a change begins from: what stands on the server, or what it has forgotten. To begin from nothing would take away all that the daemons
    /// are configured with.
    pub(super) fn settings_to_change(&self, stored: &Stored) -> Result<Settings> {
        let settings = parse(stored)?.or_else(|| self.told_settings().as_deref().cloned());
        settings.ok_or_else(|| {
            Error::NotAllowed(
                "this Redis has no settings, because it is new or has forgotten them; start a daemon, which puts there what is configured, and call again"
                    .into(),
            )
        })
    }

    /// Which queues have several partitions.
    pub(super) async fn partitions(&self) -> Result<Arc<Partitions>> {
        self.known_settings().await?;
        Ok(Arc::clone(&self.known().partitions))
    }

    pub(super) async fn configure_as(&self, settings: &Settings) -> Result<()> {
        loop {
            let before = self.stored_settings().await?;
            self.refuse_other_partitions(&before, settings).await?;
            let forgotten = self.told_settings().filter(|_| before.is_none()).map(|told| Json::of(&*told).as_str().to_owned());
            let after = over_stored(settings, before.as_deref().or(forgotten.as_deref()));
            if self.put_settings(&before, &after, None).await? != Put::Stale {
                return Ok(());
            }
        }
    }

    pub(super) async fn change_limits(
        &self,
        queue: &Name,
        limits: Option<&LiveLimits>,
        reason: &str,
        actor: &Actor,
        now: Option<Timestamp>,
    ) -> Result<LimitsInForce> {
        let turn = Turn { limits, at: self.instant_or_now(now).await?, by: &actor.name, reason };
        loop {
            let before = self.stored_settings().await?;
            let stood = self.settings_to_change(&before)?;
            let (after, words) = stood.turned(queue, turn).map_err(|error| Error::from((0, error)))?;
            let act = Act { actor, action: limits_action(limits), object: queue, detail: Some(&words) };
            match self.put_settings(&before, &after, Some((&act, now))).await? {
                Put::Done => return Ok(after.limits(queue)),
                Put::DoneBefore => return Ok(stood.limits(queue)),
                Put::Stale => {}
            }
        }
    }

    /// How many partitions a queue has cannot change under its jobs: a key's would stand in two.
    async fn refuse_other_partitions(&self, stored: &Stored, settings: &Settings) -> Result<()> {
        if !self.server.is_cluster() {
            let several = settings.queues.iter().find(|(_, queue)| queue.partitions > 1);
            return several
                .map_or(Ok(()), |(name, _)| Err(Error::Refused(format!("`queues.{name}.partitions` needs a Redis Cluster; take it out"))));
        }
        let Some(stored) = parse(stored)? else { return Ok(()) };
        let before = Partitions::of(&stored);
        let begun: BTreeSet<Name> = self.all_shards().await?.keys().map(|shard| before.queue_of(shard)).collect();
        for queue in begun {
            let of = |settings: &Settings| settings.queues.get(&queue).map_or(1, |queue| queue.partitions.max(1));
            let (was, is) = (of(&stored), of(settings));
            if was != is {
                return Err(Error::Refused(format!(
                    "queue `{queue}` has {was} partitions, and `queues.{queue}.partitions` is {is}; put {was} back, or run `windlass queues repartition {queue} {is}`"
                )));
            }
        }
        Ok(())
    }

    /// An error after they were written leaves them in force where they have arrived; the same call again tells the rest.
    pub(super) async fn put_settings(&self, before: &Stored, after: &Settings, act: Option<(&Act<'_>, Option<Timestamp>)>) -> Result<Put> {
        let mut put = function("put_settings", &[self.common()]);
        put.arg(instant(act.and_then(|(_, at)| at))).arg(before.as_deref().unwrap_or_default()).arg(Json::of(after).as_str());
        if let Some((act, _)) = act {
            act.stand_in(&mut put);
        }
        let put = match self.server.ask::<i64>(Effect::Promises, &put).await? {
            0 => return Ok(Put::Stale),
            2 => Put::DoneBefore,
            _ => Put::Done,
        };
        match put {
            Put::Done => _ = self.know_settings(after.clone()),
            _ => self.settings_are_old.store(true, Ordering::Relaxed),
        }
        let told = self.tell_settings().await;
        let word = redis::cmd("PUBLISH").arg(format!("{}:wake", self.prefix)).arg("settings").clone();
        self.server.ask::<i64>(Effect::Writes, &word).await?;
        self.wakes.work();
        told.map(|()| put)
    }

    /// To every shard that is configured, or was made.
    async fn tell_settings(&self) -> Result<()> {
        if self.server.is_cluster() {
            let (settings, partitions) = (self.known_settings().await?, self.partitions().await?);
            let configured = settings.queues.keys().cloned().chain(settings.kinds.values().map(|kind| kind.queue.clone()));
            let mut shards: BTreeSet<Tag> =
                configured.flat_map(|queue| partitions.tags_of(&queue)).chain(self.all_shards().await?.into_keys()).collect();
            self.enrol(&shards).await?;
            // Whoever names the queue and no partition is told so by the place where the queue would be.
            shards.extend(partitions.queues().map(Tag::of));
            self.copy_settings(&shards).await?;
        }
        self.on_all_shards("configured", None, |_| ()).await.map(drop)
    }

    /// To these shards, until what was told is what is stored.
    pub(super) async fn copy_settings(&self, shards: &BTreeSet<Tag>) -> Result<()> {
        let mut told = None;
        loop {
            let text = match self.stored_settings().await? {
                Some(text) => text,
                None => Json::of(&*self.known_settings().await?).as_str().to_owned(),
            };
            if told.as_ref() == Some(&text) {
                return Ok(());
            }
            let put = |shard| redis::cmd("SET").arg(self.settings_key(&self.base(shard))).arg(&text).clone();
            let puts: Vec<redis::Cmd> = shards.iter().map(put).collect();
            self.server.ask_each(Effect::Promises, &puts).await?;
            told = Some(text);
        }
    }

    /// What we know, to a server that has forgotten it, or parts of it; so may it have the shards' numbers.
    pub(super) async fn tell_settings_again(&self) -> Result<()> {
        self.known().shards = Arc::default();
        let Some(settings) = self.told_settings() else { return Ok(()) };
        let put = redis::cmd("SET").arg(self.settings_key(&self.common())).arg(Json::of(&*settings).as_str()).arg("NX").clone();
        self.server.ask::<redis::Value>(Effect::Writes, &put).await?;
        self.tell_settings().await
    }
}
