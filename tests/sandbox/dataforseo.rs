//! The DataForSEO-shaped stand-in: envelope, results, and errors inside HTTP 200.

use super::{client, sandbox};
use serde_json::{Value, json};
use windlass::sandbox::{Fault, Provider, Sandbox};

async fn post(sandbox: &Sandbox, body: &Value) -> (u16, Value) {
    let url = format!("{}/v3/serp/google/organic/live/advanced", sandbox.dataforseo_url());
    let response = client().post(url).basic_auth("sandbox", Some("sandbox")).json(body).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

fn task(keyword: &str) -> Value {
    json!([{"keyword": keyword, "location_code": 2840, "language_code": "en", "depth": 20, "tag": "job-1"}])
}

#[tokio::test]
async fn a_search_answers_in_the_provider_s_envelope_and_the_same_twice() {
    let sandbox = sandbox().await;
    let (status, body) = post(&sandbox, &task("durable queue")).await;
    assert_eq!((status, &body["status_code"], &body["tasks_count"], &body["tasks_error"]), (200, &json!(20000), &json!(1), &json!(0)));
    let task_body = &body["tasks"][0];
    assert_eq!((&task_body["status_code"], &task_body["data"]["tag"], &task_body["cost"]), (&json!(20000), &json!("job-1"), &json!(0.004)));
    let result = &task_body["result"][0];
    assert_eq!(result["items_count"], result["items"].as_array().unwrap().len());
    let organic: Vec<&Value> = result["items"].as_array().unwrap().iter().filter(|item| item["type"] == "organic").collect();
    assert_eq!(organic.len(), 20);
    assert!(organic.iter().all(|item| item["title"].as_str().unwrap().to_lowercase().contains("durable queue")));
    let (_, again) = post(&sandbox, &task("durable queue")).await;
    let (_, other) = post(&sandbox, &task("job queue")).await;
    assert_eq!(again["tasks"][0]["result"][0]["items"], result["items"]);
    assert_ne!(other["tasks"][0]["result"][0]["items"], result["items"]);
    assert_ne!(again["tasks"][0]["id"], task_body["id"]);
    assert_eq!(sandbox.calls().totals(Provider::DataForSeo).cost_micros, 12_000);
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_said_by_code_in_the_envelope_or_the_task() {
    let sandbox = sandbox().await;
    let envelope = [(json!([]), 40_502), (json!({}), 40_503), (json!([{}, {}]), 40_000)];
    for (body, code) in envelope {
        let (status, answer) = post(&sandbox, &body).await;
        assert_eq!((status, &answer["status_code"], &answer["tasks_count"]), (200, &json!(code), &json!(0)), "{body}");
    }
    let (status, answer) = post(&sandbox, &json!([{"keyword": "x", "location_code": 1, "language_code": "en"}])).await;
    let task = &answer["tasks"][0];
    assert_eq!((status, &answer["status_code"], &answer["tasks_error"]), (200, &json!(20000), &json!(1)));
    assert_eq!((&task["status_code"], &task["result"], &task["cost"]), (&json!(40501), &Value::Null, &json!(0.0)));
    assert_eq!(task["status_message"], "Invalid Field: 'location_code'.");
    let url = format!("{}/v3/serp/google/organic/live/advanced", sandbox.dataforseo_url());
    let wrong = client().post(&url).basic_auth("sandbox", Some("wrong")).json(&super::dataforseo::task("x")).send().await.unwrap();
    assert_eq!(wrong.status().as_u16(), 401);
    assert_eq!(wrong.json::<Value>().await.unwrap()["status_code"], 40_100);
    let nowhere = client().get(format!("{}/v3/nowhere", sandbox.dataforseo_url())).send().await.unwrap();
    assert_eq!(nowhere.json::<Value>().await.unwrap()["status_code"], 40_402);
}

#[tokio::test]
async fn scripted_codes_come_inside_http_200_and_cost_nothing() {
    let sandbox = sandbox().await;
    for (code, in_task) in [("40102", true), ("40202", false), ("50301", true), ("40200", false)] {
        sandbox.switches().fail_next(Provider::DataForSeo, 1, Fault::ErrorInside { code: code.into() });
        let (status, body) = post(&sandbox, &task("durable queue")).await;
        let place = if in_task { &body["tasks"][0]["status_code"] } else { &body["status_code"] };
        assert_eq!((status, place.to_string()), (200, code.to_owned()), "{body}");
    }
    let (_, marked) = post(&sandbox, &task("durable queue [sandbox fail 1 code 50401]")).await;
    assert_eq!(marked["tasks"][0]["status_code"], 50_401);
    let (_, healed) = post(&sandbox, &task("durable queue [sandbox fail 1 code 50401]")).await;
    assert_eq!(healed["tasks"][0]["status_code"], 20_000);
    sandbox.switches().limit(Provider::DataForSeo, Some(0));
    let (status, slowed) = post(&sandbox, &task("durable queue")).await;
    assert_eq!((status, &slowed["status_code"]), (200, &json!(40202)));
    assert_eq!(sandbox.calls().totals(Provider::DataForSeo).cost_micros, 4_000);
}
