//! The real workers over the stand-ins: they cannot tell, and what they report is what the stand-ins' own log says.

use super::{LONG, sandbox, texts};
use crate::clients::{now, open_http};
use serde_json::{Value, json};
use windlass::{
    clients,
    clock::Clock,
    engine::worker::{Context, Outcome, Register, Verdict},
    job::{JobId, Json, LeasedJob, Name},
    sandbox::{Config, Fault, Provider, Sandbox, Stage},
    signatures,
    telemetry::Metrics,
    workers::{self, Deps},
};

/// The built-in workers, pointed at the sandbox by nothing but configuration.
fn workers(sandbox: &Sandbox) -> Register {
    let openai = clients::openai::Config {
        base_url: format!("{}/v1", sandbox.openai_url()).parse().unwrap(),
        api_key: Some("any".into()),
        model: "sandbox-small".into(),
        ..Default::default()
    };
    let dataforseo = clients::dataforseo::Config {
        base_url: sandbox.dataforseo_url().parse().unwrap(),
        login: "sandbox".into(),
        password: Some("sandbox".into()),
        ..Default::default()
    };
    let smtp = clients::smtp::Config {
        host: sandbox.smtp_addr().ip().to_string(),
        port: Some(sandbox.smtp_addr().port()),
        tls: clients::smtp::Tls::None,
        from: "Windlass <noreply@example.org>".into(),
        ..Default::default()
    };
    let deps = Deps { http: open_http(), metrics: Metrics::new(), marker_key: [7; 32] };
    let providers = clients::Config { openai, dataforseo, smtp };
    workers::register(&workers::Config::default(), &providers, &signatures::Config::default(), &deps).expect("a valid configuration")
}

async fn run(workers: &Register, kind: &str, payload: &Value) -> Outcome {
    let job = LeasedJob {
        id: "01980000-0000-7000-8000-000000000042".parse::<JobId>().unwrap(),
        kind: Name::new(kind).unwrap(),
        queue: Name::literal("test"),
        tenant: None,
        payload: Json::of(payload),
        attempt: 1,
        max_attempts: 5,
        timeout_ms: None,
        created_at: now(),
        due_at: now(),
        expires_at: None,
        concurrency_key: None,
        checkpoint: None,
        extra: None,
    };
    workers.get(kind).expect("a built-in kind").run(&job, &Context::detached(now())).await
}

fn result(outcome: &Outcome) -> Value {
    assert!(matches!(outcome.verdict, Verdict::Complete), "{outcome:?}");
    outcome.result.as_ref().expect("a result").read().expect("JSON")
}

#[tokio::test]
async fn an_extraction_gets_the_facts_and_pays_what_the_log_says() {
    let sandbox = sandbox().await;
    let workers = workers(&sandbox);
    let text = texts::text(5);
    let schema = json!({"type": "object", "required": ["title", "email", "topics"], "properties": {
        "title": {"type": "string"}, "email": {"type": "string", "format": "email"}, "topics": {"type": "array", "items": {"type": "string"}},
    }});
    let payload = json!({"text": text.text, "schema": schema, "instructions": "Read the plan."});
    let outcome = run(&workers, "ai.extract", &payload).await;
    assert_eq!(result(&outcome)["data"], json!({"title": text.title, "email": text.email, "topics": text.topics}));
    sandbox.switches().fail_next(Provider::OpenAi, 1, Fault::Mismatch);
    let repaired = run(&workers, "ai.extract", &payload).await;
    assert_eq!(result(&repaired)["repaired"], true);
    assert_eq!(result(&repaired)["data"], result(&outcome)["data"]);
    let paid = outcome.usage.iter().chain(&repaired.usage);
    let (input, output) = paid.fold((0, 0), |(input, output), usage| (input + usage.input_tokens, output + usage.output_tokens));
    let totals = sandbox.calls().totals(Provider::OpenAi);
    assert_eq!((totals.calls, totals.input_tokens, totals.output_tokens), (3, input, output));
}

