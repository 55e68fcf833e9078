//! Examines the server, or each master of a cluster, by what `INFO` says and by the time it takes to say it. What the user may not ask is
//! a line that says so.

use super::{
    Config, Risk,
    connection::Server,
    durability::{self, Settings},
    library, reply,
};
use crate::{
    clock::Clock,
    job::Timestamp,
    store::{
        Durability, Error, Result,
        examine::{
            CONNECTION, Extent, Finding, Level, WHOLE, bytes, clock_skew, connections, percent, round_trip, shown, too_late, warn_if,
            within,
        },
    },
};
use redis::cmd;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// A server that has not answered by then does not answer.
const ANSWER: Duration = Duration::from_secs(3);

/// # Errors
/// `Refused` when the URL cannot be read; `Unavailable` when the server does not answer.
pub(in crate::store) async fn examine(url: &str, config: &Config, extent: Extent) -> Result<Vec<Finding>> {
    let silent = |_| Error::Unavailable(format!("Redis did not answer within {}", shown(ANSWER)));
    let server = tokio::time::timeout(ANSWER, Server::connect(url, config, CancellationToken::new())).await.map_err(silent)??;
    examine_server(&server, config, extent).await
}

pub(super) async fn examine_server(server: &Server, config: &Config, extent: Extent) -> Result<Vec<Finding>> {
    if extent == Extent::DataLoss {
        return Ok(within("durability", durable(server, config)).await);
    }
    let silent = |_| Error::Unavailable(format!("Redis did not answer within {}", shown(ANSWER)));
    let mut findings = match tokio::time::timeout(ANSWER, times(server)).await.map_err(silent)? {
        Err(error) if error.is_outage() => return Err(error),
        Err(error) => vec![Finding::unknown("clock_skew", error, "grant the user `+time`")],
        Ok(findings) => findings,
    };
    let rest = async {
        let (durable, library, cluster, books) = tokio::join!(
            within("durability", durable(server, config)),
            within("migrations", functions(server)),
            within("cluster", cluster(server)),
            within("store_version", books(server, config)),
        );
        [durable, library, cluster, books].concat()
    };
    findings.extend(tokio::time::timeout(WHOLE, rest).await.unwrap_or_else(|_| vec![too_late(CONNECTION)]));
    Ok(findings)
}

/// How long the line is, and what the clocks say.
async fn times(server: &Server) -> Result<Vec<Finding>> {
    let (mut times, mut skews) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let (begun, before) = (Instant::now(), Clock::System.now());
        let told = server.ask_masters(&cmd("TIME")).await?;
        let after = Clock::System.now();
        times.push(begun.elapsed());
        skews = Vec::new();
        for told in told {
            let [seconds, micros] = reply::fixed(told)?;
            skews.push(clock_skew(Timestamp(reply::number(seconds)? * 1_000_000 + reply::number(micros)?), before, after));
        }
    }
    Ok([round_trip(&times)].into_iter().chain(worst(skews)).collect())
}

/// Of the same check on several masters: all that are not well, or one for all.
fn worst(mut findings: Vec<Finding>) -> Vec<Finding> {
    if findings.iter().any(|finding| finding.level != Level::Ok) {
        findings.retain(|finding| finding.level != Level::Ok);
    } else {
        findings.truncate(1);
    }
    findings
}

// ---------------------------------------------------------------------------------------------------------- what it would lose

async fn durable(server: &Server, config: &Config) -> Result<Vec<Finding>> {
    let settings = durability::read(server).await?;
    Ok(vec![class(&settings, config), risk(Risk::Eviction, "eviction", &settings, config).unwrap_or_else(never_evicts)])
}

fn never_evicts() -> Finding {
    Finding::ok("eviction", "no key is ever thrown away for want of memory")
}

/// A risk that is there: put up with, or not.
fn risk(risk: Risk, check: &'static str, settings: &Settings, config: &Config) -> Option<Finding> {
    let is_accepted = config.accept.contains(&risk);
    settings.risks.contains(&risk).then(|| match is_accepted {
        true => Finding::warn(check, format!("{}; {} puts up with it", risk.says(), risk.acceptance()), risk.remedy()),
        false => {
            Finding::fail(check, risk.says(), format!("{}, or accept the loss with {}", risk.remedy(), risk.acceptance())).losing_data()
        }
    })
}

