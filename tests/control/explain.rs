//! Why a job does not run, and who works on what, as the port says it.

use super::*;
use std::time::Duration;
use windlass::job::{Daemon, HolderId, QueueWork, Timestamp};

/// A daemon of machine `box-3` that works on `default`.
async fn announce(port: &Port) {
    let queues = [(name("default"), QueueWork { slots: 4, running: 1, ended_in_minute: 60 })].into();
    let (node, version, kinds) = ("box-3".into(), "1.2.3".into(), [name("k")].into());
    let daemon = Daemon {
        holder: HolderId::mint(),
        node,
        pid: 7,
        version,
        started_at: Timestamp(0),
        draining: false,
        queues,
        kinds,
        remote: false,
        token: None,
    };
    port.store.announce(&daemon, Duration::from_secs(3600), None).await.expect("it is heard");
}

#[tokio::test]
async fn job_is_explained_gate_by_gate() {
    let port = Port::start().await;
    announce(&port).await;
    let ids = port.enqueue(2, &json!({"kind": "k", "payload": 1})).await;
    let behind = port.get(&format!("/v1/jobs/{}/explain", ids[1])).await.json();
    assert_eq!((&behind["held_by"], &behind["position"]["before"]), (&json!("line"), &json!(1)), "{behind}");
    let paused = port.post("/v1/queues/default/pause", &json!({"reason": "lunch", "for_ms": 60_000})).await.json();
    let held = port.get(&format!("/v1/jobs/{}/explain", ids[0])).await.json();
    assert_eq!((&held["held_by"], &held["starts"]["from"]), (&json!("pause"), &paused["paused"]["until"]), "{held}");
    assert!(held["says"].as_str().is_some_and(|says| says.contains("lunch")), "{held}");
    let gates: Vec<&str> = held["gates"].as_array().expect("gates").iter().filter_map(|gate| gate["gate"].as_str()).collect();
    assert_eq!(gates, ["pause", "daemon", "worker", "daemon_slots", "line"]);
}

#[tokio::test]
async fn job_that_is_not_there_is_not_explained() {
    let port = Port::start().await;
    port.get(&format!("/v1/jobs/{}/explain", JobId::mint())).await.problem(404, "not_found");
}

#[tokio::test]
async fn pause_that_ends_by_itself_must_be_of_a_time_that_makes_sense() {
    let port = Port::start().await;
    for wrong in [json!({"for_ms": 0}), json!({"for_ms": 400_u64 * 86_400_000}), json!({"for_ms": -1}), json!({"for": 1})] {
        let answer = port.post("/v1/queues/default/pause", &wrong).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    }
}

#[tokio::test]
async fn daemons_are_listed_with_what_they_do() {
    let port = Port::start().await;
    announce(&port).await;
    let listed = port.get("/v1/daemons").await.json();
    let daemon = &listed[0];
    assert_eq!((&daemon["node"], &daemon["live"], &daemon["kinds"]), (&json!("box-3"), &json!(true), &json!(["k"])), "{listed}");
    assert_eq!(daemon["queues"]["default"], json!({"slots": 4, "running": 1, "ended_in_minute": 60}));
}
