//! Every way to get an envelope wrong: its place, its code, its sentence.

use super::envelope::{MEMBERS, check};
use serde_json::{Value, json};
use windlass::job::{Limits, NewJob};

/// `members` on top of a good envelope.
fn envelope(members: &Value) -> String {
    let mut whole = json!({"kind": "k", "payload": 1});
    whole.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    whole.to_string()
}

/// Asserts place, code and sentence of the one fault.
fn assert_fault(text: &str, pointer: &str, code: &str, message: &str) {
    let error = check(text).expect_err(text);
    assert_eq!((error.pointer.as_str(), error.code, error.message.as_str()), (pointer, code, message), "{}", &text[..text.len().min(300)]);
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_what_it_must_be() {
    let name = |shown: &str| format!("must be 1 to 128 of A-Z a-z 0-9 _ . : - and begin with a letter or digit, got {shown:?}");
    let instant = "`tomorrow` is not an RFC 3339 time with an offset, such as 2026-12-01T09:00:00Z";
    let held = "`ever` is none of until_finished, until_started or a duration such as PT10M or P1D (at most P366D)";
    let table = [
        (json!({"kind": 7}), "/kind", "wrong_type", "must be a string".to_owned()),
        (json!({"kind": null}), "/kind", "wrong_type", "must be a string".into()),
        (json!({"kind": ""}), "/kind", "bad_name", name("")),
        (json!({"queue": "a b"}), "/queue", "bad_name", name("a b")),
        (json!({"tenant": "-x"}), "/tenant", "bad_name", name("-x")),
        (json!({"unique_key": "ä"}), "/unique_key", "bad_name", name("ä")),
        (json!({"concurrency_key": "x".repeat(129)}), "/concurrency_key", "bad_name", name(&"x".repeat(40))),
        (json!({"tags": "a"}), "/tags", "wrong_type", "must be a list of strings".into()),
        (json!({"tags": ["a", 1]}), "/tags/1", "wrong_type", "must be a string".into()),
        (json!({"tags": ["a", ""]}), "/tags/1", "bad_name", name("")),
        (json!({"id": "x"}), "/id", "wrong_type", "`x` is not a UUID; mint a UUIDv7".into()),
        (json!({"after": [7]}), "/after/0", "wrong_type", "must be a string".into()),
        (json!({"after": ["7"]}), "/after/0", "wrong_type", "`7` is not a UUID; mint a UUIDv7".into()),
        (json!({"priority": "high"}), "/priority", "wrong_type", "must be 0 (first) to 9 (last), a whole number".into()),
        (json!({"priority": 5.5}), "/priority", "wrong_type", "must be 0 (first) to 9 (last), a whole number".into()),
        (json!({"delay_ms": "1s"}), "/delay_ms", "wrong_type", "must be 0 to 316224000000 (ten years), a whole number".into()),
        (json!({"run_at": 1_800_000_000}), "/run_at", "wrong_type", "must be a string".into()),
        (json!({"run_at": "tomorrow"}), "/run_at", "wrong_type", instant.into()),
        (json!({"ordered": "yes"}), "/ordered", "wrong_type", "must be true or false".into()),
        (json!({"meta": []}), "/meta", "wrong_type", "must be an object".into()),
        (json!({"idempotency_key": 7}), "/idempotency_key", "wrong_type", "must be a string".into()),
        (json!({"unique_key": "u", "unique_for": "ever"}), "/unique_for", "wrong_type", held.into()),
        (
            json!({"unique_key": "u", "on_duplicate": "drop"}),
            "/on_duplicate",
            "wrong_type",
            "`drop` is none of return, replace, reject, debounce".into(),
        ),
        (json!({"unique_key": "u", "on_duplicate": false}), "/on_duplicate", "wrong_type", "must be a string".into()),
        (json!({"on_success": "k"}), "/on_success", "wrong_type", "an envelope is a JSON object with at least `kind` and `payload`".into()),
    ];
    for (members, pointer, code, message) in table {
        assert_fault(&envelope(&members), pointer, code, &message);
    }
}

#[test]
fn numbers_are_taken_up_to_their_limits_and_not_beyond() {
    let table = [
        ("priority", vec![0_i64, 9], vec![-1, 10, 255, 256, i64::MAX], "must be 0 (first) to 9 (last)"),
        ("delay_ms", vec![0_i64, 316_224_000_000], vec![-1, 316_224_000_001], "must be 0 to 316224000000 (ten years)"),
        ("timeout_ms", vec![1, 86_400_000], vec![-1, 0, 86_400_001], "must be 1 to 86400000 (24 hours)"),
        ("max_attempts", vec![1, 1000], vec![-1, 0, 1001, 1 << 40], "must be 1 to 1000"),
    ];
    for (member, good, bad, message) in table {
        for number in good {
            check(&envelope(&json!({member: number}))).unwrap_or_else(|error| panic!("{member} {number}: {error}"));
        }
        for number in bad {
            assert_fault(&envelope(&json!({member: number})), &format!("/{member}"), "out_of_range", message);
        }
    }
    let debounce = |most: u64| json!({"unique_key": "u", "unique_for": "until_started", "on_duplicate": "debounce", "delay_ms": 1, "debounce_max_ms": most});
    assert!(check(&envelope(&debounce(Limits::DELAY_MS))).is_ok());
    assert_fault(&envelope(&debounce(Limits::DELAY_MS + 1)), "/debounce_max_ms", "out_of_range", "must be 0 to 316224000000 (ten years)");
}

#[test]
fn lists_and_texts_are_taken_up_to_their_limits_and_not_beyond() {
    let ids = |count: usize| (0..count).map(|_| windlass::job::JobId::mint()).collect::<Vec<_>>();
    let meta = |bytes: usize| json!({"meta": {"m": "x".repeat(bytes - r#"{"m":""}"#.len())}});
    for members in [
        json!({"tags": vec!["t"; 20]}),
        json!({"after": ids(100)}),
        json!({"idempotency_key": "~".repeat(255)}),
        json!({"kind": "x".repeat(128)}),
        meta(4096),
    ] {
        check(&envelope(&members)).unwrap();
    }
    let printable = "must be 1 to 255 printable ASCII characters";
    assert_fault(&envelope(&json!({"tags": vec!["t"; 21]})), "/tags", "out_of_range", "at most 20 tags");
    assert_fault(&envelope(&json!({"after": ids(101)})), "/after", "out_of_range", "at most 100 dependencies");
    assert_fault(&envelope(&meta(4097)), "/meta", "too_large", "at most 4096 bytes");
    for key in ["".to_owned(), "x".repeat(256), "tab\t".into(), "nul\0".into(), "é".into()] {
        assert_fault(&envelope(&json!({"idempotency_key": key})), "/idempotency_key", "bad_name", printable);
    }
}

#[test]
fn members_that_contradict_each_other_are_refused() {
    let id = windlass::job::JobId::mint();
    let swapping = "`replace` and `debounce` need `unique_for: until_started`, because a started job cannot be swapped";
    let table = [
        (json!({"run_at": "2030-01-01T00:00:00Z", "delay_ms": 1}), "/delay_ms", "`run_at` and `delay_ms` are both set; send one of them"),
        (
            json!({"run_at": "2030-01-01T00:00:00Z", "expires_at": "2030-01-01T00:00:00Z"}),
            "/expires_at",
            "is not after `run_at`, so the job could never start; send a later one",
        ),
        (json!({"ordered": true}), "/ordered", "needs a `concurrency_key`, which names the sequence"),
        (json!({"unique_for": "until_started"}), "/unique_for", "needs a `unique_key`"),
        (json!({"on_duplicate": "reject"}), "/on_duplicate", "needs a `unique_key`"),
        (json!({"debounce_max_ms": 1}), "/debounce_max_ms", "needs a `unique_key`"),
        (json!({"unique_key": "u", "on_duplicate": "replace"}), "/on_duplicate", swapping),
        (json!({"unique_key": "u", "unique_for": "PT1H", "on_duplicate": "debounce", "delay_ms": 5}), "/on_duplicate", swapping),
        (json!({"unique_key": "u", "debounce_max_ms": 5}), "/debounce_max_ms", "belongs to `on_duplicate: debounce`"),
        (
            json!({"unique_key": "u", "unique_for": "until_started", "on_duplicate": "debounce"}),
            "/on_duplicate",
            "`debounce` needs `delay_ms`, the quiet time to wait for",
        ),
        (json!({"id": id, "after": [id]}), "/after", "a job cannot wait for itself; leave its own id out"),
        (
            json!({"tenant": "a", "on_failure": {"kind": "k", "payload": 1, "tenant": "b"}}),
            "/on_failure/tenant",
            "a follow-up stays in its job's tenant; leave it out",
        ),
    ];
    for (members, pointer, message) in table {
        assert_fault(&envelope(&members), pointer, "conflict", message);
    }
    let allowed = [
        json!({"run_at": "2030-01-01T00:00:00Z", "delay_ms": 0}),
        json!({"ordered": false}),
        json!({"tenant": "a", "on_failure": {"kind": "k", "payload": 1, "tenant": "a"}}),
        json!({"unique_key": "u", "unique_for": "until_started", "on_duplicate": "replace"}),
    ];
    for members in allowed {
        check(&envelope(&members)).unwrap();
    }
}

#[test]
fn an_id_must_be_a_uuid_of_version_seven() {
    let v4 = "936da01f-9abd-4d9d-80c7-02af85c822a8";
    let message = format!("`{v4}` is not a UUIDv7; mint a version 7 id or leave it out");
    assert_fault(&envelope(&json!({"id": v4})), "/id", "out_of_range", &message);
    assert!(check(&envelope(&json!({"id": "01890a5d-ac96-774b-bcce-b302099a8057"}))).is_ok());
}

#[test]
fn an_unknown_member_is_refused_by_name_with_the_nearest_known_one() {
    let own = "only the members of the envelope are accepted; put your own data into `payload` or `meta`";
    let table = [
        ("runat", "did you mean `run_at`?".to_owned()),
        ("maxAttempts", "did you mean `max_attempts`?".into()),
        ("Kind", "did you mean `kind`?".into()),
        ("tag", "did you mean `tags`?".into()),
        ("zzz", own.into()),
    ];
    for (member, hint) in table {
        assert_fault(
            &envelope(&json!({member: 1})),
            &format!("/{member}"),
            "unknown_member",
            &format!("unknown member `{member}`; {hint}"),
        );
    }
    let odd = check(&envelope(&json!({"a/b~c": 1}))).unwrap_err();
    assert_eq!(odd.pointer, "/a~1b~0c");
    let long = check(&envelope(&json!({"x".repeat(1 << 20): 1}))).unwrap_err();
    assert!(long.to_string().len() < 300, "a name of a megabyte is not sent back");
    for member in MEMBERS {
        let error = check(&envelope(&json!({format!("{member}x"): 1}))).unwrap_err();
        assert!(error.message.ends_with(&format!("did you mean `{member}`?")), "{error}");
    }
}

#[test]
fn a_member_sent_twice_is_refused() {
    let message = "`queue` is there twice; send it once";
    assert_fault(r#"{"kind":"k","queue":"a","payload":1,"queue":"b"}"#, "/queue", "conflict", message);
}

#[test]
fn a_missing_member_is_asked_for() {
    assert_fault("{}", "/kind", "wrong_type", "`kind` is required");
    assert_fault(r#"{"kind":"k"}"#, "/payload", "wrong_type", "`payload` is required");
    assert_fault(&envelope(&json!({"on_success": {"payload": 1}})), "/on_success/kind", "wrong_type", "`kind` is required");
}

#[test]
fn a_member_that_belongs_to_a_later_release_is_refused_in_one_sentence() {
    let message = "`account` is not supported yet; leave it out until budgets are released";
    assert_fault(&envelope(&json!({"account": {"unit": "credits", "amount": 3}})), "/account", "not_supported", message);
}

#[test]
fn a_fault_in_a_follow_up_is_found_at_its_place() {
    let members = json!({"payload": {"priority": "not this one"}, "on_success": {"kind": "k", "payload": 1, "on_failure": {"kind": "k", "payload": 1, "priority": "x"}}});
    assert_fault(&envelope(&members), "/on_success/on_failure/priority", "wrong_type", "must be 0 (first) to 9 (last), a whole number");
    let members = json!({"on_success": {"kind": "k", "payload": 1, "run_att": 1}});
    assert_fault(&envelope(&members), "/on_success/run_att", "unknown_member", "unknown member `run_att`; did you mean `run_at`?");
    let members = json!({"on_success": {"kind": "k", "payload": 1, "timeout_ms": 0}});
    assert_fault(&envelope(&members), "/on_success/timeout_ms", "out_of_range", "must be 1 to 86400000 (24 hours)");
}

#[test]
fn eight_follow_ups_inside_one_another_are_taken_and_nine_refused() {
    let chain = |depth: usize| {
        (0..depth).fold(json!({"kind": "k", "payload": 1}), |inner, _| json!({"kind": "k", "payload": 1, "on_success": inner}))
    };
    assert!(check(&chain(8).to_string()).is_ok());
    assert_fault(&chain(9).to_string(), &"/on_success".repeat(9), "too_large", "at most 8 follow-ups inside one another");
}

#[test]
fn what_is_no_json_is_said_with_its_place() {
    let table: [(&[u8], &str); 13] = [
        (b"", ": not valid JSON: EOF while parsing a value"),
        (b"{", ": not valid JSON: EOF while parsing an object"),
        (br#"{"kind":"k","payload":1}x"#, ": not valid JSON: trailing characters"),
        (br#"{"kind":"k","payload":01}"#, ": not valid JSON: invalid number"),
        (b"{\n 'kind': 1}", ": not valid JSON: key must be a string"),
        (b"{\"kind\":\"a\0b\",\"payload\":1}", ": not valid JSON: control character (\\u0000-\\u001F) found while parsing a string"),
        (b"\xef\xbb\xbf{}", ": not valid JSON: expected value"),
        (b"{\"kind\":\"\xff\"}", ": the envelope is not UTF-8 (byte 9); send JSON in UTF-8"),
        (br#"{"kind":"\ud800","payload":1}"#, "/kind: not valid JSON: unexpected end of hex escape"),
        (br#"{"\ud800":1}"#, ": not valid JSON: unexpected end of hex escape"),
        (br#"["k",1]"#, ": an envelope is a JSON object with at least `kind` and `payload`"),
        (
            br#"{"kind":"k","payload":1,"on_success":["k",1]}"#,
            "/on_success: an envelope is a JSON object with at least `kind` and `payload`",
        ),
        (br#"[{"kind":"k","payload":1}]"#, ": an envelope is a JSON object with at least `kind` and `payload`"),
    ];
    for (bytes, sentence) in table {
        let error = NewJob::check(bytes, Limits::default()).unwrap_err();
        assert!(error.to_string().starts_with(sentence), "{sentence:?} was expected of {:?}, not {error}", String::from_utf8_lossy(bytes));
        assert_eq!(error.message.contains(" at line "), error.message.starts_with("not valid JSON"), "{error}");
        assert_eq!(error.code, if sentence.contains("object with") { "wrong_type" } else { "not_json" });
    }
}