fn class(settings: &Settings, config: &Config) -> Finding {
    const CHECK: &str = "durability";
    risk(Risk::NoPersistence, CHECK, settings, config).unwrap_or_else(|| match settings.durability {
        Durability::Strict => Finding::ok(CHECK, "strict: what is acknowledged is on the server's disk"),
        Durability::Replicated => {
            Finding::ok(CHECK, format!("replicated: what is acknowledged is on the disk, and with {} replicas", config.replicas))
        }
        Durability::Relaxed => Finding::warn(
            CHECK,
            "relaxed: what was acknowledged within the last second or two may be lost with the server's machine",
            "set `appendfsync always`; with `everysec`, `store.redis.on_disk` makes each answer wait for the disk",
        ),
    })
}

// ------------------------------------------------------------------------------------------------------------------- functions

async fn functions(server: &Server) -> Result<Finding> {
    const CHECK: &str = "migrations";
    if !library::is_there(server).await? {
        return Ok(Finding::fail(CHECK, library::lack(), library::MIGRATE));
    }
    Ok(match library::is_loaded(server).await? {
        true => Finding::ok(CHECK, format!("the functions {} are this program's", library::RELEASE)),
        false => Finding::warn(CHECK, format!("the functions {} are not those of this program", library::RELEASE), library::MIGRATE),
    })
}

async fn cluster(server: &Server) -> Result<Vec<Finding>> {
    if !server.is_cluster() {
        return Ok(Vec::new());
    }
    let told = server.ask_masters(cmd("CLUSTER").arg("INFO")).await?;
    let views = told.into_iter().map(|told| durability::info_of(told).map(|view| slots(&Info(view)))).collect::<Result<Vec<_>>>()?;
    Ok(worst(views))
}

fn slots(view: &Info) -> Finding {
    const CHECK: &str = "cluster";
    let (state, served, all) = (view.text("cluster_state"), view.number("cluster_slots_ok"), 16_384);
    let says = format!("the cluster is {state}; {served} of {all} slots are served by {} masters", view.number("cluster_size"));
    let remedy = "see `redis-cli --cluster check`: start the master that is away, or let its replica take over";
    if state == "ok" && served == all { Finding::ok(CHECK, says) } else { Finding::fail(CHECK, says, remedy) }
}

// --------------------------------------------------------------------------------------------------- what the server's books say

struct Info(BTreeMap<String, String>);

impl Info {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    /// 0 where it is not said.
    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    fn says_error(&self, name: &str) -> bool {
        self.text(name) == "err"
    }

    /// What each connected replica says of itself: `state=online,lag=0,…`.
    fn replicas(&self) -> Vec<Self> {
        let is_one =
            |name: &&String| name.strip_prefix("slave").is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()));
        let members =
            |text: &str| text.split(',').filter_map(|pair| pair.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        self.0.iter().filter(|(name, _)| is_one(name)).map(|(_, text)| Self(members(text))).collect()
    }
}

async fn books(server: &Server, config: &Config) -> Result<Vec<Finding>> {
    let told = server.ask_masters(&cmd("INFO")).await?;
    let infos = told.into_iter().map(|told| durability::info_of(told).map(Info)).collect::<Result<Vec<_>>>()?;
    let keep_waiting = if config.replicas > 0 { kept_waiting(server).await } else { None };
    let each = |check: &dyn Fn(&Info) -> Finding| worst(infos.iter().map(|info| placed(check(info), info, server.is_cluster())).collect());
    let mut findings = Vec::new();
    for check in [version, disk, memory, evicted, headroom, syncs] {
        findings.extend(each(&check));
    }
    findings.extend(worst(infos.iter().flat_map(|info| replicas(info, config.replicas)).collect()));
    findings.extend(keep_waiting.map(|least| min_replicas(least, config.replicas)));
    Ok(findings)
}

/// Of several masters it is said which.
fn placed(finding: Finding, info: &Info, is_one_of_several: bool) -> Finding {
    if !is_one_of_several || finding.level == Level::Ok {
        return finding;
    }
    Finding { says: format!("the master at port {}: {}", info.number("tcp_port"), finding.says), ..finding }
}

fn version(info: &Info) -> Finding {
    const CHECK: &str = "store_version";
    let (name, number) = match info.text("valkey_version") {
        "" => ("Redis", info.text("redis_version")),
        valkey => ("Valkey", valkey),
    };
    let compatible: u32 = info.text("redis_version").split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if info.text("role") == "slave" {
        return Finding::fail(CHECK, format!("{name} {number}, a replica, which takes no writes"), "name the master with `store.url`");
    }
    if compatible < 7 {
        let remedy = "use Redis 7.0 or newer, or Valkey; without functions a Redis can only be an inbox (`inbox.url`)";
        return Finding::fail(CHECK, format!("{name} {number} has no functions"), remedy);
    }
    Finding::ok(CHECK, format!("{name} {number}, {}", info.text("redis_mode")))
}

