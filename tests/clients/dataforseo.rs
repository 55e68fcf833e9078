//! DataForSEO: the task as sent, the page as read, and the status table at both levels.

use super::{
    open_http,
    server::{Reply, Server},
};
use serde_json::{Value, json};
use std::time::Duration;
use windlass::{
    clients::{
        ProviderError,
        dataforseo::{ByCodeOrName, Config, DataForSeo, Page, Query},
    },
    job::{ErrorClass, Timestamp},
};

fn config(server: &Server) -> Config {
    Config {
        base_url: server.url("").parse().expect("a URL"),
        login: "login".into(),
        password: Some("pass:word".into()),
        ..Config::default()
    }
}

async fn ask(config: &Config, keyword: &str) -> Result<Page, ProviderError> {
    let (location, language) = (ByCodeOrName::Code(2840), ByCodeOrName::Name("English".into()));
    let query = Query { keyword, location: &location, language: &language, device: "desktop", depth: 20, tag: "job-42" };
    DataForSeo::new(config, open_http()).expect("a client").live(&query).await
}

async fn told(reply: Reply) -> Result<Page, ProviderError> {
    ask(&config(&Server::start(vec![reply]).await), "durable queue").await
}

fn task(status: u32, cost: &Value, result: &Value) -> Value {
    let task =
        json!({"id": "0801-1535", "status_code": status, "status_message": "Said.", "cost": cost, "result_count": 1, "result": result});
    json!({"version": "0.1", "status_code": 20000, "status_message": "Ok.", "cost": cost, "tasks_count": 1, "tasks_error": 0, "tasks": [task]})
}

#[tokio::test]
async fn the_task_is_what_the_api_documents_with_percent_and_plus_written_out() {
    let server = Server::start(vec![Reply::json(200, &task(20000, &json!(0.002), &json!([])))]).await;
    ask(&config(&server), "100% c++ & rust").await.expect("a page");
    let seen = server.only();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/v3/serp/google/organic/live/advanced"));
    assert_eq!(seen.headers["authorization"], "Basic bG9naW46cGFzczp3b3Jk");
    let expected = json!([{"keyword": "100%25 c%2B%2B & rust", "location_code": 2840, "language_name": "English", "device": "desktop", "depth": 20, "tag": "job-42"}]);
    assert_eq!(seen.json(), expected);
}

#[tokio::test]
async fn a_page_is_read_with_its_cost_to_the_millionth_and_its_items_untouched() {
    let item = r#"{"type":"from_the_future","rank_group":1,"z":1.50,"a":null}"#;
    let result = format!(
        r#"[{{"keyword":"durable queue","se_domain":"google.com","check_url":"https://g/?q","datetime":"2026-06-01 14:00:05 +02:00","se_results_count":1200,"items":[{item}]}}]"#
    );
    let body = task(20000, &json!("COST"), &json!("RESULT")).to_string().replace("\"COST\"", "6.25e-05").replace("\"RESULT\"", &result);
    let page = told(Reply::text(200, &body)).await.expect("a page");
    assert_eq!((page.task_id.as_str(), page.cost_micros, page.se_results_count), ("0801-1535", Some(63), Some(1200)));
    assert_eq!(page.checked_at, Some(Timestamp::parse("2026-06-01T12:00:05Z").expect("a time")));
    assert_eq!(page.items.iter().map(|raw| raw.get()).collect::<Vec<_>>(), [item]);
}

#[tokio::test]
async fn no_results_is_an_empty_page_and_not_an_error() {
    for result in [json!(null), json!([]), json!([{"items": null}])] {
        let page = told(Reply::json(200, &task(40102, &json!(0), &result))).await.expect("a page");
        assert!(page.items.is_empty());
    }
}

#[tokio::test]
async fn every_row_of_the_status_table_has_its_class_in_the_envelope_and_in_the_task() {
    use ErrorClass::{Auth, Permanent, Quota, Retry};
    let until_midnight = Some(12 * 3600);
    for (code, class, wait_secs, throttled) in [
        (40000, Permanent, None, false),
        (40001, Permanent, None, false),
        (40005, Permanent, None, false),
        (40006, Permanent, None, false),
        (40100, Auth, None, false),
        (40101, Retry, None, false),
        (40103, Retry, None, false),
        (40104, Auth, None, false),
        (40200, Quota, None, false),
        (40201, Auth, None, false),
        (40202, Retry, Some(60), true),
        (40203, Quota, until_midnight, false),
        (40204, Auth, None, false),
        (40205, Retry, Some(3600), true),
        (40206, Retry, until_midnight, true),
        (40207, Auth, None, false),
        (40209, Retry, Some(3), true),
        (40210, Quota, None, false),
        (40400, Permanent, None, false),
        (40401, Retry, None, false),
        (40402, Permanent, None, false),
        (40403, Retry, None, false),
        (40404, Permanent, None, false),
        (40408, Permanent, None, false),
        (40501, Permanent, None, false),
        (40502, Permanent, None, false),
        (40503, Permanent, None, false),
        (40504, Permanent, None, false),
        (40505, Permanent, None, false),
        (40506, Permanent, None, false),
        (40601, Retry, None, false),
        (40602, Retry, None, false),
        (49999, Permanent, None, false),
        (50000, Retry, None, false),
        (50001, Retry, None, false),
        (50100, Permanent, None, false),
        (50301, Retry, None, false),
        (50303, Retry, Some(180), false),
        (50304, Retry, Some(1800), false),
        (50401, Retry, None, false),
        (50402, Retry, None, false),
        (59999, Retry, None, false),
    ] {
        let envelope = json!({"status_code": code, "status_message": "Said.", "tasks": null});
        for body in [envelope, task(code, &json!(0), &json!(null))] {
            let error = told(Reply::json(200, &body)).await.expect_err("an error");
            assert_eq!((error.class, error.throttled), (class, throttled), "{body}");
            assert_eq!(error.retry_after, wait_secs.map(Duration::from_secs), "{body}");
            assert_eq!(error.code, format!("dataforseo_{code}"));
            assert!(error.message.contains("Said."), "the provider's sentence names the field: {}", error.message);
        }
    }
}

#[tokio::test]
async fn a_bare_http_status_stands_for_the_providers_own() {
    use ErrorClass::{Auth, Permanent, Quota, Retry};
    for (status, class) in [(401, Auth), (402, Quota), (404, Permanent), (429, Retry), (500, Retry), (502, Retry), (400, Permanent)] {
        assert_eq!(told(Reply::text(status, "<html>")).await.expect_err("an error").class, class, "{status}");
    }
    let better = json!({"status_code": 40104, "status_message": "Verify.", "tasks": []});
    assert_eq!(told(Reply::json(401, &better)).await.expect_err("an error").code, "dataforseo_40104");
    for reply in [Reply::text(200, "<html>"), Reply::json(200, &json!({"status_code": 20000, "tasks": []}))] {
        assert_eq!(told(reply).await.expect_err("an error").code, "bad_response");
    }
}

#[tokio::test]
async fn without_a_credential_nothing_is_sent() {
    let server = Server::start(vec![Reply::text(200, "")]).await;
    let error = ask(&Config { password: None, ..config(&server) }, "x").await.expect_err("no credential");
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Auth, "not_configured"));
    assert!(server.seen().is_empty());
}
