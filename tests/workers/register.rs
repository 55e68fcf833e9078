//! The register, the settings of the kinds, and the configuration tables.

use super::Bench;
use crate::clients::open_http;
use serde_json::json;
use windlass::{
    clients,
    engine::worker::Verdict,
    job::KindSettings,
    signatures,
    telemetry::Metrics,
    workers::{self, Deps, default_kinds},
};

const KINDS: [(&str, &str); 6] = [
    ("ai.extract", "ai"),
    ("bench.noop", "bench"),
    ("http.call", "http"),
    ("reminder.send", "reminders"),
    ("serp.refresh", "serp"),
    ("webhook.process", "webhooks"),
];

fn register(workers: &str, providers: &str, webhooks: &str) -> Result<(), String> {
    let workers: workers::Config = toml::from_str(workers).map_err(|e| e.to_string())?;
    let providers: clients::Config = toml::from_str(providers).map_err(|e| e.to_string())?;
    let webhooks: signatures::Config = toml::from_str(webhooks).map_err(|e| e.to_string())?;
    let deps = Deps::new(open_http(), Metrics::new());
    workers::register(&workers, &providers, &webhooks, &deps).map(|_| ()).map_err(|e| e.to_string())
}

#[tokio::test]
async fn every_built_in_kind_has_a_worker_and_settings_of_its_own() {
    let bench = Bench::new(&Default::default(), &Default::default(), &Default::default());
    let kinds = default_kinds();
    assert_eq!(bench.register.kinds(), kinds.keys().cloned().collect());
    for (kind, queue) in KINDS {
        let KindSettings { queue: own, max_attempts, timeout_ms, .. } = &kinds[kind];
        assert_eq!(own, queue, "{kind}");
        assert!(*max_attempts >= 3 && *timeout_ms >= 60_000, "{kind}");
    }
    let outcome = bench.run("bench.noop", &json!({"anything": true})).await;
    assert!(matches!(outcome.verdict, Verdict::Complete) && outcome.result.is_none());
}

#[test]
fn a_kind_gives_its_client_time_to_give_up_first() {
    let kinds = default_kinds();
    let timeout = |kind: &str| kinds[kind].timeout_ms;
    let (providers, workers) = (clients::Config::default(), workers::Config::default());
    assert!(timeout("ai.extract") > 3 * providers.openai.timeout_ms);
    assert!(timeout("serp.refresh") > providers.dataforseo.timeout_ms);
    assert!(timeout("reminder.send") > providers.smtp.timeout_ms.max(workers.reminder.http_timeout_ms));
    assert!(timeout("webhook.process") > workers.webhook.timeout_ms);
    assert!(timeout("http.call") > workers.http.max_timeout_ms);
}

#[test]
fn webhooks_are_retried_on_the_schedule_that_receivers_know() {
    let kinds = default_kinds();
    let webhook = &kinds["webhook.process"];
    let whole = windlass::job::RetryPolicy { jitter: windlass::job::Jitter::None, ..webhook.retry.clone() };
    let waits: Vec<u64> = (1..webhook.max_attempts).map(|attempt| whole.delay(attempt, None, 0).as_secs()).collect();
    assert_eq!(waits, [5, 300, 1800, 7200, 18_000, 36_000, 36_000]);
}

#[test]
fn a_whole_configuration_is_read_and_unknown_keys_are_not() {
    let workers = "[extract]\nmax_input_tokens = 5\n[extract.profiles.p]\nmodel = 'm'\n[http]\ntimeout_ms = 5\n[serp]\ndepth = 20\n[webhook]\ncapture_bytes = 9\n[reminder]\nhttp_timeout_ms = 9\n";
    let providers = "[openai]\nbase_url = 'http://127.0.0.1:1/v1'\napi_key = 'k'\nmax_tokens_field = 'max_tokens'\nstructured = 'json_object'\n[dataforseo]\nlogin = 'l'\npassword = 'p'\n[smtp]\nhost = 'localhost'\ntls = 'none'\nfrom = 'a@example.com'\n";
    let webhooks = "[sources.s]\nscheme = 'standard'\nsecrets = ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw']\n";
    register(workers, providers, webhooks).expect("valid");
    for (workers, providers) in
        [("[http]\ntimeout = 5\n", ""), ("[htpt]\n", ""), ("", "[openai]\nkey = 'k'\n"), ("", "[smtp]\nserver = 'x'\n")]
    {
        assert!(register(workers, providers, "").expect_err("refused").contains("unknown field"));
    }
    let outbound: clients::http::Config = toml::from_str("allow = ['127.0.0.0/8', 'fd00::/8']\nlow_ports = [80]\n").expect("valid");
    assert_eq!(outbound.allow.len(), 2);
    assert!(toml::from_str::<clients::http::Config>("allow = ['10.0.0.1/99']").is_err());
}

#[test]
fn a_setting_that_no_worker_can_start_with_is_named() {
    for (workers, providers, webhooks, said) in [
        ("", "[openai]\napi_key = 'a'\napi_key_file = '/x'\n", "", "providers.openai.api_key: api_key and api_key_file are both set"),
        ("", "[openai]\napi_key = \"a\\nb\"\n", "", "providers.openai.api_key holds characters"),
        ("", "[openai]\nbase_url = 'ftp://x/'\n", "", "providers.openai.base_url must be"),
        ("", "[openai.headers]\n'a b' = 'c'\n", "", "providers.openai.headers: `a b` is no header"),
        ("", "[dataforseo]\npassword_file = '/nonexistent'\n", "", "providers.dataforseo.password: cannot read"),
        ("", "[smtp]\nhost = 'mail.example.com'\ntls = 'none'\nfrom = 'a@example.com'\n", "", "providers.smtp.tls = \"none\" is for"),
        ("[reminder]\nhttp_secret = 'nonsense!'\n", "", "", "workers.reminder.http_secret: the secret is not base64"),
        ("[extract.profiles.p]\nschema = '{'\n", "", "", "workers.extract.profiles.p.schema: is not JSON"),
        ("[extract.profiles.p]\nmax_output_tokens = 99999\n", "", "", "workers.extract.profiles.p.max_output_tokens: must be 1 to"),
        (
            "",
            "",
            "[sources.s]\nscheme = 'github'\nforward_to = 'https://x.example/'\n",
            "webhooks.sources.s.forward_secret: events are forwarded unsigned",
        ),
    ] {
        let error = register(workers, providers, webhooks).expect_err("refused");
        assert!(error.starts_with(said), "{error}");
    }
}

#[test]
fn the_marker_key_is_fresh_for_each_process() {
    let key = || Deps::new(open_http(), Metrics::new()).marker_key;
    assert_ne!(key(), key());
}