fn disk(info: &Info) -> Finding {
    const CHECK: &str = "persistence";
    let remedy = "look at the server's log and at its disk: free space, and see that its folder may be written to";
    if info.number("loading") == 1 {
        return Finding::warn(CHECK, "the server still reads what it kept", "wait until it has");
    }
    if info.says_error("aof_last_write_status") || info.says_error("rdb_last_bgsave_status") {
        return Finding::fail(CHECK, "the server could not write to its disk, and takes no writes until it can", remedy);
    }
    if info.says_error("aof_last_bgrewrite_status") {
        return Finding::warn(CHECK, "the server could not rewrite its append-only file, which only grows until it can", remedy);
    }
    Finding::ok(CHECK, "the server's last writes to its disk went well")
}

/// Of the bound that the server has, or of the machine's memory.
fn memory(info: &Info) -> Finding {
    const CHECK: &str = "memory";
    let (used, bound) = (info.number("used_memory"), info.number("maxmemory"));
    let (most, of) = if bound > 0 { (bound, "`maxmemory`") } else { (info.number("total_system_memory"), "the machine's memory") };
    if most == 0 {
        return Finding::ok(CHECK, format!("{} are in use, and no bound is known", bytes(used)));
    }
    let says = format!("{} of {}, {of}, are in use", bytes(used), bytes(most));
    let remedy =
        "give the server more memory, or let jobs and dead letters go (`engine.retention`); on a full one nothing is taken in any more";
    let found = match percent(used, most) {
        95.. => Finding::fail(CHECK, says, remedy),
        80.. => Finding::warn(CHECK, says, remedy),
        _ => Finding::ok(CHECK, says),
    };
    found.measured(used as f64, "bytes")
}

/// What is past mending, but must not be believed to be well.
fn evicted(info: &Info) -> Finding {
    let keys = info.number("evicted_keys");
    let says = format!("{keys} keys were evicted since the server was started");
    let remedy = "see `eviction`; jobs may be among them: enqueue again what is missing, and restart the server to count from 0";
    warn_if(keys > 0, "evicted_keys", says, remedy).measured(keys as f64, "keys")
}

fn headroom(info: &Info) -> Finding {
    let most = info.number("maxclients");
    if most == 0 {
        let remedy = "see `CONFIG GET maxclients`";
        return Finding::unknown("connections", "the server does not say how many it allows", remedy);
    }
    connections(info.number("connected_clients"), most, "raise `maxclients`, or find who opens so many (`CLIENT LIST`)")
}

/// Writes that waited for a sync that took more than a second or two.
fn syncs(info: &Info) -> Finding {
    let (delayed, hours) = (info.number("aof_delayed_fsync"), info.number("uptime_in_seconds").div_ceil(3600).max(1));
    let says = format!("{delayed} syncs of the append-only file were late since the server was started");
    let remedy = "give the server a disk with a faster sync, and other programs another disk";
    warn_if(delayed >= hours, "fsync_latency", says, remedy).measured(delayed as f64, "syncs")
}

const LAG_TO_WARN: u64 = 10;

fn replicas(info: &Info, wanted: u32) -> Vec<Finding> {
    const CHECK: &str = "replica_lag";
    let replicas = info.replicas();
    let online = replicas.iter().filter(|replica| replica.text("state") == "online").count();
    if (online as u64) < u64::from(wanted) {
        let says = format!("acknowledgements wait for {wanted} replicas, and {online} are online");
        return vec![Finding::fail(CHECK, says, "start the replicas, or lower `store.redis.replicas`")];
    }
    if replicas.is_empty() {
        return vec![Finding::ok(CHECK, "no replica is connected")];
    }
    let each = replicas.iter().map(|replica| {
        let behind = bytes(info.number("master_repl_offset").saturating_sub(replica.number("offset")));
        let says = format!(
            "the replica {}:{} ({}) was heard of {} s ago, and is {behind} behind",
            replica.text("ip"),
            replica.text("port"),
            replica.text("state"),
            replica.number("lag")
        );
        let is_bad = replica.text("state") != "online" || replica.number("lag") > LAG_TO_WARN;
        let remedy = "look at the replica and at the network to it; a failover now loses that much";
        warn_if(is_bad, CHECK, says, remedy).measured(replica.number("lag") as f64, "s")
    });
    each.collect()
}

/// The least that any master is set to; None where the user may not ask.
async fn kept_waiting(server: &Server) -> Option<u64> {
    let told = server.ask_masters(cmd("CONFIG").arg("GET").arg("min-replicas-to-write")).await.ok()?;
    let least = |told| {
        let pairs: BTreeMap<String, String> = redis::FromRedisValue::from_redis_value(told).ok()?;
        pairs.into_values().next()?.parse::<u64>().ok()
    };
    told.into_iter().map(least).min()?
}

