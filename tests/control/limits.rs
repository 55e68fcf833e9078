//! Limits of a queue, changed and lifted through the port.

use super::*;
use windlass::job::{Daemon, LiveLimits, QueueSettings, QueueWork, Rate, Scope, Timestamp};

const LIMITS: &str = "/v1/queues/serp/limits";

impl Port {
    async fn patch(&self, body: &Value) -> Answer {
        self.send(Method::PATCH, LIMITS, "application/json", body.to_string()).await
    }

    async fn configure(&self, queue: QueueSettings) {
        let settings = Settings { queues: [(name("serp"), queue)].into(), ..Settings::default() };
        self.store.configure(&settings).await.expect("it is configured");
    }
}

#[tokio::test]
async fn limits_are_changed_shown_and_lifted() {
    let port = Port::start().await;
    port.configure(QueueSettings { concurrency: Some(8), ..QueueSettings::default() }).await;
    let before = port.get(LIMITS).await.json();
    assert_eq!((&before["name"], &before["limits"]["in_force"]["concurrency"]), (&json!("serp"), &json!(8)), "{before}");
    let changed = port.patch(&json!({"concurrency": 2, "rate": {"per_second": 5.0, "burst": 10}, "reason": "it melts"})).await;
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    let limits = changed.json()["limits"].clone();
    assert_eq!((&limits["in_force"]["concurrency"], &limits["configured"]["concurrency"]), (&json!(2), &json!(8)), "{limits}");
    assert_eq!(limits["in_force"]["rate"], json!({"per_second": 5.0, "burst": 10}));
    assert_eq!(limits["changed"]["limits"], json!({"concurrency": 2, "rate": {"per_second": 5.0, "burst": 10}}));
    assert_eq!((&limits["changed"]["by"], &limits["changed"]["reason"]), (&json!("http:127.0.0.1"), &json!("it melts")));
    assert!(limits["changed"]["at"].as_str().is_some_and(|at| at.starts_with("20")), "{limits}");
    let lifted = port.patch(&json!({"rate": null})).await.json();
    assert_eq!((&lifted["limits"]["in_force"]["rate"], &lifted["limits"]["in_force"]["concurrency"]), (&Value::Null, &json!(2)));
    assert_eq!(port.get("/v1/queues").await.json()[0]["limits"], lifted["limits"], "also among the queues");
    let back = port.send(Method::DELETE, LIMITS, "application/json", "").await;
    assert_eq!((back.status, back.json()), (StatusCode::OK, before));
}

#[tokio::test]
async fn bad_limit_is_named_by_its_place_and_changes_nothing() {
    let port = Port::start().await;
    port.configure(QueueSettings { fair: false, ..QueueSettings::default() }).await;
    for (body, pointer, code) in [
        (json!({"concurrency": 0}), "#/concurrency", "out_of_range"),
        (json!({"concurrency": -1}), "#/concurrency", "wrong_type"),
        (json!({"concurrency": 1.5}), "#/concurrency", "wrong_type"),
        (json!({"key_concurrency": null}), "#/key_concurrency", "wrong_type"),
        (json!({"tenant_concurrency": 1}), "#/tenant_concurrency", "out_of_range"),
        (json!({"rate": {"per_second": 0, "burst": 1}}), "#/rate", "out_of_range"),
        (json!({"rate": "10/s"}), "#/rate", "wrong_type"),
        (json!({"key_rate": {"per_second": 1}}), "#/key_rate", "wrong_type"),
        (json!({"fair": true}), "#/fair", "unknown_member"),
        (json!({"reason": 7, "concurrency": 1}), "#/reason", "wrong_type"),
        (json!({"reason": "r".repeat(501), "concurrency": 1}), "#/reason", "too_large"),
        (json!({"reason": "only that"}), "#", "empty"),
        (json!([]), "#", "wrong_type"),
    ] {
        let problem = port.patch(&body).await.problem(400, "invalid");
        assert_eq!((&problem["errors"][0]["pointer"], &problem["errors"][0]["code"]), (&json!(pointer), &json!(code)), "{body}: {problem}");
        assert_eq!(problem["errors"][0].get("index"), None);
    }
    assert!(port.store.settings().await.expect("settings").live.is_empty());
    port.send(Method::PATCH, "/v1/queues/not%20a%20name/limits", "application/json", "{}").await.problem(400, "bad_name");
}

