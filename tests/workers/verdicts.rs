//! What repeats do: being told to slow down, again and again.

use super::{Bench, job, retried, snoozed_ms};
use crate::clients::server::{Reply, Server};
use serde_json::{Value, json};
use windlass::{
    clients::{self, openai},
    job::{Json, LeasedJob},
    workers,
};

async fn throttled(before: u32, retry_after: Option<&str>) -> windlass::engine::worker::Outcome {
    let reply = Reply::json(429, &json!({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}));
    let reply = retry_after.map_or(reply.clone(), |value| reply.with("retry-after", value));
    let server = Server::start(vec![reply]).await;
    let base_url = server.url("/v1").parse().expect("a URL");
    let openai = openai::Config { base_url, api_key: Some("k".into()), ..openai::Config::default() };
    let bench = Bench::new(&workers::Config::default(), &clients::Config { openai, ..clients::Config::default() }, &Default::default());
    let payload = json!({"text": "x", "schema": {"type": "object"}});
    let job = LeasedJob { checkpoint: Some(Json::of(&json!({"throttled": before}))), ..job("ai.extract", &payload) };
    bench.run_job(&job).await
}

#[tokio::test]
async fn without_a_time_the_wait_doubles_from_a_second_to_ten_minutes() {
    for (before, least_ms) in [(0, 1_000), (1, 2_000), (5, 32_000), (9, 512_000), (10, 600_000), (40, 600_000)] {
        let outcome = throttled(before, None).await;
        let wait = snoozed_ms(&outcome);
        assert!((least_ms..=least_ms * 6 / 5 + 5_000).contains(&wait), "{before}: {wait}");
        let count: Value = outcome.checkpoint.expect("a count").read().expect("JSON");
        assert_eq!(count, json!({"throttled": before + 1}));
    }
}

#[tokio::test]
async fn a_time_that_was_asked_for_is_kept_up_to_a_day() {
    assert!((90_000..=113_000).contains(&snoozed_ms(&throttled(3, Some("90")).await)));
    let wait = snoozed_ms(&throttled(3, Some("999999999")).await);
    assert!((86_400_000..=104_000_000).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_provider_that_never_lets_anything_through_is_charged_in_the_end() {
    let outcome = throttled(50, None).await;
    let (error, after) = retried(&outcome);
    assert_eq!(error.code, "rate_limit_exceeded");
    assert!(after.is_some_and(|ms| ms >= 600_000));
}