fn min_replicas(least: u64, wanted: u32) -> Finding {
    let says = format!("`min-replicas-to-write` is {least}, and `store.redis.replicas` is {wanted}");
    let remedy =
        "set `min-replicas-to-write` to as many: a master that is cut off from its replicas then takes no writes that would be lost";
    warn_if(least < u64::from(wanted), "min_replicas", says, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(pairs: &[(&str, &str)]) -> Info {
        Info(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn server_is_known_by_its_name_its_version_and_its_role() {
        let says = |pairs| version(&info(pairs));
        assert_eq!(says(&[("redis_version", "7.2.4"), ("valkey_version", "8.0.1")]).says, "Valkey 8.0.1, ");
        assert_eq!(says(&[("redis_version", "6.2.9")]).level, Level::Fail);
        assert_eq!(says(&[("redis_version", "7.0.0"), ("role", "slave")]).level, Level::Fail);
        assert_eq!(says(&[("redis_version", "10.0.0"), ("role", "master")]).level, Level::Ok);
    }

    #[test]
    fn memory_is_judged_by_the_bound_or_by_the_machine() {
        let level = |used, bound| memory(&info(&[("used_memory", used), ("maxmemory", bound), ("total_system_memory", "1000")])).level;
        assert_eq!([level("10", "100"), level("80", "100"), level("95", "100")], [Level::Ok, Level::Warn, Level::Fail]);
        assert_eq!([level("799", "0"), level("800", "0")], [Level::Ok, Level::Warn]);
    }

    #[test]
    fn disk_that_failed_fails_and_a_rewrite_that_failed_is_a_warning() {
        let level = |name| disk(&info(&[(name, "err")])).level;
        assert_eq!(
            [level("aof_last_write_status"), level("rdb_last_bgsave_status"), level("aof_last_bgrewrite_status")],
            [Level::Fail, Level::Fail, Level::Warn]
        );
        assert_eq!((disk(&info(&[])).level, disk(&info(&[("loading", "1")])).level), (Level::Ok, Level::Warn));
    }

    #[test]
    fn late_syncs_are_judged_by_the_hour() {
        let level = |delayed, uptime| syncs(&info(&[("aof_delayed_fsync", delayed), ("uptime_in_seconds", uptime)])).level;
        assert_eq!(
            [level("0", "10"), level("1", "10"), level("9", "36000"), level("10", "36000")],
            [Level::Ok, Level::Warn, Level::Ok, Level::Warn]
        );
    }

    #[test]
    fn replicas_that_are_waited_for_must_be_online_and_near() {
        let slave = |text: &'static str| info(&[("slave0", text), ("slave_repl_offset", "5"), ("master_repl_offset", "2048")]);
        let level = |text, wanted| replicas(&slave(text), wanted)[0].level;
        let near = "ip=127.0.0.1,port=1,state=online,offset=1024,lag=0";
        assert_eq!([level(near, 0), level(near, 1), level(near, 2)], [Level::Ok, Level::Ok, Level::Fail]);
        assert_eq!(level("ip=127.0.0.1,port=1,state=online,offset=0,lag=11", 1), Level::Warn);
        assert_eq!(level("ip=127.0.0.1,port=1,state=wait_bgsave,offset=0,lag=0", 0), Level::Warn);
        assert!(replicas(&slave(near), 0)[0].says.contains("1.0 KiB behind"));
        assert_eq!(replicas(&info(&[]), 0)[0].level, Level::Ok);
    }

    #[test]
    fn keys_that_were_evicted_and_masters_that_write_alone_are_told_of() {
        assert_eq!((evicted(&info(&[("evicted_keys", "3")])).level, evicted(&info(&[])).level), (Level::Warn, Level::Ok));
        assert_eq!((min_replicas(0, 1).level, min_replicas(1, 1).level), (Level::Warn, Level::Ok));
    }

    #[test]
    fn slots_that_nobody_serves_fail() {
        let level = |state, served| slots(&info(&[("cluster_state", state), ("cluster_slots_ok", served)])).level;
        assert_eq!([level("ok", "16384"), level("ok", "16383"), level("fail", "16384")], [Level::Ok, Level::Fail, Level::Fail]);
    }

    #[test]
    fn of_several_masters_those_that_are_not_well_are_named() {
        let bad = placed(Finding::warn("a", "bad", "mend it"), &info(&[("tcp_port", "7001")]), true);
        let good = Finding::ok("a", "good");
        assert_eq!(worst(vec![good.clone(), bad.clone(), good.clone()]), vec![bad.clone()]);
        assert_eq!(worst(vec![good.clone(), good.clone()]), [good]);
        assert_eq!(bad.says, "the master at port 7001: bad");
    }
}
