//! What the two functions take, answer and refuse.

use super::{door, enqueue, refusal, try_enqueue, try_enqueue_like, try_enqueue_many};
use crate::support::{Build as _, Daemon, ids, name, work};
use serde_json::json;
use windlass::job::{JobId, State};

#[tokio::test]
async fn a_job_comes_in_and_is_leased_with_the_text_of_its_jsonb() {
    let Some((store, producer)) = door().await else { return };
    let id = try_enqueue(&producer, "work", r#"{"b":1,"a":[1.50,"é"]}"#, r#"{"queue":"mail","priority":2}"#).await.unwrap();
    assert_eq!(id.0.get_version_num(), 7);
    let leased = Daemon::new().lease_from(&*store, "mail", 5, None).await;
    assert_eq!(ids(&leased), [id]);
    assert_eq!(leased[0].job.payload.as_str(), r#"{"a": [1.50, "é"], "b": 1}"#);
    assert_eq!(store.job(id).await.priority, 2);
}

#[tokio::test]
async fn options_may_be_left_out_and_names_may_stand_for_places() {
    let Some((store, producer)) = door().await else { return };
    for statement in [
        "SELECT windlass.enqueue('work', '1')",
        "SELECT windlass.enqueue(payload => '1', kind => 'work')",
        "SELECT windlass.enqueue('work', '1', NULL)",
        "SELECT windlass.enqueue('work', '1', '{\"queue\": null}')",
    ] {
        let row = producer.query_one(statement, &[]).await.expect(statement);
        assert_eq!(store.job(JobId(row.get(0))).await.queue, "default");
    }
}

#[tokio::test]
async fn what_the_kind_is_configured_with_fills_what_was_left_out() {
    let Some((store, producer)) = door().await else { return };
    store
        .configure_with(|settings| {
            let kind = settings.kinds.entry(name("work")).or_default();
            (kind.queue, kind.priority, kind.max_attempts) = (name("slow"), 7, 3);
            settings.payload_bytes = 20;
        })
        .await;
    let job = store.job(enqueue(&producer, "{}").await).await;
    assert_eq!((&*job.queue, job.priority, job.max_attempts), ("slow", 7, 3));
    let (code, message, _) = refusal(try_enqueue(&producer, "work", &format!("\"{}\"", "x".repeat(19)), "{}").await);
    assert_eq!(code, "WLE01");
    assert_eq!(message, "/payload: is 21 bytes, the limit is 20; store the data elsewhere and send a reference");
}

#[tokio::test]
async fn a_kind_s_line_is_the_same_by_its_door_by_its_options_and_where_an_older_release_wrote_the_door() {
    let Some((store, producer)) = door().await else { return };
    enqueue(&producer, "{}").await;
    enqueue(&producer, r#"{"queue": "default"}"#).await;
    let forgotten = store.connection().await.execute("UPDATE windlass.doors SET line = NULL", &[]).await.expect("a superuser may");
    assert_ne!(forgotten, 0);
    enqueue(&producer, "{}").await;
    let lines = "SELECT count(*), count(DISTINCT line) FROM windlass.jobs";
    let row = store.connection().await.query_one(lines, &[]).await.expect("a count");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (3, 1));
}

#[tokio::test]
async fn every_sort_of_fault_has_its_sqlstate_its_sentence_and_its_place() {
    let Some((store, producer)) = door().await else { return };
    let table = [
        ("work", "{\"tags\":[1]}", "WLE03", "/tags/0", "must be a string"),
        ("work", "{\"que\":1}", "WLE02", "/que", "unknown member `que`; did you mean `queue`?"),
        ("", "{}", "WLE04", "/kind", "must be 1 to 128 of A-Z a-z 0-9 _ . : - and begin with a letter or digit, got \"\""),
        ("work", "{\"priority\":10}", "WLE05", "/priority", "must be 0 (first) to 9 (last)"),
        ("work", "{\"ordered\":true}", "WLE06", "/ordered", "needs a `concurrency_key`, which names the sequence"),
        ("work", "{\"kind\":\"a\"}", "WLE06", "/kind", "`kind` is there twice; send it once"),
        ("work", "{\"account\":{}}", "WLE07", "/account", "`account` is not supported yet; leave it out until budgets are released"),
        ("work", "[]", "WLE03", "", "`options` is a JSON object with the other members of the envelope"),
    ];
    for (kind, options, code, pointer, message) in table {
        let refused = refusal(try_enqueue(&producer, kind, "1", options).await);
        let label = detail_code(code);
        let detail = json!([{"pointer": pointer, "code": label, "message": message}]);
        assert_eq!(refused, (code.to_owned(), format!("{pointer}: {message}"), detail), "{options}");
    }
    let nothing = producer.query_one("SELECT windlass.enqueue(NULL, NULL)", &[]).await;
    assert_eq!(refusal(nothing).1, "/kind: `kind` is required");
    assert_eq!(store.all().await.len(), 0);
}

fn detail_code(sqlstate: &str) -> &'static str {
    match sqlstate {
        "WLE02" => "unknown_member",
        "WLE03" => "wrong_type",
        "WLE04" => "bad_name",
        "WLE05" => "out_of_range",
        "WLE06" => "conflict",
        _ => "not_supported",
    }
}

#[tokio::test]
async fn a_list_is_answered_in_its_order_whatever_is_in_it() {
    let Some((store, producer)) = door().await else { return };
    let alike =
        try_enqueue_many(&producer, r#"[{"kind":"a","payload":0},{"kind":"a","payload":1},{"payload":2,"kind":"a"}]"#).await.unwrap();
    let mixed = try_enqueue_many(&producer, r#"[{"kind":"a","payload":0},{"kind":"b","payload":1,"delay_ms":600000},{"kind":"a","payload":2,"tags":["t"],"concurrency_key":"k"}]"#).await.unwrap();
    let keyed = try_enqueue_many(
        &producer,
        r#"[{"kind":"a","payload":0,"unique_key":"z"},{"kind":"b","payload":1},{"kind":"a","payload":2,"unique_key":"b"}]"#,
    )
    .await
    .unwrap();
    for ids in [alike, mixed, keyed] {
        for (n, id) in ids.into_iter().enumerate() {
            assert_eq!(store.job(id).await.payload.as_str(), n.to_string());
        }
    }
    assert_eq!(try_enqueue_many(&producer, "[]").await.unwrap(), []);
    let many: Vec<_> = (0..3000).map(|n| json!({"kind": "a", "payload": n, "queue": "many"})).collect();
    let ids = try_enqueue_many(&producer, &json!(many).to_string()).await.unwrap();
    assert_eq!(store.job(ids[2999]).await.payload.as_str(), "2999");
    assert_eq!(store.queue_status("many", None).await.jobs[&State::Queued], 3000);
    store.assert_sound().await;
}

#[tokio::test]
async fn a_list_with_bad_items_writes_nothing_and_names_each() {
    let Some((store, producer)) = door().await else { return };
    let jobs = r#"[{"kind":"a","payload":1},{"kind":"a b","payload":1},7,{"kind":"a","payload":1,"priority":99}]"#;
    let (code, message, detail) = refusal(try_enqueue_many(&producer, jobs).await);
    let first = "/1/kind: must be 1 to 128 of A-Z a-z 0-9 _ . : - and begin with a letter or digit, got \"a b\"";
    assert_eq!((code.as_str(), message), ("WLE04", format!("3 items are invalid; nothing was written; the first is {first}")));
    let places: Vec<&str> = detail.as_array().unwrap().iter().map(|item| item["pointer"].as_str().unwrap()).collect();
    assert_eq!(places, ["/1/kind", "/2", "/3/priority"]);
    // One that is like the others but for a payload that is too long or too deep.
    for payload in [format!("\"{}\"", "x".repeat(1 << 20)), format!("{}{}", "[".repeat(65), "]".repeat(65))] {
        let jobs = format!(r#"[{{"kind":"a","payload":1}},{{"kind":"a","payload":{payload}}}]"#);
        assert_eq!(refusal(try_enqueue_many(&producer, &jobs).await).0, "WLE01");
    }
    assert_eq!(refusal(try_enqueue_many(&producer, "{}").await).1, ": send a JSON array of envelopes");
    assert_eq!(store.all().await.len(), 0);
}

#[tokio::test]
async fn payloads_of_one_kind_become_jobs_that_are_alike_and_keep_their_bytes() {
    let Some((store, producer)) = door().await else { return };
    let payloads = ["1", r#"{ "b": 1, "a": 2.50 }"#, "null", r#""é""#];
    // The fast way, the way of envelopes, and one in which others are looked at.
    for options in ["{}", r#"{"queue":"q","priority":2,"timeout_ms":5}"#] {
        let ids = try_enqueue_like(&producer, "a", &payloads, options).await.unwrap();
        assert!(ids.is_sorted(), "ids stand in their order");
        for (id, payload) in ids.iter().zip(payloads) {
            let job = store.job(*id).await;
            assert_eq!((job.kind.as_str(), job.payload.as_str()), ("a", payload), "{options}");
            assert_eq!(job.priority, if options == "{}" { 5 } else { 2 });
        }
    }
    for options in [r#"{"tags":["t"]}"#, r#"{"delay_ms":60000}"#, r#"{"concurrency_key":"k"}"#] {
        let ids = try_enqueue_like(&producer, "a", &payloads, options).await.unwrap();
        let read: Vec<_> =
            [store.job(ids[0]).await, store.job(ids[2]).await].into_iter().map(|job| job.payload.as_str().to_owned()).collect();
        assert_eq!(read, ["1", "null"], "{options}");
    }
    let keyed = try_enqueue_like(&producer, "a", &["1", "2"], r#"{"unique_key":"k"}"#).await.unwrap();
    assert_eq!(keyed[0], keyed[1], "the second is the first's duplicate");
    assert_eq!(try_enqueue_like(&producer, "a", &[], "{}").await.unwrap(), []);
    store.assert_sound().await;
}

#[tokio::test]
async fn payloads_of_one_kind_are_refused_together_and_each_bad_one_is_named() {
    let Some((store, producer)) = door().await else { return };
    let (long, deep) = (format!("\"{}\"", "x".repeat(1 << 20)), format!("{}{}", "[".repeat(65), "]".repeat(65)));
    let (code, _, detail) = refusal(try_enqueue_like(&producer, "a", &["1", &long, &deep], "{}").await);
    assert_eq!(code, "WLE01");
    assert_eq!((&detail[0]["pointer"], &detail[1]["pointer"]), (&json!("/1/payload"), &json!("/2")));
    let table = [
        ("a b", "{}", "WLE04", "/0/kind"),
        ("a", r#"{"priority":99}"#, "WLE05", "/0/priority"),
        ("a", r#"{"nope":1}"#, "WLE02", "/0/nope"),
        ("a", r#"{"payload":1}"#, "WLE06", "/payload"),
        ("a", "[]", "WLE03", ""),
    ];
    for (kind, options, code, pointer) in table {
        let refused = refusal(try_enqueue_like(&producer, kind, &["1", "2"], options).await);
        assert_eq!((refused.0.as_str(), &refused.2[0]["pointer"]), (code, &json!(pointer)), "{options}");
    }
    let absent = producer.query("SELECT windlass.enqueue_many('a', ARRAY['1', NULL]::json[])", &[]).await;
    assert_eq!(refusal(absent).2[0]["pointer"], "/1/payload");
    for nothing in ["'a', NULL", "NULL, ARRAY['1']::json[]"] {
        let answer = producer.query(&format!("SELECT windlass.enqueue_many({nothing})"), &[]).await;
        assert!(answer.is_err() || answer.is_ok_and(|rows| rows.is_empty()), "{nothing}");
    }
    assert_eq!(store.all().await.len(), 0);
}

#[tokio::test]
async fn a_held_unique_key_is_answered_replaced_or_refused_as_the_producer_says() {
    let Some((store, producer)) = door().await else { return };
    let first = enqueue(&producer, r#"{"unique_key":"k","unique_for":"until_started"}"#).await;
    assert_eq!(enqueue(&producer, r#"{"unique_key":"k"}"#).await, first);
    let replaced = r#"{"unique_key":"k","unique_for":"until_started","on_duplicate":"replace","priority":1}"#;
    assert_eq!(try_enqueue(&producer, "work", r#""new""#, replaced).await.unwrap(), first);
    let job = store.job(first).await;
    assert_eq!((job.payload.as_str(), job.priority), (r#""new""#, 1));
    let refused = refusal(try_enqueue(&producer, "work", "1", r#"{"unique_key":"k","on_duplicate":"reject"}"#).await);
    assert_eq!((refused.0.as_str(), refused.1), ("WLC02", format!("the unique key is held by job {first}")));
    assert_eq!(refused.2, json!({"index": 0, "id": first}));
    let batch = r#"[{"kind":"a","payload":1},{"kind":"a","payload":1,"unique_key":"k"},{"kind":"a","payload":1,"unique_key":"n"},{"kind":"a","payload":2,"unique_key":"n"}]"#;
    let ids = try_enqueue_many(&producer, batch).await.unwrap();
    assert_eq!((ids[1], ids[2]), (first, ids[3]), "one duplicate never fails a batch");
    // The other doors see the same keys.
    let held = work().unique("n", windlass::job::UniqueFor::UntilFinished, windlass::job::OnDuplicate::Return);
    assert_eq!(store.put_one(held, None).await, ids[2]);
}

#[tokio::test]
async fn the_same_id_or_idempotency_key_with_the_same_body_is_the_same_job_and_with_another_a_conflict() {
    let Some((_store, producer)) = door().await else { return };
    let id = JobId::mint();
    let with_id = format!(r#"{{"id":"{id}"}}"#);
    for _ in 0..2 {
        assert_eq!(enqueue(&producer, &with_id).await, id);
    }
    let (code, message, detail) = refusal(try_enqueue(&producer, "work", "2", &with_id).await);
    assert_eq!((code.as_str(), message), ("WLC01", format!("job {id} exists with another body; use a fresh id or idempotency key")));
    assert_eq!(detail["id"], json!(id));
    let with_key = r#"{"idempotency_key":"order 17"}"#;
    let first = enqueue(&producer, with_key).await;
    assert_eq!(enqueue(&producer, with_key).await, first);
    assert_eq!(refusal(try_enqueue(&producer, "work", "2", with_key).await).0, "WLC01");
}

#[tokio::test]
async fn a_job_waits_for_another_of_the_same_call_and_is_followed_by_its_own() {
    let Some((store, producer)) = door().await else { return };
    let (parent, child) = (JobId::mint(), JobId::mint());
    let jobs = json!([
        {"kind": "work", "payload": 1, "id": child, "after": [parent], "on_success": {"kind": "work", "payload": {"x": 1}, "tags": ["t"]}},
        {"kind": "work", "payload": 2, "id": parent},
    ]);
    try_enqueue_many(&producer, &jobs.to_string()).await.unwrap();
    let daemon = Daemon::new();
    let mut order = Vec::new();
    for _ in 0..3 {
        let leased = daemon.lease(&*store, 5, None).await;
        order.extend(leased.iter().map(|leased| leased.job.payload.as_str().to_owned()));
        store.complete(&leased, None).await;
    }
    assert_eq!(order, ["2", "1", r#"{"x": 1}"#]);
}
