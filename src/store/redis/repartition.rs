//! Another number of partitions for a queue. A key's jobs must not stand in two of them, so keyed jobs are held off at every door while it is
//! looked whether any is there, and until every shard knows the new number. Jobs without keys come and go meanwhile; those in a partition that
//! the new number does not count are leased from there as from any.

use super::{
    RedisStore,
    audit::Act,
    connection::{function, reading},
    error::Effect,
    reply, settings,
    shards::{Partitions, Tag},
};
use crate::{
    job::{Name, Settings},
    store::{Actor, Error, Result},
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// Keyed jobs are held off so long at most, should this program die.
const HELD: Duration = Duration::from_secs(60);
/// Jobs that are looked at in one call.
const PAGE: usize = 100;

/// Refuses a number of partitions that a limit does not come to: it would be exceeded.
fn refuse_unshareable(queue: &Name, after: &Settings) -> Result<()> {
    let live = after.live.get(queue).and_then(|live| live.limits.unshareable(&after.queue(queue.as_str())));
    if let Some(fault) = live {
        return Err(Error::NotAllowed(format!(
            "`{}` of queue `{queue}`, which was changed live, {}; raise it with `windlass queues set {queue}`, or lift the change with \
            `windlass queues unset {queue}`, first",
            fault.setting, fault.says
        )));
    }
    // What is in force, or is again once what was changed live is lifted.
    if let Some(fault) = after.as_configured().queue(queue.as_str()).unshareable().first() {
        let setting = format!("queues.{queue}.{}", fault.setting);
        return Err(Error::NotAllowed(format!("`{setting}` {}; raise it in the configuration of the daemons first", fault.says)));
    }
    Ok(())
}

impl RedisStore {
    pub(super) async fn spread_over(&self, queue: &Name, partitions: u32, actor: &Actor) -> Result<()> {
        if !self.server.is_cluster() {
            return Err(Error::NotAllowed(format!(
                "only in a Redis Cluster has a queue several partitions; `{queue}` is in another store"
            )));
        }
        let before = self.stored_settings().await?;
        let stored = self.settings_to_change(&before)?;
        self.know_settings(stored.clone());
        let mut configured = stored.as_configured();
        configured.queues.entry(queue.clone()).or_default().partitions = partitions;
        let after = configured.under_live(&stored);
        self.check_partitions(queue, &after).await?;
        let mut shards = self.shards_of(queue).await?;
        let known = shards.clone();
        shards.extend(Partitions::of(&after).tags_of(queue));
        if let Err(error) = self.look_for_keys(&shards, &known).await {
            self.hold_keys(&shards, Duration::ZERO).await?;
            return Err(error);
        }
        // From here on there is no way back. Where it is cut short keys stay held off until this is called again, or for a minute.
        let detail = format!("{} -> {partitions} partitions", stored.queue(queue.as_str()).partitions);
        let act = Act { actor, action: "repartition", object: queue, detail: Some(&detail) };
        let put = self.put_settings(&before, &after, Some((&act, None))).await?;
        self.hold_keys(&shards, Duration::ZERO).await?;
        if put == settings::Put::Stale {
            return Err(Error::Unavailable("another program changed the settings meanwhile; try again".into()));
        }
        Ok(())
    }

    async fn check_partitions(&self, queue: &Name, after: &Settings) -> Result<()> {
        let of = after.queue(queue.as_str());
        if !(1..=256).contains(&of.partitions) {
            return Err(Error::NotAllowed(format!("{} partitions: a queue has 1 to 256", of.partitions)));
        }
        refuse_unshareable(queue, after)?;
        let (before, after) = (self.partitions().await?, Partitions::of(after));
        let clash = self.all_shards().await?.into_keys().find(|shard| after.queue_of(shard) != before.queue_of(shard));
        clash.filter(|shard| shard.as_str() != queue.as_str()).map_or(Ok(()), |shard| {
            Err(Error::NotAllowed(format!("`{shard}` is a queue of its own, or was a partition; name this one otherwise")))
        })
    }

    /// Holds keys off, and refuses if there are any.
    async fn look_for_keys(&self, shards: &BTreeSet<Tag>, known: &BTreeSet<Tag>) -> Result<()> {
        let mut held_at = Instant::now();
        self.hold_keys(shards, HELD).await?;
        for shard in known {
            let mut from = Vec::new();
            loop {
                self.hold_on(shards, &mut held_at).await?;
                let call = reading("keyed", &[self.base(shard)]).arg("").arg(&from).arg(PAGE).clone();
                let [found, next] = reply::fixed(self.server.ask(Effect::Reads, &call).await?)?;
                let found = reply::bytes(found)?;
                if !found.is_empty() {
                    let what =
                        Uuid::from_slice(&found).map_or_else(|_| String::from_utf8_lossy(&found).into_owned(), |id| format!("job {id}"));
                    return Err(Error::NotAllowed(format!(
                        "{what} of `{shard}` has a key, which would stand in two partitions; let such jobs end, or purge them, and call again"
                    )));
                }
                from = reply::bytes(next)?;
                if from.is_empty() {
                    break;
                }
            }
        }
        held_at -= HELD / 3;
        self.hold_on(shards, &mut held_at).await
    }

    /// Holds them off for longer, in time.
    async fn hold_on(&self, shards: &BTreeSet<Tag>, held_at: &mut Instant) -> Result<()> {
        let since = held_at.elapsed();
        if since >= HELD / 3 {
            let again = Instant::now();
            self.hold_keys(shards, HELD).await?;
            if held_at.elapsed() >= HELD {
                return Err(Error::Unavailable(
                    "the cluster answers too slowly to keep keys off while it is looked for them; try again later".into(),
                ));
            }
            *held_at = again;
        }
        Ok(())
    }

    /// From now on for so long, no job with a key comes in.
    async fn hold_keys(&self, shards: &BTreeSet<Tag>, span: Duration) -> Result<()> {
        let call = |shard| function("hold_keys", &[self.base(shard)]).arg("").arg(u64::try_from(span.as_millis()).unwrap_or(0)).clone();
        let calls: Vec<redis::Cmd> = shards.iter().map(call).collect();
        self.server.ask_each(Effect::Promises, &calls).await.map(drop)
    }
}