#[tokio::test]
async fn limits_are_changed_by_who_may_operate_and_is_bound_to_no_tenant() {
    let port = Port::start().await;
    let (one, nothing) = (json!({"concurrency": 1}), json!({}));
    for (scopes, tenant, refused) in [
        (Scope::Read, None, Some("missing_scope")),
        (Scope::Enqueue, None, Some("missing_scope")),
        (Scope::Operate, Some("acme"), Some("bound_to_tenant")),
        (Scope::Operate, None, None),
    ] {
        let token = port.token([scopes], tenant).await;
        for method in [Method::PATCH, Method::DELETE] {
            let answer = port.call(&token, method.clone(), LIMITS, if method == Method::PATCH { &one } else { &nothing }).await;
            match refused {
                Some(code) => _ = answer.problem(403, code),
                None => assert_eq!(answer.status, StatusCode::OK, "{answer:?}"),
            }
        }
    }
    let reader = port.token([Scope::Read], None).await;
    assert_eq!(port.call(&reader, Method::GET, LIMITS, &json!(null)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn explanation_names_who_changed_the_limit_that_holds_the_job() {
    let port = Port::start().await;
    let queues = [(name("serp"), QueueWork { slots: 4, running: 1, ended_in_minute: 60 })].into();
    let (node, version, kinds) = ("box-3".into(), "1.2.3".into(), [name("k")].into());
    let holder = HolderId::mint();
    let daemon =
        Daemon { holder, node, pid: 7, version, started_at: Timestamp(0), draining: false, queues, kinds, remote: false, token: None };
    port.store.announce(&daemon, Duration::from_secs(3600), None).await.expect("it is heard");
    let ids = port.enqueue(2, &json!({"kind": "k", "payload": 1, "queue": "serp", "tenant": "acme"})).await;
    port.patch(&json!({"concurrency": 1, "reason": "the provider melts"})).await;
    assert_eq!(port.lease("serp", "k", 5).await.len(), 1, "it holds at once");
    let waits = port.get(&format!("/v1/jobs/{}/explain", ids[1])).await.json();
    assert_eq!(waits["held_by"], "queue_slots", "{waits}");
    let says = waits["says"].as_str().expect("a sentence");
    assert!(says.starts_with("all 1 slots of queue serp are taken; concurrency was changed by http:127.0.0.1 at "), "{says}");
    assert!(says.ends_with(": the provider melts"), "{says}");
    let bound = port.token([Scope::Read], Some("acme")).await;
    let told = port.call(&bound, Method::GET, &format!("/v1/jobs/{}/explain", ids[1]), &json!(null)).await;
    assert_eq!(told.json()["held_by"], "queue_slots");
    assert!(!told.text.contains("melts") && !told.text.contains("127.0.0.1"), "{told:?}");
}

#[tokio::test]
async fn client_changes_and_lifts_limits() {
    let port = Port::start().await;
    let client = windlass::Client::new(&port.url(""), None).expect("a client");
    let rate = Rate { per_second: 0.5, burst: 1 };
    let limits = LiveLimits { concurrency: Some(Some(3)), rate: Some(Some(rate)), ..LiveLimits::default() };
    let changed = client.set_limits(&name("serp"), &limits, Some("it melts")).await.expect("changed");
    assert_eq!((changed.limits.in_force.concurrency, changed.limits.in_force.rate), (Some(3), Some(rate)));
    assert_eq!(client.limits(&name("serp")).await.expect("shown"), changed);
    let none = LiveLimits { rate: Some(None), ..LiveLimits::default() };
    let again = client.set_limits(&name("serp"), &none, None).await.expect("changed");
    assert_eq!((again.limits.in_force.concurrency, again.limits.in_force.rate), (Some(3), None), "null reaches the port");
    let lifted = client.unset_limits(&name("serp"), Some("it is well")).await.expect("lifted");
    assert_eq!((lifted.limits.changed, lifted.limits.in_force.concurrency), (None, None));
    let rows = port.store.audit(None, 1).await.expect("the audit").items;
    assert_eq!(rows[0].detail.as_deref(), Some("concurrency: 3 -> none; because it is well"));
}

#[tokio::test]
async fn burst_that_no_store_can_count_is_refused() {
    let port = Port::start().await;
    let body = json!({"rate": {"per_second": 1000.0, "burst": 3_000_000_000_u32}});
    let answer = port.send(Method::PATCH, LIMITS, "application/json", body.to_string()).await;
    assert_eq!(answer.problem(400, "invalid")["errors"][0]["pointer"], "#/rate");
}
