//! Chat completions: what is sent, what is understood, and every row of the retry table.

use super::{
    open_http,
    server::{Reply, Server},
};
use serde_json::{Value, json, value::RawValue};
use std::time::Duration;
use windlass::{
    clients::{
        ProviderError,
        openai::{Completion, Config, End, MaxTokensField, Message, OpenAi, Prompt, Role, Structured, Tokens},
    },
    job::ErrorClass,
};

const KEY: &str = "sk-canary-0123456789";
const SCHEMA: &str =
    r#"{"type":"object","additionalProperties":false,"required":["b","a"],"properties":{"b":{"type":"string"},"a":{"type":"integer"}}}"#;

fn config(server: &Server) -> Config {
    Config { base_url: server.url("/v1").parse().expect("a URL"), api_key: Some(KEY.into()), model: "m-small".into(), ..Config::default() }
}

async fn ask(config: &Config) -> Result<Completion, ProviderError> {
    let schema = RawValue::from_string(SCHEMA.into()).expect("JSON");
    let messages = [Message { role: Role::System, content: "be exact".into() }, Message { role: Role::User, content: "text".into() }];
    let prompt = Prompt { model: None, messages: &messages, schema: &schema, max_output_tokens: 77, request_id: "job/1" };
    OpenAi::new(config, open_http()).expect("a client").complete(prompt).await
}

async fn told(reply: Reply) -> Result<Completion, ProviderError> {
    ask(&config(&Server::start(vec![reply]).await)).await
}

fn completion(finish: &str, message: &Value) -> Reply {
    let usage =
        json!({"prompt_tokens": 212, "completion_tokens": 31, "total_tokens": 243, "prompt_tokens_details": {"cached_tokens": 128}});
    let choice = json!({"index": 0, "finish_reason": finish, "message": message});
    Reply::json(200, &json!({"id": "c", "object": "chat.completion", "model": "m-small-2026", "choices": [choice], "usage": usage}))
}

#[tokio::test]
async fn the_request_is_what_the_api_documents() {
    let server = Server::start(vec![completion("stop", &json!({"role": "assistant", "content": "{}"}))]).await;
    ask(&config(&server)).await.expect("an answer");
    let seen = server.only();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!((seen.headers["content-type"].as_str(), seen.headers["x-client-request-id"].as_str()), ("application/json", "job/1"));
    let expected = json!({
        "model": "m-small", "stream": false, "temperature": 0.0, "max_completion_tokens": 77,
        "messages": [{"role": "system", "content": "be exact"}, {"role": "user", "content": "text"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": serde_json::from_str::<Value>(SCHEMA).expect("JSON")}},
    });
    assert_eq!(seen.json(), expected);
    assert!(seen.text().contains(SCHEMA), "the schema keeps its bytes, and so its order");
}

#[tokio::test]
async fn compatible_servers_are_spoken_to_in_their_dialect() {
    let server = Server::start(vec![completion("stop", &json!({"content": "{}"}))]).await;
    let older =
        Config { max_tokens_field: MaxTokensField::MaxTokens, structured: Structured::JsonObject, temperature: None, ..config(&server) };
    ask(&older).await.expect("an answer");
    let azure = toml::from_str::<Config>("auth = 'api_key'\nstructured = 'prompt'\n[headers]\nX-Title = 'windlass'\n").expect("a table");
    // A base without a path gets the version.
    ask(&Config { base_url: server.url("").parse().expect("a URL"), api_key: Some(KEY.into()), ..azure }).await.expect("an answer");
    let [first, second] = server.seen().try_into().expect("two requests");
    let body = first.json();
    assert_eq!((&body["max_tokens"], &body["response_format"]), (&json!(77), &json!({"type": "json_object"})));
    assert!(body.get("max_completion_tokens").is_none() && body.get("temperature").is_none());
    assert_eq!(second.path, "/v1/chat/completions");
    assert_eq!((second.headers["api-key"].as_str(), second.headers["x-title"].as_str()), (KEY, "windlass"));
    assert!(!second.headers.contains_key("authorization") && second.json().get("response_format").is_none());
}

#[tokio::test]
async fn without_a_credential_nothing_is_sent_unless_the_server_asks_for_none() {
    let server = Server::start(vec![completion("stop", &json!({"content": "{}"}))]).await;
    let error = ask(&Config { api_key: None, ..config(&server) }).await.expect_err("no credential");
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Auth, "not_configured"));
    assert!(server.seen().is_empty());
    let open = Config { api_key: None, auth: windlass::clients::openai::Auth::None, ..config(&server) };
    ask(&open).await.expect("an answer");
}

