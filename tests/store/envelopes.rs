//! Envelopes good and bad, by which every door is held to the same rules, and jobs as they can be compared.

use crate::support::TestStore;
use fastrand::Rng;
use serde_json::{Map, Value, json};
use windlass::job::{JobId, Timestamp};

/// Values for any member: good ones of each, and what people and attackers send instead.
pub fn values() -> Vec<Value> {
    let mut values =
        vec![Value::Null, json!(true), json!(false), json!({}), json!([]), json!({"a": {"b": [1]}}), json!([1]), json!([null])];
    let numbers =
        [0, 1, -1, 5, 9, 10, 255, 256, 1000, 1001, 86_400_000, 86_400_001, 316_224_000_000_i64, 316_224_000_001, i64::MAX, i64::MIN];
    values.extend(numbers.map(|n| json!(n)));
    values.extend([json!(u64::MAX), json!(1.5), json!(5.0), json!(1e30), json!(4_294_967_295_u32), json!(4_294_967_296_u64)]);
    let texts = [
        "",
        "k",
        "a.b:c-d_e",
        "-x",
        "a b",
        "é",
        "tab\t",
        "q\"\\",
        "\u{7f}\u{1}",
        "\u{2028}🦀",
        "until_finished",
        "until_started",
        "PT10M",
        "P1D",
        "P366D",
        "P366DT1S",
        "PT0S",
        "P1DT2H3M4S",
        "PT",
        "P1M",
        "PT1M1H",
        "P",
        "PT000000001S",
        "return",
        "replace",
        "reject",
        "debounce",
        "Return",
        "2030-01-01T00:00:00Z",
        "2030-01-01t00:00:00.123456789z",
        "2030-01-01 00:00:00+01:00",
        "2030-01-01T00:00:00",
        "2030-02-29T00:00:00Z",
        "2032-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2030-13-01T00:00:00Z",
        "2030-00-01T00:00:00Z",
        "2030-01-00T00:00:00Z",
        "2030-01-01T24:00:00Z",
        "2030-01-01T23:60:00Z",
        "2030-01-01T23:59:60Z",
        "2030-01-01T23:59:61Z",
        "0000-01-01T00:00:00Z",
        "0000-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59-00:01",
        "2030-01-01T00:00:00-23:59",
        "2030-01-01T00:00:00+24:00",
        "2030-01-01T00:00:00.Z",
        "2030-1-1T00:00:00Z",
        "tomorrow",
        "01890a5d-ac96-774b-bcce-b302099a8057",
        "01890A5DAC96774BBCCEB302099A8057",
        "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057",
        "{01890a5d-ac96-774b-bcce-b302099a8057}",
        "936da01f-9abd-4d9d-80c7-02af85c822a8",
        "01890a5d-ac96-774b-bcce",
        "order 17",
        "~",
    ];
    values.extend(texts.map(|text| json!(text)));
    values.extend([128, 129, 255, 256].map(|n| json!("x".repeat(n))));
    values.extend([20, 21, 100, 101].map(|n| json!(vec!["t"; n])));
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    values.extend([json!(vec![id; 100]), json!(vec![id; 101]), json!(["a", ""]), json!([id, "x"]), json!([id, 7])]);
    values.extend([64, 65, 66].map(|levels| (0..levels).fold(json!(1), |inner, _| json!([inner]))));
    values.extend([63, 64, 65].map(|levels| (0..levels).fold(json!({}), |inner, _| json!({"a": inner}))));
    values.push(json!({"m": "[{".repeat(100)}));
    values.extend([4000, 4200].map(|n| json!({"m": "x".repeat(n)})));
    values
}

const MEMBERS: &[&str] = crate::job::MEMBERS;

/// Names that are none, some of them nearly.
const STRANGE: [&str; 12] = ["que", "runat", "Kind", "tag", "zzz", "a/b~c", "maxAttempts", "", "on_sucess", "kinds", "délai", "payloda"];

/// A good envelope with some members changed, follow-ups inside.
pub fn envelope(random: &mut Rng, values: &[Value], depth: usize) -> Value {
    let mut members = Map::from_iter([("kind".to_owned(), json!("k")), ("payload".to_owned(), json!({"n": 1}))]);
    for _ in 0..random.usize(0..4) {
        let member = *random.choice(MEMBERS).unwrap();
        members.insert(member.into(), plausible(random, member, values));
    }
    if random.u8(0..20) < 1 {
        members.insert(random.choice(STRANGE).unwrap().to_owned(), json!(1));
    }
    if random.u8(0..40) < 1 {
        members.remove(random.choice(["kind", "payload"]).unwrap());
    }
    if depth < 10 && random.u8(0..5) < 1 {
        let next = envelope(random, values, depth + 1);
        members.insert(random.choice(["on_success", "on_failure"]).unwrap().to_owned(), next);
    }
    Value::Object(members)
}

