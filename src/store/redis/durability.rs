//! What a write survives on this server, by the server's own settings; and which settings we do not put up with unless told to.

use super::{Config, connection::Server, error::odd, reply, witness::Witnesses};
use crate::store::{Durability, Error, Result};
use redis::FromRedisValue as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A risk that the configuration may accept by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Without an append-only file a restart forgets minutes of acknowledged jobs, or all of them.
    NoPersistence,
    /// A full server throws away keys of its own choice: jobs, leases, whole queues.
    Eviction,
}

impl Risk {
    const fn name(self) -> &'static str {
        match self {
            Self::NoPersistence => "no_persistence",
            Self::Eviction => "eviction",
        }
    }

    pub(super) const fn says(self) -> &'static str {
        match self {
            Self::NoPersistence => "this Redis keeps no append-only file, so a restart loses acknowledged jobs",
            Self::Eviction => "this Redis may evict keys when its memory is full, and jobs with them",
        }
    }

    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::NoPersistence => "set `appendonly yes` (and `appendfsync always` to lose none)",
            Self::Eviction => "set `maxmemory-policy noeviction`",
        }
    }

    /// How the configuration puts up with it.
    pub(super) fn acceptance(self) -> String {
        format!("`store.redis.accept = [\"{}\"]`", self.name())
    }
}

/// What `INFO` and `CONFIG` say, as far as they say anything.
pub(super) struct Settings {
    pub(super) version: String,
    pub(super) durability: Durability,
    pub(super) risks: Vec<Risk>,
}

/// Of all masters the worst.
pub(super) async fn read(server: &Server) -> Result<Settings> {
    let mut infos: Vec<BTreeMap<String, String>> = Vec::new();
    for section in ["server", "persistence", "memory"] {
        for (n, told) in server.ask_masters(redis::cmd("INFO").arg(section)).await?.into_iter().enumerate() {
            let pairs = info_of(told)?;
            match infos.get_mut(n) {
                Some(info) => info.extend(pairs),
                None => infos.push(pairs),
            }
        }
    }
    // Hosted servers often refuse this; then `everysec`, which is the default, is what may be counted on.
    let told = server.ask_masters(redis::cmd("CONFIG").arg("GET").arg("appendfsync")).await.unwrap_or_default();
    let fsync: Vec<String> = told
        .into_iter()
        .map(|told| {
            BTreeMap::<String, String>::from_redis_value(told).ok().and_then(|pairs| pairs.into_values().next()).unwrap_or_default()
        })
        .collect();
    let all_alike = fsync.first().filter(|first| fsync.iter().all(|fsync| fsync == *first)).cloned().unwrap_or_default();
    let mut judged = infos.iter().map(|info| judge(info, &all_alike, server.witnesses));
    let Some(first) = judged.next() else { return odd("a server") };
    Ok(judged.fold(first, Settings::worse))
}

/// What `INFO` says, by its names.
pub(super) fn info_of(told: redis::Value) -> Result<BTreeMap<String, String>> {
    let text = reply::text(told)?;
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}

impl Settings {
    fn knows_waitaof(&self) -> bool {
        let mut numbers = self.version.split('.').map_while(|number| number.parse::<u32>().ok());
        (numbers.next(), numbers.next()) >= (Some(7), Some(2))
    }

    fn worse(mut self, other: Self) -> Self {
        if other.durability == Durability::Relaxed {
            self.durability = Durability::Relaxed;
        }
        self.risks.extend(other.risks);
        self
    }
}

fn judge(info: &BTreeMap<String, String>, fsync: &str, witnesses: Witnesses) -> Settings {
    let of = |name: &str| info.get(name).map(String::as_str).unwrap_or_default();
    let has_log = of("aof_enabled") == "1";
    let may_evict = of("maxmemory") != "0" && !["", "noeviction"].contains(&of("maxmemory_policy"));
    let risks = [(!has_log, Risk::NoPersistence), (may_evict, Risk::Eviction)];
    Settings {
        version: of("redis_version").to_owned(),
        durability: match (has_log && (fsync == "always" || witnesses.on_disk), witnesses.replicas) {
            (true, 0) => Durability::Strict,
            (true, _) => Durability::Replicated,
            (false, _) => Durability::Relaxed,
        },
        risks: risks.into_iter().filter(|(is_there, _)| *is_there).map(|(_, risk)| risk).collect(),
    }
}

/// # Errors
/// `Refused` when the server's settings would lose jobs and the configuration does not accept that by name.
pub(super) async fn check(server: &Server, config: &Config) -> Result<()> {
    let settings = read(server).await?;
    if config.on_disk && !settings.knows_waitaof() {
        return Err(Error::Refused(format!(
            "`store.redis.on_disk` needs the command WAITAOF, which came with Redis 7.2, and this is {}; take it out, and set `appendfsync always`",
            settings.version
        )));
    }
    match settings.risks.iter().find(|risk| !config.accept.contains(risk)) {
        Some(risk) => Err(Error::Refused(format!("{}; {}, or accept the loss with {}", risk.says(), risk.remedy(), risk.acceptance()))),
        None => {
            if settings.durability == Durability::Relaxed {
                tracing::warn!(
                    "by its settings this Redis may lose about a second of what it acknowledged; durability is relaxed (`appendfsync always` makes it strict)"
                );
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)], fsync: &str) -> Settings {
        judge(
            &pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            fsync,
            Witnesses::of(&Config::default()),
        )
    }

    #[test]
    fn only_an_append_only_file_that_is_always_synced_is_strict() {
        let log = [("aof_enabled", "1"), ("maxmemory", "0"), ("maxmemory_policy", "noeviction")];
        assert_eq!(settings(&log, "always").durability, Durability::Strict);
        for fsync in ["everysec", "no", ""] {
            let relaxed = settings(&log, fsync);
            assert_eq!((relaxed.durability, relaxed.risks), (Durability::Relaxed, vec![]));
        }
        let none = settings(&[("aof_enabled", "0"), ("maxmemory", "0")], "always");
        assert_eq!((none.durability, none.risks), (Durability::Relaxed, vec![Risk::NoPersistence]));
    }

    #[test]
    fn policy_that_evicts_is_a_risk_where_memory_is_bounded() {
        let with =
            |maxmemory, policy| settings(&[("aof_enabled", "1"), ("maxmemory", maxmemory), ("maxmemory_policy", policy)], "always").risks;
        assert_eq!(with("1000000", "allkeys-lru"), [Risk::Eviction]);
        assert_eq!(with("1000000", "volatile-ttl"), [Risk::Eviction]);
        assert_eq!(with("1000000", "noeviction"), []);
        assert_eq!(with("0", "allkeys-lru"), []);
    }
}