#[tokio::test]
async fn every_way_an_answer_can_end_is_told_apart_with_what_it_cost() {
    let refusal = json!({"content": null, "refusal": "I cannot"});
    let call =
        json!({"content": null, "tool_calls": [{"id": "t", "type": "function", "function": {"name": "emit", "arguments": "{\"a\":1}"}}]});
    for (finish, message, end) in [
        ("stop", json!({"content": "{\"a\":1}", "refusal": null}), End::Text("{\"a\":1}".into())),
        ("stop", json!({"content": [{"type": "text", "text": "{\"a\""}, {"type": "text", "text": ":1}"}]}), End::Text("{\"a\":1}".into())),
        ("tool_calls", call, End::Text("{\"a\":1}".into())),
        ("length", json!({"content": "{\"a\""}), End::Truncated),
        ("content_filter", json!({"content": null}), End::Filtered),
        ("stop", refusal.clone(), End::Refused("I cannot".into())),
        ("length", refusal, End::Refused("I cannot".into())),
        ("stop", json!({"content": null}), End::Text(String::new())),
    ] {
        let answer = told(completion(finish, &message)).await.expect("an answer");
        assert_eq!(answer.end, end, "{finish} {message}");
        assert_eq!(answer.model, "m-small-2026");
        assert_eq!(answer.tokens, Some(Tokens { input: 212, cached: 128, output: 31, cost_micros: None }));
    }
}

