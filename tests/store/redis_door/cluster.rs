//! The door in a cluster.

use crate::support::{Daemon, TestStore, ids, redis_cluster};
use redis::{
    Value,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};
use windlass::job::State;

#[tokio::test]
async fn queue_that_only_producers_know_is_heard_of_and_its_jobs_are_leased() {
    let Some(store) = TestStore::open_beside_others("cluster").await else { return };
    let mut cluster = redis_cluster().await.connect().await;
    let slot: u16 = redis::cmd("CLUSTER").arg("KEYSLOT").arg("{theirs}").query_async(&mut cluster).await.expect("a slot");
    let call = redis::cmd("FCALL")
        .arg("windlass_enqueue")
        .arg(1)
        .arg(format!("{}:{{theirs}}", store.prefix()))
        .arg(r#"{"kind":"work","payload":1}"#)
        .arg(r#"{"kind":"work","payload":2,"unique_key":"k"}"#)
        .clone();
    let route = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master)));
    let answer = cluster.route_command(call, route).await.expect("they are taken");
    let Value::Array(answered) = answer else { panic!("{answer:?}") };
    assert_eq!(answered.len(), 2);
    // A daemon hears of it, and upkeep puts it on the list.
    crate::crash::process::until("the queue", async || {
        store.advance(None).await.expect("upkeep");
        store.queues(None).await.expect("queues").into_iter().find(|queue| queue.name == "theirs")
    })
    .await;
    assert_eq!(store.queue_status("theirs", None).await.jobs[&State::Queued], 2);
    let leased = Daemon::new().lease_from(&*store, "theirs", 5, None).await;
    let texts: Vec<String> = ids(&leased).iter().map(ToString::to_string).collect();
    let answered: Vec<String> = answered.into_iter().map(|id| redis::from_redis_value(id).expect("an id")).collect();
    assert_eq!(texts, answered);
}
