//! Who has jobs in lines or running.

use super::{RedisStore, connection::reading, error::Effect, reply};
use crate::{
    job::Name,
    store::{Result, TenantLoad},
};
use redis::Cmd;
use std::collections::{BTreeMap, BTreeSet};

impl RedisStore {
    /// Two calls a shard: the names of its lanes, and what those of the page have.
    pub(super) async fn tenant_loads(&self, after: Option<&str>, limit: usize) -> Result<Vec<TenantLoad>> {
        let bases: Vec<String> = self.all_shards().await?.keys().map(|shard| self.base(shard)).collect();
        let call = |base: &String| reading("lanes", std::slice::from_ref(base)).arg("").clone();
        let calls: Vec<Cmd> = bases.iter().map(call).collect();
        let mut lanes = BTreeSet::new();
        for names in self.server.ask_each(Effect::Reads, &calls).await? {
            for name in reply::list(names)? {
                lanes.insert(reply::text(name)?);
            }
        }
        lanes.retain(|lane| after.is_none_or(|after| lane.as_str() > after));
        let wanted: Vec<String> = lanes.into_iter().take(limit).collect();
        let call = |base: &String| reading("loads", std::slice::from_ref(base)).arg("").arg(&wanted).clone();
        let calls: Vec<Cmd> = bases.iter().map(call).collect();
        let mut loads: BTreeMap<&str, TenantLoad> = BTreeMap::new();
        for counts in self.server.ask_each(Effect::Reads, &calls).await? {
            let mut counts = reply::list(counts)?.into_iter();
            for lane in &wanted {
                let load = loads.entry(lane).or_insert_with(|| TenantLoad { tenant: Name::new(lane).ok(), ..TenantLoad::default() });
                load.waiting += counts.next().map_or(Ok(0), reply::count)?;
                load.running += counts.next().map_or(Ok(0), reply::count)?;
            }
        }
        Ok(loads.into_values().collect())
    }
}