/// Mostly something that the member takes, else anything.
fn plausible(random: &mut Rng, member: &str, values: &[Value]) -> Value {
    let good = match member {
        "unique_for" => json!(random.choice(["until_started", "until_finished", "PT10M", "P1DT1S"]).unwrap()),
        "on_duplicate" => json!(random.choice(["return", "replace", "reject", "debounce"]).unwrap()),
        "run_at" | "expires_at" | "event_time" => {
            json!(random.choice(["2031-01-01T00:00:00Z", "2030-06-01T12:00:00.5+02:00", "2001-01-01T00:00:00Z"]).unwrap())
        }
        "priority" | "max_attempts" => json!(random.u32(1..10)),
        "delay_ms" | "debounce_max_ms" | "timeout_ms" => json!(random.u32(0..100_000)),
        "tags" => json!(["a", "b"]),
        "after" => json!([JobId::mint()]),
        "id" => json!(JobId::mint()),
        "ordered" => json!(random.bool()),
        "meta" => json!({"traceparent": "00-1", "b": [1, {"c": null}]}),
        "account" => Value::Null,
        "on_success" | "on_failure" => json!({"kind": "next", "payload": [1, 2]}),
        _ => json!("name"),
    };
    if random.u8(0..3) < 2 { good } else { random.choice(values).unwrap().clone() }
}

/// Every value in every member, alone and in a follow-up; then random ones.
pub fn corpus() -> Vec<Value> {
    let values = values();
    let mut corpus = values.clone();
    for member in MEMBERS {
        for value in &values {
            let mut alone = json!({"kind": "k", "payload": 1});
            alone[member] = value.clone();
            corpus.push(json!({"kind": "k", "payload": 1, "on_failure": alone.clone()}));
            corpus.push(alone);
        }
    }
    for strange in STRANGE {
        corpus.push(json!({"kind": "k", "payload": 1, strange: 1}));
    }
    for member in MEMBERS {
        for other in [format!("{member}x"), member[1..].to_owned(), member.replace('_', ""), member.chars().rev().collect()] {
            corpus.push(json!({"kind": "k", "payload": 1, other: 1}));
        }
    }
    for depth in 7..10 {
        corpus
            .push((0..depth).fold(json!({"kind": "k", "payload": 1}), |inner, _| json!({"kind": "k", "payload": 1, "on_success": inner})));
    }
    let mut random = Rng::with_seed(17);
    corpus.extend((0..6000).map(|_| envelope(&mut random, &values, 0)));
    corpus
}

/// With keys and an id that no other envelope has.
pub fn fresh(mut envelope: Value, n: usize) -> Value {
    for key in ["unique_key", "idempotency_key"] {
        if envelope[key].is_string() {
            envelope[key] = json!(format!("n{n}"));
        }
    }
    if envelope["id"].is_string() {
        envelope["id"] = json!(JobId::mint());
    }
    envelope
}

/// A job as people see it, without what differs each time: minted ids, and instants relative to its coming.
pub async fn shape(store: &TestStore, id: JobId, envelope: &str) -> Value {
    let job = store.job(id).await;
    let envelope: Value = serde_json::from_str(envelope).unwrap();
    let wanted = envelope["run_at"].as_str().map(|text| Timestamp::parse(text).unwrap());
    let waits = job.run_at.since(job.created_at).as_micros();
    let run_at = if wanted == Some(job.run_at) { json!(job.run_at) } else { json!(waits.to_string()) };
    let mut shape = serde_json::to_value(&job).unwrap();
    forget_ids(&mut shape);
    shape["created_at"].take();
    // A parked job shows the end of its park there.
    shape["run_at"] = if job.reason.is_some() { Value::Null } else { run_at };
    shape
}

fn forget_ids(job: &mut Value) {
    job["id"].take();
    for member in ["on_success", "on_failure"] {
        let next = if job[member].is_object() {
            job.get_mut(member)
        } else {
            job.pointer_mut(&format!("/extra/{member}")).filter(|next| next.is_object())
        };
        if let Some(next) = next {
            forget_ids(next);
        }
    }
}
