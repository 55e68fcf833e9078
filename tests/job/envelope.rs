//! What the envelope's check makes of good envelopes, and what it keeps of them.

use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;
use windlass::job::{Envelope, JobId, Json, Limits, Name, NewJob, OnDuplicate, Timestamp, Unique, UniqueFor, check_many};

pub fn check(text: &str) -> Result<NewJob, windlass::job::InvalidEnvelope> {
    NewJob::check(text.as_bytes(), Limits::default())
}

fn with_payload(payload: &str) -> String {
    format!(r#"{{"kind":"k","payload":{payload}}}"#)
}

#[test]
fn kind_and_payload_are_enough_and_everything_else_is_left_to_the_settings() {
    let job = check(r#"{"kind":"serp.refresh","payload":{"q":"rust"}}"#).unwrap();
    let plain = NewJob { id: job.id, ..NewJob::new(Name::literal("serp.refresh"), Json::parse(r#"{"q":"rust"}"#).unwrap()) };
    assert_eq!(job, plain);
    assert_eq!(job.id.0.get_version_num(), 7);
    assert!(!job.id_is_producers);
    assert_ne!(job.id, check(r#"{"kind":"serp.refresh","payload":{"q":"rust"}}"#).unwrap().id);
}

#[test]
fn every_member_arrives_in_the_job() {
    let (id, dependency) = (JobId::mint(), JobId::mint());
    let text = json!({
        "kind": "k", "payload": null, "id": id, "queue": "q", "tenant": "t", "priority": 0, "delay_ms": 1500,
        "expires_at": "2030-01-01T00:00:00+01:00", "timeout_ms": 30000, "max_attempts": 7, "unique_key": "u", "unique_for": "until_started",
        "on_duplicate": "debounce", "debounce_max_ms": 60000, "idempotency_key": "order 17", "concurrency_key": "c", "ordered": true,
        "tags": ["a", "b"], "event_time": "2029-12-31T00:00:00.25Z", "after": [dependency], "on_success": {"kind": "s", "payload": 1},
        "on_failure": {"kind": "f", "payload": 2}, "meta": {"traceparent": "00-1"},
    });
    let job = check(&text.to_string()).unwrap();
    let unique =
        Unique { key: Name::literal("u"), held: UniqueFor::UntilStarted, on_duplicate: OnDuplicate::Debounce, debounce_max_ms: 60_000 };
    assert_eq!((job.id, job.id_is_producers), (id, true));
    assert_eq!((job.queue.as_deref(), job.tenant.as_deref()), (Some("q"), Some("t")));
    assert_eq!((job.priority, job.delay_ms, job.timeout_ms, job.max_attempts), (Some(0), 1500, Some(30_000), Some(7)));
    assert_eq!(job.expires_at, Some(Timestamp::parse("2029-12-31T23:00:00Z").unwrap()));
    assert_eq!((job.unique, job.idempotency_key.as_deref()), (Some(unique), Some("order 17")));
    assert_eq!((job.concurrency_key.as_deref(), job.ordered), (Some("c"), true));
    let extra = job.extra;
    assert_eq!((extra.tags, extra.after), (vec![Name::literal("a"), Name::literal("b")], vec![dependency]));
    assert_eq!(extra.event_time, Some(Timestamp::parse("2029-12-31T00:00:00.250Z").unwrap()));
    assert_eq!(extra.meta.unwrap().as_str(), r#"{"traceparent":"00-1"}"#);
    let (success, failure) = (extra.on_success.unwrap(), extra.on_failure.unwrap());
    assert_eq!((&*success.kind, &*failure.kind), ("s", "f"));
    assert_eq!((success.tenant.as_deref(), failure.tenant.as_deref()), (Some("t"), Some("t")));
}

#[test]
fn null_is_the_same_as_leaving_out() {
    let members =
        ["id", "queue", "priority", "run_at", "unique_key", "unique_for", "tags", "after", "on_success", "account", "meta", "ordered"];
    let mut text = json!({"kind": "k", "payload": null});
    members.iter().for_each(|member| text[member] = Value::Null);
    let job = check(&text.to_string()).unwrap();
    assert_eq!(job.payload.as_str(), "null");
    assert!(job.extra.is_empty());
}

#[test]
fn a_follow_up_of_a_follow_up_stays_in_the_tenant() {
    let inner = json!({"kind": "c", "payload": 1, "on_failure": {"kind": "d", "payload": 1}});
    let job = check(
        &json!({"kind": "a", "payload": 1, "tenant": "t", "on_success": {"kind": "b", "payload": 1, "on_success": inner}}).to_string(),
    );
    let mut next = job.unwrap().extra.on_success;
    let mut kinds = Vec::new();
    while let Some(job) = next {
        assert_eq!(job.tenant.as_deref(), Some("t"), "{}", job.kind);
        kinds.push(job.kind.to_string());
        next = job.extra.on_success.or(job.extra.on_failure);
    }
    assert_eq!(kinds, ["b", "c", "d"]);
}

#[test]
fn a_payload_is_kept_byte_for_byte() {
    let payloads = [
        "12345678901234567890123456789012345678901234567890",
        "1e400",
        "-0.0",
        "1.10",
        r#"{"a":1,"a":2,"":3}"#,
        r#"{ "spaced" : [ 1 , 2 ] }"#,
        "[\n\t1\n]",
        r#""\u0000""#,
        r#""\ud800""#,
        r#"{"\udfff":"\ud83d\ude00"}"#,
        r#""\/ \u002f é 🦀""#,
        "\"\u{7f}\u{2028}\"",
        "null",
        "false",
    ];
    for payload in payloads {
        assert_eq!(check(&with_payload(payload)).unwrap().payload.as_str(), payload);
        let stored: NewJob = serde_json::from_str(&serde_json::to_string(&check(&with_payload(payload)).unwrap()).unwrap()).unwrap();
        assert_eq!(stored.payload.as_str(), payload, "and through a store's JSON");
    }
}

#[test]
fn sixty_four_levels_are_read_and_sixty_five_refused() {
    let nested = |levels: usize| with_payload(&format!("{}1{}", "[".repeat(levels), "]".repeat(levels)));
    assert!(check(&nested(64)).is_ok());
    let error = check(&nested(65)).unwrap_err();
    assert_eq!((error.code, error.to_string().as_str()), ("too_large", ": nested deeper than 64 levels; flatten it"));
    let objects = |levels: usize| with_payload(&format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels)));
    assert!(check(&objects(64)).is_ok());
    assert!(check(&objects(65)).is_err());
    let bomb = with_payload(&"[".repeat(1_000_000));
    assert_eq!(check(&bomb).unwrap_err().code, "too_large");
    let brackets_in_strings = with_payload(&format!(r#"["{}", "\"{}\\"]"#, "[".repeat(100), "{".repeat(100)));
    assert!(check(&brackets_in_strings).is_ok());
}

#[test]
fn a_payload_of_just_the_limit_is_taken_and_one_byte_more_is_not() {
    let sized = |bytes: usize| with_payload(&format!("\"{}\"", "x".repeat(bytes - 2)));
    assert!(check(&sized(1 << 20)).is_ok());
    let error = check(&sized((1 << 20) + 1)).unwrap_err();
    let sentence = "/payload: is 1048577 bytes, the limit is 1048576; store the data elsewhere and send a reference";
    assert_eq!((error.code, error.to_string().as_str()), ("too_large", sentence));
    let raised = Limits { payload_bytes: usize::MAX };
    assert!(NewJob::check(sized(16 << 20).as_bytes(), raised).is_ok());
    let error = NewJob::check(sized((16 << 20) + 1).as_bytes(), raised).unwrap_err();
    assert!(error.message.contains("the limit is 16777216;"), "no configuration goes beyond the hard cap");
}

#[test]
fn durations_are_read_as_iso_8601_writes_them() {
    let table = [
        ("PT1S", Some(1)),
        ("PT10M", Some(600)),
        ("P1D", Some(86_400)),
        ("P1DT1H1M1S", Some(90_061)),
        ("PT90M", Some(5400)),
        ("P366D", Some(31_622_400)),
        ("P366DT1S", None),
        ("PT0S", None),
        ("P", None),
        ("PT", None),
        ("P1DT", None),
        ("P1M", None),
        ("P1Y", None),
        ("PT1M1H", None),
        ("PT1H1H", None),
        ("PTH", None),
        ("PT1.5S", None),
        ("PT10", None),
        ("10M", None),
        ("pt10m", None),
        ("PT-1S", None),
        ("PT9999999999S", None),
        ("PT１S", None),
    ];
    for (text, secs) in table {
        assert_eq!(UniqueFor::parse(text).ok(), secs.map(|secs| UniqueFor::Window(Duration::from_secs(secs))), "{text}");
    }
    for held in [UniqueFor::UntilFinished, UniqueFor::UntilStarted, UniqueFor::Window(Duration::from_secs(31_622_400))] {
        assert_eq!(UniqueFor::parse(&held.to_string()), Ok(held));
    }
}

#[test]
fn debounce_without_a_bound_ends_after_ten_quiet_times() {
    let debounced = |delay_ms: u64| json!({"kind": "k", "payload": 1, "unique_key": "u", "unique_for": "until_started", "on_duplicate": "debounce", "delay_ms": delay_ms});
    assert_eq!(check(&debounced(2000).to_string()).unwrap().unique.unwrap().debounce_max_ms, 20_000);
    let longest = check(&debounced(Limits::DELAY_MS).to_string()).unwrap().unique.unwrap();
    assert_eq!(longest.debounce_max_ms, Limits::DELAY_MS);
}

#[test]
fn a_bulk_body_names_every_bad_item() {
    let good = r#"{"kind":"k","payload":1}"#;
    let deep = with_payload(&"[".repeat(70)) + &"]".repeat(70) + "}";
    let body = format!(r#"[{good}, {{"kind":"k"}}, {good}, 7, {{"kind":"k","payload":1,"priority":10}}]"#);
    let items = check_many(body.as_bytes(), Limits::default()).unwrap();
    let faults: Vec<_> = items.iter().map(|item| item.as_ref().err().map(ToString::to_string)).collect();
    let object = "/3: an envelope is a JSON object with at least `kind` and `payload`";
    let expected =
        [None, Some("/1/payload: `payload` is required"), None, Some(object), Some("/4/priority: must be 0 (first) to 9 (last)")];
    assert_eq!(faults, expected.map(|fault| fault.map(str::to_owned)));
    assert!(check_many(b"[]", Limits::default()).unwrap().is_empty());
    assert_eq!(check_many(good.as_bytes(), Limits::default()).unwrap_err().to_string(), ": send a JSON array of envelopes");
    assert_eq!(check_many(b"[{]", Limits::default()).unwrap_err().code, "not_json");
    assert_eq!(check_many(b"[\"\xff\"]", Limits::default()).unwrap_err().code, "not_json");
    let bomb = check_many(format!("[{good},{}]", deep.trim_end_matches('}').to_owned() + "}").as_bytes(), Limits::default());
    assert!(bomb.is_err() || bomb.unwrap()[1].as_ref().is_err_and(|error| error.code == "too_large"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_payload_survives_untouched(payload in any_json()) {
        let text = payload.to_string();
        let job = check(&with_payload(&text)).unwrap();
        prop_assert_eq!(job.payload.as_str(), &text);
        let stored: NewJob = serde_json::from_str(&serde_json::to_string(&job).unwrap()).unwrap();
        prop_assert_eq!(stored, job);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = NewJob::check(&bytes, Limits::default());
        let _ = check_many(&bytes, Limits::default());
    }

    #[test]
    fn any_value_in_any_member_is_taken_or_refused_at_its_place(member in prop::sample::select(MEMBERS), value in any_json()) {
        let mut envelope = json!({"kind": "k", "payload": 1});
        envelope[member] = value;
        let text = envelope.to_string();
        match check(&text) {
            Ok(_) => prop_assert!(serde_json::from_str::<Envelope>(&text).is_ok()),
            Err(error) => {
                let at_member = error.pointer.starts_with(&format!("/{member}"));
                prop_assert!(at_member, "{} is blamed at {:?}: {}", text, error.pointer, error.message);
            }
        }
    }
}

pub const MEMBERS: &[&str] = &[
    "kind",
    "payload",
    "id",
    "queue",
    "tenant",
    "priority",
    "run_at",
    "delay_ms",
    "expires_at",
    "timeout_ms",
    "max_attempts",
    "unique_key",
    "unique_for",
    "on_duplicate",
    "debounce_max_ms",
    "idempotency_key",
    "concurrency_key",
    "ordered",
    "tags",
    "event_time",
    "after",
    "on_success",
    "on_failure",
    "account",
    "meta",
];
