//! Looking, cancelling, trying again, dead letters, queues.

use super::*;
use windlass::job::{Scope, Timestamp};

#[tokio::test]
async fn a_list_walks_all_pages_newest_first_without_payloads() {
    let port = Port::start().await;
    let ids = port.enqueue(25, &json!({"kind": "k", "payload": {"secret": "in the payload"}, "tags": ["nightly"]})).await;
    let mut expected: Vec<JobId> = ids.clone();
    expected.sort_by(|a, b| b.cmp(a));
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let from = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = port.get(&format!("/v1/jobs?limit=10{from}")).await;
        assert!(!page.text.contains("in the payload"), "{page:?}");
        let page = page.json();
        seen.extend(page["items"].as_array().expect("items").iter().map(id_of));
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn filters_are_combined_with_and() {
    let port = Port::start().await;
    port.enqueue(2, &json!({"kind": "a", "payload": 1, "queue": "one", "tenant": "org_1"})).await;
    port.enqueue(3, &json!({"kind": "a", "payload": 1, "queue": "two", "tags": ["red"]})).await;
    port.enqueue(4, &json!({"kind": "b", "payload": 1, "queue": "two", "delay_ms": 60_000})).await;
    for (query, n) in [
        ("kind=a", 5),
        ("queue=two", 7),
        ("kind=a&queue=two", 3),
        ("tag=red", 3),
        ("tenant=org_1", 2),
        ("state=scheduled", 4),
        ("state=scheduled&kind=a", 0),
        ("state=dead", 0),
    ] {
        assert_eq!(port.get(&format!("/v1/jobs?{query}")).await.json()["items"].as_array().map(Vec::len), Some(n), "{query}");
    }
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_a_running_one_is_asked_and_a_final_one_stays() {
    let port = Port::start().await;
    let ids = port.enqueue(2, &json!({"kind": "k", "payload": 1})).await;
    let running = port.lease("default", "k", 1).await[0].lease.job;
    let waiting = if ids[0] == running { ids[1] } else { ids[0] };
    let now = port.post(&format!("/v1/jobs/{waiting}/cancel"), &json!({"reason": "not needed"})).await;
    assert_eq!((now.status, now.json()["cancelled"].clone()), (StatusCode::OK, json!("now")));
    let job = port.job(waiting).await;
    assert_eq!((&job["state"], &job["reason"]), (&json!("cancelled"), &json!("not needed")));
    let asked = Answer::of(port.request(Method::POST, &format!("/v1/jobs/{running}/cancel"))).await;
    assert_eq!((asked.status, asked.json()["cancelled"].clone()), (StatusCode::ACCEPTED, json!("asked")));
    let again = port.post(&format!("/v1/jobs/{waiting}/cancel"), &json!({})).await;
    assert_eq!((again.status, again.json()["cancelled"].clone()), (StatusCode::OK, json!("already_final")));
    port.post(&format!("/v1/jobs/{}/cancel", JobId::mint()), &json!({})).await.problem(404, "not_found");
    port.post(&format!("/v1/jobs/{waiting}/cancel"), &json!({"reason": "r".repeat(501)})).await.problem(400, "invalid");
    port.post(&format!("/v1/jobs/{waiting}/cancel"), &json!({"why": "?"})).await.problem(400, "invalid");
}

#[tokio::test]
async fn retry_makes_a_scheduled_job_due_redrives_a_dead_one_and_refuses_others() {
    let port = Port::start().await;
    let scheduled = port.enqueue(1, &json!({"kind": "later", "payload": 1, "delay_ms": 3_600_000})).await[0];
    let due = Answer::of(port.request(Method::POST, &format!("/v1/jobs/{scheduled}/retry"))).await;
    assert_eq!(due.json()["done"], "made_due", "{due:?}");
    port.store.advance(None).await.expect("advanced");
    assert_eq!(port.lease("default", "later", 5).await.len(), 1);

    let dead = port.dead(1, &json!({"kind": "k", "payload": 1})).await[0];
    let redriven = Answer::of(port.request(Method::POST, &format!("/v1/jobs/{dead}/retry"))).await;
    assert_eq!(redriven.json()["done"], "redriven", "{redriven:?}");
    assert_eq!(port.job(dead).await["state"], "queued");
    Answer::of(port.request(Method::POST, &format!("/v1/jobs/{scheduled}/retry"))).await.problem(409, "not_allowed");
    Answer::of(port.request(Method::POST, &format!("/v1/jobs/{}/retry", JobId::mint()))).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_dead_letter_is_shown_redriven_and_purged() {
    let port = Port::start().await;
    let ids = port.dead(3, &json!({"kind": "k", "payload": 1})).await;
    let listed = port.get("/v1/dead").await.json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(listed["items"][0]["error"]["code"], "http_400");
    let shown = port.get(&format!("/v1/dead/{}", ids[0])).await.json();
    assert_eq!((&shown["reason"], &shown["attempts"][0]["outcome"]), (&json!("rejected"), &json!("dead")));

    let redriven = Answer::of(port.request(Method::POST, &format!("/v1/dead/{}/redrive", ids[0]))).await;
    assert_eq!(redriven.status, StatusCode::OK, "{redriven:?}");
    port.get(&format!("/v1/dead/{}", ids[0])).await.problem(404, "not_found");
    Answer::of(port.request(Method::POST, &format!("/v1/dead/{}/redrive", ids[0]))).await.problem(409, "not_allowed");

    let purged = Answer::of(port.request(Method::DELETE, &format!("/v1/dead/{}", ids[1]))).await;
    assert_eq!((purged.status, purged.text.as_str()), (StatusCode::NO_CONTENT, ""));
    port.get(&format!("/v1/jobs/{}", ids[1])).await.problem(404, "not_found");
    assert_eq!(port.get("/v1/dead").await.json()["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn redriving_many_needs_a_filter_or_an_explicit_all() {
    let port = Port::start().await;
    port.dead(5, &json!({"kind": "a", "payload": 1})).await;
    port.dead(2, &json!({"kind": "b", "payload": 1})).await;
    for body in [json!({}), json!({"limit": 5}), json!({"all": true, "kind": "a"}), json!({"all": false})] {
        port.post("/v1/dead/redrive", &body).await.problem(400, "no_filter");
    }
    port.post("/v1/dead/redrive", &json!({"everything": true})).await.problem(400, "invalid");
    port.post("/v1/dead/redrive", &json!({"all": true, "limit": 1001})).await.problem(400, "invalid");
    assert_eq!(port.get("/v1/dead").await.json()["items"].as_array().map(Vec::len), Some(7), "nothing was moved");

    let some = port.post("/v1/dead/redrive", &json!({"kind": "a", "limit": 3})).await.json();
    assert_eq!((&some["redriven"], &some["more"]), (&json!(3), &json!(true)));
    let rest = port.post("/v1/dead/redrive", &json!({"all": true})).await.json();
    assert_eq!((&rest["redriven"], &rest["more"]), (&json!(4), &json!(false)));
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(4));
    assert_eq!(port.get("/v1/dead").await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_redrive_that_finds_its_unique_key_taken_says_so_and_leaves_the_others_alone() {
    let port = Port::start().await;
    let keyed = json!({"kind": "k", "payload": 1, "unique_key": "u"});
    let dead = port.dead(1, &keyed).await[0];
    port.dead(1, &json!({"kind": "k", "payload": 2})).await;
    let holder = port.post("/v1/jobs", &keyed).await.json();
    let answer = port.post("/v1/dead/redrive", &json!({"all": true})).await.json();
    assert_eq!(answer["redriven"], 1);
    let refused = answer["items"].as_array().expect("items").iter().find(|item| item["id"] == json!(dead)).expect("the keyed one");
    assert_eq!((&refused["error"]["code"], &refused["error"]["job"]), (&json!("duplicate"), &holder["id"]));
    let problem = Answer::of(port.request(Method::POST, &format!("/v1/dead/{dead}/redrive"))).await.problem(409, "duplicate");
    assert_eq!(problem["errors"][0]["job"], holder["id"]);
    assert_eq!(port.job(dead).await["state"], "dead");
}

#[tokio::test]
async fn queues_show_every_state_and_a_pause_holds_them_back() {
    let port = Port::start().await;
    port.enqueue(3, &json!({"kind": "k", "payload": 1, "queue": "q"})).await;
    port.enqueue(2, &json!({"kind": "k", "payload": 1, "queue": "q", "delay_ms": 60_000})).await;
    let queues = port.get("/v1/queues").await.json();
    let queue = queues.as_array().expect("a list").iter().find(|queue| queue["name"] == "q").expect("the queue").clone();
    assert_eq!(queue["jobs"], json!({"scheduled": 2, "queued": 3, "running": 0, "parked": 0, "completed": 0, "cancelled": 0, "dead": 0}));
    let paused = port.post("/v1/queues/q/pause", &json!({"reason": "provider is down"})).await;
    assert_eq!(paused.json()["paused"]["reason"], "provider is down", "{paused:?}");
    assert_eq!(port.lease("q", "k", 5).await.len(), 0);
    let shown = port.get("/v1/queues").await.json();
    let shown = shown.as_array().expect("a list").iter().find(|queue| queue["name"] == "q").expect("the queue");
    assert_eq!((&shown["paused"]["by"], &shown["paused"]["reason"]), (&json!("http:127.0.0.1"), &json!("provider is down")));
    let resumed = Answer::of(port.request(Method::POST, "/v1/queues/q/resume")).await;
    assert_eq!(resumed.json(), json!({"name": "q", "paused": null}));
    assert_eq!(port.lease("q", "k", 5).await.len(), 3);
    port.post("/v1/queues/has%20space/pause", &json!({})).await.problem(400, "bad_name");
}

#[tokio::test]
async fn an_outside_answer_wakes_the_parked_job() {
    let port = Port::start().await;
    let id = port.enqueue(1, &json!({"kind": "k", "payload": 1})).await[0];
    let leased = port.lease("default", "k", 1).await.remove(0);
    let now = port.store.now().await.expect("the clock");
    let until: Timestamp = now.plus(Duration::from_secs(3600));
    let park = Transition::Park { reason: "approval".into(), until, token: Some("tok-1".into()), error: None };
    port.store.settle(vec![Settlement::new(leased.lease, park, now)], None).await.expect("parked");
    port.post("/v1/unpark/other", &json!({})).await.problem(404, "not_found");
    let woken = port.post("/v1/unpark/tok-1", &json!({"approved": true})).await;
    assert_eq!(id_of(&woken.json()), id);
    let again = port.lease("default", "k", 1).await.remove(0);
    let checkpoint = again.job.checkpoint.expect("the answer");
    assert_eq!(checkpoint.read::<Value>().expect("JSON")["answer"], json!({"approved": true}));
    port.post(&format!("/v1/unpark/{}", "t".repeat(300)), &json!({})).await.problem(400, "bad_path");
}

#[tokio::test]
async fn a_job_shows_what_became_of_its_attempts() {
    let port = Port::start().await;
    let id = port.enqueue(1, &json!({"kind": "k", "payload": {"a": 1}, "meta": {"traceparent": "00-1"}})).await[0];
    let leased = port.lease("default", "k", 1).await.remove(0);
    let mut done = Settlement::new(leased.lease, Transition::Complete, port.store.now().await.expect("the clock"));
    done.result = Some(windlass::job::Json::of(&json!({"pages": 3})));
    port.store.settle(vec![done], None).await.expect("settled");
    let job = port.job(id).await;
    assert_eq!((&job["state"], &job["result"], &job["attempt"]), (&json!("completed"), &json!({"pages": 3}), &json!(1)));
    assert_eq!(job["attempts"][0]["outcome"], "completed");
    assert_eq!(job["meta"], json!({"traceparent": "00-1"}));
}

#[tokio::test]
async fn lineage_is_seen_without_payloads_and_within_the_tenant() {
    let port = Port::start().await;
    let next = json!({"kind": "next", "payload": "secret"});
    let id = port.dead(1, &json!({"kind": "k", "payload": 1, "tenant": "acme", "on_failure": next})).await[0];
    let (own, other) = (port.token([Scope::Read], Some("acme")).await, port.token([Scope::Read], Some("umbrella")).await);
    let seen = async |token: &str, path: String| port.call(token, Method::GET, &path, &json!(null)).await;
    let job = seen(&own, format!("/v1/jobs/{id}")).await.json();
    assert_eq!((&job["payload"], job.get("on_failure")), (&json!(null), None), "{job}");
    assert_eq!(seen(&own, format!("/v1/dead/{id}")).await.json()["children"], job["children"]);
    let children: Vec<JobId> = serde_json::from_value(job["children"].clone()).expect("ids");
    let [child] = children[..] else { panic!("one child: {job}") };
    assert_eq!(seen(&own, format!("/v1/jobs/{child}")).await.json()["parent"], json!(id));
    for hidden in [id, child] {
        seen(&other, format!("/v1/jobs/{hidden}")).await.problem(404, "not_found");
    }
}