#[tokio::test]
async fn usage_is_believed_only_where_it_can_be() {
    let choice = json!({"finish_reason": "stop", "message": {"content": "{}"}});
    let tokens = |input, cached, output, cost_micros| Some(Tokens { input, cached, output, cost_micros });
    for (usage, expected) in [
        (r#"{"prompt_tokens":10,"completion_tokens":5,"cost":0.0000125}"#, tokens(10, 0, 5, Some(13))),
        (r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":99}}"#, tokens(10, 10, 5, None)),
        (r#"{"prompt_tokens":0,"completion_tokens":5,"cost":null}"#, tokens(0, 0, 5, None)),
        ("null", None),
        ("{}", None),
        (r#"{"prompt_tokens":-1,"completion_tokens":5}"#, None),
        (r#"{"prompt_tokens":1e300,"completion_tokens":5}"#, None),
        (r#"{"prompt_tokens":1000000000000,"completion_tokens":5}"#, None),
        (r#"{"prompt_tokens":"ten","completion_tokens":5}"#, None),
    ] {
        let body = format!(r#"{{"choices":[{choice}],"usage":{usage}}}"#);
        let answer = told(Reply::text(200, &body)).await.expect("an answer");
        assert_eq!((answer.tokens, answer.model.as_str()), (expected, "m-small"), "{usage}");
    }
}

fn error(code: &str) -> Value {
    json!({"error": {"message": "words for people", "type": "some_type", "param": null, "code": code}})
}

#[tokio::test]
async fn every_row_of_the_retry_table_has_its_class() {
    use ErrorClass::{Auth, Permanent, Quota, Retry};
    for (status, body, class, code) in [
        (408, json!({}), Retry, "http_408"),
        (409, error("conflict"), Retry, "conflict"),
        (429, error("rate_limit_exceeded"), Retry, "rate_limit_exceeded"),
        (429, error("requests"), Retry, "requests"),
        (429, json!("slow down"), Retry, "http_429"),
        (429, json!([{"error": {"code": 429, "message": "later", "status": "RESOURCE_EXHAUSTED"}}]), Retry, "http_429"),
        (429, error("insufficient_quota"), Quota, "insufficient_quota"),
        (429, json!({"error": {"type": "insufficient_quota", "message": "x"}}), Quota, "insufficient_quota"),
        (429, error("credit_balance_exhausted"), Quota, "credit_balance_exhausted"),
        (429, error("billing_hard_limit_reached"), Quota, "billing_hard_limit_reached"),
        (429, error("enforced_spend_limit_reached"), Quota, "enforced_spend_limit_reached"),
        (402, json!({"error": {"code": 402, "message": "more credits"}}), Quota, "http_402"),
        (400, error("context_length_exceeded"), Permanent, "context_length_exceeded"),
        (400, error("string_above_max_length"), Permanent, "string_above_max_length"),
        (400, json!({"object": "error", "message": "old vLLM", "type": "BadRequestError", "code": 400}), Permanent, "BadRequestError"),
        (400, json!({"error": "just text"}), Permanent, "http_400"),
        (404, error("model_not_found"), Permanent, "model_not_found"),
        (405, json!({}), Permanent, "http_405"),
        (413, json!({}), Permanent, "http_413"),
        (415, json!({}), Permanent, "http_415"),
        (422, json!({}), Permanent, "http_422"),
        (401, error("invalid_api_key"), Auth, "invalid_api_key"),
        (403, json!({}), Auth, "http_403"),
        (301, json!({}), Auth, "http_301"),
        (500, json!({}), Retry, "http_500"),
        (502, json!({}), Retry, "http_502"),
        (503, json!({}), Retry, "http_503"),
        (504, json!({}), Retry, "http_504"),
        (524, json!({}), Retry, "http_524"),
        (529, json!({"error": {"type": "overloaded_error", "message": "x"}}), Retry, "overloaded_error"),
    ] {
        let error = told(Reply::json(status, &body)).await.expect_err("an error");
        assert_eq!((error.class, error.code.as_str()), (class, code), "{status} {body}");
        assert_eq!(error.throttled, status == 429 && class == Retry, "{status} {body}");
    }
}

#[tokio::test]
async fn an_error_inside_a_200_is_judged_by_its_own_code() {
    use ErrorClass::{Auth, Permanent, Quota, Retry};
    for (error, class, throttled) in [
        (json!({"code": 429, "message": "x"}), Retry, true),
        (json!({"code": 502, "message": "x"}), Retry, false),
        (json!({"code": 402, "message": "x"}), Quota, false),
        (json!({"code": "insufficient_quota", "message": "x"}), Quota, false),
        (json!({"code": "rate_limit_exceeded", "message": "x"}), Retry, true),
        (json!({"code": "invalid_api_key", "message": "x"}), Auth, false),
        (json!({"type": "invalid_request_error", "message": "x"}), Permanent, false),
        (json!({"message": "the model fell over"}), Retry, false),
    ] {
        let said = told(Reply::json(200, &json!({"error": error}))).await.expect_err("an error");
        assert_eq!((said.class, said.throttled), (class, throttled), "{error}");
    }
}

#[tokio::test]
async fn retry_after_is_taken_in_all_its_forms() {
    for (name, value, expected) in [
        ("retry-after", "20", Some(Duration::from_secs(20))),
        ("retry-after-ms", "1500", Some(Duration::from_millis(1500))),
        ("retry-after", "Mon, 01 Jun 2026 12:01:00 GMT", Some(Duration::from_secs(60))),
        ("retry-after", "soon", None),
    ] {
        let error = told(Reply::json(429, &error("rate_limit_exceeded")).with(name, value)).await.expect_err("an error");
        assert_eq!(error.retry_after, expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn answers_that_are_none_are_tried_again() {
    for reply in [
        Reply::text(200, "<html>a proxy's page</html>"),
        Reply::text(200, "{\"choices\": [{\"message\": {\"cont"),
        Reply::json(200, &json!({"choices": []})),
        Reply::json(200, &json!({"id": "x"})),
    ] {
        let error = told(reply).await.expect_err("no answer");
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Retry, "bad_response"));
    }
    let cut = Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"choices\"".to_vec());
    assert_eq!(told(cut).await.expect_err("cut").code, "connection_lost");
    let server = Server::start(vec![Reply::Hang]).await;
    let error = ask(&Config { timeout_ms: 100, ..config(&server) }).await.expect_err("no answer");
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Timeout, "timeout"));
}

#[tokio::test]
async fn a_key_that_the_server_repeats_is_not_passed_on_and_long_words_are_cut() {
    let words = format!("Incorrect API key provided: {KEY}.\nsecond line {}", "x".repeat(5000));
    let error = told(Reply::json(401, &json!({"error": {"message": words}}))).await.expect_err("an error");
    assert!(!error.message.contains(KEY), "{}", error.message);
    assert!(error.message.contains("[redacted]") && error.message.len() < 600 && !error.message.contains('\n'));
}
