//! Texts that others wrote and that would be markup, scripts or addresses, in every field where one can write them.

use super::{all_is_well, opened};
use crate::control::{Port, name};
use serde_json::{Value, json};
use std::time::Duration;
use windlass::{
    job::{Daemon, ErrorClass, HolderId, JobError, Json, QueueWork, Settlement, Timestamp, Transition},
    store::Actor,
};

const HOSTILE: &str =
    "<img src=x onerror=alert(1)>\"><script>alert(2)</script>'><svg onload=alert(3)> javascript:alert(4) {{7*7}} ${alert(5)}";

/// A name may hold a colon, so this is one.
const NAMED: &str = "javascript:alert";

async fn filled(port: &Port) -> Vec<String> {
    let hostile = json!({"text": HOSTILE, HOSTILE: HOSTILE});
    let envelope = json!({"kind": NAMED, "queue": NAMED, "tenant": NAMED, "tags": [NAMED], "unique_key": NAMED, "concurrency_key": NAMED,
        "idempotency_key": HOSTILE, "payload": hostile, "meta": hostile});
    let dead = port.enqueue(1, &envelope).await[0];
    let leased = port.lease(NAMED, NAMED, 1).await.remove(0);
    let error = JobError::new(ErrorClass::Permanent, HOSTILE, HOSTILE);
    let mut end = Settlement::new(leased.lease, Transition::Dead { reason: "rejected", error }, leased.lease.granted_at);
    end.checkpoint = Some(Json::of(&hostile));
    port.store.settle(vec![end], None).await.expect("it is dead");
    let done = port.enqueue(1, &json!({"kind": "k", "payload": hostile})).await[0];
    let leased = port.lease("default", "k", 1).await.remove(0);
    let mut end = Settlement::new(leased.lease, Transition::Complete, leased.lease.granted_at);
    end.result = Some(Json::of(&hostile));
    port.store.settle(vec![end], None).await.expect("it is done");
    let cancelled = port.enqueue(1, &json!({"kind": "k", "payload": 1})).await[0];
    port.post(&format!("/v1/jobs/{cancelled}/cancel"), &json!({"reason": HOSTILE})).await;
    port.post("/v1/queues/default/pause", &json!({"reason": HOSTILE})).await;
    let waiting = port.enqueue(1, &json!({"kind": "k", "payload": HOSTILE})).await[0];
    let schedule: windlass::job::schedule::Schedule = serde_json::from_str(
        &json!({"name": NAMED, "cron": "0 3 * * *", "job": {"kind": "k", "payload": hostile, "meta": hostile}}).to_string(),
    )
    .expect("a schedule");
    port.store.put_schedule(&schedule, &Actor::new("test"), None).await.expect("it is kept");
    let queues = [(name("default"), QueueWork { slots: 1, running: 0, ended_in_minute: 0 })].into();
    let daemon = Daemon {
        holder: HolderId::mint(),
        node: HOSTILE.into(),
        pid: 1,
        version: HOSTILE.into(),
        started_at: Timestamp(0),
        draining: false,
        remote: false,
        token: None,
        queues,
        kinds: [name(NAMED)].into(),
    };
    port.store.announce(&daemon, Duration::from_secs(3600), None).await.expect("it is heard");
    [dead, done, cancelled, waiting].iter().map(|id| format!("/jobs/{id}")).collect()
}

#[tokio::test]
async fn hostile_texts_are_shown_as_texts_and_run_nothing() {
    let port = Port::start().await;
    let jobs = filled(&port).await;
    let tab = opened(port.address, "/").await;
    tab.sees("<img src=x").await;
    let views = ["/", "/queues", "/jobs", "/dead", "/daemons", &format!("/schedules/{NAMED}")].map(str::to_owned);
    for view in views.iter().chain(&jobs) {
        tab.value(&format!("location.hash = '#{view}'")).await;
        tab.sees("<img src=x onerror=alert(1)>").await;
        let foreign = "document.querySelectorAll('#main img, #main script, #main iframe, #main [onerror], #main [onload], #main [style], #main a:not([href^=\"#/\"])').length";
        assert_eq!(tab.value(foreign).await, json!(0), "{view}");
        all_is_well(&tab).await;
    }
}

#[tokio::test]
async fn hostile_addresses_are_no_markup_either() {
    let port = Port::start().await;
    let tab = opened(port.address, "/").await;
    for view in [
        "/jobs/<img src=x onerror=alert(1)>",
        "/jobs?queue=\"><script>alert(2)</script>",
        "/schedules/%3Cimg%20src=x%20onerror=alert(3)%3E",
        "/<script>",
        "/jobs/%ff",
        "/dead?group=<img>",
    ] {
        tab.value(&format!("location.hash = {}", Value::from(view))).await;
        tab.until("document.querySelector('#main').innerText.length > 20").await;
        assert_eq!(tab.value("document.querySelectorAll('#main img, #main script').length").await, json!(0), "{view}");
    }
    tab.until("document.querySelector('#main h1')").await;
    all_is_well(&tab).await;
}
