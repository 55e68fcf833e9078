//! `serp.refresh` against a scripted DataForSEO.

use super::{Bench, parked, rejected, result, retried, snoozed_ms};
use crate::clients::server::{Reply, Server};
use serde_json::{Value, json};
use windlass::{
    clients::{self, dataforseo},
    job::{Effect, Timestamp, Usage},
    workers,
};

fn bench(server: &Server) -> Bench {
    let base_url = server.url("").parse().expect("a URL");
    let dataforseo = dataforseo::Config { base_url, login: "me".into(), password: Some("pw".into()), ..dataforseo::Config::default() };
    let mut config = workers::Config::default();
    config.serp.raw_bytes = 2_000;
    Bench::new(&config, &clients::Config { dataforseo, ..clients::Config::default() }, &Default::default())
}

fn page(status: u32, items: &Value) -> Reply {
    let result = json!([{"keyword": "durable queue", "se_domain": "google.com", "check_url": "https://g/?q", "datetime": "2026-06-01 11:59:58 +00:00",
        "se_results_count": 1200, "items": items}]);
    let task = json!({"id": "0801-1535", "status_code": status, "status_message": "Said.", "cost": 0.002, "result": result});
    Reply::json(200, &json!({"status_code": 20000, "status_message": "Ok.", "cost": 0.002, "tasks": [task]}))
}

fn items() -> Value {
    json!([
        {"type": "ai_overview", "rank_group": 1, "rank_absolute": 1, "markdown": "# x"},
        {"type": "organic", "rank_group": 1, "rank_absolute": 2, "domain": "example.com", "title": "Durable queues", "url": "https://example.com/q", "description": "All of them."},
        {"type": "organic", "rank_group": 2, "rank_absolute": 3, "domain": "example.org", "title": null, "url": 7},
        {"rank_group": 1},
    ])
}

fn payload() -> Value {
    json!({"keyword": " durable queue ", "location_code": 2840, "language_code": "en"})
}