#[tokio::test]
async fn scripted_troubles_of_a_model_reach_the_job_as_their_class() {
    let sandbox = sandbox().await;
    let workers = workers(&sandbox);
    let payload = json!({"text": "Week 1: cells.", "schema": {"type": "object", "properties": {"weeks": {"type": "array"}}}});
    let verdict = async |fault: Fault| {
        sandbox.switches().set(Provider::OpenAi, Default::default());
        sandbox.switches().fail_always(Provider::OpenAi, fault);
        run(&workers, "ai.extract", &payload).await.verdict
    };
    let status = |status: u16, code: Option<&str>| Fault::Status { status, code: code.map(str::to_owned), retry_after_secs: None };
    for fault in [status(500, None), status(529, None), Fault::CutBody, Fault::Reset] {
        let verdict = verdict(fault.clone()).await;
        assert!(matches!(verdict, Verdict::Retry { .. }), "{fault:?}: {verdict:?}");
    }
    for fault in [status(401, None), status(429, Some("insufficient_quota")), status(402, None)] {
        let verdict = verdict(fault.clone()).await;
        assert!(matches!(verdict, Verdict::Park { .. }), "{fault:?}: {verdict:?}");
    }
    for fault in [status(400, None), Fault::Refusal, Fault::WrongJson, Fault::Mismatch] {
        let verdict = verdict(fault.clone()).await;
        assert!(matches!(verdict, Verdict::Reject { .. }), "{fault:?}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_refresh_stores_a_page_and_codes_inside_http_200_are_told_apart() {
    let sandbox = sandbox().await;
    let workers = workers(&sandbox);
    let payload = json!({"keyword": "durable queue", "location_code": 2840, "language_code": "en"});
    let page = result(&run(&workers, "serp.refresh", &payload).await);
    assert!(page.to_string().contains("durable queue"), "{page}");
    for (code, wanted) in [("50301", "Retry"), ("40200", "Park"), ("40501", "Reject")] {
        sandbox.switches().fail_next(Provider::DataForSeo, 1, Fault::ErrorInside { code: code.into() });
        let verdict = format!("{:?}", run(&workers, "serp.refresh", &payload).await.verdict);
        assert!(verdict.starts_with(wanted), "{code}: {verdict}");
    }
}

#[tokio::test]
async fn a_reminder_arrives_once_its_mailbox_is_back() {
    let sandbox = sandbox().await;
    let workers = workers(&sandbox);
    let payload = json!({"channel": "email", "to": "bo@example.net", "subject": "Essay {{ n }}", "text": "Due.", "vars": {"n": 3}});
    sandbox.switches().fail_next(Provider::Smtp, 1, Fault::reply(450, Stage::Recipient));
    assert!(matches!(run(&workers, "reminder.send", &payload).await.verdict, Verdict::Retry { .. }));
    result(&run(&workers, "reminder.send", &payload).await);
    let mail = sandbox.mailbox().wait_for(1, LONG).await.unwrap();
    assert_eq!((mail[0].header("subject").as_deref(), mail[0].to.as_slice()), (Some("Essay 3"), &["bo@example.net".to_owned()][..]));
}

#[tokio::test]
async fn a_signed_reminder_to_an_endpoint_passes_the_receiver_s_own_check() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let sandbox = Sandbox::start_at(Config::default(), Clock::manual(now()), tokio_util::sync::CancellationToken::new()).await.unwrap();
    sandbox.expect_signatures("reminders", SECRET).unwrap();
    let mut config = workers::Config::default();
    config.reminder.http_secret = Some(SECRET.into());
    let deps = Deps { http: open_http(), metrics: Metrics::new(), marker_key: [7; 32] };
    let workers = workers::register(&config, &clients::Config::default(), &signatures::Config::default(), &deps).unwrap();
    let url = format!("{}/receive/reminders", sandbox.receiver_url());
    result(&run(&workers, "reminder.send", &json!({"channel": "http", "url": url, "text": "Due."})).await);
    assert_eq!(sandbox.receipts().all()[0].signature, windlass::sandbox::Signature::Valid);
}

#[tokio::test]
async fn a_call_that_fails_twice_succeeds_the_third_time() {
    let sandbox = sandbox().await;
    let workers = workers(&sandbox);
    let payload = json!({"url": format!("{}/count/flaky/fail/2/then/ok", sandbox.receiver_url()), "method": "POST"});
    for _ in 0..2 {
        assert!(matches!(run(&workers, "http.call", &payload).await.verdict, Verdict::Retry { .. }));
    }
    result(&run(&workers, "http.call", &payload).await);
    assert_eq!((sandbox.counts("flaky").calls, sandbox.counts("flaky").refused), (1, 2));
}
