//! Redis Cluster: which server a call goes to, and what all masters are asked.

use super::Config;
use crate::store::{Error, Result};
use crc16::{State, XMODEM};
use redis::{
    Cmd, Pipeline, RedisResult, Value,
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};
use std::time::Duration;

const SLOTS: u16 = 16384;

/// The servers that a cluster's URL names, one URL each: `redis+cluster://user:password@one:6379,two:6379`. None: it is no such URL.
#[must_use]
pub fn seeds(url: &str) -> Option<Vec<String>> {
    let (scheme, rest) = url.split_once("+cluster://")?;
    let (user, hosts) = rest.rsplit_once('@').map_or(("", rest), |(user, hosts)| (user, hosts));
    let at = if user.is_empty() { "" } else { "@" };
    let hosts = hosts.trim_end_matches('/').split(',');
    Some(hosts.map(|host| format!("{scheme}://{user}{at}{host}")).collect())
}

/// # Errors
/// `Refused` when the URL cannot be read; `Unavailable` when no server of the cluster answers.
pub(super) async fn connect(seeds: Vec<String>, config: &Config) -> Result<ClusterConnection> {
    let deadline = Duration::from_millis(config.timeout_ms);
    let client: ClusterClient = ClusterClientBuilder::new(seeds)
        .connection_timeout(deadline.min(Duration::from_secs(5)))
        .response_timeout(deadline)
        .overall_response_timeout(Some(deadline))
        .build()
        .map_err(|e| Error::Refused(format!("the store URL cannot be read ({e}); use redis+cluster://user:password@one:6379,two:6379")))?;
    client.get_async_connection().await.map_err(|e| Error::Unavailable(format!("no server of the cluster can be reached: {e}")))
}

fn to_master_of(key: &[u8]) -> SingleNodeRoutingInfo {
    SingleNodeRoutingInfo::SpecificNode(Route::new(slot_of(key), SlotAddr::Master))
}

/// By the cluster's specification: of what is between the first `{` and the next `}`, or of all.
fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|from| {
        let rest = &key[from + 1..];
        rest.iter().position(|byte| *byte == b'}').filter(|length| *length > 0).map(|length| &rest[..length])
    });
    State::<XMODEM>::calculate(tag.unwrap_or(key)) % SLOTS
}

/// The answer of the master that has `key`.
pub(super) async fn ask(connection: &mut ClusterConnection, key: &[u8], call: &Cmd) -> RedisResult<Value> {
    connection.route_command(call.clone(), RoutingInfo::SingleNode(to_master_of(key))).await
}

/// The answers of the master that has `key`, all on one connection.
pub(super) async fn ask_all(connection: &mut ClusterConnection, key: &[u8], calls: Pipeline, count: usize) -> RedisResult<Vec<Value>> {
    connection.route_pipeline(calls, 0, count, to_master_of(key)).await
}

/// The answers of all masters.
pub(super) async fn ask_masters(connection: &mut ClusterConnection, call: &Cmd) -> RedisResult<Vec<Value>> {
    let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
    match connection.route_command(call.clone(), everywhere).await? {
        Value::Map(answers) => Ok(answers.into_iter().map(|(_, answer)| answer).collect()),
        Value::Array(answers) => Ok(answers),
        one => Ok(vec![one]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_of_a_cluster_names_servers_which_share_what_lets_in() {
        assert_eq!(seeds("redis://one:6379"), None);
        assert_eq!(seeds("redis+cluster://one:6379,two:6380/").unwrap(), ["redis://one:6379", "redis://two:6380"]);
        assert_eq!(
            seeds("rediss+cluster://me:p%40ss@one:6379,two:6380").unwrap(),
            ["rediss://me:p%40ss@one:6379", "rediss://me:p%40ss@two:6380"]
        );
    }

    /// As `CLUSTER KEYSLOT` answers.
    #[test]
    fn slot_is_that_of_the_tag() {
        for (key, slot) in
            [("123456789", 12739), ("windlass:{mail}:jobs", slot_of(b"mail")), ("{}a", slot_of(b"{}a")), ("a{b}{c}", slot_of(b"b"))]
        {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
    }
}