fn record(effects: &[Effect]) -> (&str, Value, Option<Timestamp>) {
    match effects {
        [Effect::PutRecord { collection, key, value, event_time }] if *collection == "serp_results" => {
            (key, value.read().expect("JSON"), *event_time)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_page_becomes_a_ranking_a_record_and_a_cost() {
    let server = Server::start(vec![page(20000, &items())]).await;
    let bench = bench(&server);
    let outcome = bench.run("serp.refresh", &payload()).await;
    let mut expected = json!({
        "keyword": "durable queue", "location": "2840", "language": "en", "device": "desktop", "depth": 10,
        "checked_at": "2026-06-01T11:59:58Z", "task_id": "0801-1535", "se_domain": "google.com", "check_url": "https://g/?q",
        "se_results_count": 1200, "items_count": 4, "counts": {"ai_overview": 1, "organic": 2, "unknown": 1},
        "organic": [
            {"rank_group": 1, "rank_absolute": 2, "domain": "example.com", "title": "Durable queues", "url": "https://example.com/q", "description": "All of them."},
            {"rank_group": 2, "rank_absolute": 3, "domain": "example.org", "title": null, "url": null, "description": null},
        ],
    });
    assert_eq!(result(&outcome), expected);
    let (key, value, event_time) = record(&outcome.effects);
    expected["items"] = items();
    expected["items_omitted"] = json!(false);
    assert_eq!((key, value), ("durable queue|2840|en", expected));
    assert_eq!(event_time, Some(Timestamp::parse("2026-06-01T11:59:58Z").expect("a time")), "an older look never overwrites a newer");
    let usage = Usage {
        provider: "dataforseo".into(),
        model: "serp/google/organic/live/advanced".into(),
        input_tokens: 0,
        cached_tokens: 0,
        output_tokens: 0,
        cost_micros: Some(2000),
        estimated: false,
    };
    assert_eq!(outcome.usage, [usage]);
    let sent = server.only().json();
    assert_eq!((&sent[0]["keyword"], &sent[0]["tag"]), (&json!("durable queue"), &json!(super::JOB)));
    assert!(bench.metric("windlass_provider_requests_total{class=\"ok\",kind=\"serp.refresh\",provider=\"dataforseo\"} 1"));
}

#[tokio::test]
async fn a_subject_names_the_record_and_a_phone_has_its_own() {
    let server = Server::start(vec![page(20000, &json!([]))]).await;
    let bench = bench(&server);
    let with = |member: &str, value: Value| {
        let mut payload = payload();
        payload[member] = value;
        payload
    };
    let named = bench.run("serp.refresh", &with("subject", json!("course/7"))).await;
    assert_eq!(record(&named.effects).0, "course/7");
    let phone = bench.run("serp.refresh", &with("device", json!("mobile"))).await;
    assert_eq!(record(&phone.effects).0, "durable queue|2840|en|mobile");
}

#[tokio::test]
async fn items_too_large_to_keep_are_left_out_of_the_record_and_said_to_be() {
    let large = json!([{"type": "organic", "rank_group": 1, "domain": "example.com", "description": "x".repeat(3_000)}]);
    let server = Server::start(vec![page(20000, &large)]).await;
    let outcome = bench(&server).run("serp.refresh", &payload()).await;
    let (_, value, _) = record(&outcome.effects);
    assert_eq!((value.get("items"), &value["items_omitted"], &value["organic"][0]["domain"]), (None, &json!(true), &json!("example.com")));
}

#[tokio::test]
async fn nothing_found_is_a_result_too() {
    let server = Server::start(vec![page(40102, &json!(null))]).await;
    let outcome = bench(&server).run("serp.refresh", &payload()).await;
    let said = result(&outcome);
    assert_eq!((&said["items_count"], &said["organic"]), (&json!(0), &json!([])));
    assert_eq!(outcome.effects.len(), 1, "the record learns that there is nothing");
}

#[tokio::test]
async fn errors_inside_an_http_200_decide_what_becomes_of_the_job() {
    let told = async |status| bench(&Server::start(vec![page(status, &json!(null))]).await).run("serp.refresh", &payload()).await;
    assert!(rejected(&told(40501).await).message.contains("Said."));
    assert_eq!(parked(&told(40100).await).0, "provider_auth");
    assert_eq!(parked(&told(40210).await).0, "provider_quota");
    let until_midnight = snoozed_ms(&told(40203).await);
    assert!((43_195_000..=43_205_000).contains(&until_midnight), "a daily limit comes back by itself: {until_midnight}");
    let minute = snoozed_ms(&told(40202).await);
    assert!((60_000..=75_000).contains(&minute), "{minute}");
    assert_eq!(retried(&told(50000).await).1, None);
    assert_eq!(retried(&told(50303).await).1, Some(180_000));
}

#[tokio::test]
async fn a_payload_that_cannot_work_is_refused_with_a_sentence() {
    let server = Server::start(vec![page(20000, &json!([]))]).await;
    let bench = bench(&server);
    for (payload, said) in [
        (json!({"keyword": "", "location_code": 1, "language_code": "en"}), "`keyword` must be 1 to 700"),
        (json!({"keyword": "x".repeat(701), "location_code": 1, "language_code": "en"}), "`keyword` must be 1 to 700"),
        (json!({"keyword": "x", "language_code": "en"}), "exactly one of `location_code` and `location_name`"),
        (json!({"keyword": "x", "location_code": 1, "location_name": "y", "language_code": "en"}), "exactly one of `location_code`"),
        (json!({"keyword": "x", "location_code": 1}), "exactly one of `language_code` and `language_name`"),
        (json!({"keyword": "x", "location_code": 1, "language_code": "en", "device": "fridge"}), "`device` must be"),
        (json!({"keyword": "x", "location_code": 1, "language_code": "en", "depth": 201}), "`depth` must be 1 to 200"),
        (json!({"keyword": "x", "location_code": 1, "language_code": "en", "subject": ""}), "`subject` must be"),
        (json!({"keyword": "x", "location_code": -1, "language_code": "en"}), "invalid value"),
        (json!({"keyword": "x", "page": 2}), "unknown field `page`"),
    ] {
        let outcome = bench.run("serp.refresh", &payload).await;
        assert!(rejected(&outcome).message.contains(said), "{payload}: {outcome:?}");
    }
    assert!(server.seen().is_empty());
}
